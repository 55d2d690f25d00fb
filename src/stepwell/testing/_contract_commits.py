"""The driver contract: what a commit writes, and what it refuses."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stepwell.checkpoint.driver import (
    Busy,
    Claim,
    Committed,
    Failed,
    RunStatus,
    Source,
    Stale,
    ThreadStatus,
)
from stepwell.errors import StorageError
from stepwell.testing._contract_base import ContractBase, DriverFactory, settle
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    comparable,
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

HOSTILE_BODIES = (
    b"",
    b"\x00",
    b"a\x00b\x00",
    bytes(range(256)),
    b"\xff\xfe\xed\xa0\x80 not UTF-8",
    b"'; DROP TABLE thread; --",
    bytes(n * 7919 % 251 for n in range(300_000)),
)


class CommitContract(ContractBase):
    """Round trips, fences, retries, atomicity."""

    async def test_every_checkpoint_column_round_trips(self, driver_factory: DriverFactory) -> None:
        """What is read equals what was written, byte for byte, in every column."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        rows = [checkpoint(body) for body in HOSTILE_BODIES]
        rows += [
            checkpoint(metadata=b"", meta_index="{}"),
            checkpoint(metadata=b"\x00\xff", meta_index='{"k":"\u00e9\u4e2d\U0001f600"}'),
            checkpoint(step=-1, source=Source.INPUT, run=0, format=0, crc=0),
            checkpoint(step=2**31 - 1, source=Source.FORK, run=2**31 - 1),
            checkpoint(format=255, crc=2**32 - 1),
            checkpoint(checkpoint_id=bytes(16), key_id="key \u00fc"),
            checkpoint(checkpoint_id=b"\xff" * 16, key_id="k'\"%_\\"),
        ]  # fmt: skip
        sent = await alice.append(*rows)
        chain = await loaded(two, thread_key())
        assert [comparable(row) for row in chain.rows] == [
            comparable(row) for row in sent.checkpoints
        ]
        assert all(row.created_at is not None and row.created_at > 0 for row in chain.rows)

    async def test_every_pending_column_round_trips(self, driver_factory: DriverFactory) -> None:
        """A pending write comes back as written, in every column."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        rows = [pending(f"task-{n}", body) for n, body in enumerate(HOSTILE_BODIES)]
        rows += [
            pending("slots", idx=-1, channel="__error__", task_path="~a|b:c, \u00e9'\""),
            pending("slots", idx=-4, channel="__resume__", format=255, crc=2**32 - 1),
            pending("slots", idx=0, task_path="", channel="", key_id="k", crc=0),
        ]
        sent = await alice.append(checkpoint(), *rows)
        writes = (await loaded(two, thread_key())).writes
        assert [comparable(row) for row in writes] == [comparable(row) for row in sent.writes]

    async def test_record_no_and_heads_advance(self, driver_factory: DriverFactory) -> None:
        """Each commit moves record_no by its records and the heads it names, no others."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(), checkpoint(ns=1), namespaces=[(1, "sub")])
        row = await thread_row(driver, thread_key())
        assert (row.record_no, row.checkpoints) == (2, 2)
        assert dict(row.namespaces) == {0: ("", 1), 1: ("sub", 1)}
        await alice.append(checkpoint(ns=1), pending(ns=1), checkpoint(ns=1), pending())
        row = await thread_row(driver, thread_key())
        assert (row.record_no, row.checkpoints) == (6, 4)
        assert dict(row.namespaces) == {0: ("", 1), 1: ("sub", 3)}
        outcome = await alice.send(alice.slice(change=change(ThreadStatus.DONE)))
        assert outcome == Committed(7)
        row = await thread_row(driver, thread_key())
        assert (row.record_no, row.checkpoints, row.status) == (7, 4, ThreadStatus.DONE)

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
            piece = replace(piece, epoch=piece.epoch - 1)
        elif what == "epoch above":
            piece = replace(piece, epoch=piece.epoch + 1)
        elif what == "owner":
            piece = replace(piece, owner=BOB)
        elif what == "gap":
            piece = replace(piece, record_no=2, record_no_after=3)
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
        """Of a batch of good, stale, gone and good, the good ones are written."""
        driver = await driver_factory()
        names = ("a-good", "b-stale", "c-gone", "d-good")
        writers = [await take(driver, thread_key(name), ALICE) for name in names]
        batch = [
            writer.slice(checkpoint(name.encode()), pending(name))
            for writer, name in zip(writers, names, strict=True)
        ]
        await writers[1].release()
        bob = await take(driver, thread_key("b-stale"), BOB)
        assert await driver.delete(writers[2].held, ALICE)
        outcomes = await driver.commit(batch)
        assert outcomes[0] == Committed(2)
        assert isinstance(outcomes[1], Stale)
        assert outcomes[1].epoch == bob.epoch
        assert outcomes[2] == Stale(None)
        assert outcomes[3] == Committed(2)
        found = [bodies((await loaded(driver, thread_key(name))).rows) for name in names]
        assert found == [[b"a-good"], [], [], [b"d-good"]]

    async def test_a_deleted_thread_is_stale(self, driver_factory: DriverFactory) -> None:
        """A commit to a thread that is gone, or never was, is refused and creates nothing."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        piece = alice.slice(checkpoint())
        assert await driver.delete(alice.held, ALICE)
        assert await alice.send(piece) == Stale(None)
        assert await alice.send(replace(piece, key=thread_key("never"))) == Stale(None)
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
        first = replace(
            grown,
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

    async def test_a_pending_write_is_replaced(self, driver_factory: DriverFactory) -> None:
        """A newer write in the same slot of a task replaces the older one, others stay."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(), pending("a", b"old"), pending("b", b"b"))
        await alice.append(pending("a", b"error", idx=-1), pending("a", b"new", channel="c"))
        await alice.append(
            checkpoint(b"s", ns=1), pending("a", b"sub", ns=1), namespaces=[(1, "s")]
        )
        writes = (await loaded(driver, thread_key())).writes
        assert bodies(writes) == [b"b", b"error", b"new"]
        assert [(row.idx, row.channel, row.record_no) for row in writes] == [
            (0, None, 3),
            (-1, None, 4),
            (0, "c", 5),
        ]

    async def test_pending_writes_are_dropped(self, driver_factory: DriverFactory) -> None:
        """A barrier drops the writes it used up, and only those it names."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(), pending("root"))
        await alice.append(checkpoint(ns=1), pending("sub", ns=1), namespaces=[(1, "s")])
        await alice.append(checkpoint(), pending("next"), drop=[(0, 1)])
        assert list((await loaded(driver, thread_key(), seq=1)).writes) == []
        writes = (await loaded(driver, thread_key())).writes
        assert [(row.seq, row.task_path) for row in writes] == [(2, "next")]
        sub = await loaded(driver, thread_key(), ns_name="s")
        assert [row.task_path for row in sub.writes] == ["sub"]

    async def test_a_slice_drops_writes_of_its_own(self, driver_factory: DriverFactory) -> None:
        """Writes and the barrier that uses them up may share a slice: they are gone after."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(
            checkpoint(b"1"), pending("a"), checkpoint(b"2"), pending("b"), drop=[(0, 1), (0, 7)]
        )
        assert list((await loaded(driver, thread_key(), seq=1)).writes) == []
        assert [row.task_path for row in (await loaded(driver, thread_key())).writes] == ["b"]

    async def test_the_thread_row_is_described(self, driver_factory: DriverFactory) -> None:
        """A change writes every descriptive column; a slice without one leaves them all."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        full = change(
            ThreadStatus.INTERRUPTED, run=1, graph="g \u00e9", fingerprint="f'\"", state_version=7,
            next_nodes='["a","b|c"]', interrupts=3, error="ValueError('no')",
        )  # fmt: skip
        await alice.append(checkpoint(), change=full, runs=[run_row(1)])
        await alice.append(checkpoint())
        row = await thread_row(driver, thread_key())
        assert tuple(getattr(row, name) for name in full._fields) == tuple(full)
        bare = change(ThreadStatus.DONE, run=1)
        await alice.append(change=bare)
        row = await thread_row(driver, thread_key())
        assert tuple(getattr(row, name) for name in bare._fields) == tuple(bare)

    async def test_counters_and_times(self, driver_factory: DriverFactory) -> None:
        """`checkpoints` counts rows, `bytes` at least their bodies; a commit is an update."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        start = await thread_row(driver, thread_key())
        await self.pass_time(0.01)
        await alice.append(checkpoint(b"x" * 5000), checkpoint(b"y" * 3000))
        one = await thread_row(driver, thread_key())
        assert (one.checkpoints, one.created_at) == (2, start.created_at)
        assert 8000 <= one.bytes < 9000
        assert one.updated_at > start.updated_at
        assert start.created_at <= start.updated_at
        await alice.append(checkpoint(b"z" * 1000))
        two = await thread_row(driver, thread_key())
        assert two.checkpoints == 3
        assert 1000 <= two.bytes - one.bytes < 1500
        assert two.updated_at >= one.updated_at

    async def test_runs_are_inserted_and_updated(self, driver_factory: DriverFactory) -> None:
        """A run row is written again by its number; the database sets its times."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        full = run_row(
            1, run_id="id '\u00e9\"", attempts=2, supersteps=3, idempotency_key="k'%_", graph="g",
            metadata=b"\x00\xff", meta_index='{"a":"\u4e2d"}', input=b"\x00in", outcome=b"",
            error="e", first_parent=0,
        )  # fmt: skip
        await alice.append(checkpoint(run=1), runs=[full], change=change(run=1))
        [read] = await driver.runs(thread_key())
        assert comparable(read) == comparable(full)
        assert read.started_at is not None
        assert read.finished_at is None
        done = full._replace(
            status=RunStatus.DONE, attempts=3, supersteps=9, outcome=b"\xffout", error=None,
            first_parent=5,
        )  # fmt: skip
        await alice.append(checkpoint(run=2), runs=[done, run_row(2)], change=change(run=2))
        newest, oldest = await driver.runs(thread_key())
        assert comparable(oldest) == comparable(done)
        assert oldest.started_at == read.started_at
        assert oldest.finished_at is not None
        assert comparable(newest) == comparable(run_row(2))
        row = await thread_row(driver, thread_key())
        assert (row.runs, row.run) == (2, 2)

    async def test_an_idempotency_key_is_unique_in_its_thread(
        self, driver_factory: DriverFactory
    ) -> None:
        """Two runs of a thread cannot share a key; runs of two threads, or without, can."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        other = await take(driver, thread_key("other"), ALICE)
        await alice.append(runs=[run_row(1, idempotency_key="k")])
        await other.append(runs=[run_row(1, idempotency_key="k")])
        twice = alice.slice(checkpoint(), runs=[run_row(2, idempotency_key="k")])
        [outcome] = await settle(driver, [twice])
        assert isinstance(outcome, Failed)
        assert len(await driver.runs(thread_key())) == 1
        assert list((await loaded(driver, thread_key())).rows) == []
        await alice.append(runs=[run_row(2, idempotency_key="k2"), run_row(3), run_row(4)])
        assert len(await driver.runs(thread_key())) == 4

    async def test_two_runs_may_share_a_name(self, driver_factory: DriverFactory) -> None:
        """`run_id` is a mere name: it need not be unique, not even in a thread."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(runs=[run_row(1, run_id="same"), run_row(2, run_id="same")])
        assert [run.run_id for run in await driver.runs(thread_key())] == ["same", "same"]

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

    async def test_a_wide_batch_is_one_commit(self, driver_factory: DriverFactory) -> None:
        """Sixty threads in one batch are written, answered in order, and kept apart."""
        driver = await driver_factory()
        keys = [thread_key(f"t{n * 37 % 60}") for n in range(60)]
        writers = [await take(driver, key, ALICE) for key in keys]
        for turn in (1, 2):
            batch = [
                writer.slice(checkpoint(f"{writer.key.thread_id}-{turn}".encode()))
                for writer in writers
            ]
            assert await driver.commit(batch) == [Committed(turn)] * 60
            for writer, piece in zip(writers, batch, strict=True):
                writer.advance(piece)
        for key in keys[::13]:
            name = key.thread_id.encode()
            assert bodies((await loaded(driver, key)).rows) == [name + b"-1", name + b"-2"]

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
        assert isinstance(await contest(driver, thread_key(), ALICE), Claim)
