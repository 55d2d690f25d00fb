"""Memory: stretches of a history, and pages with what their states are made of."""

from __future__ import annotations

from typing import TypeVar

from stepwell.checkpoint._stretches import Stretch, bases, first_of, to_read
from stepwell.checkpoint.driver import CheckpointRow, HistoryPage, SegmentRow, WriteRow
from stepwell.checkpoint.memory._rows import Space, Thread

Row = TypeVar("Row", CheckpointRow, SegmentRow)


def between(thread: Thread, ns_name: str, since: int, upto: int | None, now: float) -> HistoryPage:
    """The rows of one namespace over all branches, oldest first."""
    row = thread.row(now, ns_name)
    found = thread.named(ns_name)
    if found is None:
        return HistoryPage(thread=row, runs=thread.runs_of(()))
    number, space = found
    last = space.last if upto is None else max(upto, 0)
    rows, segments = space.between(since, last), space.folded(since, last)
    return HistoryPage(
        thread=row,
        ns=number,
        rows=rows,
        segments=segments,
        writes=_writes(thread, number, since if since > 1 else 0, last),
        runs=thread.runs_of(rows, segments),
    )


def page(thread: Thread, ns_name: str, upto: int | None, limit: int, now: float) -> HistoryPage:
    """The newest `limit` checkpoints with seq <= `upto`, what they extend and what extends them."""
    row = thread.row(now, ns_name)
    found = thread.named(ns_name)
    if found is None:
        return HistoryPage(thread=row, runs=thread.runs_of(()))
    number, space = found
    upto = space.head if upto is None else min(upto, space.head)
    places = _places(space, upto, limit)
    first = first_of(places, limit)
    if not first:
        return HistoryPage(thread=row, ns=number, runs=thread.runs_of(()))
    last = places[0][1]
    rows = {r.seq: r for r in space.between(first, last + 1)}
    segments = {s.seq_from: s for s in space.folded(first, last + 1)}
    legs = [
        leg
        for base in bases((first, last), _by_seq(rows), _by_seq(segments))
        for leg in space.legs(base)
    ]
    stretches, _ = to_read(legs)
    later = (seq for seq, parent in (space.branches or {}).items() if first <= parent <= last < seq)
    for low, high in (*stretches, *((seq, seq) for seq in later)):
        rows |= {r.seq: r for r in space.between(low, high)}
        segments |= {s.seq_from: s for s in space.folded(low, high)}
    return HistoryPage(
        thread=row,
        ns=number,
        rows=_by_seq(rows),
        segments=_by_seq(segments),
        writes=_writes(thread, number, first, last),
        runs=thread.runs_of([r for r in rows.values() if first <= r.seq <= last]),
        first=first,
        last=last,
    )


def _places(space: Space, upto: int, limit: int) -> list[Stretch]:
    """Where the newest `limit` checkpoints up to a seq are, the newest first."""
    rows = space.between(1, upto)[-limit:]
    folded = space.folded(1, upto)[-limit:]
    places = [(r.seq, r.seq) for r in rows]
    places += [(s.seq_from, min(s.seq_to, upto)) for s in folded]
    return sorted(places, reverse=True)


def _by_seq(found: dict[int, Row]) -> list[Row]:
    return [row for _, row in sorted(found.items())]


def _writes(thread: Thread, number: int, first: int, last: int) -> list[WriteRow]:
    """What is filed under the checkpoints of a stretch."""
    writes: list[WriteRow] = []
    for ns, at in sorted(thread.writes) if thread.writes else ():
        if ns == number and first <= at <= last:
            writes += thread.writes_under(number, at)
    return writes


__all__ = ["between", "page"]
