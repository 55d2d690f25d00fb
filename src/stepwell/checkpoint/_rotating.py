"""All rows of a sealed database, opened: to be checked, mended, or sealed anew with another key."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from stepwell._journal.checking import Stored
from stepwell._journal.copying import thread_pages
from stepwell.checkpoint._keeping import Keeping
from stepwell.checkpoint._results import RotateReport
from stepwell.checkpoint._sealing import Seal
from stepwell.checkpoint.driver import (
    UNENDED,
    BackupDriver,
    Capability,
    Driver,
    RowKind,
    Snapshot,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    at_rest,
)
from stepwell.errors import KeyMissingError, ThreadBusyError, UsageError

if TYPE_CHECKING:
    from stepwell.checkpoint._sealed_driver import SealedDriver

_OPENS: Final = {
    RowKind.RUNS: Seal.open_run,
    RowKind.CHECKPOINTS: Seal.open_checkpoint,
    RowKind.WRITES: Seal.open_write,
    RowKind.SEGMENTS: Seal.open_segment,
}


class Unsealed:
    """A database of sealed rows as one of plain rows: `snapshot` opens, `restore` seals."""

    def __init__(self, inner: BackupDriver, seal: Seal) -> None:
        self._inner = inner
        self._seal = seal

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `BackupDriver.snapshot`."""
        async with self._inner.snapshot() as snapshot:
            yield OpenedSnapshot(snapshot, self._seal)

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """See `BackupDriver.restore`. Each part is a whole thread."""
        await self._inner.restore([self._sealed(part) for part in parts], gone)

    def _sealed(self, part: ThreadPart) -> ThreadPart:
        key, seal = part.thread.key, self._seal
        checkpoints = [seal.checkpoint(key, row) for row in part.checkpoints]
        segments = [seal.segment(key, row) for row in part.segments]
        size = sum(len(row.body) + len(row.metadata or b"") for row in checkpoints)
        size += sum(len(row.body) + len(row.detail) for row in segments)
        return replace(
            part,
            thread=seal.thread(part.thread)._replace(bytes=size),
            runs=[seal.run(key, row) for row in part.runs],
            checkpoints=checkpoints,
            writes=[seal.write(key, row) for row in part.writes],
            segments=segments,
        )

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:
        """See `BackupDriver.strays`."""
        return await self._inner.strays(remove=remove)


class OpenedSnapshot:
    """A snapshot whose rows are opened."""

    def __init__(self, inner: Snapshot, seal: Seal) -> None:
        self._inner = inner
        self._seal = seal
        self.note: str | None = inner.note

    async def count(self, scope: str | None = None) -> int:
        """See `Snapshot.count`."""
        return await self._inner.count(scope)

    async def threads(
        self, after: ThreadKey | None, limit: int, scope: str | None = None
    ) -> list[ThreadRow]:
        """See `Snapshot.threads`."""
        found = await self._inner.threads(after, limit, scope)
        return [self._seal.open_thread(row) for row in found]

    async def named(self, keys: Sequence[ThreadKey]) -> list[ThreadRow | None]:
        """See `Snapshot.named`."""
        found = await self._inner.named(keys)
        return [None if row is None else self._seal.open_thread(row) for row in found]

    async def rows(
        self,
        kind: RowKind,
        keys: Sequence[ThreadKey],
        *,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
    ) -> list[list[Any]]:
        """See `Snapshot.rows`."""
        found = await self._inner.rows(kind, keys, after=after, limit=limit)
        opens: Any = _OPENS.get(kind)
        if opens is None:
            return found
        return [
            [opens(self._seal, key, row) for row in rows]
            for key, rows in zip(keys, found, strict=True)
        ]


def _is_sealed(driver: Driver) -> TypeGuard[SealedDriver]:
    from stepwell.checkpoint._sealed_driver import SealedDriver  # only who encrypts needs it

    return isinstance(driver, SealedDriver)


def unsealed(driver: Driver) -> BackupDriver:
    """A driver whose snapshots can be read, whether it seals or not.

    Raises:
        UsageError: The driver cannot be looked at as a whole.
    """
    if Capability.ONLINE_BACKUP not in driver.capabilities:
        raise UsageError(f"The driver {driver.name!r} does not declare online_backup.")
    if _is_sealed(driver):
        return cast("BackupDriver", Unsealed(cast("BackupDriver", driver.inner), driver.seal))
    return cast("BackupDriver", driver)


def check_keys(rows: Iterable[Any]) -> None:
    """Refuse to judge rows that cannot be read for want of a key: they are not damaged.

    Raises:
        KeyMissingError: There is such a row.
    """
    for row in rows:
        key_id = getattr(row, "key_id", None)
        refusal = getattr(row, "refusal", None)
        if isinstance(refusal, KeyMissingError):
            raise refusal
        if key_id is not None and refusal is None:
            msg = (
                f"Records are encrypted under the key {key_id!r}, which this saver does not have: "
                "open it with keyring=."
            )
            raise KeyMissingError(msg)


