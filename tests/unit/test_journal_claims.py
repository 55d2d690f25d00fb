"""Claiming threads: batches, lines, refusals, and claims whose caller is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stepwell.checkpoint.driver import Claim, ClaimRequest, LoadRequest
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import (
    SchemaVersionError,
    StorageError,
    StorageUnavailableError,
    ThreadBusyError,
)
from stepwell.observe import LockWaited
from stepwell.testing._faulty import FaultPlan, FaultyDriver
from tests.simulation._journal_world import (
    Database,
    Heard,
    InlineProcess,
    Process,
    key,
    opened,
    step,
    unavailable,
    world,
)
from tests.simulation._virtual import simulated


async def ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- batches


@simulated
async def test_claims_of_one_tick_are_one_call():
    """And so are their releases."""
    async with world() as (journal, process):
        handles = await asyncio.gather(*(journal.acquire(key(n)) for n in range(50)))
        assert [len(batch) for batch in process.claims] == [50]
        assert len({handle.epoch for handle in handles}) == 50
        await asyncio.gather(*(handle.release() for handle in handles))
        assert [len(batch) for batch in process.releases] == [50]


@simulated
async def test_claims_that_come_while_two_calls_are_under_way_share_the_next():
    async with world() as (journal, process):
        process.latency_s = 0.1
        claims = []
        for n in range(10):
            claims.append(asyncio.ensure_future(journal.acquire(key(n))))
            await asyncio.sleep(0.001)
        await asyncio.gather(*claims)
        assert [len(batch) for batch in process.claims] == [1, 1, 8]


@simulated
async def test_a_claim_that_cannot_be_made_fails_alone():
    """A permanent error of a batch of claims is bisected down to the one at fault."""
    process = Process(Database())
    whole, at_fault = process.claim, {key(13)}

    async def claim(requests):
        process.calls["tried"] += 1
        if any(request.key in at_fault for request in requests):
            raise StorageError("no such thing")
        return await whole(requests)

    process.claim = claim
    async with opened(process) as journal:
        results = await asyncio.gather(
            *(journal.acquire(key(n)) for n in range(64)), return_exceptions=True
        )
        assert [n for n, result in enumerate(results) if isinstance(result, StorageError)] == [13]
        assert process.calls["tried"] <= 1 + 2 * 6
        at_fault.clear()
        await journal.acquire(key(13))


@simulated
@pytest.mark.parametrize("kind", [Process, InlineProcess])
async def test_the_handle_shows_what_was_claimed(kind):
    process = kind(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        row = handle.loaded.thread
        assert (handle.key, handle.epoch, handle.record_no) == (key(), row.epoch, 0)
        assert (handle.uid, handle.taken_over, handle.failure) == (row.uid, False, None)
        assert (handle.request, handle.head(0), row.owner) == (None, 0, journal.worker)
        step(handle, b"1")
        step(handle, b"2")
        await handle.release()
        handle = await journal.acquire(key(), load_seq=1)
        assert [row.body for row in handle.loaded.rows] == [b"1"]
        assert (handle.head(0), handle.record_no) == (2, 2)


# -- in line


@simulated
@pytest.mark.parametrize("kind", [Process, InlineProcess])
async def test_first_come_first_served(kind):
    """Fifty runs on one thread: each alone, in the order they asked, none lost."""
    process = kind(Database())
    async with opened(process) as journal:
        order, inside = [], []

        async def run(number):
            handle = await journal.acquire(key())
            inside.append(number)
            assert inside == [number]
            assert len(handle.loaded.rows) == number
            await asyncio.sleep(0.001)
            step(handle, b"%d" % number, let_go=True)
            inside.remove(number)
            order.append(number)
            await handle.release()

        await asyncio.gather(*map(run, range(50)))
        assert order == list(range(50))
        assert await process.database.bodies(key()) == [b"%d" % n for n in range(50)]


@simulated
async def test_a_cancelled_waiter_passes_its_turn_on():
    """Whether it is cancelled long before its turn, or in the very tick it comes."""
    async with world() as (journal, _process):
        for late in (False, True):
            holder = await journal.acquire(key())
            first = asyncio.ensure_future(journal.acquire(key()))
            second = asyncio.ensure_future(journal.acquire(key()))
            await ticks(3)
            if late:
                step(holder, let_go=True)
                await holder.flushed()
                # The turn passes inside this call, before the waiter can run.
                await holder.release()
                first.cancel()
            else:
                first.cancel()
                await ticks(2)
                await holder.release()
            handle = await second
            assert first.cancelled()
            await handle.release()


@simulated
async def test_a_busy_thread_is_refused_at_once_when_asked():
    async with world() as (journal, process):
        holder = await journal.acquire(key())
        for options in ({"wait": False}, {"timeout": 0}, {"timeout": 0.0}):
            with pytest.raises(ThreadBusyError) as caught:
                await journal.acquire(key(), **options)
            error = caught.value
            assert (error.owner, error.retryable) == (journal.worker.hex(), True)
            assert error.context == {"thread_id": "t", "code": "held"}
        assert process.calls["claim"] == 1
        await holder.release()
        await (await journal.acquire(key(), wait=False)).release()


@simulated
async def test_one_timeout_for_line_and_claim():
    """Two seconds in line leave one second of three for the claim."""
    database = Database()
    one, two = Process(database), Process(database)
    async with opened(one) as journal, opened(two, seed=2) as rival:
        loop = asyncio.get_running_loop()
        holder = await journal.acquire(key())
        began = loop.time()
        waiter = asyncio.ensure_future(journal.acquire(key(), timeout=3.0))
        await asyncio.sleep(2.0)
        foreign = asyncio.ensure_future(rival.acquire(key()))
        step(holder, let_go=True)
        await holder.flushed()
        await asyncio.sleep(0.9)
        handle = await foreign
        await holder.release()
        with pytest.raises(ThreadBusyError) as caught:
            await waiter
        assert loop.time() - began == pytest.approx(3.0, abs=0.01)
        assert (caught.value.context["code"], caught.value.owner) == ("held", rival.worker.hex())
        await handle.release()
        await (await journal.acquire(key())).release()


@simulated
async def test_a_timeout_in_line():
    async with world() as (journal, _process):
        holder = await journal.acquire(key())
        began = asyncio.get_running_loop().time()
        with pytest.raises(ThreadBusyError) as caught:
            await journal.acquire(key(), timeout=1.5)
        assert asyncio.get_running_loop().time() - began == pytest.approx(1.5)
        assert caught.value.context["code"] == "timeout"
        assert caught.value.retry_after_s is not None
        await holder.release()
        await (await journal.acquire(key(), timeout=1.5)).release()


# -- claims within claims


@simulated
async def test_asking_for_a_thread_one_holds_is_refused_at_once():
    """Under every policy; a claim that was released no longer counts."""
    async with world() as (journal, _process):
        handle = await journal.acquire(key())
        for options in ({}, {"wait": False}, {"timeout": 5}):
            with pytest.raises(ThreadBusyError) as caught:
                await journal.acquire(key(), held=[handle], **options)
            assert caught.value.context == {"thread_id": "t", "code": "reentrant"}
        await handle.release()
        await (await journal.acquire(key(), held=[handle])).release()


@simulated
async def test_circles_of_waiting_runs_are_refused_at_once():
    """A waits for B, B waits for C: C may not wait for A; anybody else may."""
    async with world() as (journal, _process):
        a, b, c = [await journal.acquire(key(name)) for name in "abc"]
        a_waits = asyncio.ensure_future(journal.acquire(key("b"), held=[a]))
        b_waits = asyncio.ensure_future(journal.acquire(key("c"), held=[b]))
        stranger = asyncio.ensure_future(journal.acquire(key("a")))
        await ticks(3)
        began = asyncio.get_running_loop().time()
        with pytest.raises(ThreadBusyError) as caught:
            await journal.acquire(key("a"), held=[c])
        assert caught.value.context["code"] == "cycle"
        assert asyncio.get_running_loop().time() == began
        await c.release()
        await (await b_waits).release()
        await b.release()
        await (await a_waits).release()
        await a.release()
        await (await stranger).release()


@simulated
async def test_a_wait_that_ended_closes_no_circle():
    async with world() as (journal, _process):
        a, b = await journal.acquire(key("a")), await journal.acquire(key("b"))
        waiting = asyncio.ensure_future(journal.acquire(key("b"), held=[a]))
        await ticks(3)
        waiting.cancel()
        await ticks(3)
        other = asyncio.ensure_future(journal.acquire(key("a"), held=[b]))
        await ticks(3)
        await a.release()
        await (await other).release()


@simulated
async def test_a_wait_inside_a_run_is_bounded():
    """Between processes a circle cannot be seen; 30 s end it. A shorter timeout stands."""
    async with world() as (journal, _process):
        outer, busy = await journal.acquire(key("outer")), await journal.acquire(key("busy"))
        for timeout, bound in ((None, 30.0), (100.0, 30.0), (2.0, 2.0)):
            began = asyncio.get_running_loop().time()
            with pytest.raises(ThreadBusyError):
                await journal.acquire(key("busy"), held=[outer], timeout=timeout)
            assert asyncio.get_running_loop().time() - began == pytest.approx(bound)
        await busy.release()


# -- claims whose caller is gone, or whose reply is


@simulated
@pytest.mark.parametrize("latency_s", [0.0, 0.01])
async def test_cancelled_at_any_moment_a_claim_blocks_nobody(latency_s):
    """At every tick of an acquire: afterwards the row is free and no lock is held, and the
    next in line has had the thread."""
    for moment in range(12):
        async with world() as (journal, process):
            process.latency_s = latency_s
            claim = asyncio.ensure_future(journal.acquire(key()))
            following = asyncio.ensure_future(journal.acquire(key()))
            await asyncio.sleep(moment * latency_s / 4)
            await ticks(moment)
            came_through = not claim.cancel()
            if came_through:
                await claim.result().release()
            handle = await following
            await step(handle).ticket
            assert handle.failure is None
            await handle.release()
            await journal.close()
            assert (await process.database.row(key())).owner is None
            assert process.database.locks == {}


@simulated
async def test_the_next_in_line_waits_until_an_unwanted_claim_is_released():
    """A claim under way whose caller is gone would take the thread from the next one."""
    async with world() as (journal, process):
        process.latency_s = 1.0
        claim = asyncio.ensure_future(journal.acquire(key()))
        following = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(0.5)
        claim.cancel()
        handle = await following
        assert [(len(batch), batch[0].key) for batch in process.claims] == [(1, key())] * 2
        assert len(process.releases) == 1
        await step(handle).ticket


@simulated
@pytest.mark.parametrize("outcome", ["none", "unknown"])
async def test_a_claim_whose_reply_is_lost_is_made_again(outcome):
    """Our own row passes the claim; the thread is then ours under a higher epoch."""
    process = Process(Database())
    plan = FaultPlan()
    if outcome == "none":
        plan.fail("claim", at=1, times=3)
    else:
        plan.commit_then_fail("claim", at=1, times=3)
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        await step(handle).ticket
        assert plan.calls["claim"] == 4
        assert (await process.database.row(key())).epoch == handle.epoch


@simulated
@pytest.mark.parametrize("lost", [1, 2, 5])
async def test_giving_up_a_claim_in_doubt_releases_it(lost):
    """Cancelled between two tries, after lost replies: the row does not stay ours."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("claim", at=1, times=lost)
    async with opened(FaultyDriver(process, plan)) as journal:
        claim = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(0.01)
        claim.cancel()
        await (await journal.acquire(key())).release()
        await journal.close()
        assert plan.calls["claim"] == lost + 2
        assert (await process.database.row(key())).owner is None


