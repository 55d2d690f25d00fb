"""Leases: who renews them, when, and what happens when one is gone."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stepwell._journal.journal import Journal
from stepwell._journal.lost import stale_writer
from stepwell.checkpoint.driver import Renewed
from stepwell.errors import StaleWriterError, StorageUnavailableError
from stepwell.observe import LeaseLost
from stepwell.testing._faulty import FaultPlan, FaultyDriver
from tests.simulation._journal_world import (
    Database,
    Heard,
    Process,
    key,
    opened,
    step,
    unavailable,
    waited_for,
    world,
)
from tests.simulation._virtual import simulated


def now():
    return asyncio.get_running_loop().time()


@simulated
async def test_a_quiet_run_keeps_its_thread():
    """Ten leases long nothing is written, and a waiter that asks all the time gets nothing."""
    database = Database()
    one, other = Process(database), Process(database)
    async with opened(one, lease_ttl_s=6.0) as journal, opened(other, seed=2) as rival:
        handle = await journal.acquire(key())
        waiter = asyncio.ensure_future(rival.acquire(key()))
        await asyncio.sleep(60)
        assert not waiter.done()
        assert handle.failure is None
        assert 60 / 4 - 1 <= len(one.renewals) <= 60 / 2
        await step(handle).ticket
        await handle.release()
        await (await waiter).release()


@simulated
async def test_claims_that_commit_are_left_out():
    """A heartbeat names those that were quiet for a third of a lease, in one call."""
    async with world(lease_ttl_s=9.0) as (journal, process):
        quiet = [await journal.acquire(key(n)) for n in range(20)]
        busy = await journal.acquire(key("busy"))
        for _ in range(70):
            await step(busy).ticket
            await asyncio.sleep(0.5)
        assert all(len(batch) == 20 for batch in process.renewals)
        assert len(process.renewals) >= 5
        assert {held.key for batch in process.renewals for held in batch} == {h.key for h in quiet}


@simulated
async def test_nothing_is_renewed_that_no_run_holds():
    """A row that carries our name without a run (a lost release) expires."""
    database = Database()
    process, other = Process(database), Process(database)
    plan = FaultPlan().fail("release", at=1, times=100)
    async with opened(FaultyDriver(process, plan), lease_ttl_s=6.0) as journal:
        keeping = await journal.acquire(key("other"))
        lost = await journal.acquire(key())
        await lost.release()
        assert (await database.row(key())).owner == journal.worker
        async with opened(other, seed=2) as rival:
            await (await rival.acquire(key(), timeout=10.0)).release()
        await asyncio.sleep(20)
        named = {held.key for batch in process.renewals[3:] for held in batch}
        assert named == {keeping.key}


@simulated
async def test_there_is_one_heartbeat_and_it_starts_with_the_first_claim():
    async with world() as (journal, _process):
        before = len(asyncio.all_tasks())
        await asyncio.sleep(100)
        assert len(asyncio.all_tasks()) == before
        await asyncio.gather(*(journal.acquire(key(n)) for n in range(10)))
        assert len(asyncio.all_tasks()) == before + 1


@simulated
async def test_a_lost_claim_stops_its_run_at_once():
    """Nothing was appended: the heartbeat finds out, and the run is told on the loop."""
    heard = Heard()
    async with world(lease_ttl_s=9.0, observers=heard.observers) as (journal, process):
        lost, kept = await journal.acquire(key("lost")), await journal.acquire(key("kept"))
        told = asyncio.get_running_loop().create_future()
        lost.on_lost = told.set_result
        began = now()
        await process.database.steal(key("lost"))
        error = await told
        assert now() - began <= 6.1
        assert isinstance(error, StaleWriterError)
        assert lost.failure is error
        assert kept.failure is None
        with pytest.raises(StaleWriterError):
            step(lost)
        [event] = heard.of(LeaseLost)
        assert (event.thread_id, event.epoch) == ("lost", lost.epoch)
        assert event.noticed_by == "heartbeat"


@simulated
async def test_a_deleted_thread_is_a_lost_claim():
    async with world(lease_ttl_s=3.0) as (journal, process):
        handle = await journal.acquire(key())
        del process.database.rows._threads[key()]
        await asyncio.sleep(3)
        assert isinstance(handle.failure, StaleWriterError)
        assert "deleted" in str(handle.failure)


@simulated
async def test_a_slice_under_way_when_the_claim_is_lost_tells_the_truth():
    """It was written before the takeover, its answer is late: its ticket completes; what was
    appended behind it fails."""
    async with world(lease_ttl_s=3.0) as (journal, process):
        handle = await journal.acquire(key())
        written = process._commit

        async def slow(piece):
            outcome = await written(piece)
            await asyncio.sleep(10)
            return outcome

        process._commit = slow
        first = step(handle, b"first").ticket
        await asyncio.sleep(0.1)
        await process.database.steal(key())
        second = step(handle, b"second").ticket
        with pytest.raises(StaleWriterError):
            await second
        assert not first.done()
        await first
        with pytest.raises(StaleWriterError):
            await handle.flushed()


@simulated
async def test_a_checkpoint_that_waits_for_its_turn_when_the_claim_is_lost_fails_at_once():
    """It was never sent, and is not any more, however long the commit before it takes."""
    async with world(lease_ttl_s=3.0) as (journal, process):
        other, handle = await journal.acquire(key("other")), await journal.acquire(key())
        process.gate = asyncio.Event()
        first = step(other).ticket
        await asyncio.sleep(0.1)
        second = waited_for(handle, b"second").ticket
        await process.database.steal(key())
        with pytest.raises(StaleWriterError) as caught:
            await asyncio.wait_for(second, 5)
        assert caught.value.context["outcome"] == "none"
        assert not first.done()
        process.gate.set()
        await first
        assert [piece.key for batch in process.commits for piece in batch] == [key("other")]


@simulated
async def test_a_checkpoint_whose_turn_has_come_when_the_claim_is_lost_tells_the_truth():
    """It is part of a batch that begins in the next turn of the loop."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        ticket = waited_for(handle, b"first").ticket  # the lane sends in the next turn
        lost = stale_writer(handle.outbox, 7, "none")
        asyncio.get_running_loop().call_soon(handle.outbox.lose, lost)
        await ticket
        assert [len(batch) for batch in process.commits] == [1]
        assert handle.failure is lost


