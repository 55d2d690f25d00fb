"""Group commit: which records travel together, in which order, and who is told what."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.checkpoint.driver import (
    Committed,
    RunRow,
    RunStatus,
    Slice,
    ThreadChange,
    ThreadStatus,
)
from stepwell.errors import (
    InternalError,
    SequenceConflictError,
    StaleWriterError,
    StorageError,
    UsageError,
)
from stepwell.observe import CommitFinished
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


def tasks_of(slices: list[Slice]) -> list[str]:
    return [row.task_path for piece in slices for row in piece.writes]


# -- what travels together


@simulated
async def test_a_whole_tick_of_appends_is_one_batch():
    """Forty records of twenty threads, appended in one tick, are one call of the driver."""
    async with world() as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(20)]
        tickets = [step(handle).ticket for handle in handles for _ in range(2)]
        assert process.commits == []
        await asyncio.gather(*tickets)
        assert [len(batch) for batch in process.commits] == [20]
        assert all(len(piece.checkpoints) == 2 for piece in process.commits[0])


@simulated
@pytest.mark.parametrize("latency_s", [0.0, 0.01])
async def test_producers_woken_by_a_batch_share_the_next(latency_s):
    """Ten producers that wait for each ticket need as many commits as each has records."""
    async with world() as (journal, process):
        process.latency_s = latency_s

        async def produce(number):
            handle = await journal.acquire(key(number))
            for _ in range(6):
                await step(handle).ticket

        await asyncio.gather(*map(produce, range(10)))
        assert [len(batch) for batch in process.commits] == [10] * 6


@simulated
async def test_the_next_batch_forms_while_one_is_under_way():
    """What is appended during a commit goes out together, after it: one at a time."""
    async with world() as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(5)]
        process.gate = asyncio.Event()
        first = step(handles[0]).ticket
        await asyncio.sleep(0.01)
        later = []
        for handle in handles:
            later.append(step(handle).ticket)
            await asyncio.sleep(0.01)
        assert len(process.commits) == 1
        assert not first.done()
        process.gate.set()
        await asyncio.gather(first, *later)
        assert [len(batch) for batch in process.commits] == [1, 5]
        assert process.committing_max == 1


@simulated
@pytest.mark.parametrize("before", [0, 1, 2, 3])
@pytest.mark.parametrize("others", [0, 1, 2])
async def test_records_that_belong_together_share_a_slice(before, others):
    """However few rows a batch takes, and however many of them other threads use up."""
    async with world(batch_rows_max=3) as (journal, process):
        crowd = [await journal.acquire(key(n)) for n in range(others)]
        handle = await journal.acquire(key())
        tickets = [step(other).ticket for other in crowd]
        tickets += [step(handle).ticket for _ in range(before)]
        with handle.together():
            first = step(handle, b"first")
            for n in range(4):
                write(handle, first.seq, f"t{n}")
            tickets.append(handle.append_status())
        tickets.append(step(handle).ticket)
        await asyncio.gather(*tickets, handle.flushed())
        pieces = [p for batch in process.commits for p in batch if p.key == key()]
        (whole,) = [p for p in pieces if b"first" in [row.body for row in p.checkpoints]]
        assert [row.task_path for row in whole.writes] == ["t0", "t1", "t2", "t3"]
        assert whole.record_no < first.record_no
        assert whole.record_no_after >= first.record_no + 5
        assert pieces[-1].record_no_after == before + 7


@simulated
async def test_groups_that_fit_apart_are_not_cut():
    """Two groups of two under a bound of three rows: two slices, a group each; and a group over
    the bound of bytes is sent whole."""
    async with world(batch_rows_max=3, batch_bytes_max=1000) as (journal, process):
        handle = await journal.acquire(key())
        for _ in range(2):
            with handle.together():
                step(handle)
                handle.append_status()
        with handle.together():
            step(handle, b"x" * 900)
            step(handle, b"y" * 900)
        await handle.flushed()
        ends = [piece.record_no_after for batch in process.commits for piece in batch]
        assert ends == [2, 4, 6]


@simulated
async def test_the_records_of_a_thread_leave_in_order():
    """Checkpoints of two namespaces and statuses: numbers grow by one, slice follows slice."""
    async with world(batch_rows_max=4) as (journal, process):
        handle = await journal.acquire(key())
        sub = handle.namespace("sub")
        numbers = []
        for n in range(10):
            numbers.append(step(handle, b"r%d" % n).record_no)
            numbers.append(step(handle, b"s%d" % n, ns=sub).record_no)
            handle.append_status()
        await handle.flushed()
        assert numbers == [n for n in range(1, 31) if n % 3]
        pieces = [piece for batch in process.commits for piece in batch]
        assert [piece.record_no for piece in pieces] == [
            0, *(piece.record_no_after for piece in pieces[:-1])
        ]  # fmt: skip
        rows = [row for piece in pieces for row in piece.checkpoints]
        assert [row.record_no for row in rows] == numbers
        assert [row.body for row in rows] == [
            b"%s%d" % (c, n) for n in range(10) for c in (b"r", b"s")
        ]
        assert handle.head(0) == handle.head(sub) == 10
        assert handle.record_no == handle.durable_no == 30


@simulated
async def test_a_new_namespace_rides_on_the_next_slice():
    """It is named once, in the first slice that leaves after it was asked for."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        assert handle.namespace("") == 0
        one, two = handle.namespace("a"), handle.namespace("b")
        assert (one, two, handle.namespace("a")) == (1, 2, 1)
        await step(handle).ticket
        await step(handle, ns=two).ticket
        named = [list(piece.namespaces) for [piece] in process.commits]
        assert named == [[(1, "a"), (2, "b")], []]
        await handle.release()
        again = await journal.acquire(key())
        assert (again.namespace("b"), again.head(2), again.namespace("c")) == (2, 1, 3)


