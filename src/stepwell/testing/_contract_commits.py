"""The driver contract: what a commit refuses, and what a retry finds."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from stepwell.checkpoint.driver import (
    Busy,
    Claim,
    Committed,
    Failed,
    RunStatus,
    Stale,
    ThreadStatus,
)
from stepwell.errors import StorageError, StorageUnavailableError
from stepwell.testing._contract_base import ContractBase, DriverFactory, settle
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    claim_request,
    contest,
    loaded,
    pending,
    run_row,
    seqs,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")


async def _cancelled(call: Coroutine[Any, Any, object], turns: int) -> None:
    """Start `call`, cancel it after `turns` turns of the loop, wait until it has ended."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except (asyncio.CancelledError, StorageUnavailableError):
        # Either is honest: the call was cancelled, or its connection went with it.
        return


class CommitContract(ContractBase):
    """Fences, retries, atomicity, batches."""

    async def test_a_zombie_is_refused(self, driver_factory: DriverFactory) -> None:
        """A claims and freezes, B takes over and writes: A's late commit writes nothing."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        alice.lease_ttl_s = self.short_lease_s
        await alice.append(checkpoint(b"alice 1"))
        await self.outlive_lease()
        bob = await take(two, thread_key(), BOB)
        late = alice.slice(
            checkpoint(b"late"), pending("late"), checkpoint(b"late sub", ns=1),
            namespaces=[(1, "late")], runs=[run_row(1)], drop=[(0, 1)],
            change=change(ThreadStatus.FAILED, error="late"), let_go=True,
        )  # fmt: skip
        first = await alice.send(late)
        assert isinstance(first, Stale)
        assert (first.epoch, first.owner) == (bob.epoch, BOB)
        await bob.append(checkpoint(b"bob 2"), pending("bob"))
        second = await alice.send(late)
        assert isinstance(second, Stale)
        assert second.epoch == bob.epoch
        chain = await loaded(one, thread_key())
        assert bodies(chain.rows) == [b"alice 1", b"bob 2"]
        assert [row.task_path for row in chain.writes] == ["bob"]
        row = await thread_row(one, thread_key())
        assert (row.owner, row.status, row.error, row.runs) == (BOB, ThreadStatus.IDLE, None, 0)
        assert dict(row.namespaces) == {0: ("", 2)}
        assert await one.runs(thread_key()) == []

    @pytest.mark.parametrize("what", ["epoch below", "epoch above", "owner", "gap", "free"])
    async def test_the_fence_compares_every_part(
        self, driver_factory: DriverFactory, what: str
    ) -> None:
        """Epoch, owner and record_no must all be the row's; else the slice is stale."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))
        piece = alice.slice(checkpoint(b"2"))
        if what == "epoch below":
            piece = piece._replace(epoch=piece.epoch - 1)
        elif what == "epoch above":
            piece = piece._replace(epoch=piece.epoch + 1)
        elif what == "owner":
            piece = piece._replace(owner=BOB)
        elif what == "gap":
            piece = piece._replace(record_no=2, record_no_after=3)
        else:
            await alice.release()
        before = await thread_row(driver, thread_key())
        outcome = await alice.send(piece)
        assert isinstance(outcome, Stale)
        assert outcome.epoch == alice.epoch
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1"]
        after = await thread_row(driver, thread_key())
        assert (after.record_no, after.beat, after.owner) == (1, before.beat, before.owner)

    async def test_an_expired_lease_nobody_took_still_writes(
        self, driver_factory: DriverFactory
    ) -> None:
        """Time decides nothing: as long as nobody claimed the thread, its owner commits."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        await self.outlive_lease()
        await alice.append(checkpoint())
        assert isinstance(await contest(driver, thread_key(), BOB), Busy)

    async def test_a_stale_slice_harms_no_other(self, driver_factory: DriverFactory) -> None:
        """Of a batch of stale, good, gone and good, the good ones are written."""
        driver = await driver_factory()
        names = ("z-stale", "a-good", "m-gone", "b-good")
        writers = [await take(driver, thread_key(name), ALICE) for name in names]
        batch = [
            writer.slice(checkpoint(name.encode()), pending(name))
            for writer, name in zip(writers, names, strict=True)
        ]
        await writers[0].release()
        bob = await take(driver, thread_key("z-stale"), BOB)
        assert await driver.delete(writers[2].held, ALICE)
        outcomes = await driver.commit(batch)
        assert isinstance(outcomes[0], Stale)
        assert outcomes[0].epoch == bob.epoch
        assert outcomes[1:] == [Committed(2), Stale(None), Committed(2)]
        found = [bodies((await loaded(driver, thread_key(name))).rows) for name in names]
        assert found == [[], [b"a-good"], [], [b"b-good"]]

    async def test_a_deleted_thread_is_stale(self, driver_factory: DriverFactory) -> None:
        """A commit to a thread that is gone, or never was, is refused and creates nothing."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        piece = alice.slice(checkpoint())
        assert await driver.delete(alice.held, ALICE)
        assert await alice.send(piece) == Stale(None)
        assert await alice.send(piece._replace(key=thread_key("never"))) == Stale(None)
        assert (await loaded(driver, thread_key())).thread is None
        assert (await loaded(driver, thread_key("never"))).thread is None

    async def test_the_same_slice_twice_is_written_once(
        self, driver_factory: DriverFactory
    ) -> None:
        """A retry of a slice that landed says so and writes nothing a second time."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        sent = await alice.append(
            checkpoint(b"1" * 100), pending(), runs=[run_row(1)], change=change(run=1)
        )
        before = await thread_row(driver, thread_key())
        outcome = await alice.send(sent)
        assert isinstance(outcome, Committed)
        assert (outcome.record_no, outcome.landed) == (2, True)
        after = await thread_row(driver, thread_key())
        assert (after.record_no, after.checkpoints, after.bytes, after.runs) == (
            before.record_no, before.checkpoints, before.bytes, before.runs,
        )  # fmt: skip
        await alice.append(checkpoint(b"2"))
        late = await alice.send(sent)
        assert isinstance(late, Committed)
        assert late.landed
        assert late.record_no >= sent.record_no_after
        chain = await loaded(driver, thread_key())
        assert bodies(chain.rows) == [b"1" * 100, b"2"]
        assert list(chain.writes) == []

    async def test_a_slice_that_grew_is_completed(self, driver_factory: DriverFactory) -> None:
        """If the first attempt landed and the retry holds more, the outcome says how far."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"0"))
        grown = alice.slice(checkpoint(b"1"), pending("t"), checkpoint(b"2"), drop=[(0, 2)])
        first = grown._replace(
            checkpoints=grown.checkpoints[:1],
            record_no_after=grown.record_no + 2,
            heads={0: 2},
            drop_writes=(),
        )
        assert await alice.send(first) == Committed(3)
        outcome = await alice.send(grown)
        assert isinstance(outcome, Committed)
        assert (outcome.record_no, outcome.landed) == (3, True)
        assert bodies((await loaded(driver, thread_key())).rows) == [b"0", b"1"]
        alice.advance(first)
        rest = await alice.append(checkpoint(b"2"), drop=[(0, 2)])
        assert rest.record_no_after == grown.record_no_after
        chain = await loaded(driver, thread_key())
        assert bodies(chain.rows) == [b"0", b"1", b"2"]
        assert list((await loaded(driver, thread_key(), seq=2)).writes) == []

    async def test_letting_go_frees_the_thread(self, driver_factory: DriverFactory) -> None:
        """A commit may give the claim back; its retry has landed; the next claim is higher."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        piece = alice.slice(checkpoint(), change=change(ThreadStatus.DONE), let_go=True)
        assert await alice.send(piece) == Committed(1)
        row = await thread_row(two, thread_key())
        assert (row.owner, row.lock_key, row.lease_left_s) == (None, None, None)
        again = await alice.send(piece)
        assert isinstance(again, Committed)
        assert (again.record_no, again.landed) == (1, True)
        await one.unlock([alice.held])
        bob = await take(two, thread_key(), BOB)
        assert bob.epoch > alice.epoch
        assert not bob.claim.taken_over
        assert isinstance(await alice.send(piece), Stale)

    async def test_a_duplicate_seq_fails_its_thread_only(
        self, driver_factory: DriverFactory
    ) -> None:
        """A slice that breaks an invariant fails alone; the others of its batch are written."""
        driver = await driver_factory()
        writers = [await take(driver, thread_key(f"t{n}"), ALICE) for n in range(5)]
        for writer in writers:
            await writer.append(checkpoint(b"1"))
        batch = [
            writer.slice(checkpoint(b"2", seq=1) if n == 2 else checkpoint(b"2"))
            for n, writer in enumerate(writers)
        ]
        outcomes = await settle(driver, batch)
        poisoned = outcomes.pop(2)
        assert isinstance(poisoned, Failed)
        assert isinstance(poisoned.error, StorageError)
        assert not poisoned.error.retryable
        for outcome in outcomes:
            assert isinstance(outcome, Committed)
        found = [bodies((await loaded(driver, writer.key)).rows) for writer in writers]
        assert found == [[b"1", b"2"], [b"1", b"2"], [b"1"], [b"1", b"2"], [b"1", b"2"]]

    async def test_a_slice_is_written_whole_or_not(self, driver_factory: DriverFactory) -> None:
        """A slice that fails leaves nothing behind, and its thread can go on after it."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"), pending("kept"), runs=[run_row(1)])
        before = await thread_row(driver, thread_key())
        poison = alice.slice(
            checkpoint(b"s", ns=1), checkpoint(b"2"), pending("lost"), checkpoint(b"dup", seq=1),
            namespaces=[(1, "lost")], drop=[(0, 1)], let_go=True,
            runs=[run_row(1, status=RunStatus.DONE), run_row(2)],
            change=change(ThreadStatus.DONE, run=2, graph="lost"),
        )  # fmt: skip
        [outcome] = await settle(driver, [poison])
        assert isinstance(outcome, Failed)
        after = await thread_row(driver, thread_key())
        assert after._replace(lease_left_s=None, beat=0) == before._replace(
            lease_left_s=None, beat=0
        )
        chain = await loaded(driver, thread_key())
        assert bodies(chain.rows) == [b"1"]
        assert [row.task_path for row in chain.writes] == ["kept"]
        [run] = await driver.runs(thread_key())
        assert run.status == RunStatus.RUNNING
        await alice.append(checkpoint(b"2"))
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1", b"2"]

    async def test_landed_knows_a_record_by_number_and_epoch(
        self, driver_factory: DriverFactory
    ) -> None:
        """After an unknown outcome a record is found, also behind a takeover."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        await alice.append(checkpoint())
        await alice.append(checkpoint(), pending("t"))
        for record_no in (1, 2, 3):
            assert await two.landed(thread_key(), record_no, alice.epoch)
            assert not await two.landed(thread_key(), record_no, alice.epoch + 1)
        assert not await two.landed(thread_key(), 4, alice.epoch)
        assert not await two.landed(thread_key("other"), 1, alice.epoch)
        await alice.release()
        bob = await take(two, thread_key(), BOB)
        await bob.append(checkpoint())
        assert await one.landed(thread_key(), 2, alice.epoch)
        assert await one.landed(thread_key(), 4, bob.epoch)
        assert not await one.landed(thread_key(), 2, bob.epoch)
        assert not await one.landed(thread_key(), 4, alice.epoch)

    async def test_a_status_without_rows_is_known_to_have_landed(
        self, driver_factory: DriverFactory
    ) -> None:
        """The last record of a run is often a status alone: behind the next claim it is
        still known whose it was, and that what lies above was never written."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        await alice.append(checkpoint())
        await alice.append(change=change(ThreadStatus.DONE))
        await alice.release()
        bob = await take(two, thread_key(), BOB)
        assert await two.landed(thread_key(), alice.record_no, alice.epoch)
        assert not await two.landed(thread_key(), alice.record_no + 1, alice.epoch)
        assert not await two.landed(thread_key(), alice.record_no, bob.epoch)
        await bob.append(change=change(ThreadStatus.RUNNING))
        assert await two.landed(thread_key(), bob.record_no, bob.epoch)
        assert not await two.landed(thread_key(), bob.record_no, alice.epoch)

    async def test_a_cancelled_commit_leaves_all_or_nothing(
        self, driver_factory: DriverFactory
    ) -> None:
        """Cancelled after any number of turns of the loop, a commit has landed or it has not;
        the worker claims anew, and nothing of the old epoch lands behind that claim."""
        one, two = await self.drivers(driver_factory, 2)
        for turns in range(12):
            alice = await take(one, thread_key(), ALICE)
            number = alice.record_no
            piece = alice.slice(checkpoint(), checkpoint(ns=1 + turns), namespaces=[
                (1 + turns, f"ns{turns}")
            ])  # fmt: skip
            await _cancelled(one.commit([piece]), turns)
            again = await take(one, thread_key(), ALICE)
            assert again.record_no in (number, number + 2)
            late = await again.send(piece)
            assert isinstance(late, Stale)
            chain = await loaded(two, thread_key())
            assert chain.thread is not None
            assert chain.thread.record_no == again.record_no
            assert len(chain.rows) * 2 == again.record_no
            assert len(chain.thread.namespaces) == 1 + len(chain.rows)
            await again.release()

    async def test_a_cancelled_claim_blocks_nobody(self, driver_factory: DriverFactory) -> None:
        """Cancelled after any number of turns, a claim was made or not: its worker can claim
        again and write, and can give the thread back to others."""
        one, two = await self.drivers(driver_factory, 2)
        for turns in range(12):
            await _cancelled(one.claim([claim_request(thread_key(), ALICE)]), turns)
            alice = await take(one, thread_key(), ALICE)
            await alice.append(checkpoint())
            await alice.release()
            await (await take(two, thread_key(), BOB)).append(checkpoint(), let_go=True)

    async def test_a_wide_batch_is_one_commit(self, driver_factory: DriverFactory) -> None:
        """Sixty threads in one batch are written, answered in order, and kept apart."""
        driver = await driver_factory()
        keys = [thread_key(f"t{n * 37 % 60}") for n in range(60)]
        writers = [await take(driver, key, ALICE) for key in keys]
        written: list[list[bytes]] = [[] for _ in keys]
        for turn in (1, 2):
            for n, writer in enumerate(writers):
                written[n] += [f"{writer.key.thread_id}-{turn}".encode()] * (1 + n % 3)
            batch = [
                writer.slice(*map(checkpoint, written[n][writer.record_no :]))
                for n, writer in enumerate(writers)
            ]
            outcomes = await driver.commit(batch)
            assert outcomes == [Committed(len(rows)) for rows in written]
            for writer, piece in zip(writers, batch, strict=True):
                writer.advance(piece)
        for n in range(0, 60, 7):
            assert bodies((await loaded(driver, keys[n])).rows) == written[n]

    async def test_commits_of_many_threads_at_once(self, driver_factory: DriverFactory) -> None:
        """Verbs may be called concurrently: every thread gets its own rows, in order."""
        drivers = await self.drivers(driver_factory, 2)

        async def write(number: int) -> None:
            writer = await take(drivers[number % 2], thread_key(f"t{number}"), worker(f"w{number}"))
            for n in range(4):
                await writer.append(checkpoint(b"%d.%d" % (number, n)), let_go=n == 3)

        await asyncio.gather(*(write(number) for number in range(8)))
        for number in range(8):
            chain = await loaded(drivers[0], thread_key(f"t{number}"))
            assert bodies(chain.rows) == [b"%d.%d" % (number, n) for n in range(4)]
            assert seqs(chain.rows) == [1, 2, 3, 4]

    async def test_empty_batches(self, driver_factory: DriverFactory) -> None:
        """A verb that is given nothing does nothing."""
        driver = await driver_factory()
        assert await driver.claim([]) == []
        assert await driver.commit([]) == []
        assert await driver.load([]) == []
        assert await driver.renew(ALICE, [], 30.0) == []
        await driver.release(ALICE, [])
        await driver.unlock([])
        await driver.want([])
        assert await driver.ask([]) == []
        assert isinstance(await contest(driver, thread_key(), ALICE), Claim)
