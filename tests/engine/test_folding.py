"""Long threads fold by themselves: what is read stays what it was, and reads stay short."""

from __future__ import annotations

import operator
import random
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._journal.journal import Journal
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import LoadRequest, ThreadKey
from stepwell.graph import END, START, StateGraph

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}, "recursion_limit": 5000}


class State(TypedDict):
    """A counter, its trace, and how far it is to go."""

    n: int
    log: Annotated[list[int], operator.add]
    goal: int


def build(saver: Saver) -> Any:
    """Counts up to the goal."""

    async def add(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "log": [state["n"] + 1]}

    graph = StateGraph(State).add_node("add", add).add_edge(START, "add")
    graph.add_conditional_edges("add", lambda s: END if s["n"] >= s["goal"] else "add")
    return graph.compile(saver)


async def stored(journal: Journal, key: ThreadKey, ns: str = "") -> int:
    """Bytes of what a namespace is stored as."""
    layout = await journal.driver.layout(key, ns)
    return sum(p.bytes for p in layout.rows) + sum(p.bytes for p in layout.segments)


async def test_a_long_thread_folds_by_itself(saver: Saver) -> None:
    """While it runs. Its newest state then takes a bounded number of rows; every state, in
    whatever form it is stored, is what it was; the counters say what is stored."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": [], "goal": 450}, CONFIG)
    journal, key = await saver.journal(), saver.key("t")
    await journal.folded()
    loaded = await journal.load(LoadRequest(key))
    assert len(loaded.rows) < 120
    assert 3 <= len(loaded.segments) <= 5
    if journal.driver.name != "memory":  # where leaving it out saves nothing
        assert all(segment.detail == b"" for segment in loaded.segments)
    thread = loaded.thread
    assert thread is not None
    assert (thread.checkpoints, thread.bytes) == (452, await stored(journal, key))
    states = [s async for s in graph.aget_state_history(CONFIG)]
    assert [s.values.get("n", 0) for s in states] == [*range(450, 0, -1), 0, 0]
    for state in states[::37]:
        assert state.values["log"] == list(range(1, state.values.get("n", 0) + 1))
        assert await graph.aget_state(state.config) == state
    assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 451))


async def test_short_runs_of_a_long_thread_fold_too(saver: Saver) -> None:
    """What was there before a claim counts as well."""
    graph = build(saver)
    for goal in range(10, 400, 10):
        await graph.ainvoke({"goal": goal}, CONFIG) if goal > 10 else await graph.ainvoke(
            {"n": 0, "log": [], "goal": goal}, CONFIG
        )
    journal = await saver.journal()
    await journal.folded()
    loaded = await journal.load(LoadRequest(saver.key("t")))
    assert loaded.segments
    assert len(loaded.rows) < 120
    assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 391))


async def test_compacting_folds_what_is_left(saver: Saver) -> None:
    """Short stretches and small segments; what it reports adds up; again there is nothing."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": [], "goal": 330}, CONFIG)
    journal, key = await saver.journal(), saver.key("t")
    await journal.folded()
    before, states = await stored(journal, key), [s async for s in graph.aget_state_history(CONFIG)]
    report = await saver.acompact()
    after = await stored(journal, key)
    assert (report.threads, report.segments > 0, report.bytes) == (1, True, before - after)
    layout = await journal.driver.layout(key, "")
    assert (len(layout.rows), len(layout.segments)) == (10, 1)
    assert [s async for s in graph.aget_state_history(CONFIG)] == states
    again = await saver.acompact(["t", "unknown"])
    assert (again.threads, again.rows, again.merged, again.segments) == (2, 0, 0, 0)
    with pytest.raises(TypeError, match="list of ids"):
        await saver.acompact("t")  # type: ignore[arg-type]  # the mistake


async def test_forks_of_a_folded_thread(saver: Saver) -> None:
    """Branches from the middle of segments fold apart from what they branch from."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": [], "goal": 150}, CONFIG)
    await saver.acompact()
    states = [s async for s in graph.aget_state_history(CONFIG)]
    middle = next(s for s in states if s.values.get("n") == 60)
    await graph.ainvoke({"goal": 190}, middle.config)
    await saver.acompact()
    journal = await saver.journal()
    layout = await journal.driver.layout(saver.key("t"), "")
    assert [s.parent for s in layout.segments if s.parent is not None]
    forked = await graph.aget_state(CONFIG)
    assert forked.values["log"] == list(range(1, 191))
    history = [s async for s in graph.aget_state_history(CONFIG)]
    assert history[-len(states) :] == states
    for state in history[::41]:
        assert await graph.aget_state(state.config) == state


async def test_a_long_conversation_takes_little_more_than_its_words(saver: Saver) -> None:
    """What is appended is stored once: all checkpoints of a hundred turns, with every state in
    the middle, take less than twice the bytes of the newest state."""

    class Talk(TypedDict, total=False):
        words: Annotated[list[str], operator.add]
        turn: int

    dice = random.Random(5)

    def said() -> str:
        return " ".join(f"{dice.randrange(1 << 20):x}" for _ in range(40))

    async def answer(state: Talk) -> dict[str, Any]:
        return {"words": [said()], "turn": state.get("turn", 0) + 1}

    graph = StateGraph(Talk).add_node("answer", answer).add_edge(START, "answer").compile(saver)
    for _ in range(100):
        out = await graph.ainvoke({"words": [said()]}, CONFIG)
    await saver.acompact()
    info = await saver.aget_thread("t")
    assert info is not None
    payload = sum(map(len, out["words"]))
    assert info.checkpoints >= 300
    assert info.bytes < 2 * payload
