"""T14: many runs at once on one thread, from two processes; each reads, waits and writes."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from stepwell import open_saver
from tests.crash import _counter
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._record import ROOT
from tests.torture._registry import torture

PROCESSES = 2
RUNS = 100
"""Of each process, all at the same time."""


async def race(url: str, runs: int) -> tuple[int, int]:
    """`runs` runs of each process at once; where the counter stands then, and how many
    processes failed."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            _counter.__file__,
            url,
            str(runs),
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(PROCESSES)
    ]
    codes = [await child.wait() for child in children]
    async with open_saver(url) as saver:
        return await _counter.counted(saver), sum(code != 0 for code in codes)


@torture("T14", per_commit="tests/crash/test_races.py")
async def run(seed: int, budget: Budget) -> Figures:
    figures = Figures()
    turn = 0
    while budget.more(figures.cases):
        for place in sorted(budget.places):
            turn += 1
            with database(place, budget.folder, f"race{turn}") as url:
                began = time.monotonic()
                counted, failed = await race(url, RUNS)
            expected = PROCESSES * RUNS
            figures.cases += expected
            figures.stages[place] += expected
            figures.at_worst(f"{place} s for {expected} runs", time.monotonic() - began)
            if counted != expected or failed:
                figures.failures.append(f"{place}: {counted} of {expected}, {failed} died")
    return figures
