"""The contract that every driver keeps, as tests to inherit."""

from __future__ import annotations

from typing import Any

from stepwell.errors import UsageError
from stepwell.testing._contract_backup import BackupContract
from stepwell.testing._contract_claims import ClaimContract
from stepwell.testing._contract_commits import CommitContract
from stepwell.testing._contract_crashes import CrashContract
from stepwell.testing._contract_figures import FiguresContract
from stepwell.testing._contract_layout import LayoutContract
from stepwell.testing._contract_leases import LeaseContract
from stepwell.testing._contract_lifecycle import LifecycleContract
from stepwell.testing._contract_listings import ListingContract
from stepwell.testing._contract_namespaces import NamespaceContract
from stepwell.testing._contract_pages import PageContract
from stepwell.testing._contract_reads import ReadContract
from stepwell.testing._contract_records import RecordContract


class DriverContract(
    ClaimContract,
    LeaseContract,
    CommitContract,
    RecordContract,
    ReadContract,
    PageContract,
    NamespaceContract,
    FiguresContract,
    LayoutContract,
    ListingContract,
    LifecycleContract,
    BackupContract,
    CrashContract,
):
    """Proves that a driver can be trusted with threads.

    Inherit it in a test module::

        import pytest_asyncio
        from stepwell.checkpoint.driver import Capability
        from stepwell.testing import DriverContract

        class TestMyDriver(DriverContract):
            capabilities = frozenset({Capability.MANY_PROCESSES})

            @pytest_asyncio.fixture
            async def driver_factory(self, tmp_path):
                opened = []

                async def make():
                    driver = MyDriver(tmp_path / "threads.db")
                    await driver.open()
                    await driver.migrate("auto")
                    opened.append(driver)
                    return driver

                yield make
                for driver in opened:
                    await driver.close()

    It needs pytest and pytest-asyncio (``asyncio_mode = "auto"``). What you provide:

    ``driver_factory``
        A fixture that yields an async callable without arguments. Each call returns a fresh,
        opened and migrated driver. All drivers of one test share one database, which is
        empty when the test begins. A driver that does not declare
        ``Capability.MANY_PROCESSES`` returns the same object each time.

    ``capabilities``
        What the driver declares. Tests of capabilities that are not declared are skipped with
        a reason; every other test is required: a subclass that replaces one, or ``needs``, or
        marks all of them as skipped or failing, is refused with ``UsageError``.

    ``survives_close``, ``short_lease_s``, ``pass_time``, ``kill``, ``orphan_rows``
        Optional; see their own words. A slow database wants a longer ``short_lease_s``.

    What the contract takes for granted of its caller, the journal: a thread occurs once in a
    batch; text columns are UTF-8 without NUL; ids of tasks, workers and threads' incarnations
    have 16 bytes; ``crc`` is unsigned and has 32 bits; a run row is always written whole.

    What it fixes where the types leave room: a slice's pending writes are upserted before its
    ``drop_writes`` are dropped; ``Committed.landed`` is told by the row's record_no alone, for
    the same epoch, and the owner or a slice that let go; neither claims nor heartbeats are
    updates (``updated_at`` stays); ``bytes`` grows by about the bodies written; text is
    ordered by code point; a slice that breaks an invariant is answered with ``Failed``, or
    the call raises a permanent ``StorageError`` with nothing written.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        replaced = sorted(
            name
            for name in vars(cls)
            if hasattr(DriverContract, name) and (name.startswith("test_") or name == "needs")
        )
        if replaced:
            raise UsageError(
                f"{cls.__name__} replaces {', '.join(replaced)}. The required tests of the "
                "driver contract cannot be replaced; give additional tests other names."
            )
        marks = vars(cls).get("pytestmark", [])
        names = {mark.name for mark in (marks if isinstance(marks, list) else [marks])}
        if avoided := sorted(names & {"skip", "skipif", "xfail"}):
            raise UsageError(
                f"{cls.__name__} is marked {', '.join(avoided)}. The driver contract cannot be "
                "skipped; leave the whole module out of the run, which is seen."
            )
