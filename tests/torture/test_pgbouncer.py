"""Whole runs through a real PgBouncer in transaction mode: killed processes and sessions, races.

Worker processes are not told of the pooler: they find it.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from stepwell import open_saver
from tests._pgbouncer import pgbouncer
from tests.crash import _orphan
from tests.crash._killing import Killer
from tests.crash.test_takeover import leave_an_orphan
from tests.torture._databases import database
from tests.torture.t09_backend_kill import round_of
from tests.torture.t14_races import PROCESSES, race

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(240)]

LEASE_S = 3.0


@pytest.fixture
async def through(tmp_path):
    """DSN of a fresh database, through PgBouncer."""
    with database("postgres", tmp_path) as url:
        async with pgbouncer(url) as dsn:
            yield dsn


async def test_a_killed_worker_is_taken_over_after_its_lease(through):
    """No lock shows its death; its lease does. Whoever comes waits for it, then finishes what was
    open, then does its own."""
    await leave_an_orphan(through, str(LEASE_S))
    died = time.monotonic()
    async with open_saver(through, pgbouncer=True) as saver:
        graph = _orphan.build(saver, dies=False)
        result = await graph.ainvoke({"ask": "two"}, _orphan.CONFIG, context="!")
    assert time.monotonic() - died > LEASE_S / 2  # nobody was robbed
    assert result["log"] == ["first one", "second one!", "first two", "second two!"]


async def test_killed_workers_lose_nothing(through, tmp_path, seed, capsys):
    """SIGKILL at random instants, as without a pooler: nothing acknowledged is lost, nothing
    durable is done again."""
    findings = await asyncio.to_thread(Killer(through, tmp_path, seed).run, 1)
    with capsys.disabled():
        print(f"\nseed {seed}: {findings.table()}")
    assert not findings.broken, findings.broken
    assert findings.kills >= 1


async def test_killed_sessions_lose_no_run_and_fence_nobody(tmp_path, seed):
    """The pooler's own sessions die, every 0.3-0.7 s; its clients see errors and broken
    transactions, and all runs finish."""
    with database("postgres", tmp_path) as url:
        async with pgbouncer(url, more="server_login_retry = 1") as through:
            figures = await round_of(seed, url, "0.3-0.7 s", 10, through=through)
    assert figures.failures == []
    assert figures.counts["runs finished"] == 10


async def test_two_processes_lose_no_run(through):
    """30 runs at once on one thread, from two processes."""
    counted, failed = await race(through, 15)
    assert (counted, failed) == (15 * PROCESSES, 0)
