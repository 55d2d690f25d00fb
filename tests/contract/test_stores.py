"""Every store keeps the contract of stores."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
import pytest_asyncio

from stepwell import open_saver
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.store.memory import InMemoryStore
from stepwell.store.postgres import PostgresStore
from stepwell.store.sqlite import SqliteStore
from stepwell.store.sqlite.aio import AsyncSqliteStore
from tests._postgres import pg_dsn, pg_schema  # noqa: F401
from tests.contract._stores import ExpiringContract, HandClock, StoreContract


@pytest.fixture
def clock():
    return HandClock()


@contextlib.asynccontextmanager
async def closing(make):
    """`make`, and an end for all it made."""
    made = []

    def noted(**options):
        made.append(make(**options))
        return made[-1]

    try:
        yield noted
    finally:
        for store in made:
            await store.aclose()


class TestMemory(StoreContract):
    @pytest.fixture
    def make(self, clock):
        one = []

        def make(**options):
            if options or not one:
                one.append(InMemoryStore(clock=clock, **options))
            return one[-1]

        return make

    async def test_items_do_not_expire(self, make):
        assert not make().supports_ttl
        with pytest.raises(NotImplementedError):
            await make().aput(("a",), "x", {}, ttl=5)


class TestSqliteFile(StoreContract, ExpiringContract):
    @pytest_asyncio.fixture
    async def make(self, clock, tmp_path):
        def make(**options):
            return SqliteStore.from_conn_string(tmp_path / "memory.db", clock=clock, **options)

        async with closing(make) as noted:
            yield noted


class TestSqliteOwnConnection(StoreContract, ExpiringContract):
    @pytest_asyncio.fixture
    async def make(self, clock):
        connection = sqlite3.connect(":memory:", check_same_thread=False)

        def make(**options):
            return AsyncSqliteStore(connection, clock=clock, **options)

        async with closing(make) as noted:
            yield noted
        connection.close()


class TestSqliteOfASaver(StoreContract, ExpiringContract):
    @pytest_asyncio.fixture
    async def make(self, clock, tmp_path):
        async with (
            SqliteSaver.from_conn_string(tmp_path / "both.db") as saver,
            closing(lambda **given: SqliteStore(saver, clock=clock, **given)) as noted,
        ):
            yield noted


@pytest.mark.postgres
class TestPostgres(StoreContract, ExpiringContract):
    @pytest_asyncio.fixture
    async def make(self, clock, pg_dsn, pg_schema):  # noqa: F811
        def make(**options):
            return PostgresStore.from_conn_string(
                pg_dsn, schema=pg_schema, clock=clock, pool_size_max=3, **options
            )

        async with closing(make) as noted:
            yield noted


@pytest.mark.postgres
class TestPostgresOfASaver(StoreContract, ExpiringContract):
    @pytest_asyncio.fixture
    async def make(self, clock, pg_dsn, pg_schema):  # noqa: F811
        async with (
            PostgresSaver.from_conn_string(pg_dsn, schema=pg_schema) as saver,
            closing(lambda **given: PostgresStore(saver, clock=clock, **given)) as noted,
        ):
            yield noted


def test_savers_of_other_databases_cannot_be_shared():
    with open_saver("memory://") as saver, pytest.raises(Exception, match="no database"):
        SqliteStore(saver).get(("a",), "x")
