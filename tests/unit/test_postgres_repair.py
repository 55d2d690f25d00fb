"""What the lock session and the heartbeat owe to an owner that is well."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncpg
import pytest

from stepwell.checkpoint.driver import Renewed
from stepwell.testing._rows import take, thread_key, thread_row, worker
from tests._postgres import opened, pg_dsn, pg_schema, server_dsn

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")


async def test_a_lease_that_could_not_be_moved_is_not_called_extended(pg_schema):
    """A stranger holds the row: the claim is ours, its lease runs on, and the answer says so."""
    async with opened(pg_schema) as driver:
        held = (await take(driver, thread_key("held"), ALICE, lease_ttl_s=5.0)).held
        free = (await take(driver, thread_key("free"), ALICE, lease_ttl_s=5.0)).held
        stranger = await asyncpg.connect(server_dsn())
        try:
            async with stranger.transaction():
                await stranger.fetch(
                    f'SELECT FROM "{pg_schema}".stepwell_thread WHERE thread_id = $1 FOR UPDATE',
                    "held",
                )
                answers = await driver.renew(ALICE, [held, free], 60.0)
                assert answers == [Renewed(extended=False), Renewed(extended=True)]
                assert (await thread_row(driver, held.key)).lease_left_s < 5.0
                assert (await thread_row(driver, free.key)).lease_left_s > 50.0
        finally:
            await stranger.close()
        assert await driver.renew(ALICE, [held], 60.0) == [Renewed()]
        assert (await thread_row(driver, held.key)).lease_left_s > 50.0
