"""Backups: a whole database in another one, of whatever kind, and back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

from stepwell._journal.copying import Tally, copy_database
from stepwell.checkpoint._openers import OPENERS
from stepwell.checkpoint._results import BackupProgress, BackupReport
from stepwell.checkpoint._upkeep.keeping import Keeping
from stepwell.checkpoint._upkeep.rotating import ReadableBy
from stepwell.checkpoint.driver import BackupDriver, Capability, Driver, RowKind
from stepwell.errors import UsageError

Progress: TypeAlias = Callable[[BackupProgress], object]


class Backing(Keeping):
    """The part of a saver that backs a database up."""

    async def abackup(
        self, target: str | os.PathLike[str] | Backing, *, progress: Progress | None = None
    ) -> BackupReport:
        """Copy the whole database, all scopes, into an empty one of any kind, while runs go on.

        What arrives is one state of this database; of every thread it is a prefix of what its
        runs have written, and each thread is read back and compared. A thread whose run is
        under way arrives as an orphan (`aorphans`, `arecover`): owners do not travel.

        Until the call has ended, the target says of itself that it is not whole, and cannot be
        opened. Called again with it, this goes on: what is there already stays, and what has
        changed since is made good. Stores are not part of a saver, and are not copied.

        On a view (`scoped`), only threads of its scope are copied.

        Args:
            target: The URL of an empty database, a path (then it is an SQLite file, made if
                there is none), or an open saver.
            progress: Called now and then with a `BackupProgress`; what it raises ends the call.

        Raises:
            UsageError: The target is no database, holds threads already, or is this database.
            StorageError: A database did not answer; or what was written reads otherwise. The
                target is unfinished, and the same call goes on.
        """
        check_progress(progress)

        async def backup() -> BackupReport:
            source = backup_driver((await self.journal()).driver)
            async with opened_elsewhere(target) as other:
                if other is self:
                    raise UsageError("The target of a backup must be another database.")
                scope = self._scope if self._is_view else None
                async with filled(other) as into, source.snapshot() as here:
                    told = teller(progress)
                    return report_of(await copy_database(here, into, scope=scope, progress=told))

        return await self.at_home(backup)

    def backup(
        self, target: str | os.PathLike[str] | Backing, *, progress: Progress | None = None
    ) -> BackupReport:
        """Sync twin of `abackup`."""
        return self._now(lambda: self.abackup(target, progress=progress), "backup")

    async def arestore(
        self, source: str | os.PathLike[str] | Backing, *, progress: Progress | None = None
    ) -> BackupReport:
        """Copy a whole database, all scopes, into this one, which must be empty.

        As `abackup`, the other way round; but what this saver could not read is refused, since it
        was opened with another keyring, or none. Records in clear are taken by a saver with a
        keyring, with a warning: `arotate_keys(clear_too=True)` encrypts them. Nobody else may use
        this database meanwhile; until the call has ended it cannot be opened, and called again it
        goes on.

        Args:
            source: The URL of a database of any kind, a path, or an open saver.
            progress: As for `abackup`.

        Raises:
            UsageError: The source is no database, this one holds threads already, or this is
                a view.
            KeyMissingError: A record is under a key that this saver does not have. If it is the
                first one, this database is as it was; else the same call goes on.
            CorruptRecordError: The first record does not open with the key that it names.
            StorageError: A database did not answer, the source is unfinished itself, or what
                was written reads otherwise.
        """
        check_progress(progress)
        if self._is_view:
            raise UsageError("A view cannot be restored into: call arestore() on the saver itself.")

        async def restore() -> BackupReport:
            async with opened_elsewhere(source, exists=True) as other:
                if other is self:
                    raise UsageError("The source of a restore must be another database.")
                there = backup_driver((await other.journal()).driver)
                async with filled(self) as into, there.snapshot() as shown:
                    told, admits = teller(progress), ReadableBy((await self.journal()).driver)
                    tally = await copy_database(shown, into, progress=told, admits=admits)
                    return report_of(tally)

        return await self.at_home(restore)

    def restore(
        self, source: str | os.PathLike[str] | Backing, *, progress: Progress | None = None
    ) -> BackupReport:
        """Sync twin of `arestore`."""
        return self._now(lambda: self.arestore(source, progress=progress), "restore")


def check_progress(progress: object) -> None:
    """Refuse what cannot be called.

    Raises:
        UsageError: It cannot.
    """
    if progress is not None and not callable(progress):
        raise UsageError(f"progress must be callable, not {progress!r:.80}.")


def backup_driver(driver: Driver) -> BackupDriver:
    """A driver that declares that it can be read and filled as a whole.

    Raises:
        UsageError: It does not.
    """
    if Capability.ONLINE_BACKUP not in driver.capabilities:
        raise UsageError(f"The driver {driver.name!r} does not declare online_backup.")
    return cast("BackupDriver", driver)


@asynccontextmanager
async def opened_elsewhere(where: Any, *, exists: bool = False) -> AsyncIterator[Backing]:
    """The saver of another database: one that was given, or one made for the block.

    Raises:
        UsageError: It is no URL, path or saver; it lives on another loop; or (`exists`) there
            is no such file.
    """
    if isinstance(where, Backing):
        if where.home() not in (None, asyncio.get_running_loop()):
            raise UsageError("The other saver belongs to another event loop: give its URL.")
        yield where
        return
    if not isinstance(where, str | os.PathLike):
        msg = f"Name the other database by URL or path, not by {type(where).__name__}."
        raise UsageError(msg)
    is_path = not (isinstance(where, str) and "://" in where)
    made = OPENERS[0](os.fspath(where), is_path=is_path, exists=exists)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def filled(saver: Backing) -> AsyncIterator[BackupDriver]:
    """The driver of a database that is being filled, unfinished or not. If that fails, it is
    closed, so that whoever uses the saver next is told."""
    token = object()
    saver._filling.append(token)  # noqa: SLF001  # it is one of us
    try:
        yield backup_driver((await saver.journal()).driver)
    except BaseException:
        await saver._home.close()  # noqa: SLF001
        saver._home.reopen()  # noqa: SLF001
        raise
    finally:
        saver._filling.remove(token)  # noqa: SLF001


def teller(progress: Progress | None) -> Callable[[Tally], None]:
    """What tells `progress` of a tally."""

    def tell(tally: Tally) -> None:
        if progress is not None:
            progress(
                BackupProgress(
                    threads=tally.threads,
                    threads_total=tally.total,
                    rows=sum(tally.rows.values()),
                    bytes=tally.bytes,
                )
            )

    return tell


def report_of(tally: Tally) -> BackupReport:
    """A tally in words of the API."""
    return BackupReport(
        threads=tally.threads,
        copied=tally.copied,
        kept=tally.threads - tally.copied,
        removed=tally.removed,
        running=tally.running,
        checkpoints=tally.rows[RowKind.CHECKPOINTS],
        segments=tally.rows[RowKind.SEGMENTS],
        runs=tally.rows[RowKind.RUNS],
        writes=tally.rows[RowKind.WRITES],
        bytes=tally.bytes,
        resumed=tally.resumed,
    )


__all__ = ["Backing"]
