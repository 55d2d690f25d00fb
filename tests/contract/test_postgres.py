"""The PostgreSQL driver keeps the driver contract: on connections of its own, out of a pool that
the user made, where every transaction brings its own settings, and through PgBouncer."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncpg
import pytest
import pytest_asyncio

from stepwell.checkpoint.driver import Capability
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.testing import DriverContract
from stepwell.testing._rows import checkpoint, pending, take, thread_key, worker
from tests._pgbouncer import bouncer_dsn
from tests._postgres import delete_rows, execute, opened, pg_dsn, pg_emptied, pg_schema, pg_spare

pytestmark = pytest.mark.postgres

SHARED = frozenset({Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP})


class TestPostgresDriver(DriverContract):
    capabilities = SHARED | {Capability.ADVISORY_LOCKS}
    short_lease_s = 0.2

    async def orphan_rows(self, driver, key):
        """See `DriverContract.orphan_rows`."""
        table = f'"{driver._db._opened.schema}".stepwell_thread'
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute(
                f"DELETE FROM {table} WHERE scope = $1 AND thread_id = $2",
                key.scope.encode(), key.thread_id,
            )  # fmt: skip
        finally:
            await connection.close()
        return True

    @pytest_asyncio.fixture
    async def driver_factory(self, pg_dsn, pg_emptied):
        self.dsn = pg_dsn
        opened = []

        async def make():
            driver = PostgresDriver(pg_dsn, schema=pg_emptied)
            opened.append(driver)
            await driver.open()
            await driver.migrate("auto")
            return driver

        yield make
        for driver in opened:
            await driver.close()


class TestPostgresDriverOnAGivenPool(DriverContract):
    capabilities = SHARED | {Capability.ADVISORY_LOCKS}
    short_lease_s = 0.3

    @pytest_asyncio.fixture
    async def driver_factory(self, pg_dsn, pg_emptied):
        opened = []
        async with asyncpg.create_pool(pg_dsn, min_size=0, max_size=16) as pool:

            async def make():
                driver = PostgresDriver(pool=pool, schema=pg_emptied)
                opened.append(driver)
                await driver.open()
                await driver.migrate("auto")
                return driver

            yield make
            for driver in opened:
                await driver.close()


class TestPostgresDriverThroughPgBouncer(DriverContract):
    """Transaction pooling, by leases alone: the clients share three sessions of the server."""

    capabilities = SHARED
    short_lease_s = 0.5

    @pytest_asyncio.fixture
    async def driver_factory(self, bouncer_dsn, pg_emptied):
        opened = []

        async def make():
            driver = PostgresDriver(bouncer_dsn, schema=pg_emptied, pgbouncer=True)
            opened.append(driver)
            await driver.open()
            await driver.migrate("auto")
            return driver

        yield make
        for driver in opened:
            await driver.close()


async def test_a_schema_that_is_taken_again_is_empty(pg_schema):
    async def rows(table):
        return await execute(f'SELECT 1 FROM "{pg_schema}"."{table}" WHERE $1', True)

    async with opened(pg_schema) as driver:
        writer = await take(driver, thread_key(), worker("w"))
        await writer.append(checkpoint(), pending())
        await driver.mark("unfinished")
    assert await rows("stepwell_tail")
    await delete_rows(pg_schema)
    async with opened(pg_schema) as driver:
        assert driver.unfinished is None
    tables = await execute("SELECT tablename FROM pg_tables WHERE schemaname = $1", pg_schema)
    filled = [table for (table,) in tables if await rows(table)]
    assert filled == ["stepwell_migration"]
