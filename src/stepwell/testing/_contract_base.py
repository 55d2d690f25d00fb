"""What all parts of the driver contract share: declarations, hooks, small tools."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, TypeAlias

import pytest

from stepwell.checkpoint.driver import (
    Capability,
    CommitOutcome,
    Driver,
    Failed,
    Slice,
    ThreadKey,
)
from stepwell.errors import StorageError

DriverFactory: TypeAlias = Callable[[], Awaitable[Driver]]
"""Gives an opened and migrated driver; all drivers of one test see one database."""


class ContractBase:
    """Declarations and hooks of the contract; see `DriverContract`."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    """What the driver under test declares; optional tests run for these only."""

    survives_close: ClassVar[bool] = True
    """False if the rows go when the driver is closed (a private in-memory database)."""

    short_lease_s: ClassVar[float] = 0.05
    """A lease that tests let run out; raise it if one verb may take that long."""

    async def pass_time(self, seconds: float) -> None:
        """Let `seconds` pass on the database's clock. Override it to move a fake clock."""
        await asyncio.sleep(seconds)

    async def outlive_lease(self) -> None:
        """Let a lease of `short_lease_s` run out."""
        await self.pass_time(2 * self.short_lease_s)

    async def kill(self, driver: Driver) -> None:
        """End the process that `driver` stands for: its locks go, its rows stay claimed.

        Closing is what a test can do inside one process; override it if the driver can be
        cut off more rudely.
        """
        await driver.close()

    async def orphan_rows(self, driver: Driver, key: ThreadKey) -> bool:  # noqa: ARG002
        """Take the row of a thread out of the database behind the driver's back and leave the
        rows that belong to it, as only damage can. False: this database cannot be like that.
        """
        return False

    def needs(self, capability: Capability) -> None:
        """Leave the calling test out unless the driver declares `capability`."""
        if capability not in self.capabilities:
            pytest.skip(f"the driver does not declare {capability.value}")

    async def drivers(self, factory: DriverFactory, count: int) -> list[Driver]:
        """`count` drivers on the database of this test (one object, if only one is allowed)."""
        return [await factory() for _ in range(count)]


async def settle(driver: Driver, batch: Sequence[Slice]) -> list[CommitOutcome]:
    """Commit as the journal does: halve a batch that is refused as a whole.

    A driver may answer a slice that cannot be written with `Failed`, or refuse the whole
    call with a permanent `StorageError`, having written nothing of it.
    """
    try:
        return await driver.commit(batch)
    except StorageError as error:
        if error.retryable:
            raise
        if len(batch) == 1:
            return [Failed(error)]
    middle = len(batch) // 2
    return [*await settle(driver, batch[:middle]), *await settle(driver, batch[middle:])]
