"""The contract leaves drivers a choice of answers; both sides of each choice keep it."""

import pytest

from stepwell.checkpoint.driver import Failed, Parked
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import StorageError, StorageUnavailableError
from stepwell.testing import DriverContract, FaultPlan, FaultyDriver
from stepwell.testing._contract_base import settle
from stepwell.testing._rows import bodies, checkpoint, loaded, take, thread_key, worker

ALICE = worker("alice")


class RefusesWholeBatches(MemoryDriver):
    """Cannot tell which slice breaks an invariant: the call raises, with nothing written."""

    async def commit(self, batch):
        for piece in batch:
            thread = self._threads.get(piece.key)
            if thread is not None and thread.record_no == piece.record_no:
                try:
                    thread.check(piece)
                except StorageError as error:
                    raise StorageError("something in this batch") from error
        return await super().commit(batch)


class TestADriverThatRefusesWholeBatches(DriverContract):
    capabilities = RefusesWholeBatches.capabilities

    @pytest.fixture
    def driver_factory(self):
        driver = RefusesWholeBatches()

        async def make():
            return driver

        return make


async def test_a_refused_batch_is_halved_to_the_slice_at_fault():
    driver = RefusesWholeBatches()
    writers = [await take(driver, thread_key(f"t{n}"), ALICE) for n in range(9)]
    batch = [w.slice(checkpoint(seq=7 if n in (0, 5) else 1)) for n, w in enumerate(writers)]
    outcomes = await settle(driver, batch)
    assert [isinstance(outcome, Failed) for outcome in outcomes] == [n in (0, 5) for n in range(9)]


async def test_an_outage_is_no_refusal():
    """A retryable error of a batch is not blamed on a slice."""
    plan = FaultPlan().fail("commit", at=1)
    driver = FaultyDriver(MemoryDriver(), plan)
    alice = await take(driver, thread_key(), ALICE)
    with pytest.raises(StorageUnavailableError):
        await settle(driver, [alice.slice(checkpoint())])


class ParksTwice(MemoryDriver):
    """Two passers-by hold the row for a moment."""

    parked = 0

    async def commit(self, batch):
        if self.parked < 2:
            self.parked += 1
            return [Parked() for _ in batch]
        return await super().commit(batch)


async def test_a_parked_slice_is_sent_again():
    driver = ParksTwice()
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(b"1"))
    assert driver.parked == 2
    assert bodies((await loaded(driver, thread_key())).rows) == [b"1"]
