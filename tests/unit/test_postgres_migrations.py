"""The schema: created by many at once, left alone when current, refused when newer."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import subprocess
import sys

import asyncpg
import pytest

from stepwell._db import _postgres_schema
from stepwell._db.migrations import Migration, load_migrations
from stepwell._db.postgres import queries
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import SchemaVersionError, StorageError
from stepwell.testing._rows import (
    change,
    checkpoint,
    loaded,
    run_row,
    take,
    thread_key,
    worker,
)
from tests._postgres import (
    execute,
    fresh_role,
    opened,
    pg_dsn,
    pg_schema,
)

pytestmark = pytest.mark.postgres

STEPS = len(load_migrations(_postgres_schema.MIGRATIONS))


async def applied(schema):
    rows = await execute(
        f'SELECT version FROM "{schema}".stepwell_migration WHERE $1 ORDER BY version', True
    )
    return [row[0] for row in rows]


async def test_sixteen_migrate_an_empty_database_at_once(pg_dsn, pg_schema):
    """All succeed, each step is applied once, the schema itself is created once."""
    drivers = [PostgresDriver(pg_dsn, schema=pg_schema) for _ in range(16)]
    try:
        await asyncio.gather(*(driver.open() for driver in drivers))
        await asyncio.gather(*(driver.migrate("auto") for driver in drivers))
        assert await applied(pg_schema) == list(range(1, STEPS + 1))
        await (await take(drivers[7], thread_key(), worker("w"))).append(checkpoint())
    finally:
        await asyncio.gather(*(driver.close() for driver in drivers))


async def test_processes_migrate_at_once(pg_dsn, pg_schema):
    code = (
        "import asyncio, sys\n"
        "from stepwell.checkpoint.postgres._driver import PostgresDriver\n"
        "async def main():\n"
        "    driver = PostgresDriver(sys.argv[1], schema=sys.argv[2])\n"
        "    await driver.open(); await driver.migrate('auto'); await driver.close()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, pg_dsn, pg_schema]
    running = [
        await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in running:
        _, said = await process.communicate()
        assert (process.returncode, said) == (0, b"")
    assert await applied(pg_schema) == list(range(1, STEPS + 1))


async def test_a_current_schema_is_left_alone(pg_dsn, pg_schema):
    """No DDL, no lock: a role that may only read and write rows can open and migrate."""
    async with opened(pg_schema), fresh_role() as (name, dsn):
        await execute(
            f'GRANT USAGE ON SCHEMA "{pg_schema}" TO "{name}"; GRANT SELECT, INSERT, UPDATE, '
            f'DELETE ON ALL TABLES IN SCHEMA "{pg_schema}" TO "{name}"'
        )
        for mode in ("auto", "check", "off"):
            driver = PostgresDriver(dsn, schema=pg_schema)
            await driver.open()
            await driver.migrate(mode)
            await driver.close()
        async with opened(pg_schema, dsn) as driver:
            writer = await take(driver, thread_key(), worker("w"))
            await writer.append(checkpoint())
            await writer.release()


async def test_a_role_that_may_not_create_is_told_so(pg_schema):
    async with fresh_role() as (_, dsn):
        driver = PostgresDriver(dsn, schema=pg_schema)
        await driver.open()
        with pytest.raises(StorageError, match="Grant the role") as caught:
            await driver.migrate("auto")
        assert not caught.value.retryable
        await driver.close()


async def test_check_names_the_command(pg_dsn, pg_schema):
    driver = PostgresDriver(pg_dsn, schema=pg_schema)
    await driver.open()
    with pytest.raises(SchemaVersionError, match="stepwell migrate") as caught:
        await driver.migrate("check")
    assert caught.value.context == {"found": 0, "needed": STEPS}
    assert await execute("SELECT 1 FROM pg_namespace WHERE nspname = $1", pg_schema) == []
    await driver.migrate("auto")
    await driver.migrate("check")
    await driver.close()


async def test_without_tables_a_verb_names_the_command(pg_dsn, pg_schema):
    driver = PostgresDriver(pg_dsn, schema=pg_schema)
    await driver.open()
    await driver.migrate("off")
    with pytest.raises(SchemaVersionError, match="stepwell migrate"):
        await take(driver, thread_key(), worker("w"))
    await driver.close()


@pytest.mark.parametrize("mode", ["auto", "check", "off"])
async def test_a_newer_schema_is_refused_in_every_mode(pg_schema, mode):
    """The message names both versions."""
    async with opened(pg_schema) as driver:
        await execute(
            f"INSERT INTO \"{pg_schema}\".stepwell_migration (version, name) VALUES (99, 'later')"
        )
        with pytest.raises(SchemaVersionError, match=f"99.*{STEPS}"):
            await driver.migrate(mode)


async def test_an_older_schema_is_brought_up_by_one_of_many(pg_dsn, pg_schema):
    """A second step runs once, on top of the rows that are there, while others wait."""
    steps = [
        *load_migrations(_postgres_schema.MIGRATIONS),
        Migration(
            STEPS + 1,
            "probe",
            "CREATE TABLE {schema}.probe (n int); INSERT INTO {schema}.probe VALUES (1);",
        ),
    ]
    async with opened(pg_schema) as driver:
        await take(driver, thread_key(), worker("w"))
        source = driver._db._opened.source
        sql = queries(pg_schema)
        with pytest.raises(SchemaVersionError, match=f"has version {STEPS}"):
            await _postgres_schema.migrate(source, sql, pg_schema, "check", steps)
        await asyncio.gather(
            *(_postgres_schema.migrate(source, sql, pg_schema, "auto", steps) for _ in range(6))
        )
        assert await applied(pg_schema) == list(range(1, STEPS + 2))
        assert await execute(f'SELECT count(*) FROM "{pg_schema}".probe WHERE $1', True) == [(1,)]


async def test_a_step_that_fails_leaves_nothing(pg_schema):
    """The steps of one upgrade are one transaction, and the connection is as before."""
    steps = [
        *load_migrations(_postgres_schema.MIGRATIONS),
        Migration(STEPS + 1, "good", "CREATE TABLE {schema}.probe (n int);"),
        Migration(STEPS + 2, "bad", "SELECT no_such_function();"),
    ]
    async with opened(pg_schema) as driver:
        source = driver._db._opened.source
        with pytest.raises(StorageError, match="no_such_function"):
            await _postgres_schema.migrate(source, queries(pg_schema), pg_schema, "auto", steps)
        assert await applied(pg_schema) == list(range(1, STEPS + 1))
        assert await execute("SELECT to_regclass($1)", f'"{pg_schema}".probe') == [(None,)]
        await take(driver, thread_key(), worker("w"))


async def test_schemas_with_odd_names_hold_everything(pg_dsn):
    """Quotes and capitals in the name; nothing lands in the user's own search path."""
    name = 'Odd "name" {schema} \u00e9'
    quoted = '"' + name.replace('"', '""') + '"'
    before = await execute(
        "SELECT count(*) FROM pg_class WHERE relnamespace = $1::regnamespace", "public"
    )
    try:
        async with opened(name) as driver:
            writer = await take(driver, thread_key(), worker("w"))
            await writer.append(checkpoint())
        rows = await execute(
            f"SELECT thread_id, status FROM {quoted}.stepwell_threads WHERE $1", True
        )
        assert [tuple(row) for row in rows] == [("thread-1", "idle")]
        after = await execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = $1::regnamespace", "public"
        )
        assert before == after
    finally:
        await execute(f"DROP SCHEMA IF EXISTS {quoted} CASCADE")


