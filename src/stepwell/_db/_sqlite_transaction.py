"""Transactions, as functions that run in a connection's thread.

Every function here ends with the connection outside a transaction, whatever happens, and
raises `StorageError` in place of native errors. It closes its cursor too: an error keeps its
traceback, the traceback the cursor, and a cursor in the middle of a statement keeps the file
open when the connection is closed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from stepwell._clock import SYSTEM_CLOCK
from stepwell._db._sqlite_connection import Hop
from stepwell._db._sqlite_errors import is_busy, is_poison, must_reopen, storage_error
from stepwell._db.migrations import load_queries
from stepwell.errors import StorageUnavailableError

T = TypeVar("T")
Cursor: TypeAlias = sqlite3.Cursor

SQL: Final = {
    **load_queries(Path(__file__).with_name("sqlite.sql")),
    **load_queries(Path(__file__).with_name("sqlite_store.sql")),
    **load_queries(Path(__file__).with_name("sqlite_backup.sql")),
}
"""Every statement, by name."""

_PAUSE_S = 0.002
_BEGIN_WRITE, _BEGIN_READ = SQL["begin_write"], SQL["begin_read"]
_COMMIT, _ROLLBACK = SQL["commit"], SQL["rollback"]


class Waiting:
    """How long a hop goes on asking for a lock: until a deadline, or until nobody waits."""

    def __init__(self, seconds: float, hop: Hop[Any]) -> None:
        self._until = SYSTEM_CLOCK.monotonic() + seconds
        self._hop = hop

    def may_go_on(self, error: sqlite3.Error) -> bool:
        """Pause for a moment if `error` says busy and there is time left; else False."""
        if not is_busy(error) or self._hop.abandoned or SYSTEM_CLOCK.monotonic() >= self._until:
            return False
        threading.Event().wait(_PAUSE_S)  # SQLite does not always wait by itself
        return True


class Transactions:
    """The transactions of one database. `path` is for messages."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s

    def write(
        self,
        work: Callable[[Cursor], T],
        connection: sqlite3.Connection,
        hop: Hop[Any],
        *,
        instead: Callable[[Cursor], T] | None = None,
        wait_s: float | None = None,
    ) -> T:
        """Run `work` between BEGIN IMMEDIATE and COMMIT.

        Args:
            work: what to do; it must not end the transaction.
            connection: where.
            hop: whose caller may stop waiting.
            instead: done in a new transaction when one row spoilt `work`.
            wait_s: how long to wait for the write lock, if not `busy_timeout_s`.
        """
        waiting = Waiting(self._busy_timeout_s if wait_s is None else wait_s, hop)
        try:
            if instead is None:
                return self._write(work, connection, waiting)
            try:
                return self._write(work, connection, waiting)
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                if not is_poison(error):
                    raise
                return self._write(instead, connection, waiting)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            hop.broken = must_reopen(error) or _is_stuck(connection)
            raise storage_error(error, self.path, writing=True) from error

    def _write(
        self, work: Callable[[Cursor], T], connection: sqlite3.Connection, waiting: Waiting
    ) -> T:
        with closing(self._cursor(connection)) as cursor:
            _patiently(cursor, _BEGIN_WRITE, waiting)
            try:
                result = work(cursor)
                # BUSY leaves the transaction as it is: only the COMMIT is to be repeated.
                _patiently(cursor, _COMMIT, waiting)
            except BaseException:
                _roll_back(connection)
                raise
            return result

    def read(self, work: Callable[[Cursor], T], connection: sqlite3.Connection, hop: Hop[Any]) -> T:
        """Run `work` in one read transaction: everything it sees is of one moment.

        `work` runs again from the start if the database was busy in the middle of it.
        """
        waiting = Waiting(self._busy_timeout_s, hop)
        with closing(self._cursor(connection)) as cursor:
            while True:
                try:
                    cursor.execute(_BEGIN_READ)
                    return work(cursor)
                except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                    _roll_back(connection)
                    if isinstance(error, sqlite3.Error) and waiting.may_go_on(error):
                        continue
                    hop.broken = must_reopen(error) or _is_stuck(connection)
                    raise storage_error(error, self.path, writing=False) from error
                finally:
                    _roll_back(connection)

    def begin(self, connection: sqlite3.Connection, hop: Hop[Any]) -> None:
        """Begin a read transaction that stays open; what it sees is settled by its first read."""
        try:
            with closing(self._cursor(connection)) as cursor:
                cursor.execute(_BEGIN_READ)
        except sqlite3.Error as error:
            hop.broken = True
            raise storage_error(error, self.path, writing=False) from error

    def inside(
        self, work: Callable[[Cursor], T], connection: sqlite3.Connection, hop: Hop[Any]
    ) -> T:
        """Run `work` inside the transaction that `begin` has begun."""
        waiting = Waiting(self._busy_timeout_s, hop)
        while True:
            try:
                with closing(connection.cursor()) as cursor:
                    cursor.row_factory = None
                    return work(cursor)
            except sqlite3.Error as error:
                if not waiting.may_go_on(error):
                    raise storage_error(error, self.path, writing=False) from error

    def _cursor(self, connection: sqlite3.Connection) -> Cursor:
        if connection.in_transaction:
            raise StorageUnavailableError(
                f"{self.path}: the connection is inside a transaction of its owner: end it first",
                outcome="none",
            )
        cursor = connection.cursor()
        cursor.row_factory = None  # a borrowed connection may have its own
        return cursor


def patiently_set(cursor: Cursor, statement: str, waiting: Waiting) -> Any:
    """Execute a PRAGMA until it is not refused as busy, and return its value."""
    _patiently(cursor, statement, waiting)
    row = cursor.fetchone()
    return None if row is None else row[0]


def _patiently(cursor: Cursor, statement: str, waiting: Waiting) -> None:
    while True:
        try:
            cursor.execute(statement)
        except sqlite3.Error as error:
            if not waiting.may_go_on(error):
                raise
        else:
            return


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):  # then _is_stuck, and the connection goes
            connection.cursor().execute(_ROLLBACK)


def _is_stuck(connection: sqlite3.Connection) -> bool:
    """Whether a transaction is open that could not be rolled back."""
    return connection.in_transaction
