"""T9: sessions of PostgreSQL are killed, again and again, while runs of ten nodes go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from stepwell import open_saver
from tests._postgres import server_dsn
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._ten_nodes import TenNodes

RHYTHMS = {"20-80 ms": (0.02, 0.08), "0.3-0.7 s": (0.3, 0.7)}
RUNS = 40

_VICTIMS = """
SELECT pid FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'
"""


@asynccontextmanager
async def killing(
    name: str, rhythm: tuple[float, float], dice: random.Random, figures: Figures
) -> AsyncIterator[None]:
    """Meanwhile, sessions to the database `name` die: two, or all at the same time."""
    ready = asyncio.Event()

    async def kill() -> None:
        connection = await asyncpg.connect(server_dsn())
        try:
            while True:
                await asyncio.sleep(dice.uniform(*rhythm))
                pids = [row["pid"] for row in await connection.fetch(_VICTIMS, name)]
                ready.set()
                # All at once now and then; each time, and a machine on which a connection takes
                # longer than the pause between two kills would get nothing done at all.
                victims = pids if dice.random() < 0.15 else dice.sample(pids, min(2, len(pids)))
                rows = await connection.fetch(
                    "SELECT pg_terminate_backend(pid) FROM unnest($1::int4[]) AS pid", victims
                )
                figures.counts["sessions killed"] += sum(row[0] for row in rows)
        finally:
            await connection.close()

    killer = asyncio.create_task(kill())
    try:
        await ready.wait()
        yield
    finally:
        killer.cancel()
        [ended] = await asyncio.gather(killer, return_exceptions=True)
        if not isinstance(ended, asyncio.CancelledError):
            raise ended


async def round_of(
    seed: int, url: str, rhythm: str, runs: int, *, through: str | None = None
) -> Figures:
    """`runs` runs on half as many threads, over two savers, under one rhythm.

    Args:
        seed: Of everything that is drawn.
        url: A database of this round's own.
        rhythm: Of RHYTHMS.
        runs: How many, all at once.
        through: A transaction pooler before it, by which the savers go.
    """
    dice = random.Random(seed)
    walk = TenNodes(seed, pause_s=RHYTHMS[rhythm][1] / 2)
    name = url.partition("?")[0].rpartition("/")[2]
    figures = walk.figures
    options = {"observe": walk.observed, "pgbouncer": through is not None}
    savers = [open_saver(through or url, **options) for _ in range(2)]
    async with savers[0], savers[1]:
        for saver in savers:
            await saver.journal()  # the schema is made in peace
        async with killing(name, RHYTHMS[rhythm], dice, figures):
            await walk.run(savers, runs, threads=(runs + 1) // 2)
    figures.cases += runs
    figures.stages[f"runs at {rhythm}"] += runs
    figures.stages[f"killed at {rhythm}"] += figures.counts["sessions killed"]
    if not figures.counts["sessions killed"]:
        figures.failures.append("no session was killed")
    async with open_saver(url) as calm:
        return await walk.check(calm)


@torture(
    "T9", needs=["postgres"], places=["postgres"], per_commit="tests/torture/test_backend_kill.py"
)
async def run(seed: int, budget: Budget) -> Figures:
    figures = Figures()
    turn = 0
    while budget.more(figures.cases):
        for rhythm in RHYTHMS:
            with database("postgres", budget.folder) as url:
                figures.add(await round_of(seed + turn, url, rhythm, RUNS))
            turn += 1
    return figures
