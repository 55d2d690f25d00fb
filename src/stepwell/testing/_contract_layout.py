"""The driver contract: rows and segments in the place of others."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from stepwell.checkpoint.driver import Committed, Driver, Known, Layout, Relayout, SegmentRow
from stepwell.errors import StorageError
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    Writer,
    bodies,
    checkpoint,
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


def segment(low: int, high: int, parent: int | None = None, **fields: Any) -> SegmentRow:
    """A segment with a body and a detail of its own; bytes that no text is."""
    body = b"\xff%d-%d\x00" % (low, high)
    row = SegmentRow(0, low, high, parent, 1, zlib.crc32(body), body, b"detail of " + body)
    return row._replace(**fields)


def bare(row: SegmentRow) -> tuple[Any, ...]:
    """A segment but for its detail, which a load may leave out."""
    return tuple(row._replace(detail=b""))


async def change(driver: Driver, **fields: Any) -> Relayout:
    """A change of the root namespace of the thread as it is stored now."""
    layout_no = (await thread_row(driver, thread_key())).layout_no
    return Relayout(thread_key(), 0, layout_no)._replace(**fields)


async def fold(driver: Driver, row: SegmentRow) -> None:
    """Put a segment in the place of its rows."""
    seqs_gone = range(row.seq_from, row.seq_to + 1)
    assert await driver.write_segments(await change(driver, rows_gone=seqs_gone, segments=[row]))


async def line(driver: Driver, count: int, **parents: int) -> Writer:
    """A thread of Alice's with `count` checkpoints b"1", b"2", ... `parents`: by "s<seq>"."""
    alice = await take(driver, thread_key(), ALICE)
    for seq in range(1, count + 1):
        await alice.append(checkpoint(b"%d" % seq, parent=parents.get(f"s{seq}")))
    return alice


def shape(layout: Layout) -> tuple[list[tuple[int, int | None]], list[tuple[int, int, int | None]]]:
    """Rows and segments of a layout, without their sizes."""
    return [row[:2] for row in layout.rows], [row[:3] for row in layout.segments]


