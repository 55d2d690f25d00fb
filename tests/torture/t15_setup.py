"""T15: 16 processes open one empty database at the same moment, and all of them find it made.

A race for an *old* database comes with the second migration: today there is only one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from stepwell import open_saver
from tests.crash._workload import read_log
from tests.torture._databases import database
from tests.torture._disk_work import integrity
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._shim import ROOT

PROCESSES = 16


@torture("T15", per_commit="tests/torture/test_setup_race.py")
def run(seed: int, budget: Budget) -> Figures:
    """One race after the other, on each database in turn. (There is nothing to draw: the
    operating system decides who comes first.)"""
    figures = Figures()
    while budget.more(figures.cases):
        for place in sorted(budget.places):
            folder = budget.folder / f"{place}{figures.cases}"
            folder.mkdir()
            with database(place, folder, "setup") as url:
                broken = race(url, folder)
            if place == "sqlite":
                broken += integrity(folder / "setup.db")
            figures.cases += 1
            figures.stages[place] += 1
            figures.counts["processes"] += PROCESSES
            figures.failures += [f"{place}: {what}" for what in broken]
    return figures


def race(url: str, folder: Path) -> list[str]:
    """One race on one empty database; what went wrong."""
    out = str(folder / "told")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    command = [sys.executable, "-m", "tests.torture._setup", url, str(PROCESSES), out]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False, timeout=200
    )
    broken = [f"exit code {done.returncode}"] if done.returncode else []
    told = {entry["number"]: entry["told"] for entry in read_log(out)}
    broken += [f"process {n} said nothing" for n in range(PROCESSES) if n not in told]
    broken += [f"process {n}: {what}" for n, what in told.items() if what != "fine"]
    return broken + asyncio.run(_threads(url))


async def _threads(url: str) -> list[str]:
    async with open_saver(url, migrate="check") as saver:
        found = sorted([info.thread_id async for info in saver.alist_threads()])
    wanted = sorted(f"t{n}" for n in range(PROCESSES))
    return [] if found == wanted else [f"threads there: {found}"]
