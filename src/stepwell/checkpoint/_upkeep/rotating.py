"""All rows of a sealed database, opened: to be checked, mended, or sealed anew with another key."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

from stepwell.checkpoint._results import RotateReport
from stepwell.checkpoint._sealing.seal import Seal
from stepwell.checkpoint._upkeep.keeping import Keeping, check_batch_rows
from stepwell.checkpoint._upkeep.resealing import Resealing
from stepwell.checkpoint.driver import (
    BackupDriver,
    Capability,
    Driver,
    Held,
    RowKind,
    Snapshot,
    ThreadKey,
    ThreadPart,
    ThreadRow,
)
from stepwell.errors import KeyMissingError, UsageError

_log = logging.getLogger("stepwell")
_SEALED_ROWS: Final = (RowKind.CHECKPOINTS, RowKind.WRITES, RowKind.SEGMENTS)

if TYPE_CHECKING:
    from stepwell.checkpoint._sealing.driver import SealedDriver

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

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """See `BackupDriver.reseal`: bytes as they are stored."""
        return await self._inner.reseal(worker, changes)

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
    from stepwell.checkpoint._sealing.driver import SealedDriver  # only who encrypts needs it

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


class ReadableBy:
    """Refuses rows that a saver could not read for want of a key, before they are put into its
    database.

    Args:
        driver: The driver of the saver.
    """

    def __init__(self, driver: Driver) -> None:
        self._seal = driver.seal if _is_sealed(driver) else None
        self._opened = self._told = False

    def __call__(self, key: ThreadKey, kind: RowKind, rows: Sequence[Any]) -> None:
        """Look at rows of one thread.

        Raises:
            KeyMissingError: One is under a key that the saver does not have.
            CorruptRecordError: The first one does not open.
        """
        ring = None if self._seal is None else self._seal.keyring
        for row in rows if kind in _SEALED_ROWS else ():
            if row.key_id is not None and (ring is None or row.key_id not in ring):
                raise KeyMissingError(
                    f"Records of thread {key.thread_id!r} are encrypted under the key "
                    f"{row.key_id!r}, which this saver does not have, so it could not read what it "
                    "restores: open it with keyring=. To copy the bytes as they are, call "
                    "abackup() on a saver of the source.",
                    thread_id=key.thread_id,
                )
            if row.key_id is None and ring is not None and not self._told:
                self._told = True
                _log.warning(
                    "What is restored is in clear, and this saver has a keyring: it refuses to "
                    "read it until arotate_keys(clear_too=True) has encrypted it."
                )
            if row.key_id is not None and not self._opened and self._seal is not None:
                self._seal.anew(kind, key, row)  # else the key has the name only
                self._opened = True


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

    async def arotate_keys(
        self, *, clear_too: bool = False, batch_rows: int = 1000
    ) -> RotateReport:
        """Encrypt what is stored with the keyring's current key.

        Threads are done in groups, each under claims that are not waited for; runs of other
        threads go on. What is done stays done: called again, it goes on with what is left. When
        nothing was skipped, older keys can be taken out of the ring, if no process writes with
        one any more.

        Args:
            clear_too: Also encrypt threads that were written before there was a keyring. Until
                then they are refused; whoever can write to the database could have made them.
            batch_rows: Rows that are in memory, and written by one transaction, about.

        Returns:
            Threads that were sealed anew, that had nothing to do, and that somebody held.

        Raises:
            UsageError: The saver has no keyring, or `batch_rows` is no count.
            KeyMissingError: A record is encrypted with a key that is not in the ring.
            CorruptRecordError: A record is damaged, or in clear; threads before it are done.
            StorageError: The database did not answer.
        """
        check_batch_rows(batch_rows)

        async def rotate() -> RotateReport:
            journal = await self.journal()
            driver = journal.driver
            if not _is_sealed(driver) or driver.seal.keyring is None:
                raise UsageError("arotate_keys() needs a saver that was opened with keyring=.")
            if Capability.ONLINE_BACKUP not in driver.capabilities:
                raise UsageError(f"The driver {driver.name!r} does not declare online_backup.")
            seal = driver.seal.admitting_clear() if clear_too else driver.seal
            inner = cast("BackupDriver", driver.inner)
            scope = self._scope if self._is_view else None
            return await Resealing(journal, inner, seal, batch_rows).run(scope)

        return await self.at_home(rotate)

    def rotate_keys(self, *, clear_too: bool = False, batch_rows: int = 1000) -> RotateReport:
        """Sync twin of `arotate_keys`."""
        return self._now(
            lambda: self.arotate_keys(clear_too=clear_too, batch_rows=batch_rows), "rotate_keys"
        )


__all__ = ["Rotating", "check_keys", "place_for", "unsealed"]
