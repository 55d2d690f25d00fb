"""SQLite keeps the driver contract: a file, a file with leases only, and in memory."""

from __future__ import annotations

import sqlite3

import pytest_asyncio

from stepwell.checkpoint._sqlite_driver import SqliteDriver
from stepwell.checkpoint.driver import Capability
from stepwell.testing import DriverContract

SHARED = frozenset({Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP})


async def opened(driver: SqliteDriver) -> SqliteDriver:
    await driver.open()
    await driver.migrate("auto")
    return driver


class TestSqliteDriver(DriverContract):
    capabilities = SHARED | {Capability.ADVISORY_LOCKS}

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
