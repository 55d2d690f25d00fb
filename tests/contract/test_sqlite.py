"""SQLite keeps the driver contract: a file, a file with leases only, and in memory."""

from __future__ import annotations

import sqlite3

import pytest_asyncio

from stepwell.checkpoint.driver import Capability
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.testing import DriverContract

SHARED = frozenset({Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP})


async def opened(driver: SqliteDriver) -> SqliteDriver:
    await driver.open()
    await driver.migrate("auto")
    return driver


async def orphan_rows(self, driver, key):
    """See `DriverContract.orphan_rows`; `t` is the number of a thread that rows name."""
    await driver.database.write(
        lambda cursor: cursor.execute(
            "UPDATE stepwell_thread SET t = t + 1000 WHERE scope = ? AND thread_id = ?", key
        )
    )
    await driver.database.write(
        lambda cursor: cursor.execute("DELETE FROM stepwell_thread WHERE t > 1000")
    )
    return True


class TestSqliteDriver(DriverContract):
    capabilities = SHARED | {Capability.ADVISORY_LOCKS}
    orphan_rows = orphan_rows

    @pytest_asyncio.fixture
    async def driver_factory(self, tmp_path):
        made = []

        async def make():
            made.append(await opened(SqliteDriver(str(tmp_path / "threads.db"))))
            return made[-1]

        yield make
        for driver in made:
            await driver.close()


class TestSqliteDriverWithLeases(DriverContract):
    capabilities = SHARED

    @pytest_asyncio.fixture
    async def driver_factory(self, tmp_path):
        made = []

        async def make():
            path = str(tmp_path / "threads.db")
            made.append(await opened(SqliteDriver(path, locks="lease", synchronous="normal")))
            return made[-1]

        yield make
        for driver in made:
            await driver.close()


class TestSqliteDriverInMemory(DriverContract):
    orphan_rows = orphan_rows
    capabilities = frozenset({Capability.ONLINE_BACKUP})
    survives_close = False

    @pytest_asyncio.fixture
    async def driver_factory(self):
        driver = await opened(SqliteDriver(private_memory=True))

        async def make():
            return driver

        yield make
        await driver.close()


class TestSqliteDriverOnConnection(DriverContract):
    capabilities = frozenset({Capability.ONLINE_BACKUP})

    @pytest_asyncio.fixture
    async def driver_factory(self):
        connection = sqlite3.connect(":memory:")
        driver = await opened(SqliteDriver.from_connection(connection))

        async def make():
            return driver

        yield make
        await driver.close()
        connection.close()
