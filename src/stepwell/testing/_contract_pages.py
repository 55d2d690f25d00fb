"""The driver contract: pages of histories, with what their states are made of."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import pytest

from stepwell.checkpoint.driver import CheckpointRow, HistoryPage, SegmentRow
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._contract_layout import change as relayout
from stepwell.testing._contract_layout import fold, line, segment
from stepwell.testing._contract_reads import ALICE, fork_of_forks
from stepwell.testing._rows import (
    change,
    checkpoint,
    pending,
    run_row,
    seqs,
    take,
    thread_key,
)

PARENTS = {1: 0, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 3, 8: 0, 9: 8}
"""Of `fork_of_forks`."""


def stored(page: HistoryPage) -> dict[int, CheckpointRow | SegmentRow]:
    """The row or the segment that holds each checkpoint that came with a page."""
    found: dict[int, CheckpointRow | SegmentRow] = {row.seq: row for row in page.rows}
    for folded in page.segments:
        found |= dict.fromkeys(range(folded.seq_from, folded.seq_to + 1), folded)
    return found


def ancestors(seqs_of_page: list[int]) -> set[int]:
    """Everything that some checkpoints of `fork_of_forks` are made of."""
    found: set[int] = set()
    for seq in seqs_of_page:
        at = seq
        while at:
            found.add(at)
            at = PARENTS[at]
    return found


class PageContract(ContractBase):
    """Pages of histories."""

    @pytest.mark.parametrize(
        "folded",
        [
            [],
            [segment(1, 3)],
            [segment(1, 2), segment(4, 5, 2)],
            [segment(1, 3), segment(4, 5, 2), segment(8, 9, 0)],
        ],
        ids=["rows", "one segment", "two segments", "three segments"],
    )
    @pytest.mark.parametrize(
        ("upto", "limit", "expected"),
        [
            (None, 1, [9]),
            (None, 3, [7, 8, 9]),
            (None, 100, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
            (100, 2, [8, 9]),
            (7, 2, [6, 7]),
            (5, 1, [5]),
            (4, 1, [4]),
            (3, 2, [2, 3]),
            (2, 1, [2]),
            (1, 5, [1]),
        ],
    )
    async def test_a_page_comes_with_what_it_is_made_of(
        self,
        driver_factory: DriverFactory,
        folded: list[SegmentRow],
        upto: int | None,
        limit: int,
        expected: list[int],
    ) -> None:
        """The newest checkpoints up to a seq over all branches, all that they extend, and what
        extends them; the detail of segments that are not needed as a whole."""
        driver = await driver_factory()
        await fork_of_forks(driver)
        for row in folded:
            await fold(driver, row)
        page = await driver.page(thread_key(), "", upto, limit)
        assert (page.first, page.last) == (expected[0], expected[-1])
        found = stored(page)
        needed = ancestors(expected)
        children = {seq for seq, parent in PARENTS.items() if parent in expected}
        assert needed | children <= found.keys()
        assert seqs(page.rows) == sorted(seqs(page.rows))
        assert sorted(s.seq_from for s in page.segments) == [s.seq_from for s in page.segments]
        left = {PARENTS[seq] for seq in needed | children if PARENTS[seq] != seq - 1}
        for seq in (needed | children) & found.keys():
            holder = found[seq]
            if isinstance(holder, SegmentRow):
                single = seq in expected or seq in children or seq in left - {holder.seq_to}
                if single or holder.seq_to not in needed:
                    assert holder in folded, f"{seq} is needed with its detail"
                else:
                    assert holder._replace(detail=b"") in [r._replace(detail=b"") for r in folded]
        assert sorted(w.task_path for w in page.writes) == [f"t{seq}" for seq in expected]

    async def test_a_page_of_nothing_is_empty(self, driver_factory: DriverFactory) -> None:
        """No thread, no namespace, no checkpoint up to that seq."""
        driver = await driver_factory()
        assert (await driver.page(thread_key(), "", None, 10)).thread is None
        alice = await take(driver, thread_key(), ALICE)
        for ns_name, upto in (("", None), ("sub", None), ("", 0), ("", 7)):
            page = await driver.page(thread_key(), ns_name, upto, 10)
            assert page.thread is not None
            assert (page.first, page.last, list(page.rows), list(page.segments)) == (0, 0, [], [])
        await alice.append(checkpoint(), checkpoint(b"inner", ns=1), namespaces=[(1, "inner")])
        for ns_name, upto, last in (("", 0, 0), ("", 7, 1), ("inner", None, 1), ("none", None, 0)):
            page = await driver.page(thread_key(), ns_name, upto, 10)
            assert (page.first, page.last, len(page.rows)) == (last, last, last)

    async def test_a_page_leaps_over_gaps(self, driver_factory: DriverFactory) -> None:
        """Checkpoints that were pruned do not count; what a page lacks is not made up for."""
        driver = await driver_factory()
        alice = await line(driver, 8, s5=2, s7=0)
        await fold(driver, segment(1, 2))
        for limit, first in ((1, 8), (2, 7), (3, 6), (8, 1)):
            page = await driver.page(thread_key(), "", None, limit)
            assert (page.first, page.last) == (first, 8)
        gone = await relayout(driver, rows_gone=[3, 4, 6])
        assert await driver.prune(alice.held, ALICE, gone)
        for limit, first in ((2, 7), (3, 5), (4, 2), (5, 1), (9, 1)):
            page = await driver.page(thread_key(), "", None, limit)
            assert (page.first, page.last) == (first, 8)
        page = await driver.page(thread_key(), "", 6, 1)
        assert (page.first, page.last, seqs(page.rows)) == (5, 5, [5])
        assert [(s.seq_from, s.seq_to) for s in page.segments] == [(1, 2)]

    async def test_runs_come_with_a_page(self, driver_factory: DriverFactory) -> None:
        """Those that its rows name; and those of folded rows can be asked for."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        for run in (1, 2, 3):
            await alice.append(checkpoint(run=run), pending(f"t{run}"), runs=[run_row(run)])
        await alice.append(runs=[run_row(4)], change=change(run=4))
        page = await driver.page(thread_key(), "", None, 2)
        assert {2, 3} <= set(page.runs)
        await fold(driver, segment(1, 2, run_from=1, run_to=2))
        page = await driver.page(thread_key(), "", None, 3)
        assert {3, 4} <= set(page.runs)
        found = await driver.runs_numbered([(thread_key(), 1), (thread_key(), 2)])
        assert [run and run.run for run in found] == [1, 2]


__all__ = ["PageContract"]