async def test_without_a_name_the_search_path_decides(pg_schema):
    """`schema=None` is the first schema of the role's search path, looked up once."""
    await execute(f'CREATE SCHEMA "{pg_schema}"')
    async with fresh_role(f'search_path = "{pg_schema}"') as (name, dsn):
        await execute(f'GRANT ALL ON SCHEMA "{pg_schema}" TO "{name}"')
        async with opened(None, dsn) as driver:
            await take(driver, thread_key(), worker("w"))
        assert await applied(pg_schema) == list(range(1, STEPS + 1))
    async with fresh_role("search_path = no_such_schema") as (_, dsn):
        with pytest.raises(StorageError, match="schema="):
            await PostgresDriver(dsn).open()


async def test_the_layout_can_be_distributed(pg_schema):
    """Every unique index begins with the thread's key; no sequence; no key across tables."""
    async with opened(pg_schema):
        firsts = await execute(
            "SELECT c.relname, a.attname FROM pg_index i "
            "JOIN pg_class c ON c.oid = i.indexrelid "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
            "WHERE i.indisunique AND c.relnamespace = $1::regnamespace",
            pg_schema,
        )
        assert {first for name, first in firsts if "migration" not in name} == {"key"}
        others = await execute(
            "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = $1::regnamespace "
            "UNION ALL SELECT conname FROM pg_constraint WHERE contype = 'f' "
            "AND connamespace = $1::regnamespace",
            pg_schema,
        )
        assert others == []


