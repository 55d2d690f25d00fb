"""T13: every interleaving of two sessions that claim, write, renew, commit, steal and release.

All 924 on each database, in an order that is drawn, as long as there is time; each answer and each
state in between is that of the model in `tests/simulation/_interleavings.py`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stepwell.checkpoint.driver import Driver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.testing._rows import thread_key
from tests.simulation._interleavings import all_interleavings, play
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture


@torture(
    "T13",
    places=("memory", "sqlite", "postgres"),
    per_commit="tests/simulation/test_interleavings.py",
)
async def run(seed: int, budget: Budget) -> Figures:
    """Play them all, on each database in turn."""
    figures, rng = Figures(), random.Random(seed)
    orders = all_interleavings()
    rng.shuffle(orders)
    places = sorted(budget.places)
    rng.shuffle(places)
    for place in places:
        async with drivers_on(place, budget.folder) as drivers:
            for number, order in enumerate(orders):
                if not budget.more(figures.cases) and figures.stages[place]:
                    break
                try:
                    await play(order, drivers, thread_key(f"i{number}"))
                except AssertionError as broken:
                    figures.failures.append(f"{place}: {broken}")
                figures.cases += 1
                figures.stages[place] += 1
    return figures


@asynccontextmanager
async def drivers_on(place: str, folder: Path) -> AsyncIterator[list[Driver]]:
    """Two drivers on one empty database; on memory there can be only one."""
    if place == "memory":
        one = MemoryDriver()
        yield [one, one]
        return
    with database(place, folder) as url:
        pair: list[Driver] = [
            SqliteDriver(url.removeprefix("sqlite:///"))
            if place == "sqlite"
            else PostgresDriver(url)
            for _ in range(2)
        ]
        try:
            for driver in pair:
                await driver.open()
                await driver.migrate("auto")
            yield pair
        finally:
            for driver in pair:
                await driver.close()