@simulated
async def test_letting_go_is_not_losing():
    """The commit that lets go has landed and its answer is late; the heartbeat meanwhile finds
    a row without owner: that is no failure."""
    async with world(lease_ttl_s=3.0) as (journal, process):
        handle = await journal.acquire(key())
        written = process._commit

        async def slow(piece):
            outcome = await written(piece)
            await asyncio.sleep(10)
            return outcome

        process._commit = slow
        step(handle, let_go=True)
        await handle.release()
        assert len(process.renewals) >= 2
        assert handle.failure is None


@simulated
async def test_requests_are_seen_in_heartbeats_and_commits():
    async with world(lease_ttl_s=3.0) as (journal, process):
        for ask in (lambda _h: asyncio.sleep(3), lambda h: step(h).ticket):
            handle = await journal.acquire(key())
            seen = []
            handle.on_request = seen.append
            process.database.rows._threads[key()].request = "interrupt:x"
            await ask(handle)
            assert (handle.request, seen) == ("interrupt:x", ["interrupt:x"])
            await handle.release()


@simulated
async def test_a_heartbeat_without_answer_is_repeated_soon(caplog):
    """A short outage does not cost the lease: the next try comes after parts of a second."""
    database = Database()
    process, other = Process(database), Process(database)
    async with opened(process, lease_ttl_s=6.0) as journal, opened(other, seed=2) as rival:
        handle = await journal.acquire(key())
        waiter = asyncio.ensure_future(rival.acquire(key()))
        for _ in range(5):
            process.outage = unavailable
            await asyncio.sleep(4.0)
            process.outage = None
            await asyncio.sleep(2.5)
        assert not waiter.done()
        await step(handle).ticket
        waiter.cancel()
        assert "heartbeat" in caplog.text


