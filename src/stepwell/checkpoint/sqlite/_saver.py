"""What the two savers for SQLite share."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any, Self, TypeVar, Unpack

from stepwell._db._sqlite_address import sqlite_address
from stepwell._db.sqlite import BUSY_TIMEOUT_S, AnyConnection, file_of_connection
from stepwell.checkpoint._lifecycle import FindDriver
from stepwell.checkpoint._options import SQLITE, SqliteOptions, check_options, pick
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Driver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import UsageError

T = TypeVar("T")

_FOR_DRIVER = ("locks", "synchronous")


class BaseSqliteSaver(Saver):
    """Threads in an SQLite file that the processes of one host share, or in memory.

    Args:
        conn: An open connection of `sqlite3` or `aiosqlite`. If it is open on a file, that
            file is used through connections of our own; if on `:memory:`, the connection
            itself is used (open it with `check_same_thread=False`). It is never closed.
        options: `SqliteOptions`.

    Raises:
        UsageError: An option is unknown or has a value it cannot have; `conn` is no such
            connection, or cannot be used here.
    """

    def __init__(self, conn: Any, /, **options: Unpack[SqliteOptions]) -> None:
        self._start(_driver_of(conn, check_options(options, SQLITE, type(self).__name__)), options)

    @classmethod
    def from_conn_string(
        cls, conn_string: str | os.PathLike[str], **options: Unpack[SqliteOptions]
    ) -> Self:
        """A saver for a path, `:memory:`, a `file:` URI or an `sqlite://` URL. No I/O yet.

        It is the saver itself: use it directly, in `with` or in `async with`.

        Args:
            conn_string: The database. `:memory:` and `sqlite://` are private to this saver.
            options: `SqliteOptions`.

        Raises:
            UsageError: An option is unknown or has a value it cannot have, or the URL is none
                of SQLite's.
        """
        given = check_options(options, SQLITE, cls.__name__)
        path, uri = sqlite_address(conn_string)
        for_driver = pick(given, _FOR_DRIVER)
        if "outage_budget_s" in given:
            # One try must not take longer than all of them together.
            for_driver["busy_timeout_s"] = min(BUSY_TIMEOUT_S, given["outage_budget_s"])
        saver = cls.__new__(cls)
        saver._start(SqliteDriver(path, uri=uri, **for_driver), options)  # noqa: SLF001
        return saver

    def _start(self, driver: Driver | FindDriver, options: SqliteOptions) -> None:
        super().__init__(driver, **pick(options, omit=("synchronous",)))


def _driver_of(conn: Any, given: dict[str, Any]) -> Driver | FindDriver:
    if isinstance(conn, str | os.PathLike):
        raise UsageError(
            "Pass a path to from_conn_string(); the constructor takes an open connection."
        )
    if not isinstance(conn, AnyConnection):
        raise UsageError(
            "The constructor takes an open connection of sqlite3 or aiosqlite, not "
            f"{type(conn).__name__}; for a path, use from_conn_string()."
        )
    connection = conn
    options = pick(given, _FOR_DRIVER)

    async def find() -> Driver:
        file = await file_of_connection(connection)
        return SqliteDriver(file, **options) if file else SqliteDriver.from_connection(connection)

    # A plain connection answers at once, and perhaps only in this thread. Another one has a
    # thread of its own to ask, and no loop runs yet on which to wait for it.
    return find if hasattr(conn, "__aenter__") else _at_once(find())


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise UsageError("The connection did not answer at once; pass its path instead.")
