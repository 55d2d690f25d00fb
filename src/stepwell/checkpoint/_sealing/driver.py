"""The driver of a saver that compresses or encrypts: another driver, with a `Seal` around it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final, Literal, TypeVar, cast

from stepwell.checkpoint._sealing.seal import Seal
from stepwell.checkpoint.driver import (
    Ask,
    BackupDriver,
    Busy,
    Capability,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Driver,
    Held,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    Lost,
    Relayout,
    Renewed,
    RowKind,
    RunRow,
    Slice,
    Snapshot,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadPart,
    ThreadQuery,
    ThreadRow,
    Vitals,
)

Read = TypeVar("Read", Loaded, HistoryPage)

_ON_LOOP_BYTES_MAX: Final = 256 << 10
"""Bodies of one call that are sealed on the event loop; more goes to a worker thread."""


class SealedDriver:
    """Stands before any driver; see `_sealing`. It offers no inline verbs: sealing takes time.

    Args:
        inner: Where sealed rows go.
        seal: How rows are sealed.
    """

    def __init__(self, inner: Driver, seal: Seal) -> None:
        self.inner = inner
        self.seal = seal
        self.name: str = inner.name
        self.capabilities: frozenset[Capability] = inner.capabilities

    # -- rows go in ---------------------------------------------------------------------------

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """See `Driver.commit`."""
        size = sum(len(row.body) for piece in batch for row in piece.checkpoints)
        size += sum(len(row.body) for piece in batch for row in piece.writes)
        if size > _ON_LOOP_BYTES_MAX:
            sealed = await asyncio.to_thread(lambda: [self._sealed(s) for s in batch])
        else:
            sealed = [self._sealed(s) for s in batch]
        return await self.inner.commit(sealed)

    def _sealed(self, piece: Slice) -> Slice:
        key, seal = piece.key, self.seal
        return piece._replace(
            checkpoints=[seal.checkpoint(key, row) for row in piece.checkpoints],
            writes=[seal.write(key, row) for row in piece.writes],
            runs=[seal.run(key, row) for row in piece.runs],
            thread=None if piece.thread is None else seal.change(key, piece.thread),
        )

    async def write_segments(self, change: Relayout) -> bool:
        """See `Driver.write_segments`."""
        return await self.inner.write_segments(await self._relayout(change))

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        """See `Driver.prune`."""
        return await self.inner.prune(claim, worker, await self._relayout(change))

    async def _relayout(self, change: Relayout) -> Relayout:
        if sum(len(s.body) + len(s.detail) for s in change.segments) > _ON_LOOP_BYTES_MAX:
            return await asyncio.to_thread(self._sealed_change, change)
        return self._sealed_change(change)

    def _sealed_change(self, change: Relayout) -> Relayout:
        key, seal = change.key, self.seal
        rows = [seal.checkpoint(key, row) for row in change.rows]
        segments = [seal.segment(key, row) for row in change.segments]
        grown = sum(len(r.body) + len(r.metadata or b"") for r in rows)
        grown -= sum(len(r.body) + len(r.metadata or b"") for r in change.rows)
        grown += sum(len(s.body) + len(s.detail) for s in segments)
        grown -= sum(len(s.body) + len(s.detail) for s in change.segments)
        return change._replace(rows=rows, segments=segments, bytes=change.bytes + grown)

    # -- rows come out ------------------------------------------------------------------------

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """See `Driver.claim`."""
        return [
            replace(answer, loaded=self._opened(answer.key, answer.loaded))
            if isinstance(answer, Claim)
            else answer
            for answer in await self.inner.claim(requests)
        ]

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        """See `Driver.load`."""
        found = await self.inner.load(requests)
        return [self._opened(r.key, f) for r, f in zip(requests, found, strict=True)]

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,
    ) -> HistoryPage:
        """See `Driver.history`."""
        page = await self.inner.history(key, ns_name, upto, since=since, current=current)
        return self._opened(key, page)

    async def page(
        self, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, current: bool = False
    ) -> HistoryPage:
        """See `Driver.page`."""
        return self._opened(key, await self.inner.page(key, ns_name, upto, limit, current=current))

    def _opened(self, key: ThreadKey, read: Read) -> Read:
        seal = self.seal
        return replace(
            read,
            thread=None if read.thread is None else seal.open_thread(read.thread),
            rows=[seal.open_checkpoint(key, row) for row in read.rows],
            segments=[seal.open_segment(key, row) for row in read.segments],
            writes=[seal.open_write(key, row) for row in read.writes],
            runs={number: seal.open_run(key, run) for number, run in read.runs.items()},
        )

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        """See `Driver.layout`."""
        return await self.inner.layout(key, ns_name)

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """See `Driver.threads`."""
        return [self.seal.open_thread(row) for row in await self.inner.threads(query)]

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """See `Driver.runs`."""
        found = await self.inner.runs(key, after=after, limit=limit)
        return [self.seal.open_run(key, run) for run in found]

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """See `Driver.runs_numbered`."""
        found = zip(names, await self.inner.runs_numbered(names), strict=True)
        return [None if run is None else self.seal.open_run(key, run) for (key, _), run in found]

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """See `Driver.described`."""
        found = zip(keys, await self.inner.described(keys), strict=True)
        return [None if run is None else self.seal.open_run(key, run) for key, run in found]

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """See `Driver.keyed_run`."""
        for name in self.seal.names(key, idempotency_key):
            found = await self.inner.keyed_run(key, name)
            if found is not None:
                return self.seal.open_run(key, found)
        return None

    # -- all rows, as they are stored: a backup is as sealed as what it is of --------------------

    @property
    def unfinished(self) -> str | None:
        """See `BackupDriver.unfinished`."""
        note: str | None = getattr(self.inner, "unfinished", None)
        return note

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """See `BackupDriver.snapshot`."""
        return cast("BackupDriver", self.inner).snapshot()

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """See `BackupDriver.restore`."""
        await cast("BackupDriver", self.inner).restore(parts, gone)

    async def mark(self, note: str | None) -> None:
        """See `BackupDriver.mark`."""
        await cast("BackupDriver", self.inner).mark(note)

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """See `BackupDriver.reseal`: bytes as they are stored."""
        return await cast("BackupDriver", self.inner).reseal(worker, changes)

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:
        """See `BackupDriver.strays`."""
        return await cast("BackupDriver", self.inner).strays(remove=remove)

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """See `Driver.tally`."""
        return await self.inner.tally(query)

    async def vitals(self) -> Vitals:
        """See `Driver.vitals`."""
        return await self.inner.vitals()

    # -- what holds no rows -------------------------------------------------------------------

    async def open(self) -> None:
        """See `Driver.open`."""
        await self.inner.open()

    async def close(self) -> None:
        """See `Driver.close`."""
        await self.inner.close()

    def forget(self) -> None:
        """See `Driver.forget`."""
        self.inner.forget()

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """See `Driver.migrate`."""
        await self.inner.migrate(mode)

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        """See `Driver.renew`."""
        return await self.inner.renew(worker, held, lease_ttl_s)

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """See `Driver.release`."""
        await self.inner.release(worker, held)

    async def unlock(self, held: Sequence[Held]) -> None:
        """See `Driver.unlock`."""
        await self.inner.unlock(held)

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        """See `Driver.want`."""
        await self.inner.want(keys)

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        """See `Driver.ask`."""
        return await self.inner.ask(asks)

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        """See `Driver.free_locks`."""
        return await self.inner.free_locks(lock_keys)

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        """See `Driver.landed`."""
        return await self.inner.landed(key, record_no, epoch)

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        """See `Driver.namespaces`."""
        return await self.inner.namespaces(key, after=after, limit=limit)

    async def delete(self, claim: Held, worker: bytes) -> bool:
        """See `Driver.delete`."""
        return await self.inner.delete(claim, worker)

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """See `Driver.set_ttl`."""
        return await self.inner.set_ttl(key, ttl_s)

    async def reclaim(self) -> int:
        """See `Driver.reclaim`."""
        return await self.inner.reclaim()


__all__ = ["SealedDriver"]
