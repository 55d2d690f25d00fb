"""A database that does not answer, answers late, or loses its answer."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stepwell.checkpoint.driver import LoadRequest, Stale, ThreadQuery
from stepwell.errors import (
    SchemaVersionError,
    StaleWriterError,
    StorageFullError,
    StorageUnavailableError,
)
from stepwell.observe import StorageRetried
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
    write,
)
from tests.simulation._virtual import simulated


async def failing_for(process, seconds, error=unavailable):
    """The database fails every call for so long."""
    process.outage = error
    await asyncio.sleep(seconds)
    process.outage = None


@simulated
@pytest.mark.parametrize("kind", [Process, InlineProcess])
async def test_an_outage_pauses_runs(kind):
    """Records wait, are written once, in order; the same slice is sent again and again."""
    process = kind(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        ending = asyncio.ensure_future(failing_for(process, 20))
        await asyncio.sleep(0)
        first = step(handle, b"1").ticket
        await asyncio.sleep(10)
        second = step(handle, b"2").ticket
        await asyncio.gather(first, second, ending)
        assert await process.database.bodies(key()) == [b"1", b"2"]
        tries = [batch[0] for batch in process.commits[:-1]]
        assert 8 < len(tries) < 30, "pauses grow, and never beyond 2 s"
        assert all(piece is tries[0] for piece in tries)


@simulated
async def test_a_slice_that_was_sent_is_frozen():
    """A barrier appended during the outage deletes the writes of the slice in doubt; it does
    not take them out of it, and follows in a slice of its own."""
    database = Database()
    plan = FaultPlan().fail("commit", at=2, outcome="unknown", times=3)
    process = Process(database)
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        await step(handle).ticket
        sent = write(handle, 1, "sent")
        await asyncio.sleep(0.02)
        assert plan.calls["commit"] == 2
        step(handle, drops=1)
        await handle.flushed()
        assert sent.done()
        assert [len(piece.writes) for [piece] in process.commits] == [0, 1, 0]
        assert list(process.commits[-1][0].drop_writes) == [(0, 1)]


@simulated
async def test_a_lost_reply_is_resolved_by_sending_the_same_slice_again():
    """Commit, then an error: the retry finds its records landed, nothing is there twice."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("commit", at=1).commit_then_fail("commit", at=3, times=2)
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        for n in range(4):
            await step(handle, b"%d" % n).ticket
        assert await process.database.bodies(key()) == [b"0", b"1", b"2", b"3"]
        assert plan.unreached() == []
        assert plan.calls["commit"] == 4 + 3