@simulated
async def test_an_unwanted_claim_that_cannot_be_released_gives_its_lock_back():
    """Its row ends with its lease, and nothing says for so long that its owner lives."""
    process = Process(Database())
    plan = FaultPlan().fail("release", at=1, times=1000)
    async with opened(FaultyDriver(process, plan), lease_ttl_s=10.0) as journal:
        process.latency_s = 0.1
        claim = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(0.05)
        claim.cancel()
        await asyncio.sleep(10.5)
        assert plan.unreached() == []
        row = await process.database.row(key())
        assert (row.owner, process.database.locks) == (journal.worker, {})
        assert process.renewals == []
        rival = Process(process.database)
        async with opened(rival, seed=2) as other:
            await (await other.acquire(key(), timeout=0.1)).release()


@simulated
async def test_given_up_in_the_tick_in_which_a_claim_loses_its_reply_it_is_released():
    """The caller is cancelled after the error has arrived and before it could look at it."""
    lost = 0
    for moment in range(10):
        process = Process(Database())
        plan = FaultPlan().commit_then_fail("claim", at=1)
        async with opened(FaultyDriver(process, plan)) as journal:
            claim = asyncio.ensure_future(journal.acquire(key()))
            await ticks(moment)
            claim.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claim
            await asyncio.sleep(1.0)
            lost += len(plan.fired)
            thread = process.database.rows._threads.get(key())
            assert thread is None or thread.owner is None, moment
    assert lost >= 5


