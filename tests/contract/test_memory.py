"""The memory driver keeps the driver contract."""

import pytest

from stepwell.checkpoint._memory_driver import MemoryDriver
from stepwell.testing import DriverContract


class TestMemoryDriver(DriverContract):
    @pytest.fixture
    def driver_factory(self):
        driver = MemoryDriver()

        async def make():
            await driver.open()
            await driver.migrate("auto")
            return driver

        return make