def place_for(driver: Driver, part: ThreadPart, key: ThreadKey) -> tuple[BackupDriver, ThreadPart]:
    """Where a whole thread as it was stored goes, and as what, if its name is to be `key`.

    Sealed records are bound to their thread: under another name they are opened and sealed anew.

    Raises:
        KeyMissingError: They cannot be opened for want of a key.
        CorruptRecordError: One does not open.
    """
    plain = cast("BackupDriver", driver)
    rows: list[Any] = [*part.checkpoints, *part.writes, *part.segments]
    if key == part.thread.key or all(row.key_id is None for row in rows):
        return plain, part
    if _is_sealed(driver):
        part, plain = _opened(part, driver.seal), unsealed(driver)
        rows = [*part.checkpoints, *part.writes, *part.segments]
    check_keys(rows)
    for row in rows:
        refusal = getattr(row, "refusal", None)
        if refusal is not None:
            raise refusal
    return plain, part


def _opened(part: ThreadPart, seal: Seal) -> ThreadPart:
    key = part.thread.key
    return replace(
        part,
        thread=seal.open_thread(part.thread),
        runs=[seal.open_run(key, row) for row in part.runs],
        checkpoints=[seal.open_checkpoint(key, row) for row in part.checkpoints],
        writes=[seal.open_write(key, row) for row in part.writes],
        segments=[seal.open_segment(key, row) for row in part.segments],
    )


class Rotating(Keeping):
    """The part of a saver that seals what is stored with another key."""

    async def arotate_keys(self, *, clear_too: bool = False) -> RotateReport:
        """Encrypt what is stored with the keyring's current key.

        A thread is done in one transaction, under a claim that is not waited for. What is done
        stays done: called again, it goes on with what is left. When nothing was skipped, older
        keys can be taken out of the ring. New records are written with the current key anyway.

        Args:
            clear_too: Also encrypt threads that were written before there was a keyring. Until
                then they are refused; whoever can write to the database could have made them.

        Returns:
            Threads that were sealed anew, that had nothing to do, and that somebody held.

        Raises:
            UsageError: The saver has no keyring.
            KeyMissingError: A record is encrypted with a key that is not in the ring.
            CorruptRecordError: A record is damaged, or in clear; threads before it are done.
            StorageError: The database did not answer.
        """

        async def rotate() -> RotateReport:
            journal = await self.journal()
            driver = journal.driver
            if not _is_sealed(driver) or driver.seal.keyring is None:
                raise UsageError("arotate_keys() needs a saver that was opened with keyring=.")
            seal = driver.seal.admitting_clear() if clear_too else driver.seal
            inner = cast("BackupDriver", driver.inner)
            report = RotateReport()
            async with aclosing(self._stale(inner, seal)) as stale:
                async for key, todo in stale:
                    if not todo:
                        report = report.plus(current=1)
                        continue
                    try:
                        handle = await journal.acquire(key, wait=False, load_seq=0)
                    except ThreadBusyError:
                        report = report.plus(skipped=1)
                        continue
                    try:
                        done = await _seal_anew(inner, seal, key)
                    finally:
                        await handle.release()
                    report = report.plus(threads=int(done), current=int(not done))
            return report

        return await self.at_home(rotate)

    def rotate_keys(self, *, clear_too: bool = False) -> RotateReport:
        """Sync twin of `arotate_keys`."""
        return self._now(lambda: self.arotate_keys(clear_too=clear_too), "rotate_keys")

    async def _stale(
        self, inner: BackupDriver, seal: Seal
    ) -> AsyncGenerator[tuple[ThreadKey, bool], None]:
        """Every thread, and whether something of it is not sealed with the current key."""
        async with inner.snapshot() as snapshot:
            keys: list[ThreadKey] = []
            scope = self._scope if self._is_view else None
            async with aclosing(thread_pages(snapshot, scope)) as pages:
                async for page in pages:
                    keys += [row.key for row in page]
        for key in keys:
            stored = await _read(inner, key)
            if stored is not None:
                yield key, not _is_current(seal, stored)


async def _read(driver: Any, key: ThreadKey) -> Stored | None:
    async with driver.snapshot() as snapshot:
        [row] = await snapshot.named([key])
        if row is None:
            return None
        return Stored.of(row, {kind: (await snapshot.rows(kind, [key]))[0] for kind in RowKind})


def _is_current(seal: Seal, stored: Stored) -> bool:
    rows: list[Any] = [*stored.checkpoints, *stored.writes, *stored.segments]
    return (
        all(row.key_id == seal.current for row in rows)
        and all(seal.is_current(run) for run in stored.runs)
        and seal.is_current_text(stored.thread.error)
    )


async def _seal_anew(inner: BackupDriver, seal: Seal, key: ThreadKey) -> bool:
    """Seal one thread with the current key; False: it is gone."""
    view = Unsealed(inner, seal)
    stored = await _read(view, key)
    if stored is None or stored.thread.layout_no == UNENDED:
        return False
    for row in (*stored.checkpoints, *stored.writes, *stored.segments):
        if (refusal := getattr(row, "refusal", None)) is not None:
            raise refusal
    part = ThreadPart(
        thread=at_rest(stored.thread), begins=True, ends=True, namespaces=stored.namespaces,
        runs=stored.runs, checkpoints=stored.checkpoints, writes=stored.writes,
        segments=stored.segments,
    )  # fmt: skip
    await view.restore([part])
    return True


__all__ = ["Rotating", "check_keys", "place_for", "unsealed"]
