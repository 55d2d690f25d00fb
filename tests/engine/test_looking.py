"""What is stored can be compared, on every driver, without the code that made it."""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

import jsonpatch
import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import InvalidIdError, NotFoundError, UsageError
from stepwell.graph import START, StateGraph
from stepwell.types import Send


@dataclass
class Item:
    """A class of the state, not registered outside of its graph."""

    name: str
    tags: tuple[str, ...] = ()


TAGS = {"$tuple": ["x", "y"]}


class State(TypedDict, total=False):
    """Lists that grow, a value that is replaced, values that JSON cannot say."""

    log: Annotated[list[Any], operator.add]
    n: int
    when: datetime
    item: Item


class Inner(TypedDict, total=False):
    """The state of a graph inside."""

    log: Annotated[list[Any], operator.add]
    own: str
    item: Item


def config(thread_id: str, ns: str = "") -> dict[str, Any]:
    """A config of a thread's newest checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns}}


async def several(saver: Saver, thread_id: str = "t") -> list[dict[str, Any]]:
    """A thread with joins, sends and a graph inside; its checkpoints, oldest first."""

    async def inside(state: Inner) -> dict[str, Any]:
        return {"log": ["inside"], "own": "o"}

    def one(state: State) -> dict[str, Any]:
        return {"log": ["one"], "n": 1, "item": Item("i", ("x", "y"))}

    def two(state: State) -> dict[str, Any]:
        return {"log": ["two"], "when": datetime(2026, 1, 2, tzinfo=UTC)}

    inner = StateGraph(Inner).add_node("deep", inside).add_edge(START, "deep")
    builder = StateGraph(State).add_node("one", one).add_node("two", two)
    builder.add_node("many", lambda given: {"log": [given["x"]]})
    builder.add_node("sub", inner.compile(checkpointer=True))
    builder.add_edge(START, "one").add_edge(START, "two").add_edge(["one", "two"], "sub")
    builder.add_conditional_edges("one", lambda _: [Send("many", {"x": n}) for n in (1, 2)])
    graph = builder.compile(saver)
    await graph.ainvoke({"log": ["go"], "n": 0}, config(thread_id))
    history = [s async for s in graph.aget_state_history(config(thread_id))]
    return [dict(snapshot.config) for snapshot in reversed(history)]


async def test_a_patch_leads_from_any_checkpoint_to_any_other(saver: Saver) -> None:
    """Forth and back, and what only leads from node to node is not in it."""
    configs = await several(saver)
    empty = await saver.adiff(configs[0], configs[0])
    assert empty == []
    whole = await saver.adiff(configs[0], config("t"))
    assert {c["path"] for c in whole} == {"/log", "/n", "/item", "/when"}
    state = jsonpatch.apply_patch({}, whole)
    assert state["item"] == {"$:tests.engine.test_looking:Item": {"name": "i", "tags": TAGS}}
    configs.append(config("t"))
    start = jsonpatch.apply_patch({}, await saver.adiff(configs[0], configs[0]))
    for a in configs:
        known = jsonpatch.apply_patch(start, await saver.adiff(configs[0], a))
        for b in configs:
            forth, back = await saver.adiff(a, b), await saver.adiff(b, a)
            assert json.loads(json.dumps(forth)) == forth
            there = jsonpatch.apply_patch(known, forth)
            assert there == jsonpatch.apply_patch(start, await saver.adiff(configs[0], b))
            assert jsonpatch.apply_patch(there, back) == known


async def test_threads_and_namespaces_are_compared_too(saver: Saver) -> None:
    """A copy does not differ from its original until it goes on; a namespace has its own
    values."""
    configs = await several(saver)
    await saver.acopy_thread("t", "copy")
    assert await saver.adiff(config("t"), config("copy")) == []
    longer = await saver.adiff(configs[2], config("copy"))
    assert longer == await saver.adiff(configs[2], config("t")) != []
    inside = await saver.adiff(config("t"), config("t", "sub"))
    assert {"op": "add", "path": "/own", "value": "o"} in inside
    assert {"op": "remove", "path": "/n"} in inside


@pytest.mark.parametrize("compacted", [False, True])
async def test_long_threads_are_compared_from_their_segments(saver: Saver, compacted: bool) -> None:
    """The difference of two states is their difference, however they are stored."""

    async def count(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "log": [state["n"]]}

    builder = StateGraph(State).add_node("count", count).add_edge(START, "count")
    builder.add_conditional_edges("count", lambda s: "__end__" if s["n"] >= 130 else "count")
    graph = builder.compile(saver)
    await graph.ainvoke({"n": 0, "log": []}, config("t") | {"recursion_limit": 500})
    await (await saver.journal()).folded()
    if compacted:
        await saver.acompact()
    history = [s.config async for s in graph.aget_state_history(config("t"))]
    patch = await saver.adiff(history[100], history[1])  # after 30 and after 129 of 130
    grown = [{"op": "add", "path": f"/log/{n}", "value": n} for n in range(30, 129)]
    assert patch == [*grown, {"op": "replace", "path": "/n", "value": 129}] or patch == [
        {"op": "replace", "path": "/n", "value": 129}, *grown,
    ]  # fmt: skip


async def test_what_is_compared_must_be_there(saver: Saver) -> None:
    """A thread, a namespace, a checkpoint that is not there, on either side; a config of none."""
    [first, *_] = await several(saver)
    other = {"configurable": {**first["configurable"], "thread_id": "other"}}
    await saver.acopy_thread("t", "other", at=first["configurable"]["checkpoint_id"])
    assert await saver.adiff(first, other) == []
    missing = [
        config("none"), config("t", "none"), config("t") | {"configurable": {
            "thread_id": "t", "checkpoint_id": "00000000-0000-0000-0000-000000000000"}},
        {"configurable": {"thread_id": "t", "checkpoint_id": "nonsense"}},
    ]  # fmt: skip
    for absent in missing:
        for pair in ((first, absent), (absent, first)):
            with pytest.raises(NotFoundError, match="has no checkpoint"):
                await saver.adiff(*pair)
    with pytest.raises(UsageError):
        await saver.adiff(first, {"configurable": {}})
    with pytest.raises(InvalidIdError):
        await saver.adiff({"configurable": {"thread_id": ""}}, first)
    assert await saver.aget_thread("none") is None


async def test_scopes_do_not_see_each_other(saver: Saver) -> None:
    """A thread of another scope is not there."""
    await several(saver)
    with pytest.raises(NotFoundError):
        await saver.scoped("tenant").adiff(config("t"), config("t"))


def test_the_sync_form_does_the_same() -> None:
    """`diff` where no loop runs."""
    with open_saver("memory://") as saver:
        graph = StateGraph(State).add_node("n", lambda _: {"n": 2}).add_edge(START, "n")
        graph.compile(saver).invoke({"n": 1}, config("t"))
        newest, _, oldest = saver.list(config("t"))
        assert saver.diff(oldest.config, newest.config) == [{"op": "add", "path": "/n", "value": 2}]
