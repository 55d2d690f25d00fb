"""Migrations of SQLite files: races, versions, and what a current schema costs."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

import pytest

from stepwell._db import _sqlite_schema
from stepwell._db._sqlite_schema import LATEST
from stepwell._db.migrations import Migration
from stepwell.checkpoint.driver import ThreadQuery
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import SchemaVersionError, StorageError

RACE = """
import asyncio, json, os, sys
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.checkpoint.driver import ClaimRequest, ThreadKey

async def start(number):
    driver = SqliteDriver(sys.argv[1])
    await driver.open()
    await driver.migrate("auto")
    [claim] = await driver.claim(
        [ClaimRequest(ThreadKey("", f"t{number}"), bytes(16), 30.0, 1 << 33, bytes(16))]
    )
    await driver.close()
    return claim.epoch

go_in, go_out = os.pipe()
said_in, said_out = os.pipe()
children = []
for number in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        os.close(go_out)
        os.read(go_in, 1)                     # the starting gun: the parent closes its end
        try:
            said = asyncio.run(start(number))
        except BaseException as error:
            said = repr(error)
        os.write(said_out, (json.dumps(said) + "\\n").encode())
        os._exit(0)
    children.append(child)
os.close(said_out)
os.close(go_in)
os.close(go_out)
with os.fdopen(said_in) as heard:
    print(json.dumps([json.loads(line) for line in heard]))
for child in children:
    os.waitpid(child, 0)
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "threads.db")


@pytest.fixture
async def driver(path):
    opened = SqliteDriver(path)
    await opened.open()
    yield opened
    await opened.close()


def set_version(path, version):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE stepwell_meta SET value = ?", (str(version),))
    connection.close()


def test_sixteen_processes_create_one_database_at_once(path):
    """The switch to write-ahead mode, the schema and a first claim, all from an empty file."""
    command = [sys.executable, "-c", RACE, path, "16"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=200)
    assert json.loads(done.stdout) == [1 << 33] * 16
    made = sqlite3.connect(path)
    assert made.execute("SELECT count(*) FROM stepwell_thread").fetchone() == (16,)
    made.close()


async def test_a_current_schema_is_left_alone(path, driver):
    """Neither DDL nor any other write: the file's own counters stand still."""
    await driver.migrate("auto")
    other = sqlite3.connect(path)
    counters = ["PRAGMA schema_version", "PRAGMA data_version"]
    before = [other.execute(sql).fetchone() for sql in counters]
    for mode in ("auto", "check", "off"):
        await driver.migrate(mode)
    assert [other.execute(sql).fetchone() for sql in counters] == before
    other.close()


@pytest.mark.parametrize("mode", ["auto", "check"])
async def test_a_newer_schema_is_refused_with_both_versions(path, driver, mode):
    await driver.migrate("auto")
    set_version(path, 77)
    with pytest.raises(SchemaVersionError) as caught:
        await driver.migrate(mode)
    assert "77" in str(caught.value)
    assert str(LATEST) in str(caught.value)
    await driver.migrate("off")


async def test_check_names_the_command(path, driver):
    with pytest.raises(SchemaVersionError) as caught:
        await driver.migrate("check")
    assert f"stepwell migrate --dsn sqlite:///{path}" in str(caught.value)
    with pytest.raises(StorageError):
        await driver.threads(ThreadQuery())


async def test_off_creates_nothing(path, driver):
    await driver.migrate("off")
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    other.close()


async def test_an_older_schema_is_upgraded_step_by_step(path, driver, monkeypatch):
    await driver.migrate("auto")
    tables = "CREATE TABLE more (a);\n-- why; not\nCREATE INDEX i ON more (a);"
    trigger = "CREATE TRIGGER g AFTER INSERT ON more BEGIN\n  DELETE FROM more;\nEND;"
    later = [Migration(LATEST + 1, "more", tables), Migration(LATEST + 2, "trigger", trigger)]
    track = _sqlite_schema.Track([*_sqlite_schema.MIGRATIONS, *later], "")
    monkeypatch.setattr(_sqlite_schema, "JOURNAL", track)
    with pytest.raises(SchemaVersionError):
        await driver.migrate("check")
    await driver.migrate("auto")
    await driver.migrate("check")
    other = sqlite3.connect(path)
    names = {row[0] for row in other.execute("SELECT name FROM sqlite_master")}
    assert {"more", "i", "g"} <= names
    other.close()


async def test_a_migration_that_fails_leaves_nothing(path, driver, monkeypatch):
    broken = [
        *_sqlite_schema.MIGRATIONS,
        Migration(LATEST + 1, "b", "CREATE TABLE a (x); NONSENSE;"),
    ]
    monkeypatch.setattr(_sqlite_schema, "JOURNAL", _sqlite_schema.Track(broken, ""))
    with pytest.raises(StorageError):
        await driver.migrate("auto")
    other = sqlite3.connect(path)
    assert other.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    other.close()


async def test_the_schema_lives_beside_tables_of_others(path):
    """A file that an application uses too: only our names are taken."""
    own = sqlite3.connect(path)
    for name in ("thread", "run", "tail", "meta", "checkpoints", "writes"):
        own.execute(f"CREATE TABLE {name} (mine)")
    own.close()
    driver = SqliteDriver(path)
    await driver.open()
    await driver.migrate("auto")
    assert await driver.threads(ThreadQuery()) == []
    await driver.close()
    own = sqlite3.connect(path)
    tables = {row[0] for row in own.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")}
    own.close()
    assert {name for name in tables if not name.startswith(("stepwell_", "sqlite_"))} == {
        "thread", "run", "tail", "meta", "checkpoints", "writes",
    }  # fmt: skip