@simulated
async def test_a_batch_is_bounded_by_rows():
    async with world(batch_rows_max=10) as (journal, process):
        handle = await journal.acquire(key())
        for n in range(35):
            write(handle, 0, f"t{n}")
        await handle.flushed()
        assert [len(piece.writes) for [piece] in process.commits] == [10, 10, 10, 5]


@simulated
async def test_a_batch_is_bounded_by_bytes():
    """Also over several threads; a record that is too large alone still goes, alone."""
    async with world(batch_bytes_max=10_000) as (journal, process):
        handles = [await journal.acquire(key(n)) for n in range(4)]
        for handle, size in zip(handles, (6_000, 6_000, 50_000, 10), strict=True):
            step(handle, b"x" * size)
        await asyncio.gather(*(handle.flushed() for handle in handles))
        sizes = [[len(p.checkpoints[0].body) for p in batch] for batch in process.commits]
        assert sizes == [[6_000], [6_000], [50_000], [10]]


@simulated
async def test_one_busy_thread_does_not_starve_the_others():
    """A thread with a long queue gets one slice per round; the others come in between."""
    async with world(batch_rows_max=10) as (journal, process):
        hot, cold = await journal.acquire(key("hot")), await journal.acquire(key("cold"))
        process.gate = asyncio.Event()
        for n in range(100):
            write(hot, 0, f"t{n}")
        await asyncio.sleep(0.01)
        ticket = step(cold).ticket
        process.gate.set()
        await ticket
        assert len(process.commits) == 2


# -- what is left out


@simulated
async def test_writes_that_travel_with_their_barrier_are_left_out():
    """They were never sent: no row, nothing to delete, tickets complete with the barrier's."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        await step(handle).ticket
        process.gate = asyncio.Event()
        tickets = [write(handle, 1, f"t{n}") for n in range(3)]
        other = write(handle, 2, "of another superstep")
        barrier = step(handle, drops=1)
        await asyncio.sleep(0.01)
        assert not any(ticket.done() for ticket in tickets)
        process.gate.set()
        await asyncio.gather(*tickets, other, barrier.ticket)
        [piece] = process.commits[-1]
        assert tasks_of([piece]) == ["of another superstep"]
        assert (piece.drop_writes, piece.record_no, piece.record_no_after) == ([], 1, 6)
        assert barrier.record_no == 6
        assert (await process.database.row(key())).record_no == 6


@simulated
async def test_writes_that_were_sent_are_deleted_by_their_barrier():
    """Also those still under way when the barrier is appended; the unsent ones are left out."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        await step(handle).ticket
        await write(handle, 1, "durable")
        process.gate = asyncio.Event()
        under_way = write(handle, 1, "under way")
        await asyncio.sleep(0.01)
        unsent = write(handle, 1, "unsent")
        step(handle, drops=1)
        step(handle, drops=2)
        process.gate.set()
        await asyncio.gather(under_way, unsent, handle.flushed())
        assert tasks_of([piece for batch in process.commits for piece in batch]) == [
            "durable", "under way",
        ]  # fmt: skip
        assert process.commits[-1][0].drop_writes == [(0, 1)]
        for seq in (1, 2, 3):
            assert list((await process.database.chain(key(), seq=seq)).writes) == []


