"""What callers say is data: in filters, ids, cursors and names, on every driver."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.errors import InvalidIdError, StepwellError, UsageError
from stepwell.graph import START, StateGraph

TEXTS = (
    "'", "''", '"', "a' OR '1'='1", "'; DROP TABLE stepwell_thread; --", "$.a", "$[0]", "a.b", "%",
    "_", "{}", "{$ne: 1}", "\\", "\n", "\0", "\ud800", "{a,b}", "*", "@*:{a}", "NULL", "é" * 50,
    "k" * 100_000,
)  # fmt: skip
NOT_TEXTS: tuple[Any, ...] = ({"$ne": 1}, ["a"], ("a",), b"a", 1.5, True, object(), {})


class State(TypedDict, total=False):
    n: int


def build(saver: Saver) -> Any:
    async def step(state: State) -> State:
        return {"n": state["n"] + 1}

    return StateGraph(State).add_node("step", step).add_edge(START, "step").compile(saver)


async def test_keys_and_values_of_filters_are_data(saver: Saver) -> None:
    """They match what was stored under exactly that key, and nothing else; nothing breaks."""
    graph = build(saver)
    metadata: dict[str, Any] = {text: f"v{at}" for at, text in enumerate(TEXTS)}
    place = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"n": 1}, {**place, "metadata": metadata})
    await graph.ainvoke({"n": 1}, {"configurable": {"thread_id": "u"}})
    for at, text in enumerate(TEXTS):
        found = [t.thread_id async for t in saver.alist_threads(metadata={text: f"v{at}"})]
        assert found == ["t"], text
        assert [c async for c in saver.alist(None, filter={text: f"v{at}"})]
        for other in (text, f"v{at}' OR 1=1 --", None, 1):
            assert [t async for t in saver.alist_threads(metadata={text: other})] == []
            assert [c async for c in saver.alist(None, filter={text: other})] == []
    assert (await graph.aget_state(place)).values == {"n": 2}
    for bad in ({"$ne": 1}, ["a"], ("a",), b"a", object()):
        with pytest.raises(UsageError):
            saver.alist_threads(metadata={"a": bad})


async def test_names_in_queries_are_data(saver: Saver) -> None:
    graph = build(saver)
    await graph.ainvoke({"n": 1}, {"configurable": {"thread_id": "t"}})
    for text in TEXTS:
        assert [t async for t in saver.alist_threads(graph=text)] == []
        assert await saver.aget_run("t", text) is None
        with pytest.raises(UsageError):
            saver.alist_threads(order=text)  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            saver.alist_threads(status=text)
        with pytest.raises(UsageError):
            [t async for t in saver.alist_threads(after=text)]
        await saver.adelete_for_runs([text])
    assert [t.thread_id async for t in saver.alist_threads()] == ["t"]


async def test_ids_are_texts_that_a_database_can_hold(saver: Saver) -> None:
    """Stored and found as they are, or refused before anything is asked."""
    graph = build(saver)
    kept = []
    for text in TEXTS:
        config = {"configurable": {"thread_id": text}}
        if len(text.encode("utf-8", "replace")) > 512 or text in ("\0", "\ud800"):
            with pytest.raises(InvalidIdError):
                await graph.ainvoke({"n": 1}, config)
            continue
        await graph.ainvoke({"n": 1}, config, idempotency_key=text)
        kept.append(text)
    assert sorted([t.thread_id async for t in saver.alist_threads()]) == sorted(kept)
    await saver.adelete_thread("%")
    assert sorted([t.thread_id async for t in saver.alist_threads()]) == sorted({*kept} - {"%"})
    for bad in NOT_TEXTS:
        with pytest.raises((StepwellError, TypeError, ValueError)):
            await saver.adelete_thread(bad)
        with pytest.raises((StepwellError, TypeError, ValueError)):
            await graph.ainvoke({"n": 1}, {"configurable": {"thread_id": bad}})
    for text in TEXTS:
        place = {"configurable": {"thread_id": kept[0], "checkpoint_id": text}}
        with pytest.raises(StepwellError):
            await graph.ainvoke(None, place)