@simulated
async def test_letting_go_with_a_lost_reply():
    """The row is free after the first attempt; the retry knows that it was its own doing."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("commit", at=1)
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        await step(handle, let_go=True).ticket
        await handle.release()
        assert handle.failure is None
        assert (await process.database.row(key())).owner is None


@simulated
@pytest.mark.parametrize("outcome", ["none", "unknown"])
async def test_after_the_budget_records_fail_typed(outcome):
    """The error says whether anything may have been written and what is durable for sure;
    the claim is over, and the next one starts from what is stored."""
    async with world(outage_budget_s=30.0) as (journal, process):
        handle = await journal.acquire(key())
        told = []
        handle.on_lost = told.append
        await step(handle, b"durable").ticket
        began = asyncio.get_running_loop().time()
        process.outage = lambda: unavailable(outcome)
        first, second = step(handle, b"lost").ticket, step(handle, b"lost").ticket
        with pytest.raises(StorageUnavailableError) as caught:
            await first
        assert asyncio.get_running_loop().time() - began == pytest.approx(30, abs=0.1)
        assert isinstance(second.exception(), StorageUnavailableError)
        context = caught.value.context
        assert (context["outcome"], context["durable_record_no"]) == (outcome, 1)
        assert (context["durable_seq"], context["dropped_records"]) == (1, 2)
        assert told == [caught.value]
        process.outage = None
        with pytest.raises(StorageUnavailableError):
            step(handle)
        await handle.release()
        again = await journal.acquire(key())
        assert (again.epoch, again.record_no) == (handle.epoch + 1, 1)
        await step(again, b"next").ticket
        assert await process.database.bodies(key()) == [b"durable", b"next"]


@simulated
async def test_a_late_first_attempt_meets_a_newer_epoch():
    """After the outcome was given up as unknown, the slice arrives: it is refused."""
    async with world(outage_budget_s=1.0) as (journal, process):
        handle = await journal.acquire(key())
        process.outage = lambda: unavailable("unknown")
        with pytest.raises(StorageUnavailableError):
            await step(handle, b"late").ticket
        process.outage = None
        await handle.release()
        [late] = process.commits[0]
        assert isinstance((await process.database.rows.commit([late]))[0], Stale)
        again = await journal.acquire(key())
        assert isinstance((await process.database.rows.commit([late]))[0], Stale)
        await step(again, b"next").ticket
        assert await process.database.bodies(key()) == [b"next"]


@simulated
async def test_every_thread_has_its_own_budget():
    """A record that came late in an outage is not given up with those that came early."""
    async with world(outage_budget_s=30.0) as (journal, process):
        early, late = await journal.acquire(key("early")), await journal.acquire(key("late"))
        ending = asyncio.ensure_future(failing_for(process, 40))
        await asyncio.sleep(0)
        lost = step(early).ticket
        await asyncio.sleep(20)
        kept = step(late).ticket
        with pytest.raises(StorageUnavailableError):
            await lost
        await kept
        await ending
        assert early.failure is not None
        assert late.failure is None


@simulated
@pytest.mark.parametrize("first", ["renew", "load", "commit"])
async def test_all_that_a_claim_waits_for_has_one_budget(first):
    """A run whose superstep cannot begin, then cannot record that it failed, then cannot let go
    of its thread, has waited for one outage, not for three."""
    async with world(outage_budget_s=30.0) as (journal, process):
        handle = await journal.acquire(key())
        await step(handle).ticket
        await asyncio.sleep(3)
        process.outage = unavailable
        began = asyncio.get_running_loop().time()
        with handle.call(), pytest.raises(StorageUnavailableError):
            if first == "renew":
                await asyncio.sleep(5)  # the lease is in doubt now
                await handle.fresh()
            elif first == "load":
                await journal.load(LoadRequest(key()))
            else:
                await step(handle).ticket
        with handle.call(), pytest.raises(StorageUnavailableError):
            await step(handle).ticket
        await handle.release()
        waited = asyncio.get_running_loop().time() - began
        assert 29 < waited < 40
        process.outage = None


@simulated
async def test_an_answer_begins_the_budget_anew():
    """Two outages with an answer between them are two, each with its time."""
    async with world(outage_budget_s=30.0) as (journal, process):
        handle = await journal.acquire(key())
        for _ in range(3):
            ending = asyncio.ensure_future(failing_for(process, 20))
            await asyncio.sleep(0)
            with handle.call():
                await journal.load(LoadRequest(key()))
                await step(handle).ticket
            await ending
        assert handle.failure is None


@simulated
@pytest.mark.parametrize("there", [True, False])
async def test_refused_after_an_unknown_attempt(there):
    """The first attempt of a slice got no answer, then another worker took the thread. If its
    record is there, its ticket completes and only what follows fails; if not, it may have
    been there and been pruned: the outcome stays unknown, and is said to be."""
    process = Process(Database())
    plan = FaultPlan()
    if there:
        plan.commit_then_fail("commit", at=1)
    else:
        plan.fail("commit", at=1, outcome="unknown")
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        first = step(handle, b"first").ticket
        await asyncio.sleep(0.01)
        await process.database.steal(key())
        second = step(handle, b"second").ticket
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert (results[0] is None) is there
        assert isinstance(results[1], StaleWriterError)
        assert isinstance(handle.failure, StaleWriterError)
        assert handle.failure.context["outcome"] == ("none" if there else "unknown")
        assert await process.database.bodies(key()) == ([b"first"] if there else [])


@simulated
async def test_refused_after_an_unknown_attempt_that_left_no_row():
    """Of a status under an epoch before the last the database cannot tell."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("commit", at=1)
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        ticket = handle.append_status()
        await asyncio.sleep(0.01)
        await process.database.steal(key())
        await process.database.steal(key())
        with pytest.raises(StaleWriterError) as caught:
            await ticket
        assert caught.value.context["outcome"] == "unknown"
        assert plan.calls["landed"] == 1


