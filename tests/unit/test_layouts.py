"""What is folded and merged when: the number of rows that a newest state takes stays small,
however long a thread is, and so does the work."""

from __future__ import annotations

import pytest

from stepwell._journal.layouts import (
    EAGER,
    FOLD_BYTES,
    FOLD_ROWS,
    KEPT_ROWS,
    LAZY,
    MERGE_BYTES_MAX,
    next_part,
)
from stepwell.checkpoint.driver import Layout, RowPlace, SegmentPlace


class Namespace:
    """Rows and segments of one namespace, without what they hold."""

    def __init__(self, row_bytes: int, share: float) -> None:
        self.row_bytes = row_bytes
        self.share = share
        self.rows: list[RowPlace] = []
        self.segments: list[SegmentPlace] = []
        self.head = 0
        self.moved = 0

    def grow(self, count: int) -> None:
        """Append rows, each to the one before."""
        for _ in range(count):
            self.head += 1
            self.rows.append(RowPlace(self.head, None, self.row_bytes))

    def fold(self, limits) -> None:
        """Do all that is worth it."""
        while part := next_part(
            Layout(thread=None, rows=self.rows, segments=self.segments), self.head, limits
        ):
            inside = range(part.first, part.last + 1)
            self.moved += len(inside)
            gone = [s for s in self.segments if s.seq_from in inside]
            size = sum(s.bytes for s in gone)
            if not part.merges:
                size = int(self.share * self.row_bytes * len(inside))
            self.rows = [row for row in self.rows if row.seq not in inside]
            self.segments = [s for s in self.segments if s.seq_from not in inside]
            self.segments.append(SegmentPlace(part.first, part.last, None, size))
            self.segments.sort()


@pytest.mark.parametrize("row_bytes", [60, 300, 2_000, 70_000])
def test_a_thread_of_any_length_is_few_rows(row_bytes: int) -> None:
    """A hundred thousand small rows; or megabytes of large ones, of which there are more
    segments only as far as their bytes go. A row is written a few times, not once per fold."""
    space = Namespace(row_bytes, share=0.5)
    for _ in range(100_000 // 100 if row_bytes < 1000 else 100):
        space.grow(FOLD_ROWS)
        space.fold(LAZY)
        assert len(space.rows) < 2 * FOLD_ROWS + KEPT_ROWS
    stored = sum(s.bytes for s in space.segments)
    assert len(space.segments) <= 30 + stored / (MERGE_BYTES_MAX / 20)
    assert space.moved <= 5 * space.head
    ranges = [(s.seq_from, s.seq_to) for s in space.segments]
    ends = [0, *(last for _, last in ranges)]
    assert [first for first, _ in ranges] == [last + 1 for last in ends[:-1]]


def test_compacting_leaves_one_of_each_size() -> None:
    """What fits together becomes one; the newest rows stay rows."""
    space = Namespace(100, share=0.5)
    space.grow(1234)
    space.fold(EAGER)
    assert [row.seq for row in space.rows] == list(range(1234 - KEPT_ROWS + 1, 1235))
    assert len(space.segments) <= 2


def test_forks_and_gaps_are_not_folded_over() -> None:
    """A stretch ends where a row does not extend the one before."""
    rows = [RowPlace(seq, None, 10) for seq in range(1, 31)]
    rows += [RowPlace(31, 12, 10), *(RowPlace(seq, None, 10) for seq in range(32, 60))]
    rows += [RowPlace(seq, None, 10) for seq in range(70, 100)]
    layout = Layout(thread=None, rows=rows)
    left: set[int] = set()
    found = []
    while part := next_part(layout, 99, EAGER, left):
        found.append((part.first, part.last))
        left.add(part.first)
    assert found == [(1, 30), (31, 59), (70, 89)]


def test_large_rows_need_not_be_many() -> None:
    """Two of them are enough, if they are large; one is never folded."""
    rows = [RowPlace(seq, None, FOLD_BYTES) for seq in range(1, 4 + KEPT_ROWS)]
    part = next_part(Layout(thread=None, rows=rows), rows[-1].seq, LAZY)
    assert part is not None
    assert (part.first, part.last) == (1, 2)
    assert next_part(Layout(thread=None, rows=rows[2:]), rows[-1].seq, EAGER) is None


def test_only_neighbours_are_merged() -> None:
    """Not over a fork, and not over a hole."""
    segments = [SegmentPlace(1, 100, None, 500), SegmentPlace(101, 200, 50, 500)]
    assert next_part(Layout(thread=None, segments=segments), 300, EAGER) is None
    segments = [SegmentPlace(1, 100, None, 500), SegmentPlace(121, 200, None, 500)]
    assert next_part(Layout(thread=None, segments=segments), 300, EAGER) is None
    segments = [SegmentPlace(1, 100, None, 500), SegmentPlace(101, 200, None, 500)]
    part = next_part(Layout(thread=None, segments=segments), 300, EAGER)
    assert part is not None
    assert part.merges
