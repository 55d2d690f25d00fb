"""Room of folded rows is used again without waiting for the server's autovacuum."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import logging

import asyncpg
import pytest

from stepwell.checkpoint.driver import Relayout, SegmentRow
from stepwell.checkpoint.postgres import _sweep
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import StorageUnavailableError
from stepwell.testing._rows import checkpoint, loaded, seqs, take, thread_key, worker
from tests._pgbouncer import pgbouncer
from tests._postgres import execute, fresh_role, opened, pg_dsn, pg_schema

pytestmark = pytest.mark.postgres

KEPT = 10


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(_sweep, "PAUSE_S", 0.0)


async def by_ourselves(schema):
    """Nobody else clears away."""
    for table in ("stepwell_tail", "stepwell_segment"):
        await execute(f'ALTER TABLE "{schema}".{table} SET (autovacuum_enabled = off)')


async def vacuumed(schema):
    """Tables that were vacuumed at least once: only then their rows have been counted."""
    rows = await execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname IN ('stepwell_tail', 'stepwell_segment') "
        "AND c.reltuples >= 0",
        schema,
    )
    return {name.removeprefix("stepwell_") for (name,) in rows}


async def pages(schema):
    size = await execute("SELECT pg_relation_size(($1 || '.stepwell_tail')::regclass)", schema)
    return size[0][0] // 8192


async def grow(driver, alice, first, count):
    """So many rows, all but the newest folded."""
    last = first + count - 1
    await alice.append(*(checkpoint(b"%04d" % seq * 60) for seq in range(first, last + 1)))
    layout = await driver.layout(alice.key, "")
    gone = [row.seq for row in layout.rows][:-KEPT]
    body = b"what they did"
    made = SegmentRow(0, gone[0], gone[-1], None, 1, 0, body, b"detail of it")
    change = Relayout(
        alice.key, 0, layout.thread.layout_no, rows_gone=gone, segments=[made], bytes=0
    )
    assert await driver.write_segments(change)
    while driver._chores:
        await asyncio.wait(driver._chores)


async def test_what_folds_leave_is_used_again(pg_schema):
    async with opened(pg_schema) as driver:
        await by_ourselves(pg_schema)
        alice = await take(driver, thread_key(), worker("alice"))
        await grow(driver, alice, 1, _sweep.ROWS // 2)
        assert await vacuumed(pg_schema) == set()  # not worth it yet
        await grow(driver, alice, _sweep.ROWS // 2 + 1, _sweep.ROWS)
        assert await vacuumed(pg_schema) == {"tail"}
        before = await pages(pg_schema)
        for start in (1.5, 2.5, 3.5):
            await grow(driver, alice, int(_sweep.ROWS * start) + 1, _sweep.ROWS)
        assert await pages(pg_schema) <= before + 2
        newest = int(_sweep.ROWS * 4.5)
        assert seqs((await loaded(driver, alice.key)).rows)[-1] == newest


async def test_segments_that_were_merged_are_cleared_away_too(pg_schema):
    async with opened(pg_schema) as driver:
        await by_ourselves(pg_schema)
        assert await driver.database.vacuum(0, 0) == []
        assert await driver.database.vacuum(0, 1) == ["vacuum_segment"]
        assert await vacuumed(pg_schema) == {"segment"}


async def test_a_large_table_is_left_to_autovacuum(pg_schema):
    async with opened(pg_schema) as driver:
        # As if it had been counted.
        await execute(
            "UPDATE pg_class SET reltuples = 1e6 WHERE oid = ($1 || '.stepwell_tail')::regclass "
            "RETURNING 1",
            pg_schema,
        )
        assert await driver.database.vacuum(19_999, 0) == []
        assert await driver.database.vacuum(20_001, 0) == ["vacuum_tail"]


async def test_tables_of_another_role_are_its_affair(pg_schema):
    async with opened(pg_schema), fresh_role() as (role, dsn):
        await execute(
            f'GRANT USAGE ON SCHEMA "{pg_schema}" TO "{role}"; '
            f'GRANT ALL ON ALL TABLES IN SCHEMA "{pg_schema}" TO "{role}"'
        )
        async with opened(pg_schema, dsn) as guest:
            assert await guest.database.vacuum(10**9, 10**9) == []


async def test_a_sweep_that_fails_fails_nobody(pg_schema, monkeypatch, caplog):
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), worker("alice"))
        asked = []

        async def away(rows, segments):
            asked.append(rows)
            raise StorageUnavailableError("gone fishing")

        monkeypatch.setattr(driver.database, "vacuum", away)
        with caplog.at_level(logging.INFO, "stepwell.journal"):
            await grow(driver, alice, 1, _sweep.ROWS + KEPT)
        assert "gone fishing" in caplog.text
        await grow(driver, alice, _sweep.ROWS + KEPT + 1, KEPT)
        assert asked == [_sweep.ROWS]  # not again at once
        driver._sweep._not_before = 0.0
        await grow(driver, alice, _sweep.ROWS + 2 * KEPT + 1, KEPT)
        assert asked == [_sweep.ROWS, _sweep.ROWS + 2 * KEPT]  # what was not done is still to do


async def test_the_only_connection_of_readers_is_left_to_them(pg_schema):
    async with opened(pg_schema, pool_size_max=3) as driver:
        assert await driver.database.vacuum(1, 1) == []
    async with opened(pg_schema, pool_size_max=4) as driver:
        assert await driver.database.vacuum(1, 1) == ["vacuum_segment", "vacuum_tail"]


async def test_in_a_given_pool(pg_dsn, pg_schema):
    async with opened(pg_schema), asyncpg.create_pool(pg_dsn, min_size=0) as pool:
        driver = PostgresDriver(pool=pool, schema=pg_schema)
        await driver.open()
        try:
            assert await driver.database.vacuum(1, 1) == ["vacuum_segment", "vacuum_tail"]
        finally:
            await driver.close()


async def test_behind_a_transaction_pooler(pg_schema):
    async with pgbouncer() as through, opened(pg_schema, through, pgbouncer=True) as driver:
        assert await driver.database.vacuum(1, 1) == ["vacuum_segment", "vacuum_tail"]