@simulated
async def test_a_last_record_that_left_no_row_is_found_by_its_number():
    """The run let go with a status, the reply was lost, and somebody who waited has the thread:
    a database that knows who wrote what lies below a claim says that the run is done."""
    process = Process(Database())
    plan = FaultPlan().commit_then_fail("commit", at=2)
    asked = []

    async def landed(name, record_no, epoch):
        asked.append((name, record_no, epoch))
        return True

    process.landed = landed
    async with opened(FaultyDriver(process, plan)) as journal:
        handle = await journal.acquire(key())
        await step(handle).ticket
        ticket = handle.append_status(let_go=True)
        await asyncio.sleep(0.01)
        await process.database.steal(key())
        await ticket
        await handle.release()
        assert asked == [(key(), 2, handle.epoch)]
        assert handle.failure is None


@simulated
async def test_a_locked_row_is_retried_without_holding_up_the_others():
    """Parked: the same slice again after 5-100 ms, the others of the batch at once."""
    async with world() as (journal, process):
        parked, free = await journal.acquire(key("parked")), await journal.acquire(key("free"))
        process.parked[key("parked")] = 5
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = step(parked, b"1").ticket
        more = step(parked, b"2").ticket
        for _ in range(20):
            await step(free).ticket
        assert loop.time() == began
        step(parked, b"3")
        await asyncio.gather(waiting, more)
        assert 5 * 0.005 <= loop.time() - began <= 5 * 0.1 + 0.001
        tries = [p for batch in process.commits for p in batch if p.key == key("parked")]
        assert len(tries) == 7
        assert all(piece is tries[0] for piece in tries[:6])
        assert await process.database.bodies(key("parked")) == [b"1", b"2", b"3"]


@simulated
async def test_a_row_that_stays_locked_is_given_up():
    async with world(outage_budget_s=2.0) as (journal, process):
        handle = await journal.acquire(key())
        process.parked[key()] = 10_000
        began = asyncio.get_running_loop().time()
        with pytest.raises(StorageUnavailableError) as caught:
            await step(handle).ticket
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.11)
        assert caught.value.context["outcome"] == "none"
        process.parked.clear()


@simulated
@pytest.mark.parametrize("first", ["error", "parked"])
async def test_after_a_first_error_there_is_another_try_however_late_it_came(first):
    """A connection that goes silent is noticed after more than the whole budget: the budget
    counts from the error, and the same slice is sent again on the next connection."""
    async with world(outage_budget_s=10.0) as (journal, process):
        handle = await journal.acquire(key())
        process.latency_s = 70.0
        if first == "error":
            process.outage = lambda: unavailable("unknown")
        else:
            process.parked[key()] = 1
        ticket = step(handle, b"1").ticket
        await asyncio.sleep(69.0)
        behind = step(handle, b"2").ticket
        await asyncio.sleep(1.01)
        process.latency_s, process.outage = 0.0, None
        await asyncio.gather(ticket, behind)
        assert await process.database.bodies(key()) == [b"1", b"2"]
        assert process.commits[0][0] is process.commits[1][0]


