"""Who looks at a thread from the process that runs it sees what the run has shown."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

import stepwell
from stepwell.graph import START, StateGraph


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


@pytest.fixture(params=["memory", "sqlite"])
async def saver(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/t.db"
    async with stepwell.open_saver(url) as opened:
        yield opened


CONFIG: Any = {"configurable": {"thread_id": "t"}}


def chain(saver: Any, *nodes: Any) -> Any:
    return StateGraph(Log).add_sequence(nodes).add_edge(START, nodes[0].__name__).compile(saver)


async def a(state: Log) -> Any:
    return {"log": ["a"]}


async def b(state: Log) -> Any:
    return {"log": ["b"]}


async def test_a_node_sees_the_barriers_before_it(saver: Any) -> None:
    """Also with durability="async", where they may not be durable when the node starts."""
    seen: list[Any] = []

    async def look(state: Log) -> Any:
        found = await graph.aget_state(CONFIG)
        history = [s.next async for s in graph.aget_state_history(CONFIG)]
        seen.append((found.values, found.next, history))
        return {}

    graph = chain(saver, a, b, look)
    await graph.ainvoke({"log": []}, CONFIG)
    assert seen == [
        ({"log": ["a", "b"]}, ("look",), [("look",), ("b",), ("a",), ("__start__",)]),
    ]


async def test_a_chunk_is_not_ahead_of_the_thread(saver: Any) -> None:
    """What a stream has shown as the state is there to be read."""
    graph = chain(saver, a, b)
    async for values in graph.astream({"log": []}, CONFIG, stream_mode="values"):
        found = await graph.aget_state(CONFIG)
        assert found.values["log"][: len(values["log"])] == values["log"]
