"""T11: the network between the runs and PostgreSQL delays, resets, falls silent, and loses the
answer to COMMIT."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from stepwell import open_saver
from stepwell._db.postgres import Timeouts
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from tests._proxy import Loss, Proxy, proxy
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._ten_nodes import TenNodes, patiently

RUNS = 30
SHORT = Timeouts(commit_s=2.0, control_s=1.0)
"""How long silence is borne before a connection is given up; fifteen seconds teach no more."""

ODDS: Mapping[Loss, float] = {
    Loss.REPLY: 0.25, Loss.RACE: 0.05, Loss.REQUEST: 0.05, Loss.LATE: 0.05, Loss.SILENCE: 0.005,
}  # fmt: skip
"""How likely each is to happen to a commit."""
POOLED = {Loss.REPLY: 0.3}
"""The same through a pooler: a COMMIT that comes late keeps its row locked until then."""


class Weather:
    """What happens on the wire, drawn from a seed."""

    def __init__(self, wire: Proxy, dice: random.Random, odds: Mapping[Loss, float]) -> None:
        self.wire = wire
        self.dice = dice
        self.odds = odds
        self.partitions = self.resets = self.delivered = 0
        wire.choose = self._choose
        wire.delay_s = lambda: dice.uniform(0, 0.004)

    def _choose(self, number: int) -> Loss | None:
        drawn = self.dice.random()
        for loss, odds in self.odds.items():
            drawn -= odds
            if drawn < 0:
                return loss
        return None

    def calm(self) -> None:
        self.wire.choose = lambda _: None

    async def deliver_late(self) -> None:
        """Requests that were held back reach the server now."""
        while self.wire.late:
            await self.wire.late.pop()()
            self.delivered += 1

    async def change(self) -> None:
        """Now and then: a reset of everything, a short partition, the arrival of what is late."""
        while True:
            await asyncio.sleep(self.dice.uniform(0.05, 0.4))
            await self.deliver_late()
            drawn = self.dice.random()
            if drawn < 0.1:
                self.wire.reset_all()
                self.resets += 1
            elif drawn < 0.14:
                self.wire.partition(on=True)
                await asyncio.sleep(self.dice.uniform(0.1, 1.5))
                self.wire.partition(on=False)
                self.partitions += 1


def saver_over(wire: Proxy, walk: TenNodes, *, pgbouncer: bool) -> Saver:
    driver = PostgresDriver(wire.url, pgbouncer=pgbouncer, timeouts=SHORT)
    locks = "lease" if pgbouncer else "advisory"
    return Saver(driver, observe=walk.observed, locks=locks)


async def round_of(
    seed: int,
    through: str,
    direct: str,
    drops: int,
    *,
    odds: Mapping[Loss, float] = ODDS,
    runs: int = RUNS,
    pgbouncer: bool = False,
) -> Figures:
    """Runs, until `drops` answers to COMMIT were lost, and everything else that was drawn.

    Args:
        seed: Of everything that is drawn.
        through: The DSN before which the proxy stands.
        direct: The DSN by which the outcome is looked at in calm.
        drops: How many answers to lose at least.
        odds: How likely each loss is.
        runs: So many at once.
        pgbouncer: `through` is a transaction pooler's.
    """
    dice = random.Random(seed)
    figures = Figures()
    async with proxy(through) as wire:
        weather = Weather(wire, dice, odds)
        changing = asyncio.create_task(weather.change())
        turn = 0
        while wire.lost[Loss.REPLY] < drops:
            walk = TenNodes(seed + turn, name=f"{turn}-")
            savers = [saver_over(wire, walk, pgbouncer=pgbouncer) for _ in range(2)]
            async with patiently(*savers):
                await walk.run(savers, runs, threads=(runs + 1) // 2)
            await weather.deliver_late()
            async with open_saver(direct) as calm:
                figures.add(await walk.check(calm))
            turn += 1
        changing.cancel()
        [ended] = await asyncio.gather(changing, return_exceptions=True)
        if not isinstance(ended, asyncio.CancelledError):
            raise ended
    figures.cases += wire.lost[Loss.REPLY]
    figures.stages.update({str(loss): count for loss, count in wire.lost.items()})
    figures.stages.update({"reset of all": weather.resets, "partition": weather.partitions})
    figures.counts["commits"] += wire.commits
    figures.counts["late requests delivered"] += weather.delivered
    return figures


@torture("T11", needs=["postgres"], places=["postgres"], per_commit="tests/torture/test_network.py")
async def run(seed: int, budget: Budget) -> Figures:
    figures = Figures()
    turn = 0
    while budget.more(figures.cases):
        with database("postgres", budget.folder) as url:
            figures.add(await round_of(seed + turn, url, url, 50))
        turn += 1
    return figures
