"""The SQLite driver: threads in one file, shared by the processes of one host."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._db._filelock import HAS_FILE_LOCKS, ByteLocks
from stepwell._db._sqlite_schema import migrate
from stepwell._db.sqlite import (
    BUSY_TIMEOUT_S,
    AnyConnection,
    Database,
    HostLeaseClock,
    LeaseClock,
    Settings,
    file_of_connection,
)
from stepwell._ids import RANDOM_IDS, Ids
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Capability,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Committed,
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
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadPart,
    ThreadQuery,
    ThreadRow,
    Vitals,
)
from stepwell.checkpoint.sqlite import _backup as whole
from stepwell.checkpoint.sqlite import _claim as owning
from stepwell.checkpoint.sqlite import _page as paging
from stepwell.checkpoint.sqlite import _read as reading
from stepwell.checkpoint.sqlite import _relay as relaying
from stepwell.checkpoint.sqlite._commit import CommitBatch, Numbers
from stepwell.errors import StorageError, UsageError

_NUMBERS_MAX = 100_000


class SqliteDriver:
    """Keeps threads in an SQLite file, or in the memory of one connection.

    Args:
        path: the database file; ":memory:" is the same as `private_memory`.
        uri: `path` is a `file:` URI.
        private_memory: no file. One connection holds everything and nobody else sees it.
        synchronous: "full": an acknowledged commit survives a power cut. "normal": it
            survives the death of the process; after a power cut the newest may be missing.
        locks: "advisory": a byte lock on the file `<path>-locks` shows at once that an
            owner's process died. "lease": its lease has to run out.
        ids: where lock keys come from.
        busy_timeout_s: how long to wait for a write transaction of another process.
        clock: what times in rows are taken from.
        leases: what leases are counted on; by default time since boot.
    """

    name = "sqlite"

    def __init__(
        self,
        path: str = ":memory:",
        *,
        uri: bool = False,
        private_memory: bool = False,
        synchronous: Literal["full", "normal"] = "full",
        locks: Literal["advisory", "lease"] = "advisory",
        ids: Ids = RANDOM_IDS,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        clock: Clock = SYSTEM_CLOCK,
        leases: LeaseClock | None = None,
    ) -> None:
        if not path:
            raise UsageError('SqliteDriver needs the path of a file, or ":memory:".')
        private = private_memory or path == ":memory:"
        if private:
            path, uri = ":memory:", False
        elif not uri:
            path = os.path.abspath(path)  # noqa: PTH100  # a later chdir must not move it
        self._settings = Settings(
            path=path, uri=uri, synchronous=synchronous, busy_timeout_s=busy_timeout_s
        )
        self._locks_mode = locks
        self.capabilities = self._declared()
        """What this driver can do; of a given connection it is known once it was opened."""
        self._ids = ids
        self._clock = clock
        self._leases = HostLeaseClock() if leases is None else leases
        self._borrowed: AnyConnection | None = None
        self._opening: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._database: Database | None = None
        self._locks: ByteLocks | None = None
        self._numbers: Numbers = {}
        self.unfinished: str | None = None

    @classmethod
    def from_connection(cls, connection: AnyConnection, **options: Any) -> SqliteDriver:
        """A driver on what a given sqlite3 or aiosqlite connection is open on.

        A database in memory: the connection itself is used, and not closed. A plain one must
        be usable in the event loop's thread: open it with `check_same_thread=False` unless
        that thread opened it. A file: its path is used, and connections of our own.

        Args:
            connection: an open connection, not inside a transaction.
            options: as for the constructor; all but `path`, `uri` and `private_memory`.
        """
        driver = cls(":memory:", **options)
        driver._borrowed = connection
        return driver

    @property
    def _uses_locks(self) -> bool:
        return self._locks_mode == "advisory" and HAS_FILE_LOCKS and not self._settings.private

    def _declared(self) -> frozenset[Capability]:
        if self._settings.private:
            return frozenset({Capability.ONLINE_BACKUP})
        locks = {Capability.ADVISORY_LOCKS} if self._uses_locks else set()
        return frozenset({Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP, *locks})

    def _lock(self) -> asyncio.Lock:
        """One opens or closes at a time, in the loop the driver lives on now."""
        loop = asyncio.get_running_loop()
        if self._opening is None or self._opening[0] is not loop:
            self._opening = (loop, asyncio.Lock())
        return self._opening[1]

    async def open(self) -> None:
        """Connect. Idempotent.

        Raises:
            StorageError: the file cannot be opened; the message says what to do.
            UsageError: a given connection is closed, or bound to another thread.
        """
        async with self._lock():
            if self._database is not None:
                return
            if self._borrowed is not None:
                file = await file_of_connection(self._borrowed)
                if file:
                    self._settings = dataclasses.replace(self._settings, path=file)
                    self._borrowed = None
                    self.capabilities = self._declared()
            database = Database(self._settings, self._borrowed)
            try:
                await database.open()
                self._locks = _open_locks(database.file) if self._uses_locks else None
            except BaseException:
                await database.close()
                raise
            self._database = database

    async def close(self) -> None:
        """Finish what is under way, give back connections and locks. Idempotent."""
        async with self._lock():
            database, self._database = self._database, None
            locks, self._locks = self._locks, None
            self._numbers.clear()
            try:
                if database is not None:
                    await database.close()
            finally:
                if locks is not None:
                    locks.close()

    def forget(self) -> None:
        """Let go of connections and locks without waiting (dead loop, fork's child)."""
        database, self._database = self._database, None
        locks, self._locks = self._locks, None
        self._opening = None
        self._numbers.clear()
        if database is not None:
            database.forget()
        if locks is not None:
            locks.close()

    def _opened(self) -> Database:
        if self._database is None:
            raise UsageError("The driver is not open: await open() first.")
        return self._database

    @property
    def database(self) -> Database:
        """The open database, for whoever shares its connections.

        Raises:
            UsageError: It is not open.
        """
        return self._opened()

    @property
    def location(self) -> str:
        """How the database is called in messages."""
        path = self._settings.path
        return path if self._settings.uri else f"sqlite:///{path}"

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Create or upgrade the schema; safe when many processes do it at once."""
        await migrate(self._opened(), mode, self.location)
        if mode != "off":
            self.unfinished = await self._opened().read(whole.note)

    def _look_for_locks(self) -> None:
        if self._locks is not None:
            with contextlib.suppress(OSError):  # leases go on without evidence
                self._locks.refresh()

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Become the owner of each thread, or learn who is; outcomes in order."""
        if not requests:
            return []
        self._look_for_locks()
        batch = owning.ClaimBatch(
            requests, self._locks, self._ids, clock=self._clock, leases=self._leases
        )
        try:
            outcomes = await self._opened().write(batch.write, undo=batch.undo)
        except BaseException:
            batch.give_back_locks()
            raise
        if len(self._numbers) > _NUMBERS_MAX:
            self._numbers.clear()  # they are only a short cut
        self._numbers.update(batch.numbers)
        return outcomes

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """Write all slices in one transaction, each behind its fence; outcomes in order."""
        if not batch:
            return []
        database = self._opened()
        path = database.file or self._settings.path
        writer = CommitBatch(batch, self._numbers, path, clock=self._clock, leases=self._leases)
        outcomes = await database.write(writer.write, instead=writer.write_apart)
        for piece, outcome in zip(batch, outcomes, strict=True):
            if piece.let_go and isinstance(outcome, Committed):
                self._numbers.pop(piece.key, None)
        return outcomes

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        """Heartbeat: extend the lease of each claim still ours."""
        if not held:
            return []
        self._look_for_locks()
        leases = self._leases
        return await self._opened().write(
            lambda cursor: owning.renew(cursor, worker, held, leases.now().seconds + lease_ttl_s)
        )

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """Free the row of each claim still ours, then its advisory lock."""
        if held:
            await self._opened().write(lambda cursor: owning.release(cursor, worker, held))
        await self.unlock(held)

    async def unlock(self, held: Sequence[Held]) -> None:
        """Give back the advisory locks of claims that ended."""
        for claim in held:
            self._numbers.pop(claim.key, None)
            if self._locks is not None:
                self._locks.give_back(claim.lock_key)

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        """Say that somebody waits for these threads."""
        wall = self._clock.wall()
        if keys:
            await self._opened().write(lambda cursor: owning.want(cursor, keys, wall))

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        """Put each request on the row of its thread."""
        if not asks:
            return []
        wall = self._clock.wall()
        return await self._opened().write(lambda cursor: owning.ask(cursor, asks, wall))

    async def delete(self, claim: Held, worker: bytes) -> bool:
        """Delete the thread and all its rows, fenced by the claim."""
        deleted = await self._opened().write(lambda cursor: owning.delete(cursor, claim, worker))
        if deleted:
            await self.unlock([claim])
        return deleted

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        """Which of these byte locks nobody holds, in this process or another."""
        self._look_for_locks()
        locks = self._locks
        return [locks is not None and locks.is_free(key) is True for key in lock_keys]

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        """Is the record numbered `record_no`, written under `epoch`, in the database?"""
        return await self._opened().read(
            lambda cursor: reading.landed(cursor, key, record_no, epoch)
        )

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        """Read each chain; all of them from one snapshot."""
        now = self._leases.now()
        return await self._opened().read(lambda cursor: reading.load(cursor, requests, now))

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,  # noqa: ARG002  # there is no replica
    ) -> HistoryPage:
        """Rows of one namespace with `since` <= seq <= `upto` (None = all), one snapshot."""
        now = self._leases.now()
        return await self._opened().read(
            lambda cursor: reading.history(cursor, key, ns_name, since=since, upto=upto, now=now)
        )

    async def page(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        limit: int,
        *,
        current: bool = False,  # noqa: ARG002  # there is no replica
    ) -> HistoryPage:
        """The newest `limit` checkpoints up to a seq, and what their states are made of."""
        now = self._leases.now()
        return await self._opened().read(
            lambda cursor: paging.page(cursor, key, ns_name, upto, limit, now)
        )

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        """How one namespace is stored, one snapshot."""
        now = self._leases.now()
        return await self._opened().read(lambda cursor: reading.layout(cursor, key, ns_name, now))

    async def write_segments(self, change: Relayout) -> bool:
        """Store a part of a namespace in another form, in one transaction."""
        now = self._clock.wall()
        return await self._opened().write(lambda cursor: relaying.relay(cursor, change, now, None))

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        """The same, fenced by a claim."""
        now, fence = self._clock.wall(), (claim, worker)
        return await self._opened().write(lambda cursor: relaying.relay(cursor, change, now, fence))

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """Say how long a thread is to be kept after its last update."""
        return await self._opened().write(lambda cursor: relaying.set_ttl(cursor, key, ttl_s))

    async def reclaim(self) -> int:
        """Cut free pages off the file, some per transaction. Pages of a file that an older
        SQLite tool made without incremental vacuum are only used again."""
        database = self._opened()
        before = left = await database.read(relaying.free_bytes)
        while left:
            now = await database.write(relaying.vacuum)
            if now >= left:
                break
            left = now
        return before - left

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """One page of thread rows; their `namespaces` hold the root only."""
        now = self._leases.now()
        return await self._opened().read(lambda cursor: reading.threads(cursor, query, now))

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """Count threads by graph, status and when they were created."""
        return await self._opened().read(lambda cursor: reading.tally(cursor, query))

    async def vitals(self) -> Vitals:
        """What the file says of itself, and the disk that it lies on."""
        database = self._opened()
        return await database.read(lambda cursor: reading.vitals(cursor, database.file))

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        """One page of a thread's namespaces, newest first, with a number < `after`."""
        return await self._opened().read(
            lambda cursor: reading.namespaces(cursor, key, after, limit)
        )

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """Runs by thread and number, all of them in one hop."""
        return await self._opened().read(lambda cursor: reading.runs_numbered(cursor, names))

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """The newest run of each thread that has metadata, all of them in one hop."""
        return await self._opened().read(lambda cursor: reading.described(cursor, keys))

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """The run of a thread that has this idempotency key."""
        return await self._opened().read(
            lambda cursor: reading.keyed_run(cursor, key, idempotency_key)
        )

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """One page of a thread's runs, newest first, with run < `after`."""
        return await self._opened().read(lambda cursor: reading.runs(cursor, key, after, limit))

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[whole.SqliteSnapshot]:
        """See one state of the file while others write it. Its log cannot shrink meanwhile."""
        now = self._leases.now()
        async with self._opened().snapshot() as run:
            yield whole.SqliteSnapshot(run, await run(whole.note), now)

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """Put rows in place as they are, in one transaction."""
        await self._opened().write(lambda cursor: whole.restore(cursor, parts, gone))
        self._numbers.clear()

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """Put other bytes into rows that are there, in one transaction."""
        return await self._opened().write(lambda cursor: whole.reseal(cursor, worker, changes))

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:
        """Count rows that belong to no thread, and delete them if asked to."""
        database = self._opened()
        call = database.write if remove else database.read
        return await call(lambda cursor: whole.strays(cursor, remove=remove))

    async def mark(self, note: str | None) -> None:
        """Say in the file that it is being filled, or that it is whole."""
        await self._opened().write(lambda cursor: whole.mark(cursor, note))
        self.unfinished = note


def _open_locks(file: str) -> ByteLocks:
    path = f"{file}-locks"
    try:
        return ByteLocks(path)
    except OSError as error:
        raise StorageError(
            f"{path}: the file that shows who is alive cannot be used ({error}). Let this user "
            'write there, or open the database with locks="lease".'
        ) from error
