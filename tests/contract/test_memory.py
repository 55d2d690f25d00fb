"""The memory driver keeps the driver contract; so does a faulty driver whose plan is empty."""

import pytest

from stepwell.checkpoint.driver import Capability
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.testing import DriverContract, FaultPlan, FaultyDriver


class ManualClock:
    """Stands still until a test moves it; so everything of one moment has the same time."""

    def __init__(self):
        self.now = 1000.0

    def wall(self):
        return self.now

    def monotonic(self):
        return self.now


def always(driver):
    async def make():
        await driver.open()
        await driver.migrate("auto")
        return driver

    return make


class TestMemoryDriver(DriverContract):
    capabilities = frozenset({Capability.ONLINE_BACKUP})

    @pytest.fixture
    def driver_factory(self):
        return always(MemoryDriver())


class TestMemoryDriverOnAManualClock(DriverContract):
    """Times are equal unless a test lets time pass: ties are broken, nothing needs real time."""

    capabilities = frozenset({Capability.ONLINE_BACKUP})

    @pytest.fixture
    def driver_factory(self):
        self.clock = ManualClock()
        return always(MemoryDriver(self.clock))

    async def pass_time(self, seconds):
        self.clock.now += seconds


class TestFaultyDriverWithoutFaults(DriverContract):
    """An empty plan changes nothing: what a fault test sees comes from its fault."""

    capabilities = frozenset({Capability.ONLINE_BACKUP})

    @pytest.fixture
    def driver_factory(self):
        return always(FaultyDriver(MemoryDriver(), FaultPlan()))
