"""What to fold and what to merge: decided from where rows and segments are, not what they hold.

The number of segments stays small because it grows like the digits of a number: ten neighbours
of one size become one of the next. How much one of them holds is bounded in bytes, since a
state in its middle needs all of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from stepwell.checkpoint.driver import Layout, RowPlace, SegmentPlace

FOLD_ROWS: Final = 100
"""Rows of a segment when it is first made, at most."""
FOLD_BYTES: Final = 64 << 10
"""Bytes from which a segment is large enough with fewer rows."""
MERGE_BYTES_MAX: Final = 1 << 20
"""Bytes of a segment made of others, at most."""
KEPT_ROWS: Final = 10
"""The newest rows of a namespace stay rows."""
_TEN: Final = 10


class Limits(NamedTuple):
    """When folding is worth it: from how many rows on, and how many segments make one."""

    rows: int
    fan_in: int


EAGER: Final = Limits(rows=8, fan_in=2)
"""For whoever asks for it."""
LAZY: Final = Limits(rows=64, fan_in=10)
"""For what goes on in the background."""


class Part(NamedTuple):
    """A linear stretch to be stored anew: rows to be folded, or segments to be merged."""

    first: int
    last: int
    merges: bool


def next_part(layout: Layout, head: int, limits: Limits, left: Collection[int] = ()) -> Part | None:
    """The oldest stretch that is worth folding; else segments to merge; None: all is well.

    Args:
        layout: Of one namespace.
        head: Its newest seq.
        limits: When it is worth it.
        left: Where stretches begin that have turned out to be of no use.
    """
    young = head - KEPT_ROWS
    for run in _lines([row for row in layout.rows if row.seq <= young]):
        for chunk in _chunks(run):
            large = sum(row.bytes for row in chunk) >= FOLD_BYTES and len(chunk) > 1
            if (large or len(chunk) >= limits.rows) and chunk[0].seq not in left:
                return Part(chunk[0].seq, chunk[-1].seq, merges=False)
    for group in _neighbours(layout.segments):
        for some in _alike(group):
            if len(some) >= limits.fan_in and some[0].seq_from not in left:
                return Part(some[0].seq_from, some[-1].seq_to, merges=True)
    return None


def _lines(rows: Sequence[RowPlace]) -> Iterator[list[RowPlace]]:
    """Rows, each of which extends the one before."""
    current: list[RowPlace] = []
    for row in rows:
        if current and not (row.parent is None and row.seq == current[-1].seq + 1):
            yield current
            current = []
        current.append(row)
    if current:
        yield current


def _chunks(line: Sequence[RowPlace]) -> Iterator[list[RowPlace]]:
    """Pieces of a line that each make a segment of the usual size; the last may be smaller."""
    current: list[RowPlace] = []
    size = 0
    for row in line:
        current.append(row)
        size += row.bytes
        if len(current) >= FOLD_ROWS or (size >= FOLD_BYTES and len(current) > 1):
            yield current
            current, size = [], 0
    if current:
        yield current


def _neighbours(segments: Sequence[SegmentPlace]) -> Iterator[list[SegmentPlace]]:
    """Segments, each of which goes on where the one before ended."""
    current: list[SegmentPlace] = []
    for segment in segments:
        follows = segment.parent is None and current and segment.seq_from == current[-1].seq_to + 1
        if current and not follows:
            yield current
            current = []
        current.append(segment)
    if current:
        yield current


def _alike(group: Sequence[SegmentPlace]) -> Iterator[list[SegmentPlace]]:
    """Neighbours of one size that fit into one segment together."""
    current: list[SegmentPlace] = []
    size = 0
    for segment in group:
        alike = current and _tier(segment) == _tier(current[0])
        if current and not (alike and size + segment.bytes <= MERGE_BYTES_MAX):
            yield current
            current, size = [], 0
        current.append(segment)
        size += segment.bytes
    if current:
        yield current


def _tier(segment: SegmentPlace) -> int:
    """How often it has grown tenfold."""
    rows = segment.seq_to - segment.seq_from + 1
    return int(math.log(max(rows / FOLD_ROWS, segment.bytes / FOLD_BYTES, 1), _TEN) + 1e-9)


__all__ = [
    "EAGER", "FOLD_BYTES", "FOLD_ROWS", "KEPT_ROWS", "LAZY", "MERGE_BYTES_MAX", "Limits", "Part",
    "next_part",
]  # fmt: skip
