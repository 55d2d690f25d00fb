"""A task that is cancelled while its large result is encoded aside has finished."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._engine.task_records import TaskRecords
from stepwell.checkpoint.base import Saver
from stepwell.func import task
from stepwell.graph import START, StateGraph

CONFIG = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[str], operator.add]


class Stuck:
    """Encoding aside does not come to its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = asyncio.Event()
        self._patch = monkeypatch
        monkeypatch.setattr(TaskRecords, "encode_aside", self.encode)
        monkeypatch.setattr(TaskRecords, "take_long", lambda *_: True)

    async def encode(self, writes: Any) -> Any:
        if any(value in (["large"], "large") for _, value in writes):
            self.begun.set()
            await asyncio.Event().wait()
        return None

    async def cancel_in(self, graph: Any) -> None:
        """Run the graph, cancel it there, and let encoding work again."""
        run = asyncio.ensure_future(graph.ainvoke({"log": []}, CONFIG))
        await self.begun.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        self._patch.undo()


@pytest.fixture
async def stuck(monkeypatch: pytest.MonkeyPatch) -> Stuck:
    return Stuck(monkeypatch)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("inside", [False, True])
async def test_it_does_not_run_again(
    saver: Saver, stuck: Stuck, beside: bool, inside: bool
) -> None:
    """Alone, beside a task that still runs, and in a graph inside another one."""
    ran: list[str] = []

    async def large(state: State) -> dict[str, Any]:
        ran.append("large")
        return {"log": ["large"]}

    async def slow(state: State) -> dict[str, Any]:
        ran.append("slow")
        await asyncio.sleep(0 if stuck.begun.is_set() else 60)
        return {"log": ["slow"]}

    builder = StateGraph(State).add_node("large", large).add_edge(START, "large")
    if beside:
        builder.add_node("slow", slow).add_edge(START, "slow")
    graph = builder.compile(None if inside else saver)
    if inside:
        outer = StateGraph(State).add_node("inside", graph).add_edge(START, "inside")
        graph = outer.compile(saver)
    await stuck.cancel_in(graph)
    out = await graph.ainvoke(None, CONFIG)
    assert out["log"] == (["large", "slow"] if beside else ["large"])
    assert ran.count("large") == 1


async def test_a_call_does_not_run_again(saver: Saver, stuck: Stuck) -> None:
    """What a task call returned is kept for its caller."""
    ran: list[str] = []

    @task
    async def large() -> str:
        ran.append("large")
        return "large"

    async def node(state: State) -> dict[str, Any]:
        return {"log": [await large() + "!"]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver)
    await stuck.cancel_in(graph)
    assert (await graph.ainvoke(None, CONFIG))["log"] == ["large!"]
    assert ran == ["large"]
