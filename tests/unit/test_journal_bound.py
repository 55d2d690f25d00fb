"""Backpressure: producers wait for room, nothing else does."""

from __future__ import annotations

import asyncio

import pytest

from stepwell._journal.bound import Bound
from stepwell.errors import StaleWriterError
from tests.simulation._journal_world import key, step, unavailable, world
from tests.simulation._virtual import simulated


@simulated
@pytest.mark.parametrize(
    ("options", "size"), [({"queue_rows_max": 10}, 1), ({"queue_bytes_max": 10_000}, 1000)]
)
async def test_the_queue_is_bounded(options, size):
    """However many producers there are, by rows or by bytes; all records arrive."""
    async with world(**options) as (journal, process):
        handles = await asyncio.gather(*(journal.acquire(key(n)) for n in range(50)))
        process.latency_s = 0.01
        most = 0

        async def produce(handle):
            nonlocal most
            for n in range(20):
                await handle.room()
                step(handle, b"%04d" % n * (size // 4 or 1))
                most = max(most, sum(len(h.outbox.pending) for h in handles))
            await handle.flushed()

        await asyncio.gather(*map(produce, handles))
        assert most <= 10
        for n in range(50):
            assert len(await process.database.bodies(key(n))) == 20


@simulated
async def test_room_is_given_in_the_order_it_was_asked_for():
    """Also when others give up in between."""
    bound = Bound(rows_max=1, bytes_max=100)
    bound.rows = 1
    order = []

    async def produce(number):
        await bound.room()
        order.append(number)
        bound.rows += 1

    tasks = []
    for n in range(6):
        tasks.append(asyncio.ensure_future(produce(n)))
        await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[3].cancel()
    for _ in range(5):
        bound.give_back(1, 0)
        if order == [1]:
            tasks.append(asyncio.ensure_future(produce("late")))
        await asyncio.sleep(0.01)
    assert order == [1, 2, 4, 5, "late"]


@simulated
async def test_a_cancelled_producer_leaves_its_room_to_the_next():
    """Even if it was let in, in the same tick."""
    bound = Bound(rows_max=1, bytes_max=100)
    bound.rows = 1
    first, second = asyncio.ensure_future(bound.room()), asyncio.ensure_future(bound.room())
    await asyncio.sleep(0)
    bound.give_back(1, 0)
    first.cancel()
    await second
    assert first.cancelled()
    assert not bound.crowded


@simulated
async def test_who_does_not_use_its_room_blocks_nobody():
    bound = Bound(rows_max=2, bytes_max=100)
    bound.rows = 2
    waiting = [asyncio.ensure_future(bound.room()) for _ in range(100)]
    await asyncio.sleep(0)
    bound.give_back(1, 0)
    await asyncio.gather(*waiting)


@simulated
async def test_claims_statuses_heartbeats_and_releases_pass_a_full_queue():
    """While the queue is full, a run can end and another can begin."""
    async with world(queue_rows_max=2, lease_ttl_s=3.0) as (journal, process):
        full, other = await journal.acquire(key("full")), await journal.acquire(key("other"))
        process.gate = asyncio.Event()
        step(full)
        step(full)
        waiting = asyncio.ensure_future(full.room())
        await asyncio.sleep(5)
        assert not waiting.done()
        assert process.renewals
        third = await journal.acquire(key("third"))
        await third.release()
        ended = other.append_status(let_go=True)
        process.gate.set()
        await asyncio.gather(ended, waiting, other.release())


@simulated
async def test_a_waiting_producer_hears_that_its_claim_is_lost():
    async with world(queue_rows_max=1, lease_ttl_s=3.0) as (journal, process):
        lost = await journal.acquire(key("lost"))
        process.outage = unavailable
        step(lost)
        waiting = asyncio.ensure_future(lost.room())
        await asyncio.sleep(0.1)
        await process.database.steal(key("lost"))
        process.outage = None
        with pytest.raises(StaleWriterError):
            await waiting


@simulated
async def test_records_that_failed_give_their_room_back():
    async with world(queue_rows_max=5) as (journal, process):
        for n in range(5):
            handle = await journal.acquire(key(n))
            await process.database.steal(key(n))
            for _ in range(5):
                step(handle)
            await handle.release()
        handle = await journal.acquire(key("good"))
        await asyncio.wait_for(handle.room(), 1)
        assert not handle._bound.crowded
        assert (handle._bound.rows, handle._bound.bytes) == (0, 0)