@simulated
async def test_writes_whose_barrier_is_in_a_later_batch_are_sent():
    """Prefix: a write may only be left out where its barrier becomes durable with the same
    commit, or a later record would be durable without it."""
    async with world(batch_rows_max=3) as (journal, process):
        handle = await journal.acquire(key())
        write(handle, 0, "a")
        write(handle, 0, "b")
        handle.append_status()
        write(handle, 0, "c")
        step(handle, drops=0)
        await handle.flushed()
        first, second = (batch[0] for batch in process.commits)
        assert (tasks_of([first]), tasks_of([second])) == (["a", "b"], [])
        assert second.drop_writes == [(0, 0)]


@simulated
async def test_writes_of_an_earlier_claim_are_deleted():
    """They are known from the load; where the load cannot tell, the barrier deletes to be sure."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        sub = handle.namespace("sub")
        step(handle)
        step(handle, ns=sub)
        write(handle, 1, "left behind")
        await handle.release()
        handle = await journal.acquire(key())
        step(handle, drops=1)
        step(handle, drops=2)
        await handle.flushed()
        assert process.commits[-1][0].drop_writes == [(0, 1)]
        await handle.release()
        handle = await journal.acquire(key())
        step(handle, drops=3)  # the load has shown that there are none
        step(handle, ns=sub, drops=1)  # a namespace that was not loaded
        step(handle, ns=sub, drops=2)  # a checkpoint of this claim
        await handle.flushed()
        assert process.commits[-1][0].drop_writes == [(1, 1)]


@simulated
async def test_a_replay_at_a_passed_barrier_comes_in_a_later_slice():
    """A slice deletes and inserts: writes filed anew under the same checkpoint must not
    share a slice with the barrier that clears it."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        await step(handle).ticket
        await write(handle, 1, "first time")
        step(handle, drops=1)
        write(handle, 1, "replayed")
        write(handle, 2, "next")
        await handle.flushed()
        writes = (await process.database.chain(key(), seq=1)).writes
        assert [row.task_path for row in writes] == ["replayed"]
        assert [tasks_of(batch) for batch in process.commits[-2:]] == [[], ["replayed", "next"]]


@simulated
async def test_within_a_slice_the_newest_row_of_a_slot_counts():
    """A driver never sees one slot, run or thread description twice in a slice."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        for n in range(3):
            write(handle, 0, "a", b"%d" % n, idx=-1)
            handle.append_status(
                run_row=RunRow(1, "run", RunStatus.RUNNING, supersteps=n),
                thread=ThreadChange(ThreadStatus.RUNNING, 1, error=str(n)),
            )
        await handle.flushed()
        [[piece]] = process.commits
        assert [row.body for row in piece.writes] == [b"2"]
        assert [row.supersteps for row in piece.runs] == [2]
        assert piece.thread is not None
        assert piece.thread.error == "2"
        assert handle.run_id == "run"


# -- who is told what


@simulated
async def test_cancelling_a_waiter_harms_no_record():
    """Of two producers one is cancelled while it waits: both records become durable."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        process.gate = asyncio.Event()

        async def produce(body):
            await step(handle, body).ticket

        tasks = [asyncio.ensure_future(produce(body)) for body in (b"a", b"b")]
        flushing = asyncio.ensure_future(handle.flushed())
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        flushing.cancel()
        await asyncio.sleep(0.01)
        process.gate.set()
        await tasks[1]
        await handle.flushed()
        assert tasks[0].cancelled()
        assert await process.database.bodies(key()) == [b"a", b"b"]
        assert process.calls["commit"] == 1


