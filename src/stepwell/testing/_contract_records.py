"""The driver contract: what is written comes back as it was."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from stepwell.checkpoint.driver import (
    Committed,
    Failed,
    RunStatus,
    Source,
    ThreadStatus,
)
from stepwell.testing._contract_base import ContractBase, DriverFactory, settle
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    comparable,
    loaded,
    pending,
    run_row,
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


class RecordContract(ContractBase):
    """Checkpoints, pending writes, runs, the thread row."""

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
        await alice.append(
            checkpoint(), checkpoint(ns=1), checkpoint(ns=1), namespaces=[(1, "sub")]
        )
        row = await thread_row(driver, thread_key())
        assert (row.record_no, row.checkpoints) == (3, 3)
        assert dict(row.namespaces) == {0: ("", 1), 1: ("sub", 2)}
        await alice.append(checkpoint(ns=1), pending(ns=1), checkpoint(ns=1), pending())
        row = await thread_row(driver, thread_key())
        assert (row.record_no, row.checkpoints) == (7, 5)
        assert dict(row.namespaces) == {0: ("", 1), 1: ("sub", 4)}
        outcome = await alice.send(alice.slice(change=change(ThreadStatus.DONE)))
        assert outcome == Committed(8)
        row = await thread_row(driver, thread_key())
        assert (row.record_no, row.checkpoints, row.status) == (8, 5, ThreadStatus.DONE)

    async def test_a_namespace_may_be_empty(self, driver_factory: DriverFactory) -> None:
        """A namespace exists from the slice that names it, with head 0 until it is written."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(), namespaces=[(1, "a:1"), (2, "a:1|b:2")])
        row = await thread_row(driver, thread_key())
        assert dict(row.namespaces) == {0: ("", 1), 1: ("a:1", 0), 2: ("a:1|b:2", 0)}
        answer = await loaded(driver, thread_key(), ns_name="a:1|b:2")
        assert (answer.ns, list(answer.rows)) == (2, [])
        await alice.append(checkpoint(b"first", ns=2))
        answer = await loaded(driver, thread_key(), ns_name="a:1|b:2")
        assert bodies(answer.rows) == [b"first"]

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
