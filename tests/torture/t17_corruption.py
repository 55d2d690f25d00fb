"""T17: bytes of SQLite's files are changed or cut off, and nobody is given a wrong state.

A saver writes threads; after every call it is noted how long the write-ahead log is and where
each thread stands. Then the files are taken as they are, with the log, and again after it was
folded into the file; and they are damaged at places drawn from the seed: the log is cut off, a bit
of it is changed, a byte of the file is changed, a page of it is emptied. Each image is opened.

Of a log, what was acknowledged before the place of the damage is there, and every thread stands
where it once stood: at the state of a prefix, whole. Of a file, each thread is where it was, or
there is an error that is ours, or `averify` or SQLite's own check finds the damage: no damage is
passed over with another state.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
import random
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import StepwellError
from stepwell.graph import START, StateGraph
from tests.torture._disk_work import integrity
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

THREADS: Final = ("a", "b", "c")
CALLS: Final = 9
SUPERSTEPS: Final = 3
NAME: Final = "rot.db"
LOG_KINDS: Final = ("log cut", "log cut at a commit", "log bit")
FILE_KINDS: Final = ("file bit", "file byte", "file page")


Files = tuple[bytes, bytes]


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]
    note: str


async def step(state: State) -> dict[str, Any]:
    n = state.get("n", 0) + 1
    return {"n": n, "log": [f"step {n}"], "note": "x" * (n * 37 % 400)}


def build(saver: Saver) -> Any:
    builder = StateGraph(State).add_node("step", step).add_edge(START, "step")
    builder.add_conditional_edges(
        "step", lambda state: "__end__" if state["n"] % SUPERSTEPS == 0 else "step"
    )
    return builder.compile(checkpointer=saver)


def config(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}


@dataclass(frozen=True)
class Mark:
    """Where each thread stood (how many of its states there were) when the log was so long."""

    log_bytes: int
    stood: dict[str, int]


@dataclass(frozen=True)
class Recording:
    """The files, and what is true of them.

    Args:
        database: The file before the log was folded into it.
        log: The write-ahead log.
        folded: The file after it.
        marks: In the order of the calls.
        states: All that each thread has ever stood at, the oldest first; at 0 nothing.
    """

    database: bytes
    log: bytes
    folded: bytes
    marks: list[Mark]
    states: dict[str, list[Any]]


def recording(folder: Path) -> Recording:
    """What a program wrote, and what it was told."""
    folder.mkdir()
    path, log = folder / NAME, folder / f"{NAME}-wal"
    marks, states, taken = asyncio.run(_recorded(path, log))
    if [m.log_bytes for m in marks] != sorted({m.log_bytes for m in marks}):
        raise RuntimeError("The log was folded meanwhile: the recording is no good.")
    return Recording(*taken, path.read_bytes(), marks, states)


def _now(path: Path) -> bytes:
    return path.read_bytes()


async def _recorded(path: Path, log: Path) -> tuple[list[Mark], dict[str, list[Any]], Files]:
    marks: list[Mark] = []
    stood = dict.fromkeys(THREADS, 0)
    async with open_saver(f"sqlite:///{path}") as saver:
        graph = build(saver)
        for call in range(CALLS):
            thread = THREADS[call % len(THREADS)]
            await graph.ainvoke({"log": [f"call {call}"]}, config(thread), durability="sync")
            history = [s async for s in graph.aget_state_history(config(thread))]
            stood[thread] = len(history)
            marks.append(Mark(len(_now(log)), dict(stood)))
        states = {t: [None, *await _history(graph, t)] for t in THREADS}
        return marks, states, (_now(path), _now(log))


async def _history(graph: Any, thread: str) -> list[Any]:
    found = [(s.values, s.next) async for s in graph.aget_state_history(config(thread))]
    return found[::-1]


@torture("T17", places=["sqlite"], per_commit="tests/torture/test_corruption.py")
def run(seed: int, budget: Budget) -> Figures:
    """Record a program, and damage its files in one way after the other."""
    chance = random.Random(seed)
    recorded = recording(budget.folder / "recorded")
    figures = Figures()
    while budget.more(figures.cases):
        kind = (*LOG_KINDS, *FILE_KINDS)[figures.cases % 6]
        case(recorded, kind, chance, budget.folder / f"{figures.cases}", figures)
    return figures


def case(
    recorded: Recording, kind: str, chance: random.Random, folder: Path, figures: Figures
) -> None:
    """Damage the files in one way, open them, and look at every thread."""
    folder.mkdir()
    figures.cases += 1
    figures.stages[kind] += 1
    least = dict.fromkeys(THREADS, 0)
    if kind in LOG_KINDS:
        at, log = _damaged_log(recorded, kind, chance)
        (folder / NAME).write_bytes(recorded.database)
        (folder / f"{NAME}-wal").write_bytes(log)
        for mark in recorded.marks:
            least = mark.stood if mark.log_bytes <= at else least
    else:
        at, file = _damaged_file(recorded.folded, kind, chance)
        (folder / NAME).write_bytes(file)
        least = recorded.marks[-1].stood
    told = asyncio.run(look(folder / NAME, recorded, least))
    where = f"{kind} at {at}"
    if kind in LOG_KINDS:
        # SQLite's own checksums end a log where it is damaged: there is nothing to complain of.
        figures.failures += [f"{where}: {what}" for what in (*told.wrong, *told.complaints)]
        figures.counts["states of a prefix"] += told.right
    elif told.complaints:
        figures.counts["damage of the file that was found"] += 1
        figures.counts["wrong states beside a finding"] += len(told.wrong)
    else:
        figures.failures += [f"{where}: {what}" for what in told.wrong]
        figures.counts["damage of the file that changed nothing"] += not told.wrong
    shutil.rmtree(folder)


def _damaged_log(recorded: Recording, kind: str, chance: random.Random) -> tuple[int, bytes]:
    log = recorded.log
    if kind == "log bit":
        at = chance.randrange(len(log))
        return at, _flipped(log, at, 1 << chance.randrange(8))
    if kind == "log cut at a commit":
        at = chance.choice(recorded.marks).log_bytes + chance.choice((-1, 0, 0, 1, 24, 4120))
        return max(at, 0), log[: max(at, 0)]
    at = chance.randrange(len(log))
    return at, log[:at]


def _damaged_file(file: bytes, kind: str, chance: random.Random) -> tuple[int, bytes]:
    at = chance.randrange(len(file))
    if kind == "file bit":
        return at, _flipped(file, at, 1 << chance.randrange(8))
    if kind == "file byte":
        return at, _flipped(file, at, chance.randrange(1, 256))
    page = at // 4096 * 4096
    return page, file[:page] + bytes(4096) + file[page + 4096 :]


def _flipped(data: bytes, at: int, bits: int) -> bytes:
    return data[:at] + bytes((data[at] ^ bits,)) + data[at + 1 :]


@dataclass
class Told:
    """What an image showed: threads that stand right, wrong ones, and errors and findings."""

    right: int
    wrong: list[str]
    complaints: list[str]


async def look(path: Path, recorded: Recording, least: dict[str, int]) -> Told:
    """Open an image and look at every thread; then at all of it; then go on."""
    told = Told(0, [], [])
    try:
        async with open_saver(f"sqlite:///{path}", outage_budget_s=1.0) as saver:
            graph = build(saver)
            for thread in THREADS:
                with _complaining(told, thread):
                    _judge(told, thread, await _stand(graph, thread), recorded, least[thread])
            with _complaining(told, "averify"):
                report = await saver.averify()
                told.complaints += [f"averify: {p.kind} {p.message}" for p in report.problems]
            for thread in THREADS:
                with _complaining(told, f"{thread} goes on"):
                    await graph.ainvoke({"log": ["later"]}, config(thread))
    except StepwellError as error:
        told.complaints.append(f"open: {error!r:.200}")
    try:
        told.complaints += integrity(path)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # messages may quote damaged names
        told.complaints.append(f"integrity_check: {error}")
    return told


@contextlib.contextmanager
def _complaining(told: Told, who: str) -> Any:
    try:
        yield
    except StepwellError as error:
        told.complaints.append(f"{who}: {error!r:.200}")


async def _stand(graph: Any, thread: str) -> Any:
    state = await graph.aget_state(config(thread))
    return None if state.created_at is None else (state.values, state.next)


def _judge(told: Told, thread: str, stand: Any, recorded: Recording, least: int) -> None:
    states = recorded.states[thread]
    if stand in states[least:]:
        told.right += 1
    elif stand in states:
        told.wrong.append(f"{thread} fell back to state {states.index(stand)} of {least}")
    else:
        told.wrong.append(f"{thread} stands at {stand!r:.200}, where it never stood")
