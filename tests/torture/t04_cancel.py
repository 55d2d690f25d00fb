"""T4: a run is cancelled at its k-th await, for every k; on every database and in every way.

What is cancelled and what must be left of it is told in `tests/simulation/_cancelling.py`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stepwell import open_saver
from stepwell.checkpoint.memory import InMemorySaver
from tests._postgres import execute
from tests.simulation._cancelling import VERBS, Bench, cancel_everywhere
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

DURABILITIES = ("sync", "async", "exit")


@torture(
    "T4",
    places=("memory", "sqlite", "postgres"),
    per_commit="tests/simulation/test_cancel_everywhere.py",
)
async def run(seed: int, budget: Budget) -> Figures:
    """One sweep over all awaits after the other, in an order that is drawn; a case is one
    cancelled call."""
    figures, rng, rounds = Figures(), random.Random(seed), 0
    while budget.more(figures.cases):
        sweeps = [(p, v, d) for p in sorted(budget.places) for v in VERBS for d in DURABILITIES]
        rng.shuffle(sweeps)
        for place, verb, durability in sweeps:
            if not budget.more(figures.cases):
                break
            rounds += 1
            folder = budget.folder / f"sweep{rounds}"
            folder.mkdir()
            async with bench_on(place, folder) as bench:
                try:
                    cases = await cancel_everywhere(bench, verb, durability)
                except AssertionError as broken:
                    figures.failures.append(f"{place} {verb.__name__} {durability}: {broken}")
                    cases = 1
            figures.cases += cases
            figures.stages[f"{place} {verb.__name__}"] += cases
            figures.counts["sweeps"] += 1
    return figures


@asynccontextmanager
async def bench_on(place: str, folder: Path) -> AsyncIterator[Bench]:
    """A graph on an empty database of its own."""
    if place == "memory":
        async with InMemorySaver() as saver:
            yield Bench(saver, _none)
        return
    with database(place, folder) as url:
        async with open_saver(url) as saver:
            driver = (await saver.journal()).driver

            async def held() -> int:
                return driver._locks.held

            async def on_server() -> int:
                sql = (
                    "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database()) AND $1"
                )
                return (await execute(sql, True, dsn=url))[0]["n"]

            yield Bench(saver, held if place == "sqlite" else on_server)


async def _none() -> int:
    return 0
