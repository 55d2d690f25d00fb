"""A run is cancelled at its k-th await, for every k until it ends before it is cancelled."""

from __future__ import annotations

import os

import pytest

from stepwell import open_saver
from stepwell._ids import RandomIds
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver
from tests._postgres import execute, server_dsn
from tests.simulation._cancelling import VERBS, Bench, cancel_everywhere
from tests.simulation._journal_world import Database, Process
from tests.simulation._virtual import LoopClock, simulated

STRIDE = int(os.environ.get("STEPWELL_CANCEL_STRIDE", "0"))
"""1: every await on PostgreSQL too."""
EACH = [(verb, d) for verb in VERBS for d in ("sync", "async", "exit")]


def each(test):
    names = [f"{verb.__name__}-{durability}" for verb, durability in EACH]
    return pytest.mark.parametrize(("verb", "durability"), EACH, ids=names)(test)


async def no_locks() -> int:
    return 0


@each
async def test_cancelled_anywhere_in_memory(verb, durability):
    """Every await, on the driver that never waits by itself."""
    async with InMemorySaver() as saver:
        assert await cancel_everywhere(Bench(saver, no_locks), verb, durability) > 5


@each
@simulated
async def test_cancelled_anywhere_on_a_slow_database(verb, durability):
    """Every await, on virtual time, where each call of the driver takes a while."""
    process = Process(Database())
    process.latency_s = 0.01
    saver = Saver(process, clock=LoopClock(), ids=RandomIds(seed=1))

    async def locks() -> int:
        return len(process.database.locks)

    async with saver:
        assert await cancel_everywhere(Bench(saver, locks), verb, durability) > 5


@each
async def test_cancelled_anywhere_on_sqlite(verb, durability, tmp_path):
    """Every await on a file, whose bytes are all unlocked each time."""
    async with open_saver(f"sqlite:///{tmp_path}/c.db") as saver:
        driver = (await saver.journal()).driver

        async def locks() -> int:
            return driver._locks.held

        assert await cancel_everywhere(Bench(saver, locks), verb, durability) > 5


@pytest.mark.postgres
@each
async def test_cancelled_anywhere_on_postgres(verb, durability, pg_schema, seed):
    """Every third await on a server, from a random one on: its table of locks is empty each
    time, and no session is left in a transaction."""
    stride = STRIDE or 3

    async def locks() -> int:
        rows = await execute(
            "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') + (SELECT count(*) "
            "FROM pg_stat_activity WHERE state LIKE $1) AS n",
            "idle in transaction%",
        )
        return rows[0]["n"]

    async with open_saver(server_dsn(), schema=pg_schema) as saver:
        bench = Bench(saver, locks)
        first = 1 + seed % stride
        assert await cancel_everywhere(bench, verb, durability, first=first, stride=stride) > 1
