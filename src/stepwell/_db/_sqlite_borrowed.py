"""A connection that somebody else opened and will close."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import aiosqlite

from stepwell._db._sqlite_connection import BaseLane, Hop, exact_text
from stepwell._db._sqlite_transaction import SQL
from stepwell.errors import StorageUnavailableError, UsageError

AnyConnection: TypeAlias = sqlite3.Connection | aiosqlite.Connection


class BorrowedLane(BaseLane):
    """Runs hops on a given connection: in aiosqlite's thread, or at once where we are.

    A plain `sqlite3` connection gets no thread: an in-memory database answers faster than a
    thread can be woken.
    """

    def __init__(self, connection: AnyConnection) -> None:
        super().__init__()
        self._connection: AnyConnection | None = connection
        self._text_factory: Any = None

    async def open(self) -> None:
        """Begin to use the connection."""

        def begin(connection: sqlite3.Connection, _: Hop[Any]) -> None:
            self._text_factory = connection.text_factory
            connection.text_factory = exact_text

        await self.run(begin)

    async def _send(self, hop: Hop[Any]) -> None:
        connection = self._connection
        if connection is None:
            raise StorageUnavailableError("The connection was given back.", outcome="none")
        try:
            if isinstance(connection, sqlite3.Connection):
                hop.go(connection)
                return
            # A connection made without our factory has no public call that takes a function.
            run: Callable[..., Awaitable[None]] = connection._execute  # noqa: SLF001
            await run(lambda: hop.go(connection._conn))  # noqa: SLF001
        except (sqlite3.ProgrammingError, ValueError) as error:
            raise _unusable(error) from error

    async def close(self) -> None:
        """Give the connection back as it was."""
        if self._connection is not None and self._text_factory is not None:
            factory = self._text_factory
            await self.run(lambda connection, _: setattr(connection, "text_factory", factory))
        self._connection = None

    def forget(self) -> None:
        self._connection = None


async def file_of_connection(connection: AnyConnection) -> str:
    """The absolute path of the file a given connection is open on; "" if it is in memory.

    Raises:
        UsageError: the connection is closed, or bound to another thread.
    """
    return await BorrowedLane(connection).run(lambda opened, _: database_file(opened))


def file_at_once(connection: AnyConnection) -> str | None:
    """The file of a plain connection, "" if it is in memory; None if the connection has a
    thread of its own, which has to be asked.

    Raises:
        UsageError: the connection is closed, or bound to another thread.
    """
    if not isinstance(connection, sqlite3.Connection):
        return None
    try:
        return database_file(connection)
    except sqlite3.ProgrammingError as error:
        raise _unusable(error) from error


def is_bound_to_thread(connection: AnyConnection) -> bool:
    """Whether a connection refuses to be used in other threads than the one that opened it."""
    refused: list[Exception] = []
    if not isinstance(connection, sqlite3.Connection):
        return False

    def look() -> None:
        try:
            connection.cursor().close()
        except sqlite3.ProgrammingError as error:
            refused.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    looking.join()
    return bool(refused)


def _unusable(error: Exception) -> UsageError:
    return UsageError(
        "The connection given is closed, or belongs to another thread. Open it with "
        "check_same_thread=False (aiosqlite: await it first), or pass the path of the "
        f"file instead. ({error})"
    )


def database_file(connection: sqlite3.Connection) -> str:
    """The absolute path of the file a connection is open on; "" if it is in memory."""
    before, connection.text_factory = connection.text_factory, bytes  # a path may be any bytes
    try:
        cursor = connection.cursor()
        cursor.row_factory = None
        for _, name, file in cursor.execute(SQL["database_files"]).fetchall():
            if name == b"main":
                return os.fsdecode(file or b"")
    finally:
        connection.text_factory = before
    return ""
