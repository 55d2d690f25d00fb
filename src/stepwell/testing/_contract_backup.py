"""The driver contract: reading a whole database in one state, and filling one."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias, cast

import pytest

from stepwell.checkpoint.driver import (
    BackupDriver,
    Capability,
    Claim,
    Driver,
    RowKind,
    SegmentRow,
    Snapshot,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    at_rest,
    place_of,
)
from stepwell.errors import StorageError
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._contract_layout import change as relayout
from stepwell.testing._rows import (
    Writer,
    bodies,
    change,
    checkpoint,
    contest,
    loaded,
    pending,
    run_row,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")
OTHER = ThreadKey("scope/€", "thread-1")


async def written(driver: Driver) -> Writer:
    """A thread with a row of every kind and odd texts; and one of another scope."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(
        *(checkpoint(b"%d" % seq, parent=2 if seq == 5 else None) for seq in range(1, 7)),
        checkpoint(b"inner", ns=1, metadata=b"\x00\xff", meta_index='{"k": "\u4e2d"}'),
        pending("one", b"\xff", channel="c\x00\ud800", task_path="p\x00"),
        pending("one", b"2", idx=-3),
        pending("two", b"3", ns=1),
        namespaces=[(1, "n\x00\udc80"), (2, "empty")],
        runs=[run_row(1, status=4, idempotency_key="k", graph="g\x00", error="e\ud800")],
        change=change(run=1, graph="g\x00", error="e\ud800", next_nodes='["n"]', interrupts=2),
    )
    await driver.set_ttl(thread_key(), 12.5)
    folded = SegmentRow(0, 1, 4, None, 1, 7, b"body\x00", b"detail", None, 1, 1)
    assert await driver.write_segments(
        await relayout(driver, rows_gone=[1, 2, 3, 4], segments=[folded])
    )
    bob = await take(driver, OTHER, BOB)
    await bob.append(checkpoint(b"other"))
    await bob.release()
    return alice


async def everything(snapshot: Snapshot) -> dict[ThreadKey, tuple[ThreadRow, dict[RowKind, Any]]]:
    """All rows by thread."""
    found = {}
    for row in await snapshot.threads(None, 100):
        kinds = {kind: (await snapshot.rows(kind, [row.key]))[0] for kind in RowKind}
        found[row.key] = (at_rest(row), kinds)
    return found


