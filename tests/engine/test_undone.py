"""A run that is to be undone is undone, also where its cancellation meets nobody who waits."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.errors import RunPreemptedError
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.types import interrupt

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Slow:
    """A node that waits for its first caller only, and what it does when it is cancelled."""

    def __init__(self, then: str = "") -> None:
        self.then = then
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, state: State) -> State:
        if not self.reached.is_set():
            self.reached.set()
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                if not self.then:
                    raise
                if self.then == "raises":
                    raise ValueError from None
                if self.then == "asks":
                    interrupt("?")
        return {"log": [f"slow {state['log'][-1]}"]}


def build(saver: Saver, slow: Slow, *, last: bool = False) -> CompiledStateGraph:
    async def after(state: State) -> State:
        return {"log": ["after"]}

    builder = StateGraph(State).add_node("slow", slow).add_edge(START, "slow")
    if not last:
        builder.add_node("after", after).add_edge("slow", "after")
    return builder.compile(saver)


async def call(graph: CompiledStateGraph, given: str, **options: Any) -> str:
    """What becomes of a call, and whether its task is as free as it was before."""
    try:
        result = await graph.ainvoke({"log": [given]}, CONFIG, **options)
    except RunPreemptedError as error:
        # Where a cancellation was left over in the task, it would arrive here.
        await asyncio.sleep(0)
        task = asyncio.current_task()
        return f"{error.policy}, {0 if task is None else task.cancelling()} cancellations left"
    return " ".join(result["log"])


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_runs_in_line_that_have_hardly_begun(saver: Saver, durability: Any) -> None:
    """Each that comes undoes the one before, also one whose first await is yet to come: of none
    but the last the input counts, and no cancellation is left in anybody's task."""
    slow = Slow()
    graph = build(saver, slow)
    calls = [asyncio.create_task(call(graph, "0", durability=durability))]
    await slow.reached.wait()
    for name in "123":
        one = call(graph, name, durability=durability, on_conflict="rollback")
        calls.append(asyncio.create_task(one))
    told = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert told == ["rollback, 0 cancellations left"] * 3 + ["3 slow 3 after"]
    statuses = [run.status async for run in saver.alist_runs("t")]
    assert statuses == ["done", "superseded", "superseded", "superseded"]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("then", ["returns", "raises", "asks"])
async def test_a_node_that_swallows_its_cancellation(saver: Saver, then: str, last: bool) -> None:
    """What it does instead does not count, in the last superstep neither."""
    slow = Slow(then)
    graph = build(saver, slow, last=last)
    run = asyncio.create_task(call(graph, "0"))
    await slow.reached.wait()
    told = await asyncio.wait_for(call(graph, "1", on_conflict="rollback"), 60)
    assert told == ("1 slow 1" if last else "1 slow 1 after")
    assert await run == "rollback, 0 cancellations left"
    assert [run.status async for run in saver.alist_runs("t")] == ["done", "superseded"]


async def test_a_run_that_cannot_begin_before_one_that_undoes(saver: Saver) -> None:
    """Its own error reaches its caller; nothing of the demand is left in its task."""
    slow = Slow()
    graph = build(saver, slow)

    async def bad() -> str:
        try:
            await graph.ainvoke({}, CONFIG)
        except Exception as error:  # which one depends on what came first
            await asyncio.sleep(0)
            return type(error).__name__
        return "nothing"

    first = asyncio.create_task(call(graph, "0"))
    await slow.reached.wait()
    second = asyncio.create_task(bad())
    await asyncio.sleep(0)
    third = asyncio.create_task(call(graph, "2", on_conflict="rollback"))
    await asyncio.wait_for(asyncio.gather(first, second, third), 60)
    assert second.result() in {"EmptyInputError", "RunPreemptedError"}
    assert third.result() == "2 slow 2 after"
