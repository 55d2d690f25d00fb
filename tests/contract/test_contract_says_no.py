"""The contract can say no: each planted mistake is caught by the tests that are named for it."""

import pytest

from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import StorageError, UsageError
from stepwell.testing import DriverContract
from tests.contract import _mistakes_in_backup, _mistakes_in_rows  # noqa: F401  # add to the list
from tests.contract._mistakes import MISTAKES

CASES = [
    pytest.param(driver_class, test, parameters, id=f"{driver_class.__name__}-{test[5:]}-{n}")
    for n, (driver_class, test, parameters) in enumerate(MISTAKES)
]
TESTS = {f"{test}{parameters}": (test, parameters) for _, test, parameters in MISTAKES}


class OfMemory(DriverContract):
    capabilities = MemoryDriver.capabilities


async def run(driver, test, parameters):
    async def driver_factory():
        return driver

    await getattr(OfMemory(), test)(driver_factory=driver_factory, **parameters)


@pytest.mark.parametrize(("driver_class", "test", "parameters"), CASES)
async def test_a_mistake_is_caught(driver_class, test, parameters):
    with pytest.raises((AssertionError, StorageError)):
        await run(driver_class(), test, parameters)


@pytest.mark.parametrize(("test", "parameters"), TESTS.values(), ids=TESTS)
async def test_without_the_mistake_the_same_call_passes(test, parameters):
    await run(MemoryDriver(), test, parameters)


async def test_a_refusal_shows_its_values():
    """The asserts of the contract are rewritten by pytest, as those of a test module are."""
    with pytest.raises(AssertionError, match="At index 1 diff"):
        await run(
            _mistakes_in_rows.BodiesEndAtNul(), "test_every_checkpoint_column_round_trips", {}
        )


def test_a_required_test_cannot_be_replaced():
    with pytest.raises(UsageError, match="test_a_zombie_is_refused"):

        class TestLenient(DriverContract):
            async def test_a_zombie_is_refused(self):
                return


def test_nor_by_setting_it_to_nothing():
    with pytest.raises(UsageError, match="test_a_zombie_is_refused"):

        class TestLenient(DriverContract):
            test_a_zombie_is_refused = None


def test_nor_by_needing_what_is_not_there():
    with pytest.raises(UsageError, match="replaces needs"):

        class TestLenient(DriverContract):
            def needs(self, capability):
                pytest.skip("everything")


@pytest.mark.parametrize("mark", [pytest.mark.skip, pytest.mark.xfail(reason="it does")])
def test_nor_skipped_as_a_whole(mark):
    with pytest.raises(UsageError, match="cannot be skipped"):

        class TestLenient(DriverContract):
            pytestmark = [mark]


def test_more_tests_may_be_added():
    class TestMore(DriverContract):
        async def test_of_my_own(self):
            return

    assert TestMore.test_of_my_own is not None
