"""SQLite: a page of a history, with what its states are made of. A function of a cursor."""

from __future__ import annotations

from typing import Final

from stepwell._db.sqlite import SQL, Cursor, LeaseTime
from stepwell.checkpoint._stretches import bases, first_of, to_read
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    SegmentRow,
    ThreadKey,
    WriteRow,
)
from stepwell.checkpoint.sqlite import _read as reading

_CHECKPOINTS, _SEGMENTS, _WRITES = SQL["checkpoints"], SQL["segments"], SQL["writes"]
_PLACES, _BRANCHES = SQL["page_places"], SQL["branches"]
_ALL: Final = 0
"""Smaller than every seq: detail of all segments."""


def page(
    cursor: Cursor, key: ThreadKey, ns_name: str, upto: int | None, limit: int, now: LeaseTime
) -> HistoryPage:
    """The newest `limit` checkpoints with seq <= `upto`, what they extend and what extends them."""
    raw = reading.read_thread(cursor, key)
    if raw is None:
        return HistoryPage(thread=None)
    t = raw[0]
    thread, ns = reading.with_namespaces(cursor, raw, now, ns_name)
    if ns is None:
        return HistoryPage(thread=thread, runs=reading.runs_of(cursor, t, {thread.run}))
    head = thread.namespaces[ns][1]
    upto = head if upto is None else min(upto, head)
    places = cursor.execute(_PLACES, (t, ns, upto, limit, upto, t, ns, upto, limit, limit))
    found = places.fetchall()
    first = first_of(found, limit)
    if not first:
        return HistoryPage(thread=thread, ns=ns, runs=reading.runs_of(cursor, t, {thread.run}))
    last = found[0][1]
    read = _Read(cursor, t, ns)
    read.stretch(first, last + 1, _ALL)
    for base in bases((first, last), read.in_order(), read.folded()):
        read.legs += reading.legs(cursor, t, ns, base)
    stretches, within = to_read(read.legs)
    for low, high in stretches:
        read.stretch(low, high, high)
    for seq in within:
        read.segment(seq)
    if last < head:
        read.branches(first, last)
    filed = cursor.execute(_WRITES, (t, ns, first, last))
    rows = read.in_order()
    named = {thread.run, *(row.run for row in rows if first <= row.seq <= last)}
    return HistoryPage(
        thread=thread,
        ns=ns,
        rows=rows,
        segments=read.folded(),
        writes=list(map(WriteRow._make, filed)),
        runs=reading.runs_of(cursor, t, named),
        first=first,
        last=last,
    )


class _Read:
    """What has been read of one namespace, by seq."""

    __slots__ = ("_cursor", "_place", "_rows", "_segments", "legs")

    def __init__(self, cursor: Cursor, t: int, ns: int) -> None:
        self._cursor = cursor
        self._place = (t, ns)
        self._rows: dict[int, CheckpointRow] = {}
        self._segments: dict[int, SegmentRow] = {}
        self.legs: list[tuple[int, int]] = []

    def stretch(self, first: int, last: int, detail: int) -> None:
        """Read rows, and segments; the detail of those that do not end before `detail`."""
        execute, place = self._cursor.execute, self._place
        for raw in execute(_CHECKPOINTS, (*place, first, last)):
            self._rows[raw[1]] = CheckpointRow._make(raw)
        self._folded(first, last, detail)

    def segment(self, seq: int) -> None:
        """Read the segment that holds a seq with its detail."""
        self._folded(seq, seq, _ALL)

    def branches(self, first: int, last: int) -> None:
        """Read what extends one of first..last and stands behind them."""
        parameters = (*self._place, last, first, last)
        for seq, folded in self._cursor.execute(_BRANCHES, parameters * 2).fetchall():
            if folded:
                self.segment(seq)
            else:
                self.stretch(seq, seq, _ALL)

    def _folded(self, first: int, last: int, detail: int) -> None:
        parameters = (detail, *self._place, last, first)
        for raw in self._cursor.execute(_SEGMENTS, parameters):
            self._segments[raw[1]] = SegmentRow._make(raw)

    def in_order(self) -> list[CheckpointRow]:
        """The rows by seq."""
        return [row for _, row in sorted(self._rows.items())]

    def folded(self) -> list[SegmentRow]:
        """The segments by seq."""
        return [segment for _, segment in sorted(self._segments.items())]


__all__ = ["page"]
