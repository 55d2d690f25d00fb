"""States that are kept small: reducers that trim, and bounds that are told of or enforced."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import GraphDefinitionError, StateTooLargeError, UsageError
from stepwell.graph import START, StateGraph
from stepwell.graph.trimming import keep_last, last_messages

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class Trimmed(TypedDict, total=False):
    """A list and a conversation of which only the end stays."""

    log: Annotated[list[int], keep_last(3)]
    messages: Annotated[list[Any], last_messages(2)]


async def test_what_is_cut_off_stays_in_the_history(saver: Saver) -> None:
    """And the newest state is the same, loaded or not, folded or not."""

    async def say(state: Trimmed) -> dict[str, Any]:
        n = len(state["messages"])
        return {"log": [state["log"][-1] + 1], "messages": [{"role": "ai", "content": f"{n}"}]}

    graph = StateGraph(Trimmed).add_node("say", say).add_edge(START, "say").compile(saver)
    for n in range(6):
        given = {"log": [10 * n], "messages": [{"role": "user", "content": f"q{n}"}]}
        out = await graph.ainvoke(given, CONFIG)
        assert out["log"][-2:] == [10 * n, 10 * n + 1]
        assert len(out["log"]) <= 3
        assert [m["content"] for m in out["messages"]] == [f"q{n}", f"{min(n + n + 1, 2)}"]
    assert (await graph.aget_state(CONFIG)).values == out
    await saver.acompact()
    assert (await graph.aget_state(CONFIG)).values == out
    seen = {n for s in [s async for s in graph.aget_state_history(CONFIG)] for n in s.values["log"]}
    assert seen == {10 * n + more for n in range(6) for more in (0, 1)}


def contents(messages: list[Any]) -> list[str]:
    return [m["content"] for m in messages]


def message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content, "id": content}


def test_what_a_conversation_keeps() -> None:
    """Its system messages; no answer without its call; an edit is one; fewer is all."""
    reduce = last_messages(2)
    start = [message("system", "s"), message("user", "a")]
    assert contents(reduce([], start)) == ["s", "a"]
    more = [message("ai", "call"), message("tool", "answer"), message("ai", "b")]
    assert contents(reduce(start, more)) == ["s", "b"]
    assert contents(reduce(start, more[:2])) == ["s", "call", "answer"]
    edited = reduce(start, [{"role": "user", "content": "A", "id": "a"}])
    assert contents(edited) == ["s", "A"]
    assert contents(reduce([], [message("user", c) for c in "abcd"])) == ["c", "d"]
    assert contents(reduce([], [message("tool", c) for c in "abcd"])) == []
    assert keep_last(2)([1], [2, 3]) == [2, 3]
    assert keep_last(2)([], []) == []


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, None])
@pytest.mark.parametrize("make", [keep_last, last_messages])
def test_what_is_no_count(make: Any, count: Any) -> None:
    with pytest.raises(GraphDefinitionError):
        make(count)


class Growing(TypedDict, total=False):
    """A list that only grows, and a text."""

    log: Annotated[list[str], operator.add]
    text: str


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_state_that_is_too_large_is_refused_and_nothing_is_lost(
    durability: Any,
) -> None:
    """The thread stays where it was, and goes on once the state is smaller."""

    async def grow(state: Growing) -> dict[str, Any]:
        return {"log": ["x" * size["log"]]}

    size = {"log": 100}
    async with open_saver("memory://", state_bytes_max=1000) as saver:
        builder = StateGraph(Growing).add_node("grow", grow).add_edge(START, "grow")
        graph = builder.compile(saver)
        await graph.ainvoke({"text": "t" * 300}, CONFIG, durability=durability)
        before = (await graph.aget_state(CONFIG)).values
        size["log"] = 800
        with pytest.raises(StateTooLargeError, match="log 9") as caught:
            await graph.ainvoke({"text": "u" * 300}, CONFIG, durability=durability)
        assert "state_bytes_max" in str(caught.value)
        assert caught.value.context["thread_id"] == "t"
        info = await saver.aget_thread("t")
        assert info is not None
        assert info.status == "failed"
        left = (await graph.aget_state(CONFIG)).values
        assert left["log"] == before["log"]
        size["log"] = 10
        out = await graph.ainvoke(None, CONFIG, durability=durability)
        # With "exit" nothing of a run is kept that could not be written at its end.
        assert len(out["log"]) == (1 if durability == "exit" else 2)


async def test_a_large_state_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def grow(state: Growing) -> dict[str, Any]:
        return {"log": ["x" * 300]}

    async with open_saver("memory://", state_bytes_warn=500) as saver:
        graph = StateGraph(Growing).add_node("grow", grow).add_edge(START, "grow").compile(saver)
        for _ in range(4):
            await graph.ainvoke({"text": "t"}, CONFIG)
    [told] = [r.getMessage() for r in caplog.records if "state_bytes_warn" in r.getMessage()]
    assert "'t'" in told
    assert "Largest: log 6" in told


@pytest.mark.parametrize("bound", [0, -1, 1.5, "9", True])
@pytest.mark.parametrize("option", ["state_bytes_warn", "state_bytes_max"])
def test_what_is_no_bound(option: str, bound: Any) -> None:
    with pytest.raises(UsageError, match="bytes"):
        open_saver("memory://", **{option: bound})
