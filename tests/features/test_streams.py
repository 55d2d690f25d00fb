"""A22: deltas as they are made, in every mode, several at once, and from graphs inside."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.message import add_messages
from stepwell.types import StreamWriter

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}
MODES = ["values", "updates", "custom", "messages", "checkpoints", "tasks", "debug"]


class State(TypedDict, total=False):
    """What nodes did and said."""

    log: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], add_messages]


def build(saver: Saver) -> Any:
    """A node, and a graph inside another one."""

    async def one(state: State, writer: StreamWriter) -> dict[str, Any]:
        writer({"half": "done"})
        return {"log": ["one"], "messages": [{"role": "ai", "content": "hello"}]}

    async def deep(state: State) -> dict[str, Any]:
        return {"log": ["deep"]}

    inner = StateGraph(State).add_node("deep", deep).add_edge(START, "deep").compile()
    builder = StateGraph(State).add_node("one", one).add_node("inner", inner)
    return builder.add_edge(START, "one").add_edge("one", "inner").compile(saver)


async def test_every_mode_alone_is_what_it_is_among_all(saver: Saver) -> None:
    graph = build(saver)
    told: dict[str, list[Any]] = {mode: [] for mode in MODES}
    async for mode, part in graph.astream({"log": ["in"]}, CONFIG, stream_mode=MODES):
        told[mode].append(part)
    assert [v["log"] for v in told["values"]][:2] == [["in"], ["in", "one"]]
    assert [list(u) for u in told["updates"]] == [["one"], ["inner"]]
    assert told["custom"] == [{"half": "done"}]
    assert told["messages"][0][0].content == "hello"
    assert [c["metadata"]["step"] for c in told["checkpoints"]] == [-1, 0, 1, 2]
    assert [t["name"] for t in told["tasks"] if "input" in t] == ["one", "inner"]
    assert len(told["debug"]) == len(told["checkpoints"]) + len(told["tasks"])
    for mode in ("values", "updates", "custom"):
        await saver.adelete_thread("t")
        alone = [p async for p in graph.astream({"log": ["in"]}, CONFIG, stream_mode=mode)]
        assert len(alone) == len(told[mode])


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_graphs_inside_are_told_of(saver: Saver, durability: Any) -> None:
    parts = [
        (namespace, update)
        async for namespace, update in build(saver).astream(
            {"log": ["in"]}, CONFIG, stream_mode="updates", subgraphs=True, durability=durability
        )
    ]
    assert [list(update) for _, update in parts] == [["one"], ["deep"], ["inner"]]
    assert [bool(namespace) for namespace, _ in parts] == [False, True, False]


async def test_what_a_stream_with_sync_shows_is_in_the_database(saver: Saver) -> None:
    """Deltas come as they are made: what was shown can be read while the run goes on."""
    graph = build(saver)
    async for values in graph.astream(
        {"log": ["in"]}, CONFIG, stream_mode="values", durability="sync"
    ):
        assert (await graph.aget_state(CONFIG)).values["log"][: len(values["log"])] == values["log"]