@simulated
async def test_a_stale_thread_harms_nobody_in_its_batch():
    """It alone fails, at once and for good, and its run is told once, on the loop."""
    async with world() as (journal, process):
        good, bad = await journal.acquire(key("good")), await journal.acquire(key("bad"))
        await step(bad, b"mine").ticket
        await process.database.steal(key("bad"))
        told = []
        bad.on_lost = told.append
        first, second, fine = step(bad, b"late").ticket, step(bad).ticket, step(good).ticket
        await fine
        for ticket in (first, second):
            with pytest.raises(StaleWriterError):
                await ticket
        assert len(process.commits[-1]) == 2
        assert told == [bad.failure]
        context = told[0].context
        assert (context["thread_id"], context["outcome"]) == ("bad", "none")
        assert (context["durable_record_no"], context["durable_seq"]) == (1, 1)
        assert context["dropped_records"] == 2
        for append in (step, lambda h: write(h, 1, "t"), lambda h: h.append_status()):
            with pytest.raises(StaleWriterError):
                append(bad)
        with pytest.raises(StaleWriterError):
            await bad.flushed()
        with pytest.raises(StaleWriterError):
            await bad.room()
        assert await process.database.bodies(key("bad")) == [b"mine"]
        await step(good).ticket


@simulated
async def test_the_first_failed_record_fails_all_later_ones_of_its_thread():
    """Those under way, those queued and those not yet made; nothing behind it is written."""
    async with world(batch_rows_max=2) as (journal, process):
        bad, good = await journal.acquire(key("bad")), await journal.acquire(key("good"))
        process.failing[key("bad")] = error = SequenceConflictError("taken")
        # Statuses fit behind anything: only the journal itself can hold them back.
        tickets = [step(bad).ticket, *(bad.append_status() for _ in range(5))]
        fine = [step(good).ticket for _ in range(5)]
        await asyncio.gather(*fine)
        assert process.failing == {}, "only one slice was refused"
        assert [type(ticket.exception()) for ticket in tickets] == [SequenceConflictError] * 6
        assert bad.failure is error
        assert (await process.database.row(key("bad"))).record_no == 0
        with pytest.raises(SequenceConflictError):
            step(bad)
        await bad.release()
        assert (await process.database.row(key("bad"))).owner is None


@simulated
async def test_a_poisonous_record_fails_its_thread_alone():
    """An error of the whole batch is bisected: 199 of 200 threads are written, in few calls."""
    async with world() as (journal, process):
        handles = await asyncio.gather(*(journal.acquire(key(n)) for n in range(200)))
        process.poison = b"poison"
        tickets = [
            step(handle, b"poison" if n == 137 else b"x").ticket for n, handle in enumerate(handles)
        ]
        results = await asyncio.gather(*tickets, return_exceptions=True)
        failed = [n for n, result in enumerate(results) if result is not None]
        assert failed == [137]
        assert type(results[137]) is StorageError
        assert results[137].context["thread_id"] == "137"
        assert process.calls["commit"] <= 1 + 2 * 8


@simulated
async def test_an_error_that_no_driver_may_raise_fails_one_thread_as_internal():
    async with world() as (journal, process):
        good, bad = await journal.acquire(key("good")), await journal.acquire(key("bad"))
        process.poison, process.poison_error = b"poison", lambda: KeyError("column")
        fine, broken = step(good).ticket, step(bad, b"poison").ticket
        await fine
        with pytest.raises(InternalError) as caught:
            await broken
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.value.context["outcome"] == "unknown"


@simulated
async def test_callbacks_that_raise_stop_nothing(caplog):
    """A run's own callback is logged; the others of its batch get their tickets."""
    async with world() as (journal, process):
        bad, good = await journal.acquire(key("bad")), await journal.acquire(key("good"))

        def callback(_error):
            raise ValueError("callback")

        bad.on_lost = callback
        await process.database.steal(key("bad"))
        step(bad)
        await step(good).ticket
        assert isinstance(bad.failure, StaleWriterError)
        assert "callback of the run on thread 'bad'" in caplog.text