@simulated
async def test_a_broken_heartbeat_goes_on(caplog):
    """Even an error that no driver may raise does not end it."""
    async with world(lease_ttl_s=3.0) as (journal, process):
        handle = await journal.acquire(key())
        whole = process.renew

        async def renew(worker, held, lease_ttl_s):
            process.renew = whole
            raise KeyError("bug")

        process.renew = renew
        with caplog.at_level(logging.ERROR):
            await asyncio.sleep(6)
        assert "A heartbeat failed" in caplog.text
        assert process.renewals
        assert handle.failure is None


@simulated
async def test_a_blocked_loop_is_told(caplog):
    """Blocked for more than two thirds of a lease: one warning that says how long. The
    heartbeat that follows finds out what it cost."""
    async with world(lease_ttl_s=9.0) as (journal, process):
        handle = await journal.acquire(key())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(4)
        loop.pass_time(7.0)
        await asyncio.sleep(0.1)
        assert caplog.records == []
        loop.pass_time(20.0)
        await process.database.steal(key())
        await asyncio.sleep(0.1)
        [record] = caplog.records
        assert record.name == "stepwell.lock"
        assert "blocked for 1" in record.message
        assert isinstance(handle.failure, StaleWriterError)


# -- before a superstep


@simulated
async def test_fresh_costs_nothing_while_the_lease_is_young():
    async with world(lease_ttl_s=9.0) as (journal, process):
        handle = await journal.acquire(key())
        asyncio.get_running_loop().pass_time(5.9)
        await handle.fresh()
        assert process.calls["renew"] == 0


@simulated
async def test_fresh_renews_an_old_lease_in_one_call_for_all():
    async with world(lease_ttl_s=9.0) as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(10)]
        await process.database.steal(key(3))
        asyncio.get_running_loop().pass_time(6.1)
        results = await asyncio.gather(*(h.fresh() for h in handles), return_exceptions=True)
        assert [type(r) for r in results if r is not None] == [StaleWriterError]
        assert isinstance(results[3], StaleWriterError)
        await handles[0].fresh()
        assert [len(batch) for batch in process.renewals[:1]] == [10]
        assert process.calls["renew"] <= 2, "one for all, and perhaps the heartbeat's own"


@simulated
async def test_a_commit_makes_fresh():
    async with world(lease_ttl_s=9.0) as (journal, process):
        handle = await journal.acquire(key())
        loop = asyncio.get_running_loop()
        for _ in range(5):
            loop.pass_time(2.9)
            await step(handle).ticket
            await handle.fresh()
        assert process.calls["renew"] == 0


