"""Archives: threads as compressed files, out of the database and back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson

from stepwell._ids import digest16
from stepwell._journal.archiving import packed, unpacked
from stepwell._journal.handle import ThreadHandle
from stepwell._portal import iterate_sync
from stepwell.checkpoint._looking import listing
from stepwell.checkpoint._results import ArchiveInfo, ArchiveReport
from stepwell.checkpoint._upkeep.backup import Backing, backup_driver
from stepwell.checkpoint._upkeep.places import Place, place_of_archives
from stepwell.checkpoint._upkeep.retention import Retention
from stepwell.checkpoint._upkeep.rotating import place_for
from stepwell.checkpoint._upkeep.threads import listed
from stepwell.checkpoint.driver import (
    BackupDriver,
    LoadRequest,
    RowKind,
    Snapshot,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    ThreadStatus,
)
from stepwell.errors import (
    CorruptRecordError,
    StaleWriterError,
    ThreadBusyError,
    UsageError,
)

_SUFFIX: Final = ".stepwell.gz"
_MANIFEST: Final = ".json"
_PAGE: Final = 100
"""Threads that are read in one state."""
_FINISHED: Final = (ThreadStatus.DONE, ThreadStatus.FAILED)


class Archiving(Backing):
    """The part of a saver that archives threads."""

    async def aarchive(
        self,
        target: Any,
        *,
        thread_ids: Sequence[Any] | None = None,
        policy: Retention | None = None,
        delete: bool = False,
    ) -> ArchiveReport:
        """Write threads to compressed files, one each, with all they hold.

        Each file is read back and compared before it counts; with `delete`, only then is its
        thread deleted, under a claim, so that nothing is lost that was written meanwhile.
        Threads that are running are left alone. A thread is in memory as a whole meanwhile.

        Args:
            target: A folder; or an obstore store, or the URL of one (extra `[archive]`).
            thread_ids: Which; unknown ones are left out. None: what the policy says.
            policy: Threads that it lets go (`thread_ttl`, `statuses`, `where`). None: the
                saver's `retention`; without one, all threads that are done or have failed.
            delete: Delete them from the database.

        Raises:
            UsageError: The target is none, an argument is none that it can be.
            StorageError: The database or the target did not answer; what is done is done.
            CorruptRecordError: A file does not read as it was written; its thread is still there.
        """
        place = place_of_archives(target)
        if not isinstance(delete, bool):
            raise UsageError(f"delete must be True or False, not {delete!r:.80}.")
        if policy is not None and not isinstance(policy, Retention):
            raise UsageError(f"policy must be a Retention or None, not {policy!r:.80}.")
        named = None if thread_ids is None else [self.key(i) for i in listed(thread_ids)]

        async def archive() -> ArchiveReport:
            driver = backup_driver((await self.journal()).driver)
            report = ArchiveReport()
            keys = await self._to_be_archived(named, policy)
            each = self._archived(driver, place, keys, delete=delete)
            names: list[str] = []
            async with aclosing(each) as archived:
                async for made in archived:
                    if made is None:
                        report = replace(report, skipped=report.skipped + 1)
                        continue
                    names.append(made.name)
                    report = replace(
                        report,
                        threads=report.threads + 1,
                        deleted=report.deleted + delete,
                        bytes=report.bytes + made.bytes,
                    )
            return replace(report, archives=tuple(names))

        return await self.at_home(archive)

    def archive(
        self,
        target: Any,
        *,
        thread_ids: Sequence[Any] | None = None,
        policy: Retention | None = None,
        delete: bool = False,
    ) -> ArchiveReport:
        """Sync twin of `aarchive`."""
        return self._now(
            lambda: self.aarchive(target, thread_ids=thread_ids, policy=policy, delete=delete),
            "archive",
        )

    async def _to_be_archived(
        self, named: Sequence[ThreadKey] | None, policy: Retention | None
    ) -> list[ThreadKey]:
        reader = await self._reader()
        if named is not None:
            return list(named)
        chosen = policy or self._retention
        now = self._clock.wall()
        found: list[ThreadKey] = []
        query = listing.thread_query(
            self._scope, status=None, graph=None, updated_before=None, updated_after=None,
            order="thread_id", descending=False, after=None,
        )  # fmt: skip
        async with aclosing(listing.thread_rows(reader.journal, query)) as rows:
            async for row in rows:
                goes = row.status in _FINISHED if chosen is None else chosen.expired(row, now)
                if not goes:
                    continue
                if chosen is not None and chosen.where is not None:
                    info = await listing.thread_info(reader, row, "thread_id")
                    if not chosen.where(info):
                        continue
                found.append(row.key)
        return found

    async def _archived(
        self, driver: BackupDriver, place: Place, keys: Sequence[ThreadKey], *, delete: bool
    ) -> AsyncGenerator[ArchiveInfo | None, None]:
        """Archive threads; None: one is running, or not there. What is only copied is read in
        one state for many; what is deleted, under its claim."""
        if delete:
            for key in keys:
                yield await self._archive_and_delete(driver, place, key)
            return
        for first in range(0, len(keys), _PAGE):
            async with driver.snapshot() as snapshot:
                for key in keys[first : first + _PAGE]:
                    yield await self._write(snapshot, place, key)

    async def _archive_and_delete(
        self, driver: BackupDriver, place: Place, key: ThreadKey
    ) -> ArchiveInfo | None:
        journal = await self.journal()
        row = (await journal.load(LoadRequest(key, "", 0))).thread
        if row is None or row.status == ThreadStatus.RUNNING:
            return None
        try:
            handle = await journal.acquire(key, wait=False, load_seq=0)
        except ThreadBusyError:
            return None
        try:
            if not handle.record_no:  # somebody has deleted it meanwhile; the claim made it anew
                await handle.delete()
                return None
            async with driver.snapshot() as snapshot:
                made = await self._write(snapshot, place, key)
            if made is not None and not await handle.delete():
                raise StaleWriterError(
                    f"Thread {key.thread_id!r} was taken over while it was archived.",
                    thread_id=key.thread_id,
                )
            return made
        finally:
            await handle.release()

    async def _write(self, snapshot: Snapshot, place: Place, key: ThreadKey) -> ArchiveInfo | None:
        [row] = await snapshot.named([key])
        if row is None or row.status == ThreadStatus.RUNNING:
            return None
        rows = {kind: (await snapshot.rows(kind, [key]))[0] for kind in RowKind}
        data = packed(row, rows)
        name = digest16(key.scope, key.thread_id).hex() + f"-{row.record_no}"
        info = _info(name, row, data, archived_at=self._clock.wall())
        await place.put(name + _SUFFIX, data)
        back = await place.get(name + _SUFFIX)
        if back != data:
            raise CorruptRecordError(f"The archive {name!r} reads otherwise than it was written.")
        _check(unpacked(back, name), row, rows, name)
        # The archive is there with its manifest, and not before.
        await place.put(name + _MANIFEST, orjson.dumps(info.to_dict()))
        return info

    def alist_archives(self, target: Any) -> AsyncIterator[ArchiveInfo]:
        """The archives of a target, by name. Nothing but their manifests is read.

        Raises:
            UsageError: The target is none.
            CorruptRecordError: A manifest is damaged.
        """
        place = place_of_archives(target)

        async def walk() -> AsyncGenerator[ArchiveInfo, None]:
            for name in await place.names():
                if name.endswith(_MANIFEST):
                    yield await _manifest(place, name.removesuffix(_MANIFEST))

        return walk()

    def list_archives(self, target: Any) -> Any:
        """Sync twin of `alist_archives`."""
        return iterate_sync(
            lambda: self.alist_archives(target), loop=self.home(), name="list_archives"
        )

    async def arestore_archive(self, target: Any, name: str, *, as_thread: Any = None) -> str:
        """Put an archived thread back, into the scope of this saver.

        Args:
            target: Where archives are.
            name: Of the archive.
            as_thread: Another id for the thread.

        Returns:
            The thread's id.

        Raises:
            NotFoundError: There is no such archive.
            CorruptRecordError: It is damaged.
            KeyMissingError: It is encrypted, gets another id or scope, and this saver does not
                have its key.
            UsageError: The thread exists.
            ThreadBusyError: Somebody is just making it.
        """
        place = place_of_archives(target)
        if not isinstance(name, str) or not name or os.sep in name:
            raise UsageError(f"An archive is named by its name, not by {name!r:.80}.")

        async def restore() -> str:
            info = await _manifest(place, name)
            data = await place.get(name + _SUFFIX)
            if hashlib.sha256(data).hexdigest() != info.sha256:
                raise CorruptRecordError(f"The archive {name!r} is damaged: other bytes.")
            part = unpacked(data, name)
            key = self.key(part.thread.key.thread_id if as_thread is None else as_thread)
            journal = await self.journal()
            backup_driver(journal.driver)
            driver, part = place_for(journal.driver, part, key)
            handle = await journal.acquire(key, wait=False)
            try:
                await _put_back(driver, handle, part)
            finally:
                await handle.release()
            return key.thread_id

        return await self.at_home(restore)

    def restore_archive(self, target: Any, name: str, *, as_thread: Any = None) -> str:
        """Sync twin of `arestore_archive`."""
        return self._now(
            lambda: self.arestore_archive(target, name, as_thread=as_thread), "restore_archive"
        )


async def _put_back(driver: BackupDriver, handle: ThreadHandle, part: ThreadPart) -> None:
    if handle.record_no:
        raise UsageError(
            f"Thread {handle.key.thread_id!r} exists already: give another id with as_thread=, or "
            "delete it first.",
            thread_id=handle.key.thread_id,
        )
    row = part.thread._replace(key=handle.key, epoch=max(part.thread.epoch, handle.epoch))
    try:
        await driver.restore([replace(part, thread=row)])
    except BaseException:
        await handle.delete()
        raise


def _check(part: ThreadPart, row: ThreadRow, rows: dict[RowKind, list[Any]], name: str) -> None:
    """Compare what a file holds with what it was made of."""
    same = part.thread.key == row.key and part.thread.record_no == row.record_no
    if not same or any(list(getattr(part, kind)) != rows[kind] for kind in RowKind):
        raise CorruptRecordError(f"The archive {name!r} does not hold what was written.")


def _info(name: str, row: ThreadRow, data: bytes, *, archived_at: float) -> ArchiveInfo:
    return ArchiveInfo(
        name=name,
        thread_id=row.key.thread_id,
        scope=row.key.scope,
        graph=row.graph,
        status=ThreadStatus(row.status).name.lower(),
        checkpoints=row.checkpoints,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        created_at=listing.moment(row.created_at),
        updated_at=listing.moment(row.updated_at),
        archived_at=listing.moment(archived_at),
    )


async def _manifest(place: Place, name: str) -> ArchiveInfo:
    try:
        told = orjson.loads(await place.get(name + _MANIFEST))
        for at in ("created_at", "updated_at", "archived_at"):
            told[at] = datetime.fromisoformat(told[at])
        return ArchiveInfo(**told)
    except (ValueError, TypeError, KeyError) as error:
        msg = f"The manifest of the archive {name!r} is damaged: {error}."
        raise CorruptRecordError(msg) from error


__all__ = ["Archiving"]