@simulated
async def test_letting_go_with_a_record():
    """The last record releases the row; nothing follows it; the lock goes back; no release call."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        step(handle, b"1")
        last = step(handle, b"2", let_go=True)
        with pytest.raises(UsageError):
            step(handle)
        await last.ticket
        row = await process.database.row(key())
        assert (row.owner, row.record_no) == (None, 2)
        await handle.release()
        await handle.release()
        await journal.close()
        assert (process.calls["release"], process.calls["unlock"]) == (0, 1)
        assert process.database.locks == {}


@simulated
async def test_a_status_carries_run_and_thread():
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        change = ThreadChange(ThreadStatus.DONE, 1, graph="g")
        handle.append_status(run_row=RunRow(1, "r", RunStatus.DONE), thread=change, let_go=True)
        await handle.release()
        row = await process.database.row(key())
        assert (row.status, row.graph, row.owner) == (ThreadStatus.DONE, "g", None)
        [run] = await journal.runs(key())
        assert (run.run_id, run.status) == ("r", RunStatus.DONE)


@simulated
async def test_a_commit_is_observed():
    heard = Heard()
    async with world(observers=heard.observers) as (journal, process):
        good, bad = await journal.acquire(key("good")), await journal.acquire(key("bad"))
        await process.database.steal(key("bad"))
        process.latency_s = 0.25
        step(bad)
        await step(good, b"x" * 1000).ticket
        [event] = heard.of(CommitFinished)
        assert (event.threads, event.rows, event.refused) == (2, 2, 1)
        assert event.bytes > 1000
        assert event.duration_s == pytest.approx(0.25)


# -- a driver that needs no waiting


@simulated
async def test_an_inline_driver_is_called_without_a_task():
    """No task is made for claims and commits, and the batch is still a whole tick."""
    process = InlineProcess(Database())
    async with opened(process) as journal:
        before = len(asyncio.all_tasks())
        handles = [await journal.acquire(key(n)) for n in range(3)]
        tickets = [step(handle).ticket for handle in handles]
        while not all(ticket.done() for ticket in tickets):
            assert len(asyncio.all_tasks()) <= before + 1  # the heartbeat
            await asyncio.sleep(0)
        assert (process.calls["claim_now"], process.calls["commit_now"]) == (3, 1)
        assert process.calls["commit"] == 0


@simulated
async def test_an_inline_driver_that_fails_is_retried_like_any_other():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        process.outage = unavailable
        ticket = step(handle).ticket
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        process.outage = None
        await ticket
        other = await journal.acquire(key("other"))
        await step(other).ticket
        assert (process.calls["commit_now"], process.calls["commit"]) == (2, 1)


@simulated
async def test_outcomes_that_do_not_match_the_batch_are_an_internal_error():
    """A driver that answers too little is not believed at all."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())

        async def commit(_batch):
            return []

        process.commit = commit
        with pytest.raises(InternalError):
            await step(handle).ticket


def land_in_part(process):
    """Of the first slice only the first record lands; the outcome says so."""
    whole = process._commit
    cut = []

    async def in_part(piece):
        if cut:
            return await whole(piece)
        cut.append(piece)
        [row, *_] = piece.checkpoints
        first = piece._replace(
            record_no_after=row.record_no, checkpoints=[row], writes=[], drop_writes=[],
            heads={row.ns: row.seq},
        )  # fmt: skip
        assert await whole(first) == Committed(row.record_no)
        return Committed(row.record_no, landed=True)

    process._commit = in_part


@simulated
async def test_landed_in_part_completes_that_part_and_sends_the_rest():
    """An outcome that says how far an earlier attempt came: the rest goes behind it."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        await step(handle, b"0").ticket
        await write(handle, 1, "w")
        land_in_part(process)
        one, two, three = step(handle, b"1"), write(handle, 2, "v"), step(handle, b"2", drops=1)
        await asyncio.gather(one.ticket, two, three.ticket)
        [rest] = process.commits[-1]
        assert (rest.record_no, rest.record_no_after) == (3, 5)
        assert (rest.heads, rest.drop_writes, tasks_of([rest])) == ({0: 3}, [(0, 1)], ["v"])
        assert await process.database.bodies(key()) == [b"0", b"1", b"2"]


@simulated
async def test_what_is_appended_behind_the_rest_of_a_slice_loses_nothing():
    """The rest of a slice that landed in part waits to be sent, others wait behind it, and whoever
    hears that the first part is durable appends at once."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        process.gate = asyncio.Event()
        land_in_part(process)
        one, two, late = step(handle, b"1"), step(handle, b"2"), []
        one.ticket.add_done_callback(lambda _: late.append(step(handle, b"3")))
        await asyncio.sleep(0.1)
        inner = handle.namespace("inner")
        three = step(handle, b"x", ns=inner)
        process.gate.set()
        await asyncio.wait_for(asyncio.gather(one.ticket, two.ticket, three.ticket), 5)
        await asyncio.wait_for(late[0].ticket, 5)
        assert await process.database.bodies(key()) == [b"1", b"2", b"3"]
        assert (await process.database.row(key())).namespaces[inner] == ("inner", 1)


def test_a_process_is_a_driver():
    """The fake of these tests has every verb of the SPI."""
    from stepwell.checkpoint.driver import Driver

    assert isinstance(Process(Database.__new__(Database)), Driver)
