"""A folded stretch reads exactly as the rows it was made of, on every driver."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._journal import details
from stepwell._journal.load import chain, fold
from stepwell._journal.merging import merge_segments
from stepwell._journal.segments import pack_segment
from stepwell._journal.track import REPAIR_BYTES_MAX
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import CheckpointRow, Relayout
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, Overwrite, interrupt

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict):
    """A counter and its trace."""

    n: int
    log: Annotated[list[int], operator.add]


def build(saver: Saver) -> Any:
    """Counts to the next multiple of ten."""

    async def add(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "log": [state["n"] + 1]}

    graph = StateGraph(State).add_node("add", add).add_edge(START, "add")
    graph.add_conditional_edges("add", lambda s: END if s["n"] % 10 == 0 else "add")
    return graph.compile(saver)


async def fold_away(saver: Saver, rows: list[CheckpointRow], before: list[CheckpointRow]) -> None:
    """What a fold does: one segment in, its rows out."""
    driver = (await saver.journal()).driver
    layout = await driver.layout(saver.key("t"), "")
    assert layout.thread is not None
    change = Relayout(
        saver.key("t"), 0, layout.thread.layout_no,
        rows_gone=[row.seq for row in rows], segments=[pack_segment(rows, fold(before))],
    )  # fmt: skip
    assert await driver.write_segments(change)


async def test_a_folded_thread_reads_as_before(saver: Saver) -> None:
    """States, history and forks inside a folded stretch are what they were; runs go on."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": []}, {**CONFIG, "metadata": {"who": "ann"}})
    await graph.ainvoke({"n": 10, "log": []}, CONFIG)
    before = [s async for s in graph.aget_state_history(CONFIG)]
    tuples = [t async for t in saver.alist(CONFIG)]
    singles = [await graph.aget_state(s.config) for s in before]
    newest = await graph.aget_state(CONFIG)
    journal = await saver.journal()
    rows = list((await journal.history(saver.key("t"), "", None)).rows)
    await fold_away(saver, rows[:9], [])
    await fold_away(saver, rows[9:15], rows[:9])
    assert [s async for s in graph.aget_state_history(CONFIG)] == before
    assert [t async for t in saver.alist(CONFIG)] == tuples
    assert [await graph.aget_state(s.config) for s in before] == singles
    assert await graph.aget_state(CONFIG) == newest
    for item in tuples:
        assert await saver.aget_tuple(item.config) == item
    folded = await journal.history(saver.key("t"), "", None)
    assert chain(folded.rows, folded.segments) == rows
    await graph.ainvoke({"n": 20, "log": []}, CONFIG)
    assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 31))
    middle = before[-6]
    await graph.ainvoke(None, middle.config)
    forked = await graph.aget_state(CONFIG)
    assert forked.values == {"n": 10, "log": list(range(1, 11))}
    assert [s async for s in graph.aget_state_history(CONFIG)][-len(before) :] == before


async def test_a_thread_that_is_folded_to_its_head_goes_on(saver: Saver) -> None:
    """The newest state, its parent and its metadata come out of the segment."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": []}, {**CONFIG, "metadata": {"who": "ann"}})
    newest = await graph.aget_state(CONFIG)
    rows = list((await (await saver.journal()).history(saver.key("t"), "", None)).rows)
    await fold_away(saver, rows, [])
    assert await graph.aget_state(CONFIG) == newest
    assert (await graph.aget_state(CONFIG)).metadata["who"] == "ann"
    await saver.acopy_thread("t", "copy")
    copied = await graph.aget_state({"configurable": {"thread_id": "copy"}})
    assert copied.values == newest.values
    await graph.ainvoke({"n": 10, "log": []}, CONFIG)
    assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 21))


async def test_a_page_that_ends_before_a_fork_into_a_folded_stretch(saver: Saver) -> None:
    """What stands right behind a page need not be known for it: neither the fork's own stretch
    nor what it extends is part of the page."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": []}, CONFIG)
    old = [s async for s in graph.aget_state_history(CONFIG)][5]
    rows = list((await (await saver.journal()).history(saver.key("t"), "", None)).rows)
    await fold_away(saver, rows, [])
    await graph.ainvoke({"n": 10, "log": []}, CONFIG)
    fork = await graph.aupdate_state(old.config, {"n": 1, "log": [1]}, as_node="add")
    await graph.ainvoke(None, fork)
    whole = [s async for s in graph.aget_state_history(CONFIG)]
    for size in (1, 4):
        for at, newer in enumerate(whole):
            page = [
                s async for s in graph.aget_state_history(CONFIG, before=newer.config, limit=size)
            ]
            assert page == whole[at + 1 : at + 1 + size], (size, at)
    assert [await graph.aget_state(s.config) for s in whole] == whole