async def test_no_index_holds_what_commits_change(pg_schema):
    """Updates of the thread row stay heap-only because no index knows these columns."""
    changing = {
        "beat", "record_no", "claim_no", "layout_no", "lease_until", "wanted_at", "request",
        "epoch", "owner", "lock_key", "head", "checkpoints", "bytes", "updated_at", "run", "runs",
        "next_nodes", "interrupts", "error",
    }  # fmt: skip
    async with opened(pg_schema):
        rows = await execute(
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a "
            "ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
            "WHERE i.indrelid = format('%I.stepwell_thread', $1::text)::regclass",
            pg_schema,
        )
        assert not {row[0] for row in rows} & changing
        external = await execute(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attstorage = 'e' "
            "AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = $1::regnamespace) "
            "AND attname IN ('body', 'detail', 'input', 'outcome')",
            pg_schema,
        )
        assert len([row for row in external if "_checkpoints" not in row[0]]) == 6


async def test_text_that_the_server_cannot_hold_is_readable_in_the_views(pg_schema):
    hostile = "a\0b\ud800\u00e9"
    async with opened(pg_schema) as driver:
        writer = await take(driver, thread_key("t", scope=hostile), worker("w"))
        row = checkpoint(
            metadata=b"\0\xff", meta_index='{"a\\u0000\\ud800":"\\\\u0000 \\ud83d\\ude00"}'
        )
        await writer.append(
            row,
            runs=[
                run_row(1, run_id=hostile, error=hostile, graph=hostile, idempotency_key=hostile)
            ],
            change=change(
                3, 1, error=hostile, graph=hostile, next_nodes=hostile, fingerprint=hostile
            ),
            namespaces=[(1, hostile)],
        )
        answer = await loaded(driver, thread_key("t", scope=hostile))
        assert answer.thread is not None
        assert (answer.thread.error, answer.thread.graph) == (hostile, hostile)
        assert (answer.thread.next_nodes, answer.thread.fingerprint) == (hostile, hostile)
        assert answer.thread.namespaces[1] == (hostile, 0)
        assert answer.runs[1].run_id == answer.runs[1].error == hostile
        assert answer.rows[0].metadata == b"\0\xff"
        assert answer.rows[0].meta_index == '{"a\ufffd\ufffd": "\\\\u0000 \U0001f600"}'
        views = await execute(f'SELECT * FROM "{pg_schema}".stepwell_threads WHERE $1', True)
        assert [v["error"] for v in views] == ["a\\000b\\355\\240\\200\\303\\251"]
        [seen] = await execute(f'SELECT * FROM "{pg_schema}".stepwell_checkpoints WHERE $1', True)
        assert (seen["thread_id"], seen["seq"], seen["source"]) == ("t", 1, "loop")


async def test_a_name_with_nul_cannot_be_a_thread(pg_schema):
    """Ids are checked above; a driver that is given one all the same refuses for good."""
    async with opened(pg_schema) as driver:
        for name in ("a\0b", "a\ud800"):
            with pytest.raises(StorageError) as caught:
                await take(driver, thread_key(name), worker("w"))
            assert not caught.value.retryable
            assert isinstance(caught.value.__cause__, asyncpg.PostgresError | ValueError)
        await take(driver, thread_key("fine"), worker("w"))