@simulated
async def test_a_record_that_waited_behind_an_outage_has_a_try_of_its_own():
    """Its lane was busy for more than its budget before it was sent at all."""
    async with world(outage_budget_s=10.0) as (journal, process):
        first, second = await journal.acquire(key(1)), await journal.acquire(key(2))
        process.outage, process.latency_s = unavailable, 4.0
        lost = step(first).ticket
        await asyncio.sleep(0.001)
        kept = step(second).ticket
        whole = process.commit
        tried = []

        async def commit(batch):
            if batch[0].key == key(2):
                tried.append(asyncio.get_running_loop().time())
                process.outage = unavailable if len(tried) == 1 else None
            return await whole(batch)

        process.commit = commit
        with pytest.raises(StorageUnavailableError):
            await lost
        await kept
        assert len(tried) == 2


def locked_elsewhere(process, *names, wait_s=0.25, sqlstate="55P03"):
    """A stranger has locked a row, not of the thread table, that these threads write: every
    statement that writes one waits for it, and is ended."""
    guilty, whole = {key(name) for name in names}, process.commit

    async def commit(batch):
        if guilty & {piece.key for piece in batch}:
            process.commits.append(list(batch))
            await asyncio.sleep(wait_s)
            raise StorageUnavailableError("lock timeout", outcome="none", sqlstate=sqlstate)
        return await whole(batch)

    process.commit = commit
    return guilty


@simulated
@pytest.mark.parametrize("sqlstate", ["55P03", "40001", "40P01", "57014"])
async def test_a_row_locked_elsewhere_holds_up_its_own_thread_only(sqlstate):
    """An error of a whole batch that is a matter of one slice: the batch is halved until that
    slice stands alone, and from then on it travels alone."""
    async with world() as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(64)]
        guilty = locked_elsewhere(process, 13, sqlstate=sqlstate)
        loop = asyncio.get_running_loop()
        began = loop.time()
        tickets = [step(handle).ticket for handle in handles]
        stuck = tickets.pop(13)
        await asyncio.gather(*tickets)
        assert loop.time() - began <= 8 * 0.25, "as many statements as there are halvings"
        assert not stuck.done()
        for round_no in range(20):
            await asyncio.gather(*(step(h).ticket for h in handles if h.key != key(13)))
            await asyncio.sleep(0.5)
            assert not stuck.done(), round_no
        later = [batch for batch in process.commits[14:] if guilty & {p.key for p in batch}]
        assert all(len(batch) == 1 for batch in later)
        assert 5 <= len(later) <= 12, "its pauses grow: each try costs the others a wait"
        guilty.clear()
        step(handles[13])
        await asyncio.wait_for(handles[13].flushed(), 2.5)
        tries = [p for batch in process.commits for p in batch if p.key == key(13)]
        assert all(piece is tries[0] for piece in tries[:-1])


@simulated
async def test_a_row_that_stays_locked_elsewhere_is_given_up_alone():
    """It has an outage budget of its own."""
    async with world(outage_budget_s=8.0) as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(5)]
        guilty = locked_elsewhere(process, 0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        tickets = [step(handle).ticket for handle in handles]
        with pytest.raises(StorageUnavailableError) as caught:
            await tickets[0]
        assert 8.0 <= loop.time() - began <= 9.0
        assert (caught.value.context["sqlstate"], caught.value.context["outcome"]) == (
            "55P03",
            "none",
        )
        await asyncio.gather(*tickets[1:])
        guilty.clear()
        assert [handle.failure is None for handle in handles] == [False, True, True, True, True]


@simulated
async def test_a_table_that_stays_locked_costs_nobody_more_than_the_budget():
    """Every slice is held up: they are not tried one after the other until the last has failed."""
    async with world(outage_budget_s=8.0) as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(200)]
        guilty = locked_elsewhere(process, *range(200))
        loop = asyncio.get_running_loop()
        began = loop.time()
        results = await asyncio.gather(
            *(step(handle).ticket for handle in handles), return_exceptions=True
        )
        assert {type(result) for result in results} == {StorageUnavailableError}
        assert loop.time() - began <= 8.0 + 5.0
        guilty.clear()


@simulated
async def test_a_table_that_was_locked_for_a_moment_costs_nobody_anything():
    async with world() as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(200)]
        guilty = locked_elsewhere(process, *range(200))
        tickets = [step(handle).ticket for handle in handles]
        await asyncio.sleep(3.0)
        guilty.clear()
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*tickets)
        assert asyncio.get_running_loop().time() - began <= 2.5
        assert len(process.commits) <= 40