class LayoutContract(ContractBase):
    """Folding, pruning, their fences, and what is read beside them."""

    async def test_a_segment_takes_the_place_of_its_rows(
        self, driver_factory: DriverFactory
    ) -> None:
        """Loads, histories, heads and counters afterwards; rows that are left stay as they are;
        detail comes with the checkpoint asked for and with histories."""
        driver = await driver_factory()
        alice = await line(driver, 6)
        before = await thread_row(driver, thread_key())
        folded = segment(2, 4, run_from=1, run_to=1)
        assert await driver.write_segments(
            await change(driver, rows_gone=[2, 3, 4], segments=[folded], checkpoints=-1, bytes=100)
        )
        answer = await loaded(driver, thread_key())
        assert [bare(s) for s in answer.segments] == [bare(folded)]
        assert bodies(answer.rows) == [b"1", b"5", b"6"]
        assert list((await loaded(driver, thread_key(), seq=4)).segments) == [folded]
        assert list((await loaded(driver, thread_key(), seq=3)).segments) == [folded]
        page = await driver.history(thread_key(), "", None)
        assert (list(page.segments), seqs(page.rows)) == ([folded], [1, 5, 6])
        after = await thread_row(driver, thread_key())
        assert after.layout_no == before.layout_no + 1
        assert (after.checkpoints, after.bytes) == (before.checkpoints - 1, before.bytes + 100)
        assert (after.record_no, after.epoch, after.updated_at, after.namespaces) == (
            before.record_no, before.epoch, before.updated_at, before.namespaces,
        )  # fmt: skip
        await alice.append(checkpoint(b"7"))
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1", b"5", b"6", b"7"]

    async def test_a_layout_says_where_everything_is(self, driver_factory: DriverFactory) -> None:
        """Seqs, parents, and sizes of bodies, metadata and detail; nothing of unknown threads."""
        driver = await driver_factory()
        assert (await driver.layout(thread_key(), "")).thread is None
        alice = await line(driver, 4, s4=2)
        await alice.append(checkpoint(b"five", metadata=b"{}"), checkpoint(b"n"))
        await alice.append(checkpoint(b"inner", ns=1), namespaces=[(1, "inner")])
        folded = segment(1, 3)
        await fold(driver, folded)
        layout = await driver.layout(thread_key(), "")
        assert shape(layout) == ([(4, 2), (5, None), (6, None)], [(1, 3, None)])
        assert [row.bytes for row in layout.rows] == [1, 6, 1]
        assert [row.bytes for row in layout.segments] == [len(folded.body) + len(folded.detail)]
        assert layout.thread is not None
        inner = await driver.layout(thread_key(), "inner")
        assert (inner.ns, shape(inner)) == (1, ([(1, None)], []))
        assert shape(await driver.layout(thread_key(), "none")) == ([], [])

    async def test_of_two_layouts_one_comes_first(self, driver_factory: DriverFactory) -> None:
        """Who read the layout before it was changed changes nothing."""
        first, second = await self.drivers(driver_factory, 2)
        await line(first, 6)
        late = await change(second, rows_gone=[4, 5], segments=[segment(4, 5)])
        await fold(first, segment(1, 3))
        assert not await second.write_segments(late)
        assert shape(await second.layout(thread_key(), ""))[1] == [(1, 3, None)]
        rivals = [
            driver.write_segments(
                await change(first, rows_gone=[4, 5], segments=[segment(4, 5, crc=n)])
            )
            for n, driver in enumerate([first, second, first, second])
        ]
        assert sorted(await asyncio.gather(*rivals)) == [False, False, False, True]
        assert not await first.write_segments(Relayout(thread_key("other"), 0, 1))

    @pytest.mark.parametrize("missing", ["row", "segment"])
    async def test_what_is_to_go_must_be_there(
        self, driver_factory: DriverFactory, missing: str
    ) -> None:
        """Else nothing happens at all: rows would go, or come twice."""
        driver = await driver_factory()
        await line(driver, 6)
        await fold(driver, segment(1, 2))
        before = await thread_row(driver, thread_key())
        gone = [3, 4, 9] if missing == "row" else [3, 4]
        wrong = await change(
            driver,
            rows_gone=gone,
            segments_gone=[1] if missing == "row" else [2],
            segments=[segment(3, 4)],
            checkpoints=-5,
        )
        with pytest.raises(StorageError):
            await driver.write_segments(wrong)
        layout = await driver.layout(thread_key(), "")
        assert shape(layout) == ([(3, None), (4, None), (5, None), (6, None)], [(1, 2, None)])
        after = await thread_row(driver, thread_key())
        assert (after.checkpoints, after.layout_no) == (before.checkpoints, before.layout_no)

    async def test_segments_make_room_for_others(self, driver_factory: DriverFactory) -> None:
        """Two become one in the place of the first; a segment becomes rows again, with their
        times; in the place of a row comes another."""
        driver = await driver_factory()
        await line(driver, 6)
        page = await driver.history(thread_key(), "", None)
        await fold(driver, segment(1, 2))
        await fold(driver, segment(3, 4))
        merged = segment(1, 4, body=b"merged")
        assert await driver.write_segments(
            await change(driver, segments_gone=[1, 3], segments=[merged])
        )
        assert list((await driver.history(thread_key(), "", None)).segments) == [merged]
        other = page.rows[4]._replace(body=b"other", parent=0, metadata=b"\x00\xff")
        assert await driver.write_segments(
            await change(driver, segments_gone=[1], rows_gone=[5], rows=[*page.rows[:4], other])
        )
        read = await driver.history(thread_key(), "", None)
        assert list(read.rows) == [*page.rows[:4], other, page.rows[5]]
        assert bodies((await loaded(driver, thread_key())).rows) == [b"other", b"6"]

    async def test_a_pruned_chain_begins_where_it_is_rebased(
        self, driver_factory: DriverFactory
    ) -> None:
        """Rows before it are gone; those that are not there have no chain and no writes."""
        driver = await driver_factory()
        alice = await line(driver, 4)
        await alice.append(pending("t4"))
        await alice.append(checkpoint(b"5"), pending("t5"))
        page = await driver.history(thread_key(), "", None)
        rebased = page.rows[2]._replace(parent=0, body=b"all of 3")
        pruned = await change(
            driver, rows_gone=[1, 2, 3, 4], rows=[rebased], writes_gone=[4], checkpoints=-3
        )
        assert await driver.prune(alice.held, ALICE, pruned)
        for seq in (1, 2, 4):
            answer = await loaded(driver, thread_key(), seq=seq)
            assert not [*answer.rows, *answer.segments, *answer.writes]
            assert answer.thread is not None
        assert bodies((await loaded(driver, thread_key(), seq=3)).rows) == [b"all of 3"]
        page = await driver.history(thread_key(), "", None)
        assert seqs(page.rows) == [3, 5]
        assert [row.task_path for row in page.writes] == ["t5"]
        piece = alice.slice(checkpoint(b"6"))
        assert isinstance(await alice.send(piece), Committed)

    async def test_a_prune_is_fenced(self, driver_factory: DriverFactory) -> None:
        """A worker that lost its claim prunes nothing, nor does one with another's epoch."""
        driver = await driver_factory()
        alice = await line(driver, 3)
        pruned = await change(driver, rows_gone=[1, 2, 3], rows=[])
        assert not await driver.prune(alice.held, BOB, pruned)
        await alice.release()
        assert not await driver.prune(alice.held, ALICE, pruned)
        bob = await take(driver, thread_key(), BOB)
        assert not await driver.prune(alice.held, ALICE, pruned)
        assert not await driver.prune(bob.held._replace(epoch=alice.epoch), BOB, pruned)
        assert not await driver.prune(alice.held._replace(epoch=bob.epoch), ALICE, pruned)
        assert seqs((await loaded(driver, thread_key())).rows) == [1, 2, 3]
        assert await driver.prune(bob.held, BOB, pruned)
        assert seqs((await loaded(driver, thread_key())).rows) == []

    @pytest.mark.parametrize("since", ["nothing", "claim", "record", "layout", "another thread"])
    async def test_a_claim_leaves_out_only_what_is_known(
        self, driver_factory: DriverFactory, since: str
    ) -> None:
        """Whoever knows the newest state may be shown its row alone: if nothing came since."""
        driver, fresh_no = await driver_factory(), 1000
        alice = await take(driver, thread_key(), ALICE, fresh_no=fresh_no)
        await alice.append(*(checkpoint(b"%d" % seq, run=1) for seq in (1, 2)), runs=[run_row(1)])
        await alice.append(checkpoint(b"3", run=1), pending("left"), let_go=True)
        row = await thread_row(driver, thread_key())
        known = Known(row.uid, row.epoch, row.record_no, row.layout_no, 3)
        if since == "layout":
            await fold(driver, segment(1, 2))
        elif since == "claim":
            await (await take(driver, thread_key(), BOB)).release()
        elif since == "record":
            await (await take(driver, thread_key(), BOB)).append(checkpoint(b"4"), let_go=True)
        elif since == "another thread":  # of the same numbers
            bob = await take(driver, thread_key(), BOB)
            assert await driver.delete(bob.held, BOB)
            bob = await take(driver, thread_key(), BOB, fresh_no=fresh_no)
            await bob.append(*(checkpoint(b"%d" % seq) for seq in (5, 6, 7)))
            await bob.append(pending("left"), let_go=True)
        claimed = (await take(driver, thread_key(), ALICE, known=known)).claim.loaded
        whole = await loaded(driver, thread_key())
        if claimed.newest_only:
            assert since == "nothing"
            assert [row[:15] for row in claimed.rows] == [row[:15] for row in whole.rows[-1:]]
            assert list(claimed.segments) == []
        else:
            assert bodies(claimed.rows) == bodies(whole.rows)
            assert [bare(row) for row in claimed.segments] == [bare(row) for row in whole.segments]
        assert [row.task_path for row in claimed.writes] == ["left"] * (since != "record")
        assert (claimed.ns, claimed.runs) == (0, whole.runs)
        assert claimed.thread is not None
        assert whole.thread is not None
        assert claimed.thread._replace(lease_left_s=None) == whole.thread._replace(
            lease_left_s=None
        )

    async def test_a_history_begins_where_it_is_asked_to(
        self, driver_factory: DriverFactory
    ) -> None:
        """`since` and `upto` bound rows, segments that hold one of the range, and writes."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        for seq in range(1, 9):
            await alice.append(
                checkpoint(b"%d" % seq, run=seq), pending(f"t{seq}"), runs=[run_row(seq)]
            )
        low, high = segment(1, 2, run_from=1, run_to=2), segment(3, 5, run_from=3, run_to=5)
        await fold(driver, low)
        await fold(driver, high)
        page = await driver.history(thread_key(), "", 7, since=4)
        assert (list(page.segments), seqs(page.rows)) == ([high], [6, 7])
        assert [row.task_path for row in page.writes] == ["t4", "t5", "t6", "t7"]
        assert set(page.runs) >= {3, 4, 5, 6, 7}
        page = await driver.history(thread_key(), "", 2)
        assert (list(page.segments), seqs(page.rows)) == ([low], [])
        assert set(page.runs) >= {1, 2}
        assert set((await loaded(driver, thread_key(), seq=4)).runs) >= {3, 4, 5}
        assert set((await loaded(driver, thread_key())).runs) >= {6, 7, 8}

    async def test_a_fold_and_its_readers_do_not_meet(self, driver_factory: DriverFactory) -> None:
        """While rows are folded one stretch after the other and new ones are appended, every
        load and every history shows each checkpoint once."""
        first, second = await self.drivers(driver_factory, 2)
        alice = await line(first, 30)

        async def write() -> None:
            for low in range(1, 25, 4):
                await alice.append(checkpoint(b"more"))
                await fold(first, segment(low, low + 3))
            await first.write_segments(
                await change(first, segments_gone=range(1, 25, 4), segments=[segment(1, 24)])
            )

        writing = asyncio.ensure_future(write())
        while not writing.done():
            head = (await thread_row(second, thread_key())).namespaces[0][1]
            answer = await loaded(second, thread_key())
            page = await second.history(thread_key(), "", None)
            for read in (answer, page):
                shown = seqs(read.rows)
                for row in read.segments:
                    shown += range(row.seq_from, row.seq_to + 1)
                assert sorted(shown) == list(range(1, len(shown) + 1))
                assert len(shown) >= head
            await asyncio.sleep(0)
        await writing
        assert shape(await second.layout(thread_key(), ""))[1] == [(1, 24, None)]

    async def test_a_ttl_is_kept(self, driver_factory: DriverFactory) -> None:
        """It is set and taken away; that is no update; unknown threads have none."""
        driver = await driver_factory()
        await line(driver, 1)
        before = await thread_row(driver, thread_key())
        assert await driver.set_ttl(thread_key(), 12.5)
        after = await thread_row(driver, thread_key())
        assert (before.ttl_s, after.ttl_s, after.updated_at) == (None, 12.5, before.updated_at)
        assert await driver.set_ttl(thread_key(), None)
        assert (await thread_row(driver, thread_key())).ttl_s is None
        assert not await driver.set_ttl(thread_key("other"), 1.0)

    async def test_space_is_given_back_beside_a_writer(self, driver_factory: DriverFactory) -> None:
        """Reclaiming changes no row, and says how many bytes it gave back."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        for _ in range(20):
            await alice.append(checkpoint(b"x" * 20_000))
        await fold(driver, segment(1, 19))
        assert await driver.reclaim() >= 0
        await alice.append(checkpoint(b"after"))
        assert seqs((await loaded(driver, thread_key())).rows) == [20, 21]
