"""Documents in an SQLite file."""

from __future__ import annotations

from stepwell.store._synchronous import SyncVerbs
from stepwell.store.sqlite._store import BaseSqliteStore, SqliteIndexConfig
from stepwell.store.sqlite.aio import AsyncSqliteStore


class SqliteStore(SyncVerbs, BaseSqliteStore):
    """Documents in an SQLite file that the processes of one host share, or in memory.

    `SqliteStore.from_conn_string("memory.db")` takes a path; `SqliteStore(saver)` shares the
    connections of a `SqliteSaver`. Both forms of every verb are there: `get` and `aget`.
    """


__all__ = ["AsyncSqliteStore", "SqliteIndexConfig", "SqliteStore"]
