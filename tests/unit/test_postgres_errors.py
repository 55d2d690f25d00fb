"""Native errors come out as Stepwell's, by SQLSTATE, and say where and what to do."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from stepwell._db._postgres_errors import translate
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import (
    SchemaVersionError,
    SequenceConflictError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UsageError,
)
from tests._postgres import (
    VARIABLE,
    as_role,
    execute,
    fresh_role,
    pg_dsn,
    server_dsn,
)

pytestmark = pytest.mark.postgres


def native(sqlstate, severity="ERROR"):
    return asyncpg.PostgresError.new(
        {"S": severity, "V": severity, "C": sqlstate, "M": "said the server"}
    )


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("08006", StorageUnavailableError),
        ("22P05", StorageError),
        ("23505", SequenceConflictError),
        ("23502", StorageError),
        ("25006", StorageUnavailableError),
        ("28P01", StorageError),
        ("3D000", StorageError),
        ("40001", StorageUnavailableError),
        ("40P01", StorageUnavailableError),
        ("42501", StorageError),
        ("42P01", SchemaVersionError),
        ("53100", StorageFullError),
        ("53200", StorageUnavailableError),
        ("53300", StorageUnavailableError),
        ("54000", StorageError),
        ("55P03", StorageUnavailableError),
        ("57014", StorageUnavailableError),
        ("57P01", StorageUnavailableError),
        ("57P03", StorageUnavailableError),
        ("58030", StorageUnavailableError),
        ("XX001", StorageError),
    ],
)
def test_each_sqlstate_has_one_meaning(sqlstate, kind):
    error = translate(native(sqlstate), "commit", "db/app")
    assert type(error) is kind
    assert error.context["sqlstate"] == sqlstate
    for part in ("db/app", "commit", "said the server", sqlstate):
        assert part in str(error)


@pytest.mark.parametrize(
    ("error", "sent", "outcome"),
    [
        (native("40001"), True, "none"),  # the server said no, and rolled back
        (native("57014"), True, "none"),
        (native("57P01", "FATAL"), True, "unknown"),  # may come behind the commit
        (native("57P01", "FATAL"), False, "none"),
        (native("08006"), True, "unknown"),
        (asyncpg.ConnectionDoesNotExistError("cut"), True, "unknown"),
        (ConnectionResetError("cut"), True, "unknown"),
        (TimeoutError(), True, "unknown"),
        (ConnectionRefusedError("no"), False, "none"),
        (asyncpg.InterfaceError("connection is closed"), True, "none"),
    ],
)
def test_the_outcome_is_unknown_only_without_a_reply(error, sent, outcome):
    assert translate(error, "commit", "db", sent=sent).context["outcome"] == outcome


def test_an_argument_that_does_not_fit_is_permanent():
    error = translate(asyncpg.exceptions._base.DataError("invalid input"), "commit", "db")
    assert type(error) is StorageError
    assert not error.retryable


def test_a_connection_found_closed_is_worth_another_try():
    error = translate(asyncpg.InterfaceError("connection is closed"), "commit", "db", lost=True)
    assert type(error) is StorageUnavailableError


async def test_nobody_listens():
    """Connection refused: which address, and that nothing was written."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    driver = PostgresDriver(f"postgresql://u:s3cret@127.0.0.1:{port}/app")
    with pytest.raises(StorageUnavailableError, match=f"127.0.0.1:{port}/app") as caught:
        await driver.open()
    assert caught.value.context["outcome"] == "none"
    assert "s3cret" not in str(caught.value)
    assert "Check host and port" in str(caught.value)
    await driver.close()


async def test_a_host_that_does_not_exist():
    driver = PostgresDriver("postgresql://u:s3cret@nowhere.invalid/app")
    with pytest.raises(StorageUnavailableError, match=r"nowhere\.invalid/app"):
        await driver.open()


async def test_a_server_that_never_answers():
    """A half-open port: `connect_timeout` of the DSN ends the wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        dsn = f"postgresql://u@127.0.0.1:{port}/app?connect_timeout=1&sslmode=disable"
        with pytest.raises(StorageUnavailableError, match="no answer in time"):
            await PostgresDriver(dsn).open()


async def test_an_unknown_database(pg_dsn):
    driver = PostgresDriver(pg_dsn, connect={"database": "no such database"})
    with pytest.raises(StorageError, match="no such database") as caught:
        await driver.open()
    assert not caught.value.retryable
    assert "Create the database" in str(caught.value)


async def test_an_unknown_role():
    driver = PostgresDriver(as_role(server_dsn(), "nobody_of_that_name", "s3cret"))
    with pytest.raises(StorageError, match="Check user and password") as caught:
        await driver.open()
    assert not caught.value.retryable
    assert "s3cret" not in str(caught.value)


async def rewrite(text):
    """Replace pg_hba.conf; returns what it said before."""
    [[file]] = await execute("SELECT setting FROM pg_settings WHERE name = $1", "hba_file")
    before = await asyncio.to_thread(Path(file).read_text)
    await asyncio.to_thread(Path(file).write_text, text.format(before=before))
    loaded = "SELECT pg_conf_load_time() WHERE $1"  # by who lets new sessions in
    earlier = await execute(loaded, True)
    await execute("SELECT pg_reload_conf()")
    async with asyncio.timeout(60):
        while await execute(loaded, True) == earlier:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
    return before


async def test_a_wrong_password():
    """Needs a line in pg_hba.conf, so it is shown on a server of our own only."""
    if VARIABLE in os.environ:
        pytest.skip(f"{VARIABLE} names a server whose pg_hba.conf is not ours to change")
    async with fresh_role() as (name, dsn):
        before = await rewrite(f"local all {name} scram-sha-256\n{{before}}")
        try:
            driver = PostgresDriver(dsn.replace("secret", "s3cret"))
            with pytest.raises(StorageError, match="password authentication failed") as caught:
                await driver.open()
            assert not caught.value.retryable
            assert "s3cret" not in str(caught.value)
            assert "Check user and password" in str(caught.value)
        finally:
            await rewrite(before)


async def test_a_setting_that_the_server_does_not_know(pg_dsn):
    driver = PostgresDriver(pg_dsn, connect={"server_settings": {"no_such_setting": "1"}})
    with pytest.raises(StorageError, match="no_such_setting"):
        await driver.open()


async def test_an_argument_that_asyncpg_does_not_know(pg_dsn):
    with pytest.raises(UsageError, match="cannot connect like this"):
        await PostgresDriver(pg_dsn, connect={"no_such_argument": 1}).open()


async def test_a_driver_that_is_not_open_says_so(pg_dsn):
    with pytest.raises(UsageError, match="open"):
        await PostgresDriver(pg_dsn).migrate("auto")


def test_importing_the_package_loads_no_client():
    """asyncpg is imported with the first PostgreSQL saver, not with the package."""
    code = (
        "import stepwell, stepwell.checkpoint, stepwell.checkpoint.driver, sys;"
        "print([m for m in sys.modules if m.partition('.')[0] == 'asyncpg'])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
