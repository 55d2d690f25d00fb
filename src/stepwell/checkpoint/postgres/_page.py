"""PostgreSQL: a page of a history, with what its states are made of, in one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from stepwell._db.postgres import Postgres
from stepwell.checkpoint._stretches import Stretch, bases, first_of, to_read
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    RunRow,
    SegmentRow,
    ThreadKey,
    WriteRow,
)
from stepwell.checkpoint.postgres import _read as reading
from stepwell.checkpoint.postgres._rows import (
    checkpoint_row,
    key_of,
    run_row,
    segment_row,
    write_row,
)

_ALL: Final = 0
"""Smaller than every seq: detail of all segments."""


async def page(
    db: Postgres, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, primary: bool
) -> HistoryPage:
    """The newest `limit` checkpoints with seq <= `upto`, what they extend and what extends them.

    Where a thread has no forks, all of it is one stretch: the page and what stands before it.
    """
    name = key_of(key)
    async with db.snapshot(primary=primary) as link:
        thread = (await reading.threads(db.sql, link, [(name, ns_name)])).get(name)
        if thread is None:
            return HistoryPage(thread=None)
        space = thread.space(ns_name)
        read = _Read(db.sql, link, name, 0 if space is None else space[0])
        if space is None:
            return HistoryPage(thread=thread.row, runs=await read.runs({thread.row.run}))
        head = space[1]
        upto = head if upto is None else min(upto, head)
        found = await link.fetch(db.sql["page_places"], name, read.ns, upto, limit)
        places = [(low, high) for low, high in found]
        first = first_of(places, limit)
        if not first:
            runs = await read.runs({thread.row.run})
            return HistoryPage(thread=thread.row, ns=read.ns, runs=runs)
        last = places[0][1]
        begin = first if thread.forked else 1
        await read.stretches([(begin, last + 1, first)], folded=thread.folded)
        if thread.forked:
            await read.forks(first, last, head, folded=thread.folded)
        rows = read.in_order()
        writes = await read.writes(first, last) if thread.pending else []
        named = {thread.row.run, *(row.run for row in rows if first <= row.seq <= last)}
        return HistoryPage(
            thread=thread.row,
            ns=read.ns,
            rows=rows,
            segments=read.folded(),
            writes=writes,
            runs=await read.runs(named),
            first=first,
            last=last,
        )


class _Read:
    """What has been read of one namespace, by seq."""

    __slots__ = ("_key", "_link", "_rows", "_segments", "_sql", "ns")

    def __init__(self, sql: Mapping[str, str], link: reading.Link, key: UUID, ns: int) -> None:
        self._sql = sql
        self._link = link
        self._key = key
        self.ns = ns
        self._rows: dict[int, CheckpointRow] = {}
        self._segments: dict[int, SegmentRow] = {}

    async def stretches(self, asked: Sequence[tuple[int, int, int]], *, folded: bool) -> None:
        """Read rows and segments of stretches: first, last, and from where on segments come with
        their detail."""
        if not asked:
            return
        columns = list(
            zip(*((i, self._key, self.ns, *each) for i, each in enumerate(asked)), strict=True)
        )
        for record in await self._link.fetch(self._sql["rows"], *columns[:5]):
            row = checkpoint_row(record[1:])
            self._rows[row.seq] = row
        if folded:
            for record in await self._link.fetch(self._sql["segments"], *columns):
                segment = segment_row(record[1:])
                known = self._segments.get(segment.seq_from)
                if known is None or not known.detail:
                    self._segments[segment.seq_from] = segment

    async def forks(self, first: int, last: int, head: int, *, folded: bool) -> None:
        """Read what a page extends, over all branches, and the branches that extend it."""
        asked: list[tuple[int, int, int]] = []
        ends = bases((first, last), self._rows.values(), self.folded())
        if ends:
            columns = zip(*((i, self._key, self.ns, e) for i, e in enumerate(ends)), strict=True)
            legs: list[Stretch] = [
                (low, high) for _, low, high in await self._link.fetch(self._sql["legs"], *columns)
            ]
            stretches, within = to_read(legs)
            asked += [(low, high, high) for low, high in stretches]
            asked += [(seq, seq, _ALL) for seq in within]
        if last < head:
            found = await self._link.fetch(self._sql["branches"], self._key, self.ns, first, last)
            asked += [(seq, seq, _ALL) for seq, _ in found]
        await self.stretches(asked, folded=folded)

    async def writes(self, first: int, last: int) -> list[WriteRow]:
        """What is filed under the checkpoints of a stretch."""
        columns = ([0], [self._key], [self.ns], [first], [last])
        records = await self._link.fetch(self._sql["writes"], *columns)
        return [write_row(record[1:]) for record in records]

    async def runs(self, numbers: set[int]) -> dict[int, RunRow]:
        """Runs by number."""
        named = sorted(numbers - {0})
        if not named:
            return {}
        columns = ([0] * len(named), [self._key] * len(named), named)
        records = await self._link.fetch(self._sql["runs_named"], *columns)
        found = [run_row(record[1:]) for record in records]
        return {run.run: run for run in found}

    def in_order(self) -> list[CheckpointRow]:
        """The rows by seq."""
        return [row for _, row in sorted(self._rows.items())]

    def folded(self) -> list[SegmentRow]:
        """The segments by seq."""
        return [segment for _, segment in sorted(self._segments.items())]


__all__ = ["page"]
