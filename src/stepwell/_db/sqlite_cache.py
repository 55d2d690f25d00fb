"""The table of a cache in an SQLite file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from stepwell._db._sqlite_errors import storage_error
from stepwell._db.migrations import load_queries
from stepwell.errors import UsageError

SQL: Final = load_queries(Path(__file__).with_name("sqlite_cache.sql"))
BUSY_TIMEOUT_S: Final = 5.0

Row = tuple[str, str, float | None, str, bytes]
"""Namespace, key, when it is over (Unix time), encoding, value."""


class CacheTable:
    """One connection, used by one thread at a time; a forked child opens its own.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, path: str, now: float) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._inherited: list[sqlite3.Connection] = []
        self._closed = False
        self._pid = os.getpid()
        self._connection = self._connect()
        with self._transaction() as connection:
            connection.execute(SQL["create"])
            connection.execute(SQL["delete_expired"], (now,))

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
            )
        except sqlite3.Error as exc:
            raise storage_error(exc, self._path, writing=False) from exc
        try:
            connection.execute(SQL["journal_mode_wal"])
            connection.execute(SQL["synchronous_normal"])
        except sqlite3.Error as exc:
            connection.close()
            raise storage_error(exc, self._path, writing=False) from exc
        return connection

    @contextlib.contextmanager
    def _usable(self, *, writing: bool) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                msg = f"The cache in {self._path} has been closed."
                raise UsageError(msg)
            if self._pid != os.getpid():
                # The parent's handle must be neither used nor closed here.
                self._inherited.append(self._connection)
                self._connection, self._pid = self._connect(), os.getpid()
            try:
                yield self._connection
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as exc:
                raise storage_error(exc, self._path, writing=writing) from exc

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._usable(writing=True) as connection:
            connection.execute(SQL["begin_write"])
            try:
                yield connection
                connection.execute(SQL["commit"])
            except BaseException:
                if connection.in_transaction:
                    connection.execute(SQL["rollback"])
                raise

    def get(
        self, places: Sequence[tuple[str, str]], now: float
    ) -> dict[tuple[str, str], tuple[str, bytes]]:
        """(encoding, value) of those places that hold one which is not over."""
        found: dict[tuple[str, str], tuple[str, bytes]] = {}
        over: list[tuple[str, str, float]] = []
        with self._usable(writing=False) as connection:
            for place in places:
                row = connection.execute(SQL["get"], place).fetchone()
                if row is None:
                    continue
                expiry, encoding, value = row
                if expiry is not None and expiry <= now:
                    over.append((*place, now))
                else:
                    found[place] = (encoding, value)
        if over:
            with self._transaction() as connection:
                connection.executemany(SQL["delete"], over)
        return found

    def set(self, rows: Sequence[Row]) -> None:
        """Write rows, in one transaction."""
        with self._transaction() as connection:
            connection.executemany(SQL["set"], rows)

    def clear(self, namespaces: Sequence[str] | None) -> None:
        """Delete the rows of namespaces; None: all rows."""
        with self._transaction() as connection:
            if namespaces is None:
                connection.execute(SQL["clear_all"])
            else:
                connection.executemany(SQL["clear"], [(ns,) for ns in namespaces])

    def close(self) -> None:
        """Close the connection, if it is this process's."""
        with self._lock:
            if not self._closed and self._pid == os.getpid():
                self._connection.close()
            self._closed = True


__all__ = ["CacheTable", "Row"]
