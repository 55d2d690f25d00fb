"""Loading knows segments: a folded stretch reads exactly as the rows it was made of."""

from __future__ import annotations

import operator
import sqlite3
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell._journal.load import chain, pack_segment, unpack_segment
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import CheckpointRow
from stepwell.graph import END, START, StateGraph

CONFIG = {"configurable": {"thread_id": "t"}}


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


def fold(path: Path, rows: list[CheckpointRow]) -> None:
    """What a fold does to the tables: one segment in, its rows out, in one transaction."""
    segment = pack_segment(rows)
    with sqlite3.connect(path) as database:
        database.execute(
            "INSERT INTO stepwell_segment"
            " (t, ns, seq_from, seq_to, parent, format, crc, body, detail)"
            " SELECT t, ?, ?, ?, ?, ?, ?, ?, ? FROM stepwell_thread",
            (segment.ns, segment.seq_from, segment.seq_to, segment.parent, segment.format,
             segment.crc, segment.body, segment.detail),
        )  # fmt: skip
        gone = database.execute(
            "DELETE FROM stepwell_tail WHERE seq BETWEEN ? AND ?",
            (segment.seq_from, segment.seq_to),
        ).rowcount
        assert gone == len(rows)
    database.close()


async def test_a_folded_thread_reads_as_before(tmp_path: Path) -> None:
    """States, history and forks inside a folded stretch are what they were; runs go on."""
    path = tmp_path / "s.db"
    async with open_saver(f"sqlite:///{path}") as saver:
        graph = build(saver)
        await graph.ainvoke({"n": 0, "log": []}, CONFIG)
        await graph.ainvoke({"n": 10, "log": []}, CONFIG)
        before = [s async for s in graph.aget_state_history(CONFIG)]
        journal = await saver.journal()
        page = await journal.history(saver.key("t"), "", None)
        rows = list(page.rows)
        fold(path, rows[:9])
        fold(path, rows[9:15])
        assert [s async for s in graph.aget_state_history(CONFIG)] == before
        middle = before[-6]
        assert (await graph.aget_state(middle.config)).values == middle.values
        folded = await journal.history(saver.key("t"), "", None)
        assert list(chain(folded.rows, folded.segments)) == rows
        await graph.ainvoke({"n": 20, "log": []}, CONFIG)
        assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 31))
        await graph.ainvoke(None, middle.config)
        forked = await graph.aget_state(CONFIG)
        assert forked.values == {"n": 10, "log": list(range(1, 11))}


async def test_a_segment_holds_its_rows_losslessly(tmp_path: Path) -> None:
    """Packing and unpacking gives back every column of every row."""
    async with open_saver(f"sqlite:///{tmp_path}/s.db") as saver:
        graph = build(saver)
        await graph.ainvoke({"n": 0, "log": []}, {**CONFIG, "metadata": {"who": "ann"}})
        await graph.aupdate_state(CONFIG, {"n": 7}, as_node="add", metadata={"why": b"\0"})
        page = await (await saver.journal()).history(saver.key("t"), "", None)
    rows = list(page.rows)
    assert unpack_segment(pack_segment(rows)) == rows
