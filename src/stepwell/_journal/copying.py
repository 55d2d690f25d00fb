"""Copying a whole database into another: consistent, verified, and gone on with after a crash.

The source is read in one snapshot, so what arrives is one state of it, whatever runs meanwhile; of
every thread it is a prefix of what its runs have written. Threads are the unit: each is deleted in
the target, written, read back, compared, and only then *ended* (`ThreadPart.ends`). So a thread of
the target whose row equals that of the source is whole and verified, and a call that goes on after
another one was cut off passes it by; since that call has a snapshot of its own, what was written or
deleted in between is made good too.

The target is marked as unfinished before the first thread and until after the last. Nobody opens
it meanwhile but the next call.

Owners and leases stay behind: a thread whose run was under way arrives as an orphan.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import field
from typing import Any, Final, TypeAlias

import orjson

from stepwell._dataclass import dataclass
from stepwell.checkpoint.driver import (
    BackupDriver,
    RowKind,
    RunRow,
    Snapshot,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    ThreadStatus,
    at_rest,
    place_of,
)
from stepwell.errors import StorageError, UsageError

_THREADS: Final = 200
"""Thread rows that are read together."""
_ROWS: Final = 500
_BYTES: Final = 4 << 20
"""About what is in memory at a time, and what one transaction writes."""
_TIMES: Final = {
    RowKind.RUNS: RunRow._fields.index("started_at"),
    RowKind.CHECKPOINTS: -1,
}
_META_INDEX: Final = {RowKind.RUNS: 8, RowKind.CHECKPOINTS: 12}


Admits: TypeAlias = Callable[[ThreadKey, RowKind, Sequence[Any]], None]


@dataclass(slots=True)
class Tally:
    """What a copy has come to. `rows`: copied by this call, by kind; `total`: threads there are."""

    total: int = 0
    threads: int = 0
    copied: int = 0
    removed: int = 0
    running: int = 0
    bytes: int = 0
    resumed: bool = False
    rows: dict[RowKind, int] = field(default_factory=lambda: dict.fromkeys(RowKind, 0))


def same_thread(one: ThreadRow | None, other: ThreadRow | None) -> bool:
    """Whether two rows are equal at rest, on whatever kinds of driver."""
    if one is None or other is None:
        return one is other
    return _thread(one) == _thread(other)


def _thread(row: ThreadRow) -> ThreadRow:
    return at_rest(row)._replace(
        created_at=_moment(row.created_at),
        updated_at=_moment(row.updated_at),
    )


def comparable(kind: RowKind, row: Any) -> tuple[Any, ...]:
    """A row in the form in which all kinds of driver agree."""
    values = list(row)
    if kind in _TIMES:
        for place in range(len(values))[_TIMES[kind] :]:
            values[place] = None if values[place] is None else _moment(values[place])
        place = _META_INDEX[kind]
        values[place] = None if values[place] is None else orjson.loads(values[place])
    return tuple(values)


def _moment(seconds: float) -> float:
    return round(seconds, 6)


async def copy_database(
    source: Snapshot,
    target: BackupDriver,
    *,
    scope: str | None = None,
    progress: Callable[[Tally], None] | None = None,
    admits: Admits = lambda *_: None,
) -> Tally:
    """Make `target` hold what `source` shows.

    Args:
        source: What is copied.
        target: Empty, or marked by an earlier call that was cut off.
        scope: Only its threads; None: all.
        progress: Called after each transaction.
        admits: Shown the rows of a thread before they are written; what it raises ends the call.
            The first of them, before the target is touched.

    Raises:
        UsageError: The target holds threads, and is not marked.
        StorageError: The source is unfinished itself, or what was written reads otherwise.
    """
    if source.note is not None:
        raise unfinished(source.note)
    async with target.snapshot() as there:
        if there.note is None and await there.count():
            raise UsageError(
                "The database to be filled holds threads already, and not those of a copy that "
                "was cut off. Name an empty one; it was left as it is."
            )
        tally = Tally(total=await source.count(scope), resumed=there.note is not None)
    for first in await source.threads(None, 1, scope):
        for kind in RowKind:
            [rows] = await source.rows(kind, [first.key], limit=1)
            admits(first.key, kind, rows)
    await target.mark("a copy of another database")
    copy = _Copy(source, target, tally, progress or (lambda _: None), admits)
    async with aclosing(thread_pages(source, scope)) as pages:
        async for page in pages:
            await copy.threads(page)
    await copy.remove_others(scope)
    async with target.snapshot() as there:
        arrived = await there.count()
    if arrived != tally.total:
        raise StorageError(
            f"{tally.total} threads were copied, but {arrived} are there: something else writes "
            "the database that is being filled."
        )
    await target.mark(None)
    return tally


def unfinished(note: str) -> StorageError:
    """The error of a database that is not whole yet."""
    return StorageError(
        f"This database is not whole: it is being filled as {note}, which was cut off, or is still "
        "under way. Make the same call again and it goes on where it was, or delete the database.",
        unfinished=note,
    )


async def thread_pages(
    source: Snapshot, scope: str | None = None
) -> AsyncGenerator[list[ThreadRow], None]:
    """All threads, by scope and thread id, a page at a time."""
    after: ThreadKey | None = None
    while page := await source.threads(after, _THREADS, scope):
        yield page
        after = page[-1].key


def batches(rows: Sequence[ThreadRow], rows_max: int | None = None) -> list[list[ThreadRow]]:
    """Threads in groups of bounded size; a large one is alone."""
    groups: list[list[ThreadRow]] = []
    room_rows = room_bytes = 0
    for row in rows:
        size = row.checkpoints + row.runs + 1
        if not groups or size > room_rows or row.bytes > room_bytes:
            groups.append([])
            room_rows, room_bytes = rows_max or _ROWS, _BYTES
        groups[-1].append(row)
        room_rows -= size
        room_bytes -= row.bytes
    return groups


def is_large(row: ThreadRow, rows_max: int | None = None) -> bool:
    """Whether the rows of a thread are to be read in several pages."""
    return row.checkpoints + row.runs >= (rows_max or _ROWS) or row.bytes >= _BYTES


def page_rows(row: ThreadRow, kind: RowKind, rows_max: int | None = None) -> int:
    """How many rows of a thread are a page of bounded size, about."""
    average = row.bytes // max(row.checkpoints, 1) + 1
    limit = min(rows_max or _ROWS, max(1, _BYTES // average))
    # A segment holds a hundred checkpoints, about.
    return max(1, limit // 100) if kind is RowKind.SEGMENTS else limit


async def thread_parts(source: Snapshot, row: ThreadRow) -> AsyncGenerator[ThreadPart, None]:
    """All rows of one thread, a page of one kind at a time; the first begins, none ends."""
    begins = True
    for kind in RowKind:
        limit = page_rows(row, kind)
        after = None
        while True:
            [page] = await source.rows(kind, [row.key], after=after, limit=limit)
            if page or begins:
                yield _part(row, {kind: page}, begins=begins)
                begins = False
            if len(page) < limit:
                break
            after = place_of(kind, page[-1])


def _part(
    row: ThreadRow, rows: Mapping[RowKind, Sequence[Any]], *, begins: bool = True
) -> ThreadPart:
    return ThreadPart(
        thread=at_rest(row),
        begins=begins,
        namespaces=rows.get(RowKind.NAMESPACES, ()),
        runs=rows.get(RowKind.RUNS, ()),
        checkpoints=rows.get(RowKind.CHECKPOINTS, ()),
        writes=rows.get(RowKind.WRITES, ()),
        segments=rows.get(RowKind.SEGMENTS, ()),
    )


class _Copy:
    """One call of `copy_database`."""

    def __init__(
        self,
        source: Snapshot,
        target: BackupDriver,
        tally: Tally,
        progress: Callable[[Tally], None],
        admits: Admits,
    ) -> None:
        self._admits = admits
        self._source = source
        self._target = target
        self._tally = tally
        self._progress = progress

    async def threads(self, page: Sequence[ThreadRow]) -> None:
        """Copy those of a page that are not there yet."""
        async with self._target.snapshot() as there:
            found = await there.named([row.key for row in page])
        fresh = [row for row, known in zip(page, found, strict=True) if not same_thread(row, known)]
        self._tally.running += sum(row.status == ThreadStatus.RUNNING for row in page)
        self._tally.threads += len(page) - len(fresh)
        for group in batches(fresh):
            if is_large(group[0]):
                await self._large(group[0])
            else:
                await self._small(group)
            self._tally.copied += len(group)
            self._tally.threads += len(group)
            self._progress(self._tally)

    async def _small(self, group: Sequence[ThreadRow]) -> None:
        keys = [row.key for row in group]
        found = {kind: await self._source.rows(kind, keys) for kind in RowKind}
        for kind, rows in found.items():
            for key, stored in zip(keys, rows, strict=True):
                self._admits(key, kind, stored)
        parts = [
            _part(row, {k: rows[i] for k, rows in found.items()}) for i, row in enumerate(group)
        ]
        await self._target.restore(parts)
        async with self._target.snapshot() as there:
            for kind, rows in found.items():
                back = await there.rows(kind, keys)
                for row, written, read in zip(group, rows, back, strict=True):
                    self._compare(row, kind, written, read)
        await self._end(group)

    async def _large(self, row: ThreadRow) -> None:
        async with aclosing(thread_parts(self._source, row)) as parts:
            async for part in parts:
                for kind in RowKind:
                    self._admits(row.key, kind, getattr(part, kind))
                await self._target.restore([part])
                self._progress(self._tally)
        counts = dict.fromkeys(RowKind, 0)
        async with (
            self._target.snapshot() as there,
            aclosing(thread_parts(self._source, row)) as parts,
            aclosing(thread_parts(there, row)) as copies,
        ):
            async for part in parts:
                copy = await anext(copies, None)
                for kind in RowKind:
                    written = getattr(part, kind)
                    counts[kind] += len(written)
                    read = () if copy is None else getattr(copy, kind)
                    self._compare(row, kind, written, read)
            if await anext(copies, None) is not None:
                raise _differs(row, RowKind.CHECKPOINTS)
        await self._end([row])

    def _compare(
        self, row: ThreadRow, kind: RowKind, written: Sequence[Any], read: Sequence[Any]
    ) -> None:
        if [comparable(kind, r) for r in written] != [comparable(kind, r) for r in read]:
            raise _differs(row, kind)
        self._tally.rows[kind] += len(written)

    async def _end(self, group: Sequence[ThreadRow]) -> None:
        await self._target.restore([ThreadPart(thread=at_rest(row), ends=True) for row in group])
        async with self._target.snapshot() as there:
            found = await there.named([row.key for row in group])
        for row, known in zip(group, found, strict=True):
            if not same_thread(row, known):
                raise StorageError(
                    f"The row of thread {row.key.thread_id!r} reads otherwise than it was written.",
                    thread_id=row.key.thread_id,
                )
            self._tally.bytes += row.bytes

    async def remove_others(self, scope: str | None) -> None:
        """Delete what an earlier call has copied and what is no longer in the source."""
        async with (
            self._target.snapshot() as there,
            aclosing(thread_pages(there)) as pages,
        ):
            async for page in pages:
                keys = [row.key for row in page]
                found = await self._source.named(keys)
                gone = [
                    key
                    for key, row in zip(keys, found, strict=True)
                    if row is None or (scope is not None and key.scope != scope)
                ]
                if gone:
                    await self._target.restore((), gone)
                    self._tally.removed += len(gone)


def _differs(row: ThreadRow, kind: RowKind) -> StorageError:
    return StorageError(
        f"The {kind} of thread {row.key.thread_id!r} read otherwise than they were written: the "
        "copy is not whole, and its database says so. Make the call again.",
        thread_id=row.key.thread_id,
    )


__all__ = [
    "Tally", "batches", "comparable", "copy_database", "is_large", "page_rows", "same_thread",
    "thread_pages", "thread_parts", "unfinished",
]  # fmt: skip