class BackupContract(ContractBase):
    """Snapshots, filling, and the mark of what is not whole."""

    async def test_a_snapshot_stays_as_it_was(self, driver_factory: DriverFactory) -> None:
        """It shows all scopes in order, and nothing of what comes after it has begun."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        alice = await written(driver)
        async with driver.snapshot() as snapshot:
            assert snapshot.note is None
            before = await everything(snapshot)
            await alice.append(checkpoint(b"later"), drop=[(0, 6)])
            await take(driver, thread_key("new"), BOB)
            assert await everything(snapshot) == before
            assert await snapshot.count() == 2
            assert await snapshot.named([thread_key("new"), OTHER]) == [
                None, *await snapshot.threads(thread_key(), 1)
            ]  # fmt: skip
        assert list(before) == [thread_key(), OTHER]
        kinds = before[thread_key()][1]
        assert {kind: len(rows) for kind, rows in kinds.items()} == {
            "namespaces": 2, "runs": 1, "checkpoints": 3, "writes": 3, "segments": 1,
        }  # fmt: skip
        async with driver.snapshot() as snapshot:
            assert await snapshot.count() == 3
            assert await snapshot.count(OTHER.scope) == 1
            assert [r.key for r in await snapshot.threads(None, 9, OTHER.scope)] == [OTHER]
            assert await everything(snapshot) != before

    async def test_pages_of_rows(self, driver_factory: DriverFactory) -> None:
        """Rows behind a place come in order; many threads are read at once."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        await written(driver)
        async with driver.snapshot() as snapshot:
            for kind in RowKind:
                [whole, _] = await snapshot.rows(kind, [thread_key(), OTHER])
                paged: list[Any] = []
                after = None
                while page := (
                    await snapshot.rows(kind, [thread_key()], after=after, limit=1)
                )[0]:  # fmt: skip
                    paged += page
                    after = place_of(kind, page[-1])
                assert paged == whole
                assert [place_of(kind, row) for row in whole] == sorted(
                    place_of(kind, row) for row in whole
                )

    async def test_threads_put_in_place_are_what_they_were(
        self, driver_factory: DriverFactory
    ) -> None:
        """Rows, states and counters; nobody owns the thread, and its next writer goes on."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        alice = await written(driver)
        async with driver.snapshot() as snapshot:
            before = await everything(snapshot)
        chain = await loaded(driver, thread_key())
        parts = [_part(row, kinds) for row, kinds in before.values()]
        await driver.restore((), [thread_key(), OTHER])
        async with driver.snapshot() as snapshot:
            assert await snapshot.count() == 0
        for _ in range(2):  # the second time, what is there goes first
            await driver.restore(parts)
            async with driver.snapshot() as snapshot:
                rows = await snapshot.threads(None, 9)
                assert [row.layout_no for row in rows] == [-1, -1]
        await driver.restore([ThreadPart(thread=part.thread, ends=True) for part in parts])
        async with driver.snapshot() as snapshot:
            assert await everything(snapshot) == before
        again = await loaded(driver, thread_key())
        assert (again.rows, again.segments, again.writes, again.runs) == (
            chain.rows, chain.segments, chain.writes, chain.runs
        )  # fmt: skip
        assert (await driver.keyed_run(thread_key(), "k")) is not None
        claim = await contest(driver, thread_key(), BOB)
        assert isinstance(claim, Claim)
        assert claim.epoch == alice.epoch + 1
        bob = Writer(driver, claim, BOB)
        await bob.append(checkpoint(b"7"))
        assert bodies((await loaded(driver, thread_key())).rows)[-1] == b"7"
        assert (await thread_row(driver, thread_key())).ttl_s == 12.5

    async def test_rows_get_other_bytes_where_they_are(self, driver_factory: DriverFactory) -> None:
        """Those of the part, whichever kind; nothing else moves but the layout."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        alice = await written(driver)
        before = await _everything_of(driver, thread_key())
        part = _resealed(*before)
        assert await driver.reseal(ALICE, [(alice.held, part)]) == [True]
        thread, rows = before[0], _with(before[1], part)
        after = await _everything_of(driver, thread_key())
        assert after[1] == rows
        assert after[0] == at_rest(thread)._replace(
            layout_no=thread.layout_no + 1, bytes=part.thread.bytes, error=part.thread.error
        )
        assert (await driver.keyed_run(thread_key(), "k")) is None
        assert (await driver.keyed_run(thread_key(), "k\x00\ud800")) is not None
        await alice.append(checkpoint(b"7"))  # its owner goes on
        assert bodies((await loaded(driver, thread_key())).rows)[-1] == b"7"

    async def test_who_does_not_hold_a_thread_seals_nothing(
        self, driver_factory: DriverFactory
    ) -> None:
        """Nor who has read another layout; the others of the call are done."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        alice = await written(driver)
        bob = await take(driver, OTHER, BOB)
        row, rows = await _everything_of(driver, thread_key())
        part = _resealed(row, rows)
        ours = _resealed(*await _everything_of(driver, OTHER))
        older = replace(part, thread=row._replace(layout_no=row.layout_no - 1))
        late = alice.held._replace(epoch=alice.epoch - 1)
        for claim, refused in ((late, part), (alice.held, older)):
            assert await driver.reseal(ALICE, [(claim, refused)]) == [False]
        assert await driver.reseal(BOB, [(alice.held, part), (bob.held, ours)]) == [False, True]
        assert await _everything_of(driver, thread_key()) == (row, rows)
        changed = await _everything_of(driver, OTHER)
        assert changed[1][RowKind.CHECKPOINTS][0].body == ours.checkpoints[0].body
        gone = replace(part, checkpoints=[part.checkpoints[0]._replace(seq=99)])
        with pytest.raises(StorageError):
            await driver.reseal(ALICE, [(alice.held, gone)])
        assert await _everything_of(driver, thread_key()) == (row, rows)

    async def test_rows_of_no_thread(self, driver_factory: DriverFactory) -> None:
        """They are counted by kind, and deleted if that is asked for; whole threads have none."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        await written(driver)
        async with driver.snapshot() as snapshot:
            before = await everything(snapshot)
        for remove in (False, True):
            assert await driver.strays(remove=remove) == {}
        if await self.orphan_rows(driver, thread_key()):
            strays = {kind: len(rows) for kind, rows in before.pop(thread_key())[1].items()}
            for remove in (False, True):
                assert await driver.strays(remove=remove) == strays
            assert await driver.strays() == {}
        async with driver.snapshot() as snapshot:
            assert await everything(snapshot) == before

    async def test_what_is_not_whole_says_so(self, driver_factory: DriverFactory) -> None:
        """The mark is found by whoever opens the database next, until it is taken away."""
        self.needs(Capability.ONLINE_BACKUP)
        driver = cast("BackupDriver", await driver_factory())
        assert driver.unfinished is None
        await driver.mark("first")
        await driver.mark("a note")
        other = cast("BackupDriver", await driver_factory())
        await other.migrate("check")
        assert other.unfinished == "a note"
        async with other.snapshot() as snapshot:
            assert snapshot.note == "a note"
        await driver.mark(None)
        await other.migrate("auto")
        assert other.unfinished is None


