"""Documents in an SQLite file: what both stores share, and the synchronous one."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Any, Literal, Self

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._codec import Codec
from stepwell._db._sqlite_address import IN_MEMORY, sqlite_address
from stepwell._db.sqlite import (
    BUSY_TIMEOUT_S,
    AnyConnection,
    Database,
    Settings,
    file_at_once,
    is_bound_to_thread,
)
from stepwell._portal import Home, note_runner
from stepwell.checkpoint.base import Saver
from stepwell.errors import UsageError
from stepwell.store._database import DatabaseStore, SharedHome, StoreHome
from stepwell.store._options import check_migrate, check_ttl, seconds_of
from stepwell.store._rows import Items, Migrate
from stepwell.store._sqlite_items import OwnSqlite, SqliteItems
from stepwell.store._synchronous import SyncVerbs
from stepwell.store.base import IndexConfig, TTLConfig


class SqliteIndexConfig(IndexConfig):
    """`IndexConfig`, under the name that LangGraph gives it here."""


class BaseSqliteStore(DatabaseStore):
    """Base of the stores in an SQLite file that the processes of one host share, or in memory.

    Args:
        conn: A `SqliteSaver`, whose connections are shared; or an open connection of
            `sqlite3` or `aiosqlite`. If that is open on a file, the file is used through
            connections of our own; if on `:memory:`, the connection itself. Without
            `check_same_thread=False`, only the thread that opened it can then use the store.
            It is never closed.
        deserializer: Not used here; must be None.
        index: How documents are embedded. Vectors are compared in Python, all that lie below
            the namespace of a search: good for some ten thousand of them.
        ttl: How items expire.
        migrate: "auto": create or upgrade the tables at opening; "check": refuse others;
            "off": do not look.
        clock: Where times come from.

    Raises:
        UsageError: An argument is none that it can be.
    """

    def __init__(
        self,
        conn: Any,
        *,
        deserializer: Any = None,
        index: SqliteIndexConfig | IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        migrate: Migrate = "auto",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if deserializer is not None:
            raise UsageError(
                "deserializer= has no use: values are read as they were written, with their types."
            )
        check_ttl(ttl)
        check_migrate(migrate)
        codec = Codec()
        home: StoreHome
        if isinstance(conn, Saver):
            home = SharedHome(conn, _sharing(codec, clock, ttl), migrate)
        elif isinstance(conn, AnyConnection):
            home = _home_of(type(self).__name__, conn, migrate, (codec, clock, ttl))
        else:
            raise UsageError(
                f"{type(self).__name__} takes a SqliteSaver, or an open connection of sqlite3 or "
                f"aiosqlite, not {type(conn).__name__}; for a path, use from_conn_string()."
            )
        super().__init__(home, index=index, ttl=ttl, codec=codec, clock=clock, outage_budget_s=None)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str | os.PathLike[str],
        *,
        index: SqliteIndexConfig | IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        migrate: Migrate = "auto",
        synchronous: Literal["full", "normal"] = "full",
        outage_budget_s: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """A store for a path, `:memory:`, a `file:` URI or an `sqlite://` URL. No I/O yet.

        It is the store itself: use it directly, in `with` or in `async with`.

        Args:
            conn_string: The database. `:memory:` and `sqlite://` are private to this store.
            index: As for the constructor.
            ttl: As for the constructor.
            migrate: As for the constructor.
            synchronous: "full": what is acknowledged survives a power cut; "normal": it
                survives the death of the process.
            outage_budget_s: How long a call waits for a file that others keep locked, in
                seconds; default 60.
            clock: Where times come from.

        Raises:
            UsageError: The URL is none of SQLite's, or an option none that it can be.
        """
        check_ttl(ttl)
        check_migrate(migrate)
        if synchronous not in ("full", "normal"):
            raise UsageError(f"synchronous must be 'full' or 'normal', not {synchronous!r}.")
        budget_s = seconds_of(outage_budget_s)
        path, uri = sqlite_address(conn_string)
        settings = Settings(
            path=path if uri or path == IN_MEMORY else os.path.abspath(path),  # noqa: PTH100
            uri=uri,
            synchronous=synchronous,
            # One try must not take longer than all of them together.
            busy_timeout_s=min(BUSY_TIMEOUT_S, budget_s or BUSY_TIMEOUT_S),
        )
        codec = Codec()
        store = cls.__new__(cls)
        home = _home(cls.__name__, settings, None, migrate, (codec, clock, ttl))
        DatabaseStore.__init__(
            store, home, index=index, ttl=ttl, codec=codec, clock=clock, outage_budget_s=budget_s
        )
        return store


class SqliteStore(SyncVerbs, BaseSqliteStore):
    """Documents in an SQLite file that the processes of one host share, or in memory.

    `SqliteStore.from_conn_string("memory.db")` takes a path; `SqliteStore(saver)` shares the
    connections of a `SqliteSaver`. Both forms of every verb are there: `get` and `aget`.
    """


Makings = tuple[Codec, Clock, TTLConfig | None]


def _items(database: Database, location: str, makings: Makings) -> SqliteItems:
    codec, clock, ttl = makings
    omit = bool((ttl or {}).get("omit_expired"))
    return SqliteItems(database, location, codec, clock, omit_expired=omit)


def _home(
    name: str,
    settings: Settings,
    borrowed: AnyConnection | None,
    migrate: Migrate,
    makings: Makings,
) -> Home[OwnSqlite]:
    async def make() -> OwnSqlite:
        return OwnSqlite(
            settings, borrowed, lambda database, location: _items(database, location, makings)
        )

    # A connection that was given is its owner's to close.
    return Home(make, migrate=migrate, name=name, warns=borrowed is None)


def _home_of(
    name: str, connection: AnyConnection, migrate: Migrate, makings: Makings
) -> Home[OwnSqlite]:
    file = file_at_once(connection)
    if file:
        return _home(name, Settings(path=file), None, migrate, makings)
    home = _home(name, Settings(path=IN_MEMORY), connection, migrate, makings)
    if not is_bound_to_thread(connection):
        return home
    # Only this thread may use the connection: its loop is home, or one that stands until this
    # thread waits for it.
    try:
        home.settle(asyncio.get_running_loop())
    except RuntimeError:
        loop = asyncio.new_event_loop()
        note_runner(loop)
        home.settle(loop)
        weakref.finalize(home, loop.close)
    return home


def _sharing(codec: Codec, clock: Clock, ttl: TTLConfig | None) -> Any:
    def make(driver: Any, before: Items | None) -> Items | None:
        database = getattr(driver, "database", None)
        if not isinstance(database, Database):
            return None
        if isinstance(before, SqliteItems) and before.database is database:
            return before
        return _items(database, driver.location, (codec, clock, ttl))

    return make


__all__ = ["BaseSqliteStore", "SqliteIndexConfig", "SqliteStore"]
