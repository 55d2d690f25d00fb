"""What a page of history has to read, worked out from places: the same in every driver.

Rows and segments of the page -> what they extend -> the legs of those chains -> each stretch once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stepwell.checkpoint._driver_rows import CheckpointRow, SegmentRow

Stretch = tuple[int, int]
"""First and last seq."""


def first_of(places: Iterable[Stretch], limit: int) -> int:
    """The oldest of the newest `limit` checkpoints; 0: there are none.

    Args:
        places: Rows and folded stretches, the newest first, none above the newest wanted.
        limit: At least 1.
    """
    first, left = 0, limit
    for low, high in places:
        first = max(low, high - left + 1)
        left -= high - first + 1
        if left <= 0:
            break
    return first


def bases(
    page: Stretch, rows: Iterable[CheckpointRow], segments: Sequence[SegmentRow]
) -> list[int]:
    """What a page extends and does not hold: seqs of checkpoints before it.

    Args:
        page: Its first and last seq.
        rows: Those of the page; what stands behind it does not count.
        segments: The same, by seq.
    """
    first, last = page
    begin = min([first, *(segment.seq_from for segment in segments[:1])])
    parents = {r.seq - 1 if r.parent is None else r.parent for r in rows if r.seq <= last}
    parents |= {
        s.seq_from - 1 if s.parent is None else s.parent for s in segments if s.seq_from <= last
    }
    return sorted(parent for parent in parents if 0 < parent < begin)


def to_read(legs: Iterable[Stretch]) -> tuple[list[Stretch], list[int]]:
    """The legs of several chains as stretches that are read once each, and where other chains
    leave these: the segments that hold such a seq are needed with their detail."""
    ends: dict[int, set[int]] = {}
    for first, last in legs:
        ends.setdefault(first, set()).add(last)
    stretches = sorted((first, max(lasts)) for first, lasts in ends.items())
    within = sorted({last for lasts in ends.values() for last in lasts - {max(lasts)}})
    return stretches, within


__all__ = ["Stretch", "bases", "first_of", "to_read"]