@simulated
async def test_what_landed_earlier_renewed_the_lease_earlier():
    """The retry of a slice that had landed extends nothing: the age counts from the attempt
    that was written."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("commit", at=1).fail("commit", at=2, times=8)
    async with opened(FaultyDriver(process, plan), lease_ttl_s=60.0) as journal:
        handle = await journal.acquire(key())
        began = now()
        await step(handle).ticket
        assert now() - began > 5
        assert handle.outbox.renewed_at == began


@simulated
async def test_fresh_waits_for_the_database():
    """No task starts while the claim is in doubt; after the budget the doubt is an error."""
    async with world(lease_ttl_s=9.0, outage_budget_s=20.0) as (journal, process):
        handle = await journal.acquire(key())
        loop = asyncio.get_running_loop()
        process.outage = unavailable
        loop.pass_time(6.1)
        waiting = asyncio.ensure_future(handle.fresh())
        await asyncio.sleep(5)
        process.outage = None
        await waiting
        process.outage = unavailable
        loop.pass_time(6.1)
        with pytest.raises(StorageUnavailableError):
            await handle.fresh()
        process.outage = None
        await handle.fresh()


# -- answers that do not come, and renewals that were none


def hanging(process, times):
    """The next heartbeats never get an answer."""
    whole, left = process.renew, [times]

    async def renew(worker, held, lease_ttl_s):
        if left[0]:
            left[0] -= 1
            process.calls["hung"] += 1
            await asyncio.Event().wait()
        return await whole(worker, held, lease_ttl_s)

    process.renew = renew


@simulated
async def test_a_heartbeat_that_hangs_does_not_stop_the_others(caplog):
    """No answer within a third of a lease: the next one is sent, and saves the lease."""
    database = Database()
    process, other = Process(database), Process(database)
    async with opened(process, lease_ttl_s=9.0) as journal, opened(other, seed=2) as rival:
        handle = await journal.acquire(key())
        hanging(process, 1)
        waiter = asyncio.ensure_future(rival.acquire(key()))
        await asyncio.sleep(30)
        assert process.calls["hung"] == 1
        assert not waiter.done()
        assert handle.failure is None
        assert "does not take heartbeats" in caplog.text
        waiter.cancel()


@simulated
async def test_heartbeats_that_hang_do_not_pile_up():
    """A call that has had no answer for a whole lease is of no use: it is cancelled."""
    alone = asyncio.all_tasks()  # the test; on older Pythons also who waits for it
    async with world(lease_ttl_s=9.0) as (journal, process):
        handle = await journal.acquire(key())
        before = len(asyncio.all_tasks())
        hanging(process, 1000)
        await asyncio.sleep(90)
        assert process.calls["hung"] > 20
        assert len(asyncio.all_tasks()) - before <= 3
        await handle.release()
    assert asyncio.all_tasks() == alone


@simulated
async def test_a_late_answer_to_a_heartbeat_counts_from_when_it_was_asked_for():
    """A slow server renews all the same."""
    async with world(lease_ttl_s=9.0, outage_budget_s=60.0) as (journal, process):
        handle = await journal.acquire(key())
        process.latency_s = 5.0
        for _ in range(20):
            await asyncio.sleep(1.0)
            await handle.fresh()
        assert handle.failure is None
        assert now() - handle.outbox.renewed_at <= 9.0


@simulated
async def test_fresh_is_not_held_up_by_a_heartbeat_that_hangs():
    async with world(lease_ttl_s=9.0) as (journal, process):
        handle = await journal.acquire(key())
        asyncio.get_running_loop().pass_time(6.1)
        hanging(process, 2)
        began = now()
        await handle.fresh()
        assert process.calls["hung"] == 2
        assert now() - began <= 2 * 6.0 + 0.2


def not_extending(process, times):
    """The next heartbeats find rows locked: still ours, but nothing was extended."""
    whole, left = process.renew, [times]

    async def renew(worker, held, lease_ttl_s):
        answers = await whole(worker, held, lease_ttl_s)
        if left[0]:
            left[0] -= 1
            answers = [Renewed(answer.request, answer.wanted, extended=False) for answer in answers]
        return answers

    process.renew = renew


@simulated
async def test_a_renewal_that_extended_nothing_makes_nothing_fresh():
    """A stranger has the row locked: what it asks for is seen, the lease is as old as it was,
    and the heartbeat comes again soon."""
    async with world(lease_ttl_s=9.0) as (journal, process):
        handle = await journal.acquire(key())
        began = now()
        process.database.rows._threads[key()].request = "interrupt:x"
        not_extending(process, 5)
        await asyncio.sleep(3.1)
        assert process.calls["renew"] >= 2
        assert handle.request == "interrupt:x"
        assert handle.outbox.renewed_at == began
        await asyncio.sleep(2.9)
        assert handle.outbox.renewed_at > began + 3, "the row is free: renewed within parts of 1 s"
        assert handle.failure is None


@simulated
async def test_fresh_does_not_pass_while_the_row_is_locked():
    """It waits, and after the budget it says so."""
    async with world(lease_ttl_s=9.0, outage_budget_s=4.0) as (journal, process):
        handle = await journal.acquire(key())
        loop = asyncio.get_running_loop()
        loop.pass_time(6.1)
        not_extending(process, 3)
        await handle.fresh()
        assert now() - handle.outbox.renewed_at < 6.0
        assert process.calls["renew"] >= 4
        loop.pass_time(6.1)
        not_extending(process, 1000)
        with pytest.raises(StorageUnavailableError) as caught:
            await handle.fresh()
        assert caught.value.context["thread_id"] == "t"
        assert handle.failure is None


def test_the_default_clock_and_randomness_will_do():
    """A journal needs nothing but a driver."""

    async def main():
        journal = Journal(Process(Database()))
        await journal.open("auto")
        handle = await journal.acquire(key())
        await step(handle).ticket
        await handle.fresh()
        await journal.close()

    asyncio.run(main())
