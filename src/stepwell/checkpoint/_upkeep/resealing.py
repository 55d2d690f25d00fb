"""Rows that are sealed with an older key, sealed with the current one, where they are.

Threads go in groups of bounded size: each group is read in one snapshot, claimed, read again under
the claims, and written in one transaction. A thread that is a group by itself is read and written a
page at a time. A row says which key it is sealed with, so a thread may have rows of several, and
whoever is cut off goes on with what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

from stepwell._journal.copying import batches, is_large, page_rows
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.journal import Journal
from stepwell.checkpoint._results import RotateReport
from stepwell.checkpoint._sealing.seal import Seal
from stepwell.checkpoint.driver import (
    UNENDED,
    BackupDriver,
    CheckpointRow,
    RowKind,
    SegmentRow,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    at_rest,
    place_of,
)
from stepwell.errors import CodecError, ThreadBusyError

_PAGE: Final = 200
_RACES_MAX: Final = 10
"""How often a thread is read again because somebody folded it meanwhile."""
_KINDS: Final = (RowKind.RUNS, RowKind.CHECKPOINTS, RowKind.WRITES, RowKind.SEGMENTS)

Rows: TypeAlias = Mapping[RowKind, Sequence[Any]]
Found: TypeAlias = Mapping[ThreadKey, tuple[ThreadRow, Rows]]
Handles: TypeAlias = Mapping[ThreadKey, ThreadHandle]


class Resealing:
    """One call that seals with the current key.

    Args:
        journal: Claims threads.
        inner: Where sealed rows are.
        seal: Opens and seals them.
        batch_rows: Rows that are in memory, and written by one transaction, about.
    """

    def __init__(self, journal: Journal, inner: BackupDriver, seal: Seal, batch_rows: int) -> None:
        self._journal = journal
        self._inner = inner
        self._seal = seal
        self._rows = batch_rows

    async def run(self, scope: str | None) -> RotateReport:
        """Do all threads, or those of one scope.

        Raises:
            CodecError: A record does not open; what comes before it is done.
        """
        report = RotateReport()
        after: ThreadKey | None = None
        while True:
            async with self._inner.snapshot() as snapshot:
                page = await snapshot.threads(after, _PAGE, scope)
            if not page:
                return report
            for group in batches(page, self._rows):
                one = is_large(group[0], self._rows)
                done = await (self._large(group[0]) if one else self._small(group))
                report = report.plus(
                    threads=done.threads, current=done.current, skipped=done.skipped
                )
            after = page[-1].key

    async def _small(self, rows: Sequence[ThreadRow]) -> RotateReport:
        """Threads that are read and written together."""
        keys = [row.key for row in rows]
        found = await self._read(keys)
        stale = [key for key, (row, rows) in found.items() if self._is_stale(row, rows)]
        current = len(keys) - len(stale)
        if not stale:
            return RotateReport(current=current)
        done = 0
        async with self._claimed(stale) as claims:
            skipped, handles = len(stale) - len(claims), claims
            for _ in range(_RACES_MAX):
                if not handles:
                    break
                found = await self._read(list(handles))
                parts, error = await asyncio.to_thread(self._parts, found)
                written = await self._write(handles, parts)
                done += sum(written.values())
                if error is not None:
                    raise error
                current += len(handles) - len(parts)
                # Those of which another layout came first are tried again.
                handles = {key: handles[key] for key, ok in written.items() if not ok}
        return RotateReport(threads=done, current=current, skipped=skipped + len(handles))

    async def _large(self, row: ThreadRow) -> RotateReport:
        """A thread that is read and written page by page. It is claimed when the first row that
        is to be written has been found."""
        key, claims, done = row.key, AsyncExitStack(), False
        handles: Handles = {}
        async with claims:
            for kind in _KINDS:
                after: tuple[Any, ...] | None = None
                limit, races = page_rows(row, kind, self._rows), 0
                while True:
                    found = await self._read([key], kind, after, limit)
                    if key not in found:
                        return RotateReport(current=1)
                    page = found[key][1][kind]
                    if self._is_stale(*found[key]):
                        if not handles:
                            handles = await claims.enter_async_context(self._claimed([key]))
                            if not handles:
                                return RotateReport(skipped=1)
                            continue
                        parts, error = await asyncio.to_thread(self._parts, found)
                        if error is not None:
                            raise error
                        if not (await self._write(handles, parts))[key]:
                            races += 1
                            if races == _RACES_MAX:
                                return RotateReport(skipped=1)
                            continue
                        done = True
                    if len(page) < limit:
                        break
                    after = place_of(kind, page[-1])
        return RotateReport(threads=int(done), current=int(not done))

    async def _read(
        self,
        keys: Sequence[ThreadKey],
        kind: RowKind | None = None,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
    ) -> Found:
        """Threads that are there and whole, with all their rows, or a page of one kind."""
        async with self._inner.snapshot() as snapshot:
            rows = await snapshot.named(keys)
            kept: dict[RowKind, list[list[Any]]] = {}
            for each in _KINDS if kind is None else (kind,):
                kept[each] = await snapshot.rows(each, keys, after=after, limit=limit)
        return {
            key: (row, {each: kept[each][at] for each in kept})
            for at, (key, row) in enumerate(zip(keys, rows, strict=True))
            if row is not None and row.layout_no != UNENDED
        }

    @asynccontextmanager
    async def _claimed(self, keys: Sequence[ThreadKey]) -> AsyncIterator[Handles]:
        """Claims of those threads that nobody holds, and that are there. All of a group are made
        and let go at once, so that they share transactions."""
        claims = [asyncio.ensure_future(self._claim(key)) for key in keys]
        try:
            await asyncio.gather(*claims)
            yield {key: h for key, c in zip(keys, claims, strict=True) if (h := c.result())}
        finally:
            for claim in claims:
                claim.cancel()
            await asyncio.wait(claims)
            made = [c.result() for c in claims if not c.cancelled() and c.exception() is None]
            await asyncio.gather(*(handle.release() for handle in made if handle is not None))

    async def _claim(self, key: ThreadKey) -> ThreadHandle | None:
        try:
            handle = await self._journal.acquire(key, wait=False, load_seq=0)
        except ThreadBusyError:
            return None
        if handle.record_no:
            return handle
        try:
            await handle.delete()  # it was deleted meanwhile, and made again by claiming it
        finally:
            await handle.release()
        return None

    async def _write(self, handles: Handles, parts: Sequence[ThreadPart]) -> dict[ThreadKey, bool]:
        """Whether each part was written: if not, another layout came first."""
        if not parts:
            return {}
        changes = [(handles[part.thread.key].held, part) for part in parts]
        answers = await self._inner.reseal(self._journal.worker, changes)
        return {part.thread.key: ok for part, ok in zip(parts, answers, strict=True)}

    # -- what is sealed anew ------------------------------------------------------------------

    def _is_stale(self, thread: ThreadRow, rows: Rows) -> bool:
        seal = self._seal
        return not seal.is_current_text(thread.error) or any(
            not _is_current(seal, kind, row) for kind, found in rows.items() for row in found
        )

    def _parts(self, found: Found) -> tuple[list[ThreadPart], CodecError | None]:
        """What is to be written of threads, and why the first one fails of which not all opens."""
        parts: list[ThreadPart] = []
        for thread, rows in found.values():
            if not self._is_stale(thread, rows):
                continue
            try:
                parts.append(self._part(thread, rows))
            except CodecError as error:
                return parts, error
        return parts, None

    def _part(self, thread: ThreadRow, rows: Rows) -> ThreadPart:
        key, seal = thread.key, self._seal
        fresh: dict[RowKind, list[Any]] = {kind: [] for kind in _KINDS}
        size = thread.bytes
        for kind, found in rows.items():
            stale = [row for row in found if not _is_current(seal, kind, row)]
            fresh[kind] = [seal.anew(kind, key, row) for row in stale]
            size += sum(map(_bytes, fresh[kind])) - sum(map(_bytes, stale))
        error = thread.error if seal.is_current_text(thread.error) else seal.error_anew(thread)
        return ThreadPart(
            thread=at_rest(thread)._replace(bytes=size, error=error),
            runs=fresh[RowKind.RUNS], checkpoints=fresh[RowKind.CHECKPOINTS],
            writes=fresh[RowKind.WRITES], segments=fresh[RowKind.SEGMENTS],
        )  # fmt: skip


def _is_current(seal: Seal, kind: RowKind, row: Any) -> bool:
    current: bool = seal.is_current(row) if kind is RowKind.RUNS else row.key_id == seal.current
    return current


def _bytes(row: Any) -> int:
    """What of a row the thread's counter counts."""
    if isinstance(row, CheckpointRow):
        return len(row.body) + len(row.metadata or b"")
    return len(row.body) + len(row.detail) if isinstance(row, SegmentRow) else 0


__all__ = ["Resealing"]