@simulated
async def test_claims_wait_for_the_database_within_the_budget():
    """An outage has its own budget, whatever the timeout for a busy thread is."""
    async with world(outage_budget_s=20.0) as (journal, process):
        process.outage = unavailable
        began = asyncio.get_running_loop().time()
        with pytest.raises(StorageUnavailableError):
            await journal.acquire(key(), timeout=1.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(20.0)
        claim = asyncio.ensure_future(journal.acquire(key(), wait=False))
        await asyncio.sleep(5)
        process.outage = None
        await (await claim).release()


# -- answers that do not come in time


def hanging(process, verb, seconds, after=0):
    """Calls of a verb, from the one after number `after`, are carried out after so long."""
    whole, calls = getattr(process, verb), [0]

    async def call(*args):
        calls[0] += 1
        if calls[0] > after:
            await asyncio.sleep(seconds)
        return await whole(*args)

    setattr(process, verb, call)


@simulated
async def test_a_timeout_bounds_the_wait_for_an_answer():
    """The connection is silent: the caller hears of it in time. What the late answer brings is
    released, and only then is the next one's turn."""
    process = Process(Database())
    hanging(process, "claim", 70.0)
    async with opened(process) as journal:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(StorageUnavailableError) as caught:
            await journal.acquire(key(), timeout=3.0)
        assert loop.time() - began == pytest.approx(3.0)
        assert (caught.value.context["outcome"], caught.value.context["thread_id"]) == ("none", "t")
        with pytest.raises(ThreadBusyError):
            await journal.acquire(key(), timeout=5.0)
        await asyncio.sleep(70.0)
        assert (await process.database.row(key())).owner is None
        assert process.database.locks == {}
        await (await journal.acquire(key(), timeout=71.0)).release()


@simulated
async def test_a_claim_that_was_not_sent_in_time_is_taken_back():
    """Others occupy both calls: nothing of this one is ever sent."""
    process = Process(Database())
    hanging(process, "claim", 70.0)
    async with opened(process) as journal:
        ahead = []
        for n in range(2):
            ahead.append(asyncio.ensure_future(journal.acquire(key(n))))
            await asyncio.sleep(0.01)
        with pytest.raises(StorageUnavailableError):
            await journal.acquire(key("late"), timeout=3.0)
        for handle in await asyncio.gather(*ahead):
            await handle.release()
        assert {request.key for batch in process.claims for request in batch} == {key(0), key(1)}


@simulated
@pytest.mark.parametrize("verb", ["claim", "want"])
async def test_who_has_seen_the_owner_is_told_of_it_when_the_time_is_up(verb):
    """A held thread, and then silence: refused in time, naming who holds it."""
    database = Database()
    one, two = Process(database), Process(database)
    hanging(one, verb, 70.0, after=1 if verb == "claim" else 0)
    async with opened(one) as journal, opened(two, seed=2) as rival:
        holder = await rival.acquire(key())
        began = asyncio.get_running_loop().time()
        with pytest.raises(ThreadBusyError) as caught:
            await journal.acquire(key(), timeout=3.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(3.0, abs=0.6)
        assert caught.value.owner == rival.worker.hex()
        await asyncio.sleep(70.0)
        await holder.release()


@simulated
async def test_the_last_try_may_be_answered_after_the_timeout():
    """It is made when the time is up: on a network its answer takes a moment more."""
    database = Database()
    one, two = Process(database), Process(database)
    async with opened(one) as journal, opened(two, seed=2) as rival:
        holder = await rival.acquire(key())
        one.latency_s = 0.2
        waiter = asyncio.ensure_future(journal.acquire(key(), timeout=3.0))
        await asyncio.sleep(2.99)
        await holder.release()
        await (await waiter).release()
        with pytest.raises(ThreadBusyError):
            again = await rival.acquire(key())
            await journal.acquire(key(), timeout=0.05)
        await again.release()


@simulated
async def test_an_error_for_good_is_raised_at_once():
    async with world() as (journal, process):
        process.outage = SchemaVersionError
        with pytest.raises(SchemaVersionError):
            await journal.acquire(key())
        process.outage = None
        await (await journal.acquire(key())).release()


@simulated
async def test_a_load_that_lags_behind_its_claim_is_not_used():
    """The chain must have been read at the record number that was claimed: else claim anew."""
    process = Process(Database())
    whole, torn = process.claim, []

    async def claim(requests):
        [answer] = await whole(requests)
        assert isinstance(answer, Claim)
        if answer.record_no and len(torn) < 3:
            torn.append(answer)
            old = answer.loaded.thread._replace(record_no=0)
            answer = replace(answer, loaded=replace(answer.loaded, thread=old, rows=()))
        return [answer]

    process.claim = claim
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        await step(handle, let_go=True).ticket
        await handle.release()
        handle = await journal.acquire(key())
        assert (len(torn), len(handle.loaded.rows)) == (3, 1)
        await step(handle).ticket
        assert len(process.database.locks) == 1, "the locks of the torn claims went back"


@simulated
async def test_waiting_is_observed():
    heard = Heard()
    async with world(observers=heard.observers) as (journal, _process):
        holder = await journal.acquire(key())
        assert heard.of(LockWaited) == []
        with pytest.raises(ThreadBusyError):
            await journal.acquire(key(), timeout=1.0)
        waiting = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(2.0)
        await holder.release()
        await (await waiting).release()
        lost, won = heard.of(LockWaited)
        assert (lost.won, lost.waited_s) == (False, pytest.approx(1.0))
        assert (won.won, won.waited_s, won.taken_over) == (True, pytest.approx(2.0), False)


# -- giving back


@simulated
async def test_release_flushes_first():
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        tickets = [step(handle, b"%d" % n).ticket for n in range(3)]
        await handle.release()
        assert all(ticket.done() for ticket in tickets)
        assert await process.database.bodies(key()) == [b"0", b"1", b"2"]
        assert process.database.locks == {}


@simulated
async def test_a_cancelled_release_is_finished():
    """Cancelled at every tick: the thread is free afterwards, and what was queued is there."""
    for moment in range(1, 9):
        async with world() as (journal, process):
            handle = await journal.acquire(key())
            process.latency_s = 0.01
            step(handle)
            release = asyncio.ensure_future(handle.release())
            await ticks(moment)
            release.cancel()
            with pytest.raises(asyncio.CancelledError):
                await release
            again = await journal.acquire(key())
            assert len(again.loaded.rows) == 1
            await asyncio.gather(handle.release(), again.release())
            assert (await process.database.row(key())).owner is None


@simulated
async def test_releasing_a_lost_claim_gives_its_lock_back_and_harms_nobody():
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        epoch = await process.database.steal(key())
        step(handle)
        await handle.release()
        assert handle.failure is not None
        row = await process.database.row(key())
        assert (row.epoch, row.owner is None) == (epoch, False)
        await journal.close()
        assert process.calls["release"] == 0
        assert process.database.locks == {}


@simulated
async def test_delete_under_the_claim():
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        step(handle)
        assert await handle.delete() is True
        await handle.release()
        assert (await process.database.chain(key())).thread is None
        lost = await journal.acquire(key())
        await process.database.steal(key())
        assert await lost.delete() is False
        assert lost.failure is not None
        await lost.release()
        await journal.close()
        assert process.database.locks == {}


@simulated
async def test_delete_with_a_lost_reply_before_another_made_the_thread_anew():
    """The second try finds a thread of the same name, but not the one that was to go: that one is
    gone, and nobody is told that it was not deleted."""
    memory = MemoryDriver()

    async def made_again():
        request = ClaimRequest(key(), b"o" * 16, 60.0, 1, b"u" * 16)
        [claim] = await memory.claim([request])
        assert isinstance(claim, Claim)

    plan = FaultPlan().commit_then_fail("delete", at=1).act("delete", 2, made_again)
    async with opened(FaultyDriver(memory, plan)) as journal:
        handle = await journal.acquire(key())
        await step(handle).ticket
        assert await handle.delete() is True
        assert plan.calls["delete"] == 2
        assert handle.failure is None
    [found] = await memory.load([LoadRequest(key())])
    assert found.thread.owner == b"o" * 16


@simulated
async def test_delete_with_a_lost_reply():
    """The second try finds no thread: it was deleted by the first."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("delete", at=1)
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        assert await handle.delete() is True
        assert plan.calls["delete"] == 2


@simulated
async def test_asking_the_owner_in_this_process():
    """A request reaches the handle, its callback once; a thread that nobody holds has no ear."""
    async with world() as (journal, _process):
        assert journal.ask(key(), "interrupt:1") is False
        handle = await journal.acquire(key())
        heard = []
        handle.on_request = heard.append
        assert journal.ask(key(), "interrupt:1") is True
        assert journal.ask(key(), "interrupt:1") is True
        assert (handle.request, heard) == ("interrupt:1", ["interrupt:1"])
        await handle.release()
        assert journal.ask(key(), "interrupt:2") is False
