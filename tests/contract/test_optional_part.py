"""The optional part of the contract, for capabilities that the memory driver does not have:
a double that has them keeps it, and mistakes in them are caught."""

import pytest

from stepwell.checkpoint.driver import Capability
from stepwell.errors import StorageError
from stepwell.testing import DriverContract
from tests.contract._processes import Database, ProcessDriver


def on_one_database(driver_class):
    database = Database()

    async def driver_factory():
        return driver_class(database)

    return driver_factory


class TestManyProcesses(DriverContract):
    capabilities = frozenset({Capability.MANY_PROCESSES, Capability.ADVISORY_LOCKS})

    @pytest.fixture
    def driver_factory(self):
        return on_one_database(ProcessDriver)


class LocksOutliveTheProcess(ProcessDriver):
    async def close(self):
        return


class SuspicionNeverPasses(ProcessDriver):
    def _claim(self, request, now):
        return super()._claim(request._replace(confirmed=None), now)


class SuspectsWithoutEvidence(ProcessDriver):
    def probe(self, key):
        return self.database.keys.get(key) is None or super().probe(key)


class LooksAtNoLock(ProcessDriver):
    def probe(self, key):
        return True


class ClaimsADeadOwnerAlive(ProcessDriver):
    def probe(self, key):
        return False


class LocksUnasked(ProcessDriver):
    def _claim(self, request, now):
        return super()._claim(request._replace(lock=True), now)


class OneLockPerThread(ProcessDriver):
    """The key follows from the thread, so a zombie's unlock hits its successor."""

    def fresh_key(self, key):
        return hash(key) or 1

    async def unlock(self, held):
        for claim in held:
            self.database.holders.pop(claim.lock_key, None)


class UnlocksEverything(ProcessDriver):
    async def unlock(self, held):
        self.database.holders.clear()


class OwnCopy(ProcessDriver):
    """Every process sees its own threads only."""

    def __init__(self, database):
        super().__init__(Database())


class FencesTheNumberAlone(ProcessDriver):
    """Rows are written under whatever epoch and owner is there, if only the number fits."""

    def _commit(self, piece, now, wall):
        thread = self._threads.get(piece.key)
        if thread is not None and thread.record_no == piece.record_no:
            piece = piece._replace(epoch=thread.epoch, owner=thread.owner)
        return super()._commit(piece, now, wall)


class TakesTheOthersDown(ProcessDriver):
    async def close(self):
        self.database.threads.clear()


@pytest.mark.parametrize(
    ("driver_class", "test"),
    [
        (LocksOutliveTheProcess, "test_a_dead_owner_frees_its_lock"),
        (LocksOutliveTheProcess, "test_a_confirmed_suspicion_passes"),
        (SuspicionNeverPasses, "test_a_confirmed_suspicion_passes"),
        (SuspectsWithoutEvidence, "test_without_a_key_nobody_is_suspected"),
        (LooksAtNoLock, "test_a_living_owner_holds_its_lock"),
        (ClaimsADeadOwnerAlive, "test_a_dead_owner_frees_its_lock"),
        (LocksUnasked, "test_a_claim_may_do_without_a_lock"),
        (OneLockPerThread, "test_every_claim_has_a_fresh_lock"),
        (UnlocksEverything, "test_an_unlocked_claim_looks_dead"),
        (OwnCopy, "test_drivers_share_a_database_if_they_may"),
        (OwnCopy, "test_many_processes_see_each_other"),
        (OwnCopy, "test_of_twenty_racing_claims_one_wins"),
        (FencesTheNumberAlone, "test_a_takeover_races_a_commit"),
        (TakesTheOthersDown, "test_many_processes_outlive_one"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
async def test_a_mistake_is_caught(driver_class, test):
    parameters = {"kind": "new"} if "racing" in test else {}
    with pytest.raises((AssertionError, StorageError)):
        await getattr(TestManyProcesses(), test)(
            driver_factory=on_one_database(driver_class), **parameters
        )
