"""T10: PostgreSQL is stopped in immediate mode, as if it had crashed, and started again."""

from __future__ import annotations

import asyncio
import random

from stepwell import open_saver
from tests._own_server import OwnServer, answers, own_server
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._ten_nodes import TenNodes, patiently

RUNS = 40


class Restarts:
    """Stops and starts a server while runs go, at least `count` times."""

    def __init__(
        self, server: OwnServer, dice: random.Random, rhythm: tuple[float, float], count: int
    ) -> None:
        self._server = server
        self._dice = dice
        self._rhythm = rhythm
        self._count = count
        self.done = 0

    async def go_on(self) -> None:
        """In the midst of the runs."""
        while self.done < self._count:
            await asyncio.sleep(self._dice.uniform(*self._rhythm))
            await self.restart()

    async def restart(self) -> None:
        await asyncio.to_thread(self._server.stop, "immediate")
        await asyncio.sleep(self._dice.uniform(0, 0.5))
        await asyncio.to_thread(self._server.start)
        await answers(self._server.dsn)
        self.done += 1


async def round_of(
    server: OwnServer, seed: int, runs: int, rhythm: tuple[float, float], restarts: int
) -> Figures:
    """`runs` runs at once, again and again until the server was restarted so often; and once
    more before what is stored is looked at."""
    dice = random.Random(seed)
    restart = Restarts(server, dice, rhythm, restarts)
    figures = Figures()
    walks: list[tuple[str, TenNodes]] = []
    task = asyncio.create_task(restart.go_on())
    while not task.done():
        walk = TenNodes(seed + len(walks), pause_s=0.3)
        schema = f"s{seed}_{len(walks)}"
        options = {"schema": schema, "observe": walk.observed}
        savers = [open_saver(server.dsn, **options) for _ in range(2)]
        async with patiently(*savers):
            await walk.run(savers, runs, threads=(runs + 1) // 2)
        walks.append((schema, walk))
    await task
    await restart.restart()
    for schema, walk in walks:
        async with open_saver(server.dsn, schema=schema) as calm:
            figures.add(await walk.check(calm))
    figures.cases += restart.done
    figures.counts["runs"] += runs * len(walks)
    return figures


@torture("T10", needs=["postgres"], places=["postgres"], per_commit="tests/torture/test_restart.py")
async def run(seed: int, budget: Budget) -> Figures:
    figures = Figures()
    async with own_server() as server:
        while budget.more(figures.cases):
            figures.add(await round_of(server, seed + figures.cases, RUNS, (1.0, 8.0), 2))
    return figures
