"""Every interleaving of two sessions that claim, write, renew, commit, steal and release."""

from __future__ import annotations

import random

import pytest

from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.testing._rows import thread_key
from tests._postgres import opened
from tests.simulation._interleavings import all_interleavings, play

ORDERS = all_interleavings()
PER_DATABASE = 60


def drawn(seed: int, count: int = PER_DATABASE) -> list[tuple[int, ...]]:
    """Some interleavings, the same for the same seed."""
    return random.Random(seed).sample(ORDERS, count)


async def on_memory(order):
    driver = MemoryDriver()
    return await play(order, [driver, driver])


async def test_every_interleaving_on_the_memory_driver():
    """All 924: each answer and each state in between is the one that the model knows."""
    assert len(ORDERS) == len(set(ORDERS)) == 924
    answers = set()
    for order in ORDERS:
        transcript, _ = await on_memory(order)
        answers |= {(told.step, told.answer) for told in transcript}
    # The interleavings reach every answer there is, or they would prove little.
    assert answers == {
        ("claim", "claimed"), ("claim", "busy"),
        ("write", "committed"), ("write", "landed"), ("write", "stale"),
        ("write", "nothing to send"),
        ("renew", "renewed"), ("renew", "lost"), ("renew", "nothing to renew"),
        ("commit", "committed"), ("commit", "landed"), ("commit", "stale"),
        ("commit", "nothing to send"),
        ("steal", "claimed"), ("steal", "taken over"), ("steal", "busy"),
        ("release", "released"),
    }  # fmt: skip


async def same_as_memory(orders, drivers, label):
    for n, order in enumerate(orders):
        assert await play(order, drivers, thread_key(f"{label}-{n}")) == await on_memory(order)


async def test_interleavings_on_sqlite_end_as_in_memory(tmp_path, seed):
    """Two drivers on one file, each with its own locks: answers and rows as in memory."""
    drivers = [SqliteDriver(str(tmp_path / "t.db")) for _ in range(2)]
    for driver in drivers:
        await driver.open()
        await driver.migrate("auto")
    try:
        await same_as_memory(drawn(seed), drivers, "i")
    finally:
        for driver in drivers:
            await driver.close()


@pytest.mark.postgres
async def test_interleavings_on_postgres_end_as_in_memory(pg_schema, seed):
    """Two drivers on one schema, each with its own lock session: as in memory."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        await same_as_memory(drawn(seed), [one, two], "i")
