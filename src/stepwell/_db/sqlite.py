"""SQLite: connections, settings, transactions in one hop.

The only door to SQLite for the drivers above. A database has one writer connection and a few
readers, each with a thread of its own; in write-ahead mode they do not wait for each other.
What a driver wants done it writes as a plain function of a cursor, and `Database.write` or
`Database.read` runs it as one transaction, in one hop.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any, Literal, TypeVar

from stepwell._dataclass import dataclass
from stepwell._db._sqlite_borrowed import (
    AnyConnection,
    BorrowedLane,
    database_file,
    file_at_once,
    file_of_connection,
    is_bound_to_thread,
)
from stepwell._db._sqlite_connection import IN_MEMORY, Hop, Lane, exact_parameter, finish
from stepwell._db._sqlite_errors import is_poison, storage_error
from stepwell._db._sqlite_host import (
    HostLeaseClock,
    LeaseClock,
    LeaseTime,
    disk_free_bytes,
    log_bytes,
    network_file_system,
)
from stepwell._db._sqlite_transaction import SQL, Cursor, Transactions, Waiting, patiently_set
from stepwell.errors import StorageError, StorageUnavailableError, UsageError

T = TypeVar("T")

READERS_MAX = 4
_OPEN_WAIT_S = 30.0
_VERSION_MIN = (3, 37, 0)  # STRICT tables

HAS_JSON = sqlite3.sqlite_version_info >= (3, 38, 0)
"""Whether SQLite has its JSON functions for certain."""
BUSY_TIMEOUT_S = 5.0
"""Seconds that one try waits for a write transaction of another process, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to open a database. `path` is a file, a `file:` URI if `uri`, or ":memory:"."""

    path: str
    uri: bool = False
    synchronous: Literal["full", "normal"] = "full"
    busy_timeout_s: float = BUSY_TIMEOUT_S

    @property
    def private(self) -> bool:
        """Whether the database lives in the memory of one connection."""
        return self.path == IN_MEMORY


class Database:
    """One database, opened. Made anew after `close` or `forget`."""

    def __init__(self, settings: Settings, borrowed: AnyConnection | None = None) -> None:
        self._settings = settings
        self._writer: Lane | BorrowedLane = (
            self._lane() if borrowed is None else BorrowedLane(borrowed)
        )
        self._private = settings.private or borrowed is not None
        self._readers: list[Lane] = []
        self._opening = asyncio.Lock()
        self._transactions = Transactions(settings.path, settings.busy_timeout_s)
        self._closed = False
        self._pid = os.getpid()
        self.file = ""
        """Absolute path of the database file, as SQLite names it; "" in memory."""

    async def open(self) -> None:
        """Connect the writer and put the database into write-ahead mode.

        Raises:
            StorageError: the file cannot be opened, is no database, or lies where
                write-ahead mode does not work; the message says what to do.
            UsageError: a borrowed connection cannot be used from here.
        """
        if sqlite3.sqlite_version_info < _VERSION_MIN:
            raise StorageError(
                f"This Python brings SQLite {sqlite3.sqlite_version}; stepwell needs "
                f"{'.'.join(map(str, _VERSION_MIN))} or newer."
            )
        if isinstance(self._writer, BorrowedLane):
            await self._writer.open()
        else:
            await self._connect(self._writer, self._prepare_writer)

    async def _connect(
        self, lane: Lane, prepare: Callable[[sqlite3.Connection, Hop[Any]], None]
    ) -> None:
        try:
            await lane.open(prepare)
        except (sqlite3.Error, ValueError) as error:
            raise storage_error(error, self._settings.path, writing=False) from error

    def _lane(self) -> Lane:
        return Lane(self._settings.path, uri=self._settings.uri)

    def _prepare_writer(self, connection: sqlite3.Connection, hop: Hop[Any]) -> None:
        with closing(connection.cursor()) as cursor:  # closed also when the error is kept
            if not self._settings.private:
                self.file = database_file(connection)
                if not self.file:
                    raise UsageError(
                        f"{self._settings.path}: a database without a file has one connection "
                        "only: ask for a private in-memory database instead."
                    )
                self._enter_wal(cursor, hop)
            cursor.execute(SQL[f"synchronous_{self._settings.synchronous}"])
            cursor.execute(SQL["autocheckpoint"])
            cursor.execute(SQL["journal_size_limit"])

    def _enter_wal(self, cursor: Cursor, hop: Hop[Any]) -> None:
        remote = network_file_system(self.file)
        if remote is not None:
            raise StorageError(
                f"{self.file} lies on a network file system ({remote}), where SQLite's "
                "write-ahead log does not work: use a local disk, or PostgreSQL."
            )
        # Switching takes the whole file for a moment; of several processes that start at once
        # all but one are refused, without SQLite waiting by itself.
        waiting = Waiting(max(_OPEN_WAIT_S, self._settings.busy_timeout_s), hop)
        mode = patiently_set(cursor, SQL["journal_mode"], waiting)
        if mode != "wal":
            patiently_set(cursor, SQL["auto_vacuum"], waiting)
            mode = patiently_set(cursor, SQL["journal_mode_wal"], waiting)
        if mode != "wal":
            raise StorageError(
                f"{self.file}: SQLite stays in journal mode {mode!r} here instead of WAL. "
                "Put the file on a local disk, and see that no other program holds it open."
            )

    @staticmethod
    def _prepare_reader(connection: sqlite3.Connection, _: Hop[Any]) -> None:
        connection.cursor().execute(SQL["read_only"])

    async def write(
        self,
        work: Callable[[Cursor], T],
        *,
        instead: Callable[[Cursor], T] | None = None,
        undo: Callable[[T, Cursor], None] | None = None,
        wait_s: float | None = None,
    ) -> T:
        """Run `work(cursor)` in one write transaction, in one hop.

        Args:
            work: what to do, without ending the transaction.
            instead: done in its place, in a new transaction, when one row of `work` could
                not be written.
            undo: a transaction to run if the caller is cancelled when `work` is committed.
            wait_s: how long to wait for other processes' writes, if not `busy_timeout_s`.

        Raises:
            StorageUnavailableError: busy, or the disk failed. `context["outcome"]` says
                whether the commit may have happened all the same.
            StorageFullError: no room left; outcome unknown.
            StorageError: permanent.
        """
        lane = await self._usable_writer()
        transactions = self._transactions

        def go(connection: sqlite3.Connection, hop: Hop[Any]) -> T:
            return transactions.write(work, connection, hop, instead=instead, wait_s=wait_s)

        if undo is None:
            return await lane.run(go)

        def back(result: T, connection: sqlite3.Connection, hop: Hop[Any]) -> None:
            transactions.write(lambda cursor: undo(result, cursor), connection, hop)

        return await lane.run(go, back)

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work(cursor)` on one snapshot, in one hop. It may run more than once.

        Raises:
            StorageError: as for `write`; a read leaves no outcome unknown.
        """
        lane = await self._usable_writer() if self._private else await self._usable_reader()
        transactions = self._transactions
        return await lane.run(lambda connection, hop: transactions.read(work, connection, hop))

    @asynccontextmanager
    async def snapshot(
        self,
    ) -> AsyncIterator[Callable[[Callable[[Cursor], Any]], Awaitable[Any]]]:
        """One read transaction for as long as the block lasts, on a connection of its own.

        A database in memory has one connection: there, what it holds is copied into another.

        Yields:
            A function that runs a function of a cursor inside that transaction.
        """
        self._check_open()
        lane = Lane(self._settings.path, uri=self._settings.uri)
        transactions = self._transactions
        if self._private:
            lane = Lane(IN_MEMORY, uri=False)
            await self._connect(lane, _prepare_nothing)
        else:
            await self._connect(lane, self._prepare_reader)

        async def run(work: Callable[[Cursor], T]) -> T:
            return await lane.run(
                lambda connection, hop: transactions.inside(work, connection, hop)
            )

        try:
            if self._private:
                copy = await self.read(lambda cursor: cursor.connection.serialize())
                await lane.run(lambda connection, _: connection.deserialize(copy))
            await lane.run(transactions.begin)
            yield run
        finally:
            await finish(lane.close())

    def _check_open(self) -> None:
        if self._closed:
            raise StorageUnavailableError("The database was closed meanwhile.", outcome="none")
        if self._pid != os.getpid():
            raise UsageError("This process was forked: call forget(), then open() again.")

    async def _usable_writer(self) -> Lane | BorrowedLane:
        self._check_open()
        if self._writer.broken and not self._private:
            async with self._opening:
                self._check_open()
                if self._writer.broken:
                    await self._writer.close()
                    fresh = self._lane()
                    await self._connect(fresh, self._prepare_writer)
                    self._writer = fresh
        return self._writer

    async def _usable_reader(self) -> Lane:
        self._check_open()
        idle = min(self._readers, key=lambda lane: (lane.broken, lane.waiting), default=None)
        if (
            idle is not None
            and not idle.broken
            and (not idle.waiting or len(self._readers) >= READERS_MAX)
        ):
            return idle
        async with self._opening:
            self._check_open()
            for lane in [lane for lane in self._readers if lane.broken]:
                self._readers.remove(lane)
                await lane.close()
            for lane in self._readers:  # somebody opened it while we waited
                if not lane.waiting or len(self._readers) >= READERS_MAX:
                    return lane
            fresh = self._lane()
            await self._connect(fresh, self._prepare_reader)
            self._readers.append(fresh)
            return fresh

    async def close(self) -> None:
        """Wait for the hops under way, then close every connection. Idempotent."""
        self._closed = True
        if self._pid != os.getpid():
            self.forget()
        else:
            await finish(self._close())

    async def _close(self) -> None:
        async with self._opening:
            # The writer last: whoever closes last folds the log into the file.
            for lane in (*self._readers, self._writer):
                await lane.close()

    def forget(self) -> None:
        """Let go of every connection without waiting (dead loop, or a fork's child)."""
        self._closed = True
        for lane in (*self._readers, self._writer):
            lane.forget()


def _prepare_nothing(connection: sqlite3.Connection, hop: Hop[Any]) -> None:
    """A connection to nothing needs no settings."""


__all__ = [
    "HAS_JSON",
    "SQL",
    "AnyConnection",
    "Cursor",
    "Database",
    "HostLeaseClock",
    "LeaseClock",
    "LeaseTime",
    "Settings",
    "disk_free_bytes",
    "exact_parameter",
    "file_at_once",
    "file_of_connection",
    "is_bound_to_thread",
    "is_poison",
    "log_bytes",
    "storage_error",
]
