"""Opening, closing, forgetting."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from stepwell.checkpoint.driver import LoadRequest
from stepwell.errors import SchemaVersionError, UsageError
from tests.simulation._journal_world import (
    Database,
    Process,
    journal_on,
    key,
    opened,
    step,
    unavailable,
    world,
)
from tests.simulation._virtual import VirtualLoop, simulate, simulated


@simulated
async def test_callers_share_one_opening():
    """Also when one of them is cancelled, and again later."""
    process = Process(Database())
    process.latency_s = 1.0
    journal = journal_on(process)
    callers = [asyncio.ensure_future(journal.open("check")) for _ in range(5)]
    await asyncio.sleep(0.5)
    callers[0].cancel()
    await asyncio.gather(*callers[1:])
    await journal.open("check")
    assert (process.opened, process.calls["migrate check"]) == (1, 1)
    assert len(journal.worker) == 16
    await journal.close()


@simulated
async def test_an_opening_that_fails_can_be_repeated():
    """Every caller gets the error; nothing stays half open."""
    process = Process(Database())
    process.outage = SchemaVersionError
    journal = journal_on(process)
    results = await asyncio.gather(journal.open(), journal.open(), return_exceptions=True)
    assert [type(result) for result in results] == [SchemaVersionError] * 2
    assert process.calls["close"] == 1
    with pytest.raises(UsageError):
        await journal.acquire(key())
    process.outage = None
    await journal.open()
    await (await journal.acquire(key())).release()
    await journal.close()


@simulated
async def test_nothing_works_before_open_and_after_close():
    process = Process(Database())
    journal = journal_on(process)
    for life in ("before", "after"):
        if life == "after":
            await journal.open()
            handle = await journal.acquire(key())
            await journal.close()
            with pytest.raises(UsageError):
                step(handle)
            await handle.release()
        with pytest.raises(UsageError):
            await journal.acquire(key())
        with pytest.raises(UsageError):
            await journal.load(LoadRequest(key()))
        with pytest.raises(UsageError):
            journal.ask(key(), "interrupt")


@simulated
async def test_every_opening_is_a_new_worker():
    process = Process(Database())
    journal = journal_on(process)
    workers = set()
    for _ in range(3):
        await journal.open()
        workers.add(journal.worker)
        await (await journal.acquire(key())).release()
        await journal.close()
    assert len(workers) == 3


@simulated
async def test_close_waits_for_commits_and_gives_everything_back():
    """Records under way and queued become durable; rows and locks are free; no task stays."""
    process = Process(Database())
    journal = journal_on(process)
    before = asyncio.all_tasks()
    await journal.open()
    handles = await asyncio.gather(*(journal.acquire(key(n)) for n in range(10)))
    process.latency_s = 0.5
    for handle in handles:
        step(handle, b"1")
    await asyncio.sleep(0.1)
    tickets = [step(handle, b"2").ticket for handle in handles]
    closing = [asyncio.ensure_future(journal.close()) for _ in range(3)]
    await asyncio.sleep(0.1)
    closing[0].cancel()
    await asyncio.gather(*closing[1:])
    assert all(ticket.done() and ticket.exception() is None for ticket in tickets)
    for n in range(10):
        assert await process.database.bodies(key(n)) == [b"1", b"2"]
        assert (await process.database.row(key(n))).owner is None
    assert process.database.locks == {}
    assert (process.calls["close"], len(process.releases)) == (1, 1)
    await journal.close()
    assert process.calls["close"] == 1
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


@simulated
async def test_close_refuses_who_waits_for_a_thread():
    """In line, for another process, and in the middle of a claim."""
    database = Database()
    process, other = Process(database), Process(database)
    async with opened(other, seed=2) as rival:
        foreign = await rival.acquire(key("foreign"))
        journal = journal_on(process)
        await journal.open()
        await journal.acquire(key("mine"))
        waiting = [
            asyncio.ensure_future(journal.acquire(key(name))) for name in ("mine", "foreign")
        ]
        await asyncio.sleep(10)
        process.latency_s = 0.5
        waiting.append(asyncio.ensure_future(journal.acquire(key("new"))))
        await asyncio.sleep(0.1)
        await journal.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [UsageError] * 3
        for name in ("mine", "new"):
            assert (await database.row(key(name))).owner is None
        await foreign.release()
        assert database.locks == {}


@simulated
async def test_close_in_an_outage_ends():
    """After the budgets, with what could not be written failed and the rest left to leases."""
    async with world(outage_budget_s=20.0, lease_ttl_s=5.0) as (journal, process):
        handle = await journal.acquire(key())
        process.outage = unavailable
        ticket = step(handle).ticket
        began = asyncio.get_running_loop().time()
        await journal.close()
        assert ticket.exception() is not None
        assert asyncio.get_running_loop().time() - began < 20 + 2 * 5 + 5


def test_forget_touches_nothing(caplog):
    """The loop is gone: no call, no complaint; the journal opens again elsewhere, and handles
    of the old life refuse."""
    database = Database()
    process = Process(database)
    journal = journal_on(process)
    kept = []

    async def first():
        await journal.open()
        process.gate = asyncio.Event()
        handle = await journal.acquire(key())
        waiter = asyncio.ensure_future(journal.acquire(key()))
        step(handle)
        await asyncio.sleep(1)
        kept.extend((handle, waiter, journal.worker))

    loop = VirtualLoop()
    loop.run_until_complete(first())
    calls = dict(process.calls)
    journal.forget()
    assert process.calls == {**calls, "forget": 1}
    handle, waiter, worker = kept

    async def second():
        process.gate = None
        with pytest.raises(UsageError):
            step(handle)
        with pytest.raises(UsageError):
            await handle.flushed()
        await handle.release()
        await journal.open()
        assert journal.worker != worker
        again = await journal.acquire(key())
        assert again.taken_over
        await again.release()
        await journal.close()

    gc.collect()  # what other tests have left is none of ours
    caplog.clear()
    with caplog.at_level(logging.INFO):
        simulate(second())
        gc.collect()
    assert caplog.records == []
    waiter.cancel()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
