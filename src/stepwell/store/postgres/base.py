"""Documents in PostgreSQL: what both stores share, and the synchronous one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self, TypedDict

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._codec import Codec
from stepwell._db._postgres_dsn import POOL_MIN
from stepwell._db.postgres import Postgres
from stepwell._ids import RANDOM_IDS
from stepwell._portal import Home
from stepwell.checkpoint.base import Saver
from stepwell.errors import UsageError
from stepwell.store._database import DatabaseStore, SharedHome, StoreHome
from stepwell.store._options import check_migrate, check_ttl, seconds_of
from stepwell.store._postgres_items import PostgresItems
from stepwell.store._rows import Items, Migrate
from stepwell.store._synchronous import SyncVerbs
from stepwell.store.base import IndexConfig, TTLConfig


class PoolConfig(TypedDict, total=False):
    """LangGraph's form of saying how many connections there are."""

    min_size: int
    """Not looked at: connections are made when they are needed."""
    max_size: int | None
    """Connections at most; at least 3 are taken."""
    kwargs: dict[str, Any]
    """Arguments of psycopg's; must be empty. What asyncpg takes goes into `connect=`."""


class PostgresIndexConfig(IndexConfig):
    """`IndexConfig`, under the name that LangGraph gives it here."""


class BasePostgresStore(DatabaseStore):
    """Base of the stores in PostgreSQL 13 or newer, through asyncpg.

    Args:
        conn: A `PostgresSaver`, whose connections and schema are shared; or an `asyncpg.Pool`,
            which is used and not closed.
        pipe: Not used here; must be None.
        deserializer: Not used here; must be None.
        index: How documents are embedded. Vectors are compared in Python, all that lie below
            the namespace of a search: good for some ten thousand of them.
        ttl: How items expire.
        migrate: "auto": create or upgrade the tables at opening; "check": refuse others;
            "off": do not look.
        schema: With a pool: where the tables are; default: the first of the search path.
        pgbouncer: With a pool: it leads to PgBouncer in transaction mode.
        clock: Where times come from; by default they are the server's.

    Raises:
        UsageError: An argument is none that it can be.
    """

    def __init__(
        self,
        conn: Any,
        *,
        pipe: Any = None,
        deserializer: Any = None,
        index: PostgresIndexConfig | IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        migrate: Migrate = "auto",
        schema: str | None = None,
        pgbouncer: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if pipe is not None or deserializer is not None:
            raise UsageError(
                "pipe= and deserializer= have no use: a batch is one statement anyway, and values "
                "are read as they were written, with their types."
            )
        check_ttl(ttl)
        check_migrate(migrate)
        codec = Codec()
        home: StoreHome
        if isinstance(conn, Saver):
            if schema is not None or pgbouncer:
                raise UsageError("A saver that is shared brings its own schema and settings.")
            home = SharedHome(conn, _sharing(codec, clock, ttl), migrate)
        else:
            if conn is None or isinstance(conn, str):
                raise UsageError(
                    "The constructor takes a PostgresSaver or an asyncpg.Pool; pass an address "
                    "to from_conn_string()."
                )
            database = Postgres(
                pool=conn, schema=schema, pgbouncer=pgbouncer, locks="lease", ids=RANDOM_IDS
            )
            home = _home(type(self).__name__, _items(database, codec, clock, ttl), migrate)
            loop = getattr(conn, "_loop", None)
            if isinstance(loop, asyncio.AbstractEventLoop):
                home.settle(loop)  # a pool works on the loop it was made on, and there alone
        super().__init__(home, index=index, ttl=ttl, codec=codec, clock=clock, outage_budget_s=None)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,  # noqa: ARG003  # LangGraph's; every batch is one round trip
        pool_config: PoolConfig | None = None,
        index: PostgresIndexConfig | IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        migrate: Migrate = "auto",
        schema: str | None = None,
        pool_size_max: int = 10,
        pgbouncer: bool = False,
        connect: Mapping[str, Any] | None = None,
        outage_budget_s: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """A store for a `postgresql://` URL, whose query parameters are libpq's. No I/O yet.

        It is the store itself: use it directly, in `with` or in `async with`.

        Args:
            conn_string: The database.
            pipeline: LangGraph's; a batch goes over in one round trip either way.
            pool_config: LangGraph's form of `pool_size_max`.
            index: As for the constructor.
            ttl: As for the constructor.
            migrate: As for the constructor.
            schema: Where the tables are; default: the first of the search path.
            pool_size_max: Connections at most.
            pgbouncer: A pooler in transaction mode stands between.
            connect: More arguments for `asyncpg.connect`.
            outage_budget_s: How long a call waits for a database that does not answer, in
                seconds; default 60.
            clock: As for the constructor.

        Raises:
            UsageError: The URL is none, or an option none that it can be.
        """
        check_ttl(ttl)
        check_migrate(migrate)
        database = Postgres(
            conn_string,
            pool_size_max=_pool_size(pool_config, pool_size_max),
            schema=schema,
            pgbouncer=pgbouncer,
            locks="lease",
            connect=connect,
            ids=RANDOM_IDS,
        )
        codec = Codec()
        store = cls.__new__(cls)
        DatabaseStore.__init__(
            store,
            _home(cls.__name__, _items(database, codec, clock, ttl), migrate),
            index=index,
            ttl=ttl,
            codec=codec,
            clock=clock,
            outage_budget_s=seconds_of(outage_budget_s),
        )
        return store


class PostgresStore(SyncVerbs, BasePostgresStore):
    """Documents in PostgreSQL, shared by all processes that open it.

    `PostgresStore.from_conn_string("postgresql://...")` takes an address;
    `PostgresStore(saver)` shares the connections of a `PostgresSaver`. Both forms of every
    verb are there: `get` and `aget`.
    """


def _pool_size(config: PoolConfig | None, default: int) -> int:
    if config is None:
        return default
    if config.get("kwargs"):
        raise UsageError(
            "pool_config['kwargs'] are arguments of psycopg's; Stepwell speaks through asyncpg: "
            "give its arguments as connect={...}."
        )
    return max(config.get("max_size") or default, POOL_MIN)


def _items(database: Postgres, codec: Codec, clock: Clock, ttl: TTLConfig | None) -> PostgresItems:
    omit = bool((ttl or {}).get("omit_expired"))
    return PostgresItems(database, codec, clock, omit_expired=omit)


def _home(name: str, items: PostgresItems, migrate: Migrate) -> Home[PostgresItems]:
    async def make() -> PostgresItems:
        return items

    return Home(make, migrate=migrate, name=name, warns=True)


def _sharing(codec: Codec, clock: Clock, ttl: TTLConfig | None) -> Any:
    def make(driver: Any, before: Items | None) -> Items | None:
        database = getattr(driver, "database", None)
        if not isinstance(database, Postgres):
            return None
        if isinstance(before, PostgresItems) and before.database is database:
            return before
        return _items(database, codec, clock, ttl)

    return make


__all__ = ["BasePostgresStore", "PoolConfig", "PostgresIndexConfig", "PostgresStore"]
