"""Documents in PostgreSQL."""

from __future__ import annotations

from stepwell.store._synchronous import SyncVerbs
from stepwell.store.postgres._store import BasePostgresStore, PoolConfig, PostgresIndexConfig
from stepwell.store.postgres.aio import AsyncPostgresStore


class PostgresStore(SyncVerbs, BasePostgresStore):
    """Documents in PostgreSQL, shared by all processes that open it.

    `PostgresStore.from_conn_string("postgresql://...")` takes an address;
    `PostgresStore(saver)` shares the connections of a `PostgresSaver`. Both forms of every
    verb are there: `get` and `aget`.
    """


__all__ = ["AsyncPostgresStore", "PoolConfig", "PostgresIndexConfig", "PostgresStore"]