Rows: TypeAlias = dict[RowKind, Any]


async def _everything_of(driver: BackupDriver, key: ThreadKey) -> tuple[ThreadRow, Rows]:
    async with driver.snapshot() as snapshot:
        return (await everything(snapshot))[key]


def _resealed(row: ThreadRow, rows: Rows) -> ThreadPart:
    """A part that puts other bytes into the first row of each kind."""

    def first(kind: RowKind, **fields: Any) -> list[Any]:
        return [each._replace(**fields) for each in rows[kind][:1]]

    return ThreadPart(
        thread=row._replace(bytes=row.bytes + 7, error=None if row.error is None else "e\x00"),
        runs=first(
            RowKind.RUNS, metadata=b"\x00m", meta_index='{"k": 1}', input=b"i", outcome=b"o",
            error="other\ud800", idempotency_key="k\x00\ud800",
        ),
        checkpoints=first(
            RowKind.CHECKPOINTS, format=2, crc=5, body=b"\x00new", metadata=b"\xfe",
            meta_index='{"k": 2}', key_id="key\u4e2d",
        ),
        writes=first(RowKind.WRITES, format=2, crc=6, body=b"\x00w", key_id="key"),
        segments=first(
            RowKind.SEGMENTS, format=2, crc=8, body=b"\x00s", detail=b"\x00d", key_id="key"
        ),
    )  # fmt: skip


def _with(rows: Rows, part: ThreadPart) -> Rows:
    """Rows with those of a part in the place of the first ones."""
    return {
        kind: [*getattr(part, kind), *found[len(getattr(part, kind)) :]]
        for kind, found in rows.items()
    }


def _part(row: ThreadRow, kinds: dict[RowKind, Any]) -> ThreadPart:
    return ThreadPart(
        thread=row,
        begins=True,
        namespaces=kinds[RowKind.NAMESPACES],
        runs=kinds[RowKind.RUNS],
        checkpoints=kinds[RowKind.CHECKPOINTS],
        writes=kinds[RowKind.WRITES],
        segments=kinds[RowKind.SEGMENTS],
    )


__all__ = ["BackupContract"]
