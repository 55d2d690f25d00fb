"""Through a real PgBouncer in transaction mode: what is found at opening, and what is left."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import logging

import asyncpg
import pytest
from asyncpg import connection

from stepwell._db._postgres_errors import translate
from stepwell._db._postgres_source import DEATHWATCH, LIMITS, RULES
from stepwell.checkpoint.driver import Capability
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import StorageUnavailableError
from stepwell.testing._rows import bodies, checkpoint, loaded, take, thread_key, worker
from tests._pgbouncer import bouncer_dsn, pgbouncer
from tests._postgres import fresh_role, opened, pg_dsn, pg_schema
from tests.unit.test_postgres_sessions import HOSTILE_DEFAULTS, exercise, grant

pytestmark = pytest.mark.postgres

ALICE = worker("alice")
LENIENT = f"ignore_startup_parameters = {', '.join({**RULES, **LIMITS, **DEATHWATCH})}"
"""What an operator writes whose clients send settings that PgBouncer does not know."""


def warnings(caplog):
    return [r.message for r in caplog.records if "transaction pooler" in r.message]


@pytest.mark.parametrize("more", ["", LENIENT], ids=["refuses settings", "ignores settings"])
async def test_a_pooler_that_nobody_spoke_of_is_found(pg_schema, more, caplog):
    """One warning, then leases alone, no prepared statements, every transaction with settings
    of its own: what a hostile role brings along changes nothing."""
    async with opened(pg_schema), fresh_role(*HOSTILE_DEFAULTS) as (name, dsn):
        await grant(name, pg_schema)
        async with pgbouncer(dsn, more=more) as through:
            with caplog.at_level(logging.WARNING, "stepwell.lock"):
                async with opened(pg_schema, through) as one:
                    assert len(warnings(caplog)) == 1
                    async with opened(pg_schema, through, pgbouncer=True) as two:
                        await exercise(one, two)
                    assert one.capabilities == {Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP}
                    alice = await take(one, thread_key(), ALICE)
                    assert alice.claim.lock_key is None
                    await one.close()
                    await one.open()
            assert len(warnings(caplog)) == 1
            assert "pgbouncer=True" in warnings(caplog)[0]


async def test_statements_of_others_in_the_way_are_a_sign(pg_schema, caplog):
    """Another client has left a prepared statement of the name that asyncpg takes next."""
    async with opened(pg_schema), pgbouncer(pool_size=1, more=LENIENT) as through:
        other = await asyncpg.connect(through, statement_cache_size=0)
        for n in range(connection._uid, connection._uid + 30):
            await other.execute(f"PREPARE __asyncpg_stmt_{n:x}__ AS SELECT 1")
        await other.close()
        async with opened(pg_schema, through) as driver:
            alice = await take(driver, thread_key(), ALICE)
            await alice.append(checkpoint(b"1"))
            assert driver.capabilities == {Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP}
        assert len(warnings(caplog)) == 1


async def test_no_prepared_statement_is_left_at_the_server(pg_schema):
    async with pgbouncer(pool_size=1) as through:
        async with opened(pg_schema, through, pgbouncer=True) as driver:
            for n in range(3):
                alice = await take(driver, thread_key(f"t{n}"), ALICE)
                await alice.append(checkpoint(b"1"))
                assert bodies((await loaded(driver, alice.key)).rows) == [b"1"]
                await alice.release()
        probe = await asyncpg.connect(through, statement_cache_size=0)
        try:
            rows = await probe.fetch("SELECT name FROM pg_prepared_statements WHERE name <> ''")
            assert rows == []
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = "
            assert await probe.fetchval(locks + "pg_backend_pid()") == 0
        finally:
            await probe.close()


async def test_a_server_that_is_no_pooler_is_asked_nothing_more(pg_dsn, pg_schema, caplog):
    """Opening costs what it did: two statements on the lane, none on the control line."""
    driver = PostgresDriver(pg_dsn, schema=pg_schema)
    await driver.open()
    try:
        assert not driver._db._opened.control.connected
        assert Capability.ADVISORY_LOCKS in driver.capabilities
        assert warnings(caplog) == []
    finally:
        await driver.close()


async def test_a_pooler_without_a_server_is_an_outage(pg_schema):
    """PgBouncer is there, its server is not: typed, worth another try, with nothing written."""
    nowhere = "postgresql://postgres@127.0.0.1:1/postgres"
    more = "server_login_retry = 1\nquery_wait_timeout = 2"
    async with pgbouncer(nowhere, more=more, ready=False) as through:
        driver = PostgresDriver(through, schema=pg_schema)
        with pytest.raises(StorageUnavailableError) as caught:
            await driver.open()
        assert caught.value.context["outcome"] == "none"


async def test_a_pooler_behind_a_pool_of_the_users_is_found(pg_schema, caplog):
    """The same for an asyncpg.Pool that was given: no lock, no setting left in its sessions."""
    async with (
        opened(pg_schema),
        pgbouncer(pool_size=2) as through,
        asyncpg.create_pool(through, min_size=0, max_size=8, statement_cache_size=0) as pool,
    ):
        driver = PostgresDriver(pool=pool, schema=pg_schema)
        with caplog.at_level(logging.WARNING, "stepwell.lock"):
            await driver.open()
        try:
            assert len(warnings(caplog)) == 1
            assert driver.capabilities == {Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP}
            alice = await take(driver, thread_key(), ALICE)
            assert alice.claim.lock_key is None
            await alice.append(checkpoint(b"1"))
            assert bodies((await loaded(driver, alice.key)).rows) == [b"1"]
        finally:
            await driver.close()
        for _ in range(4):
            assert await pool.fetchval("SHOW lock_timeout") == "0"


def test_statements_in_the_way_of_each_other_are_told_with_the_way_out():
    for error in (
        asyncpg.DuplicatePreparedStatementError("there already"),
        asyncpg.InvalidSQLStatementNameError("not there"),
    ):
        told = str(translate(error, "commit", "here"))
        assert "pgbouncer=True" in told
        assert "statement_cache_size=0" in told