async def test_a_filtered_history_shows_what_tasks_at_the_end_of_a_segment_did(
    saver: Saver,
) -> None:
    """It stands in the first row of the next segment, of which nothing else is shown."""
    graph = build(saver)
    for start in (0, 10, 20):
        await graph.ainvoke({"n": start, "log": []}, {**CONFIG, "metadata": {"part": start}})
    before = [s async for s in graph.aget_state_history(CONFIG)]
    journal = await saver.journal()
    rows = list((await journal.history(saver.key("t"), "", None)).rows)
    await fold_away(saver, rows[:8], [])
    await fold_away(saver, rows[8:20], rows[:8])
    for shown in before:
        step = shown.metadata["step"]
        found = [s async for s in graph.aget_state_history(CONFIG, filter={"step": step})]
        assert found == [shown]


async def test_a_value_from_the_middle_of_a_segment_that_is_changed_in_place(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a fork extends is told once more to write down what became of a long list: as it was
    stored, not as nodes have left it."""

    class Long(TypedDict):
        n: int
        items: Annotated[list[Any], operator.add]

    def add(state: Long) -> dict[str, Any]:
        items = state["items"]
        if state["n"] < 0:
            items[-2]["v"] = "changed"
            return {"n": 0, "items": Overwrite([*items, {"v": "new"}])}
        return {"n": state["n"] + 1, "items": [{"v": state["n"] + 1}]}

    builder = StateGraph(Long).add_node("add", add).add_edge(START, "add")
    builder.add_conditional_edges("add", lambda s: END if s["n"] % 30 == 0 else "add")
    graph = builder.compile(saver)
    monkeypatch.setattr(details, "PIECE_ROWS", 1)
    words = [{"text": "x" * 1000, "i": i} for i in range(REPAIR_BYTES_MAX // 1000 + 10)]
    await graph.ainvoke({"n": 0, "items": words}, {**CONFIG, "recursion_limit": 40})
    before = [s async for s in graph.aget_state_history(CONFIG)]
    journal = await saver.journal()
    rows = list((await journal.history(saver.key("t"), "", None)).rows)
    driver = journal.driver
    layout = await driver.layout(saver.key("t"), "")
    assert layout.thread is not None
    segments = [pack_segment([row], fold(rows[:at])) for at, row in enumerate(rows[:-5])]
    change = Relayout(
        saver.key("t"), 0, layout.thread.layout_no,
        rows_gone=[row.seq for row in rows[:-5]], segments=[merge_segments(segments)],
    )  # fmt: skip
    assert await driver.write_segments(change)
    (old,) = (s for s in before if s.values.get("n") == 15)
    fork = await graph.aupdate_state(old.config, {"n": -1}, as_node="add")
    await graph.ainvoke(None, fork)
    items = (await graph.aget_state(CONFIG)).values["items"]
    assert items[-3:] == [{"v": "changed"}, {"v": 15}, {"v": "new"}]


def merged(old: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    """Works in place."""
    old.update(new)
    return old


class Merged(TypedDict):
    """A counter, and notes."""

    n: int
    notes: Annotated[dict[str, int], merged]


async def test_what_a_command_wrote_is_shown_where_it_was_and_not_before(saver: Saver) -> None:
    """A reducer that works in place does not reach the values of older checkpoints."""

    def count(state: Merged) -> dict[str, Any]:
        return {"n": state["n"] + 1}

    def ask(state: Merged) -> dict[str, Any]:
        interrupt("go on?")
        return {"n": state["n"] + 1}

    builder = StateGraph(Merged).add_node("count", count).add_node("ask", ask)
    graph = builder.add_edge(START, "count").add_edge("count", "ask").compile(saver)
    await graph.ainvoke({"n": 0, "notes": {"first": 1}}, CONFIG)
    await graph.ainvoke(Command(resume="yes", update={"notes": {"late": 1}}), CONFIG)
    shown = [s.values.get("notes") async for s in graph.aget_state_history(CONFIG)]
    both = {"first": 1, "late": 1}
    assert shown == [both, both, {"first": 1}, {}]
