"""T20: backups beside runs, some of them cut off, and restores; what is restored is the source.

Each case: runs go on threads while a backup is made (and, for every second case, cut off at a
drawn thread and gone on with); the backup is checked and holds a prefix of every thread; when the
runs have ended, another backup equals the source row by row, and a third database restored from it
equals both. Files that are open and threads of this process are counted: they must not grow.
"""

from __future__ import annotations

import asyncio
import operator
import random
import threading
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell._journal.copying import comparable
from stepwell.checkpoint.base import BackupProgress, Saver
from stepwell.checkpoint.driver import RowKind, at_rest
from stepwell.graph import END, START, StateGraph
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

THREADS = 12
SLACK = 8
"""Files that may be open more than after the first case: readers are opened when needed."""


class State(TypedDict):
    log: Annotated[list[int], operator.add]
    goal: int


class CutOffError(Exception):
    """A backup is cut off here."""


async def work(state: State) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"log": [len(state["log"])]}


def build(saver: Saver) -> Any:
    builder = StateGraph(State).add_node(work).add_edge(START, "work")
    builder.add_conditional_edges(
        "work", lambda s: "work" if len(s["log"]) < s["goal"] else END, ["work", END]
    )
    return builder.compile(checkpointer=saver)


def config_of(number: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": f"thread-{number}"}, "recursion_limit": 10_000}


async def rows_of(saver: Saver) -> dict[Any, Any]:
    """All rows at rest, as all drivers agree on them."""
    driver = (await saver.journal()).driver
    async with driver.snapshot() as snapshot:  # type: ignore[attr-defined]
        found = {}
        for row in await snapshot.threads(None, 10_000):
            kinds = {
                kind: [comparable(kind, r) for r in (await snapshot.rows(kind, [row.key]))[0]]
                for kind in RowKind
            }
            moments = {n: round(getattr(row, n), 6) for n in ("created_at", "updated_at")}
            found[row.key] = (at_rest(row)._replace(**moments), kinds)
        return found


def open_files() -> int:
    """Files of this process that are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def one_case(source: Saver, folder: Path, dice: random.Random, figures: Figures) -> None:
    """Runs, a backup beside them, a backup after them, a restore."""
    graph = build(source)
    goal = dice.randrange(5, 40)

    async def run(number: int) -> None:
        before = (await graph.aget_state(config_of(number))).values.get("log", [])
        wanted = {"log": [], "goal": len(before) + goal}
        await graph.ainvoke(wanted, config_of(number))

    runs = [asyncio.ensure_future(run(number)) for number in range(THREADS)]
    await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    beside, after = folder / "beside.db", folder / "after.db"
    for path in (beside, after):
        for ending in ("", "-wal", "-shm", "-locks"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    if figures.cases % 2:

        def stop(_: BackupProgress) -> None:
            raise CutOffError

        try:
            await source.abackup(beside, progress=stop)
        except CutOffError:
            figures.counts["backups cut off"] += 1
    report = await source.abackup(beside)
    figures.counts["backups"] += 1
    figures.counts["threads that ran meanwhile"] += report.running
    await asyncio.gather(*runs)

    final = await rows_of(source)
    async with open_saver(f"sqlite:///{beside}") as copy:
        checked = await copy.averify()
        figures.failures += [f"a backup has a problem: {p.message}" for p in checked.problems]
        for info in [info async for info in copy.alist_threads()]:
            config = {"configurable": {"thread_id": info.thread_id}}
            early = (await build(copy).aget_state(config)).values.get("log", [])
            late = (await graph.aget_state(config)).values["log"]
            if early != late[: len(early)]:
                figures.failures.append(f"{info.thread_id} in a backup is no prefix of itself")
    await source.abackup(after)
    async with open_saver("memory://") as third:
        await third.arestore(after)
        if await rows_of(third) != final:
            figures.failures.append("what was restored is not what was backed up")
    figures.counts["restores"] += 1
    figures.cases += 1


@torture("T20", per_commit="tests/torture/test_soak.py")
async def run(seed: int, budget: Budget) -> Figures:
    """Case after case on each database."""
    figures, dice, turn = Figures(), random.Random(seed), 0
    base: int | None = None
    while budget.more(figures.cases):
        for place in sorted(budget.places - {"memory"}):
            turn += 1
            with database(place, budget.folder, f"soak{turn}") as url:
                async with open_saver(url) as source:
                    for _ in range(2):
                        await one_case(source, budget.folder, dice, figures)
        if base is None:
            base = open_files()
        elif open_files() > base + SLACK:
            figures.failures.append(f"{open_files()} files are open, {base} were at first")
        figures.at_worst("files open", open_files())
        figures.at_worst("threads alive", threading.active_count())
    return figures