@simulated
async def test_a_full_disk_pauses_runs_too():
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        ending = asyncio.ensure_future(failing_for(process, 5, StorageFullError))
        await asyncio.sleep(0)
        await step(handle).ticket
        await ending


@simulated
async def test_a_full_disk_is_named_when_the_budget_is_over():
    async with world(outage_budget_s=3.0) as (journal, process):
        handle = await journal.acquire(key())
        process.outage = StorageFullError
        with pytest.raises(StorageFullError) as caught:
            await step(handle).ticket
        process.outage = None
        assert caught.value.context["outcome"] == "unknown", "not said to be nothing: unknown"


@simulated
async def test_another_schema_fails_the_whole_batch_at_once():
    """There is no slice at fault to look for."""
    async with world() as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(8)]
        process.outage = SchemaVersionError
        tickets = [step(handle).ticket for handle in handles]
        results = await asyncio.gather(*tickets, return_exceptions=True)
        process.outage = None
        assert [type(result) for result in results] == [SchemaVersionError] * 8
        assert [result.context["thread_id"] for result in results] == [str(n) for n in range(8)]
        assert process.calls["commit"] == 1


@simulated
async def test_a_cancelled_commit_is_an_unknown_outcome():
    """Nobody cancels the lane but a loop that goes down; should it go on, so does the lane."""
    process = Process(Database())
    plan = FaultPlan().cancel("commit", at=1, done_first=True)
    async with opened(FaultyDriver(process, plan)) as journal:
        one, two = await journal.acquire(key(1)), await journal.acquire(key(2))
        with pytest.raises(StorageUnavailableError) as caught:
            await step(one).ticket
        assert caught.value.context["outcome"] == "unknown"
        await step(two).ticket


@simulated
async def test_reads_wait_for_the_database():
    """Each read is tried again within the budget; then the last error is raised."""
    async with world(outage_budget_s=10.0) as (journal, process):
        await (await journal.acquire(key())).release()
        reads = [
            lambda: journal.load(LoadRequest(key())),
            lambda: journal.history(key(), ""),
            lambda: journal.threads(ThreadQuery()),
            lambda: journal.runs(key()),
        ]
        for read in reads:
            ending = asyncio.ensure_future(failing_for(process, 5))
            await asyncio.sleep(0)
            await read()
            await ending
        process.outage = unavailable
        for read in reads:
            with pytest.raises(StorageUnavailableError):
                await read()
        process.outage = None


@simulated
async def test_an_outage_is_logged_once_and_observed_each_time(caplog):
    heard = Heard()
    async with world(observers=heard.observers) as (journal, process):
        handle = await journal.acquire(key())
        ending = asyncio.ensure_future(failing_for(process, 5))
        await asyncio.sleep(0)
        with caplog.at_level(logging.WARNING, "stepwell.journal"):
            await step(handle).ticket
        await ending
        lines = [line for line in caplog.records if line.name == "stepwell.journal"]
        assert len(lines) == 1
        retried = [event for event in heard.of(StorageRetried) if event.verb == "commit"]
        assert [event.attempt for event in retried] == list(range(1, len(retried) + 1))
        assert len(retried) == process.calls["commit"] - 1
        assert retried[0].error == "storage_unavailable"


@simulated
async def test_a_release_that_fails_is_left_to_the_lease(caplog):
    """The caller is not bothered; the row is claimable when its lease is over."""
    async with world(lease_ttl_s=10.0) as (journal, process):
        handle = await journal.acquire(key())
        await step(handle).ticket
        process.outage = unavailable
        await handle.release()
        process.outage = None
        assert "could not be released" in caplog.text
        await asyncio.sleep(1)
        assert process.renewals == []
        rival = Process(process.database)
        async with opened(rival, seed=2) as other:
            await (await other.acquire(key())).release()
