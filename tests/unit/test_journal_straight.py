"""A checkpoint that is committed where it is appended, and what goes the long way after all."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.checkpoint.driver import CheckpointRow
from stepwell.errors import InternalError, StaleWriterError, StorageUnavailableError
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
    write,
)
from tests.simulation._virtual import simulated


def at_once(handle, body=b"x", *, drops=None, let_go=False):
    """Append a checkpoint that its run waits for; its ticket, None if it is durable."""
    row = CheckpointRow(
        0, handle.head(0) + 1, None, 0, 1, 0, handle.epoch, handle.record_no + 1, 1, 0, body
    )
    return handle.append_row(row, drops, None, None, let_go=let_go, at_once=True)


class Unlucky(InlineProcess):
    """Its next commit raises, after it was done or before."""

    def __init__(self, database):
        super().__init__(database)
        self.written: bool | None = None

    def commit_now(self, batch):
        written, self.written = self.written, None
        self.commits.append(list(batch))
        outcomes = super().commit_now(batch) if written is not False else []
        if written is not None:
            raise unavailable("unknown")
        return outcomes


@simulated
async def test_it_is_durable_at_once():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        assert at_once(handle, b"1") is None
        assert at_once(handle, b"2") is None
        assert handle.durable_no == handle.record_no == 2
        assert await process.database.bodies(key()) == [b"1", b"2"]
        assert process.calls["commit_now"] == 2
        assert at_once(handle, b"3", let_go=True) is None
        assert (await process.database.row(key())).owner is None
        await handle.release()
        assert not process.releases


@simulated
async def test_elsewhere_it_is_an_append_like_any_other():
    process = Process(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        await at_once(handle, b"1")
        assert await process.database.bodies(key()) == [b"1"]


@simulated
async def test_elsewhere_what_follows_in_the_same_tick_travels_with_it():
    process = Process(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        first, second = at_once(handle, b"1"), at_once(handle, b"2")
        third = write(handle, 2, "task")
        await asyncio.gather(first, second, third)
        [[piece]] = process.commits
        assert (len(piece.checkpoints), len(piece.writes)) == (2, 1)
        assert (piece.record_no, piece.record_no_after) == (0, 3)
        # Behind one that is on its way it waits its turn.
        process.gate = asyncio.Event()
        fourth = at_once(handle, b"3", drops=2)
        await asyncio.sleep(0.1)
        fifth = at_once(handle, b"4", let_go=True)
        process.gate.set()
        await asyncio.gather(fourth, fifth)
        assert [len(batch[0].checkpoints) for batch in process.commits] == [2, 1, 1]
        assert list(process.commits[1][0].drop_writes) == [(0, 2)]
        assert await process.database.bodies(key()) == [b"1", b"2", b"3", b"4"]


@simulated
async def test_a_slice_that_failed_before_it_left_fails_with_its_claim():
    """What was appended after it fails too, and nothing more can be."""
    process = Process(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        process.failing[key()] = StorageUnavailableError("no")
        first = at_once(handle, b"1")
        with pytest.raises(StorageUnavailableError):
            await first
        with pytest.raises(StorageUnavailableError):
            at_once(handle, b"2")
        assert handle.durable_no == 0


@simulated
async def test_slices_share_a_commit_up_to_its_bound():
    process = Process(Database())
    async with opened(process, batch_bytes_max=1000) as journal:
        handles = [await journal.acquire(key(f"{n}")) for n in range(5)]
        await asyncio.gather(*(at_once(handle, b"x" * 300) for handle in handles))
        assert [len(batch) for batch in process.commits] == [2, 2, 1]


@simulated
async def test_nothing_overtakes_what_is_queued():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        first = step(handle, b"1").ticket
        second = at_once(handle, b"2")
        assert second is not None
        handle.push()
        assert first.done()
        assert second.done()
        assert await process.database.bodies(key()) == [b"1", b"2"]
        assert process.calls["commit_now"] == 1


@simulated
async def test_what_belongs_together_is_one_slice():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        with handle.together():
            first, second = at_once(handle, b"1"), at_once(handle, b"2")
        assert process.calls["commit_now"] == 0
        handle.push()
        assert process.calls["commit_now"] == 1
        await first
        await second


@simulated
async def test_a_barrier_clears_what_was_filed_before_it():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        assert at_once(handle, b"1") is None
        await write(handle, 1, "task")
        assert (await process.database.chain(key())).writes
        assert at_once(handle, b"2", drops=1) is None
        assert not (await process.database.chain(key(), seq=1)).writes


@simulated
@pytest.mark.parametrize("written", [True, False])
async def test_a_lost_answer_is_asked_for_with_the_same_slice(written):
    process = Unlucky(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        assert at_once(handle, b"1") is None
        await write(handle, 1, "task")
        process.written = written
        await at_once(handle, b"2", drops=1)
        assert await process.database.bodies(key()) == [b"1", b"2"]
        assert process.commits[-1] == process.commits[-2]
        assert list(process.commits[-1][0].drop_writes) == [(0, 1)]
        assert at_once(handle, b"3") is None


@simulated
@pytest.mark.parametrize("written", [True, False])
async def test_nobody_says_that_it_was_not_written_who_cannot_know(written):
    """The answer is lost, and somebody takes the thread before it is asked for again."""
    process = Unlucky(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        process.written = written
        ticket = at_once(handle, b"1")
        await process.database.steal(key())
        if written:
            await ticket
        else:
            with pytest.raises(StaleWriterError) as caught:
                await ticket
            assert caught.value.context["outcome"] == "unknown"


@simulated
async def test_a_claim_that_was_lost_is_refused():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        await process.database.steal(key())
        with pytest.raises(StaleWriterError) as caught:
            await at_once(handle, b"1")
        assert caught.value.context["outcome"] == "none"
        with pytest.raises(StaleWriterError):
            at_once(handle, b"2")
        assert await process.database.bodies(key()) == []


@simulated
async def test_a_slice_that_fails_fails_its_thread():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle, other = await journal.acquire(key()), await journal.acquire(key("other"))
        process.failing[key()] = StorageUnavailableError("no")
        with pytest.raises(StorageUnavailableError):
            await at_once(handle, b"1")
        assert at_once(other, b"1") is None


@simulated
async def test_an_outage_is_waited_out_in_order():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle, other = await journal.acquire(key()), await journal.acquire(key("other"))
        process.outage = unavailable
        first, beside = at_once(handle, b"1"), at_once(other, b"1")
        assert first is not None
        assert beside is not None
        process.outage = None
        await first
        await beside
        assert at_once(handle, b"2") is None
        assert await process.database.bodies(key()) == [b"1", b"2"]


@simulated
async def test_who_observes_hears_of_each_commit():
    heard, process = Heard(), InlineProcess(Database())
    async with opened(process, observers=heard.observers) as journal:
        handle = await journal.acquire(key())
        ticket = at_once(handle, b"1")
        assert ticket is not None
        await ticket
        assert [type(event).__name__ for event in heard.events].count("CommitFinished") == 1


@simulated
async def test_checkpoints_that_are_slices_already_are_counted_among_what_waits():
    heard, process = Heard(), Process(Database())
    async with opened(process, observers=heard.observers) as journal:
        handles = [await journal.acquire(key(f"{n}")) for n in range(3)]
        process.gate = asyncio.Event()
        first = at_once(handles[0], b"1")
        await asyncio.sleep(0.1)
        others = [at_once(handles[1], b"1"), step(handles[2], b"1").ticket]
        process.gate.set()
        await asyncio.gather(first, *others)
        assert [event.queued_rows for event in heard.of(CommitFinished)] == [2, 0]


@simulated
async def test_a_request_of_others_is_seen_in_its_answer():
    process = InlineProcess(Database())
    async with opened(process) as journal:
        handle = await journal.acquire(key())
        await process.database.rows.want([key()])
        assert at_once(handle, b"1") is None
        assert handle.outbox.wanted


@simulated
async def test_a_row_out_of_its_turn_is_refused():
    async with opened(InlineProcess(Database())) as journal:
        handle = await journal.acquire(key())
        row = CheckpointRow(0, 2, None, 0, 1, 0, handle.epoch, 1, 1, 0, b"x")
        with pytest.raises(InternalError):
            handle.append_row(row, None, None, None, let_go=False, at_once=True)
        assert at_once(handle, b"1") is None
