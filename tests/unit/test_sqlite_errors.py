"""What SQLite's refusals become: classes, outcomes, and messages that say what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell._db import _sqlite_host
from stepwell._db._sqlite_connection import Hop
from stepwell._db._sqlite_errors import is_poison, must_reopen, storage_error
from stepwell._db.sqlite import Database, Settings
from stepwell.checkpoint.driver import Claim, Committed, ThreadQuery
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import (
    SequenceConflictError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UsageError,
)
from stepwell.testing._rows import bodies, checkpoint, contest, loaded, take, thread_key, worker

ALICE, BOB = worker("alice"), worker("bob")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "threads.db")


async def opened(path, **options):
    driver = SqliteDriver(path, **options)
    await driver.open()
    await driver.migrate("auto")
    return driver


@pytest.fixture
async def driver(path):
    driver = await opened(path, busy_timeout_s=0.2)
    yield driver
    await driver.close()


def native(code):
    error = sqlite3.OperationalError("text that nobody reads")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_SOMETHING"
    return error


TABLE = [
    (sqlite3.SQLITE_BUSY, StorageUnavailableError, "none", False),
    (sqlite3.SQLITE_BUSY_SNAPSHOT, StorageUnavailableError, "none", False),
    (sqlite3.SQLITE_LOCKED, StorageUnavailableError, "none", False),
    (sqlite3.SQLITE_PROTOCOL, StorageUnavailableError, "none", False),
    (sqlite3.SQLITE_FULL, StorageFullError, "unknown", True),
    (sqlite3.SQLITE_IOERR, StorageUnavailableError, "unknown", True),
    (sqlite3.SQLITE_IOERR_FSYNC, StorageUnavailableError, "unknown", True),
    (sqlite3.SQLITE_IOERR_SHORT_READ, StorageUnavailableError, "unknown", True),
    (sqlite3.SQLITE_NOMEM, StorageUnavailableError, "unknown", True),
    (sqlite3.SQLITE_CANTOPEN, StorageError, None, True),
    (sqlite3.SQLITE_READONLY_DBMOVED, StorageError, None, True),
    (sqlite3.SQLITE_NOTADB, StorageError, None, True),
    (sqlite3.SQLITE_CORRUPT_INDEX, StorageError, None, True),
    (sqlite3.SQLITE_CONSTRAINT_UNIQUE, SequenceConflictError, None, False),
    (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, SequenceConflictError, None, False),
    (sqlite3.SQLITE_CONSTRAINT_NOTNULL, StorageError, None, False),
    (sqlite3.SQLITE_TOOBIG, StorageError, None, False),
    (sqlite3.SQLITE_ERROR, StorageError, None, False),
    (9999 << 8 | 199, StorageError, None, False),
]


@pytest.mark.parametrize(("code", "kind", "outcome", "reopen"), TABLE)
def test_errors_are_told_apart_by_code(code, kind, outcome, reopen):
    error = storage_error(native(code), "/x.db", writing=True)
    assert type(error) is kind
    assert error.context.get("outcome") == outcome
    assert error.retryable is (kind in (StorageUnavailableError, StorageFullError))
    assert must_reopen(native(code)) is reopen
    reading = storage_error(native(code), "/x.db", writing=False).context.get("outcome")
    assert reading == (None if outcome is None else "none"), "a read leaves nothing unknown"


@pytest.mark.parametrize(
    ("error", "poison"),
    [
        (native(sqlite3.SQLITE_CONSTRAINT_UNIQUE), True),
        (native(sqlite3.SQLITE_TOOBIG), True),
        (OverflowError("int too large"), True),
        (sqlite3.InterfaceError("a type that cannot be bound"), True),
        (native(sqlite3.SQLITE_FULL), False),
        (native(sqlite3.SQLITE_BUSY), False),
        (native(sqlite3.SQLITE_IOERR), False),
        (ValueError("ours"), False),
    ],
)
def test_only_a_bad_row_is_poison(error, poison):
    assert is_poison(error) is poison


@pytest.mark.parametrize(
    ("place", "advice"),
    [
        (".", "folder"),
        ("missing/threads.db", "create it"),
        ("file/threads.db", "not a folder"),
        ("file", "not an SQLite database"),
    ],
)
async def test_what_cannot_be_opened_says_what_to_do(tmp_path, place, advice):
    (tmp_path / "file").write_bytes(b"this is no database. " * 300)
    driver = SqliteDriver(str(tmp_path / place))
    with pytest.raises(StorageError) as caught:
        await driver.open()
    assert advice in str(caught.value)
    assert not caught.value.retryable
    await driver.close()
    assert (tmp_path / "file").read_bytes() == b"this is no database. " * 300


def protect(path):
    Path(path).chmod(0o444)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_file_says_so(path, driver):
    await driver.close()
    protect(path)
    with pytest.raises(StorageError):
        await opened(path)


async def test_a_file_opened_read_only_refuses_writes(path, driver):
    """As with a read-only file, also for a user who may do everything."""
    reader = SqliteDriver(f"file:{path}?mode=ro", uri=True)
    await reader.open()
    await reader.migrate("check")
    assert await reader.threads(ThreadQuery()) == []
    with pytest.raises(StorageError, match="cannot be written"):
        await contest(reader, thread_key(), ALICE)
    await reader.close()


def scribble(path, table):
    """Overwrite the first page of a table."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT name, rootpage FROM sqlite_master")
        page = dict(found.fetchall())[table]
    connection.close()
    raw = bytearray(Path(path).read_bytes())
    raw[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    Path(path).write_bytes(raw)


async def test_a_damaged_file_is_an_error_not_a_result(path, driver):
    alice = await take(driver, thread_key(), ALICE)
    for number in range(60):
        await alice.append(checkpoint(b"%d" % number * 500))
    await driver.close()
    scribble(path, "stepwell_tail")
    await driver.open()
    with pytest.raises(StorageError, match="damaged"):
        await loaded(driver, thread_key())


@pytest.mark.parametrize("where", ["file::memory:", "file:x?mode=memory&cache=shared"])
async def test_a_database_without_a_file_needs_to_be_asked_for(where):
    driver = SqliteDriver(where, uri=True)
    with pytest.raises(UsageError, match="in-memory"):
        await driver.open()


def test_an_empty_path_is_refused():
    with pytest.raises(UsageError):
        SqliteDriver("")


async def test_an_unopened_driver_says_so(path):
    with pytest.raises(UsageError, match="open"):
        await SqliteDriver(path).threads(ThreadQuery())


async def test_a_file_that_stays_out_of_wal_is_refused(path, monkeypatch):
    """Another program holds it open in another journal mode."""
    monkeypatch.setattr("stepwell._db.sqlite._OPEN_WAIT_S", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE a (b)")
    other.execute("BEGIN EXCLUSIVE")
    driver = SqliteDriver(path, busy_timeout_s=0.1)
    with pytest.raises(StorageUnavailableError):
        await driver.open()
    monkeypatch.undo()
    opening = asyncio.ensure_future(driver.open())
    await asyncio.sleep(0.3)
    assert not opening.done(), "with time left it waits for its turn"
    other.execute("ROLLBACK")
    other.close()
    await opening
    await driver.close()


async def test_a_network_file_system_is_refused(path, monkeypatch):
    monkeypatch.setattr("stepwell._db.sqlite.network_file_system", lambda _: "nfs4")
    with pytest.raises(StorageError, match="nfs4"):
        await SqliteDriver(path).open()


def test_file_systems_are_read_from_the_list_of_mounts(tmp_path, monkeypatch):
    """The longest mount point wins, the last of equals, and escaped spaces are understood."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:5 / /data rw shared:1 - nfs4 server:/x rw\n"
        "3 2 0:6 / /data/local\\040disk rw - xfs /dev/sdb rw\n"
        "4 1 0:7 / /over rw - cifs //a/b rw\n"
        "5 1 0:8 / /over rw - tmpfs none rw\n"
    )
    monkeypatch.setattr(_sqlite_host, "_MOUNTS", mounts)
    kinds = [
        _sqlite_host.network_file_system(path)
        for path in ("/a.db", "/data/a.db", "/data/local disk/a.db", "/database/a.db", "/over/a.db")
    ]
    assert kinds == [None, "nfs4", None, None, None]
    monkeypatch.setattr(_sqlite_host, "_MOUNTS", tmp_path / "none")
    assert _sqlite_host.network_file_system("/data/a.db") is None


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("inside", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("out", flush=True)
"""


@pytest.fixture
def writer(path, driver):
    """Another process inside a write transaction; `release(process)` lets it end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "inside\n"
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait()


def release(process):
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "out\n"


async def test_a_busy_file_names_the_process_that_writes(driver, writer):
    with pytest.raises(StorageUnavailableError) as caught:
        await contest(driver, thread_key(), ALICE)
    assert caught.value.context["outcome"] == "none"
    if _sqlite_host.write_lock_holder(driver._database.file) is not None:
        assert f"process {writer.pid}" in str(caught.value)
    release(writer)
    assert isinstance(await contest(driver, thread_key(), ALICE), Claim)


async def test_reads_do_not_wait_for_writers(driver, writer):
    assert await driver.threads(ThreadQuery()) == []


async def test_a_writer_waits_its_turn(path, driver, writer):
    patient = await opened(path)
    claim = asyncio.create_task(contest(patient, thread_key(), ALICE))
    await asyncio.sleep(0.1)
    assert not claim.done()
    release(writer)
    assert isinstance(await claim, Claim)
    await patient.close()


async def test_a_full_disk_is_an_unknown_outcome_and_is_survived(driver):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(b"1"))
    await driver._database.write(lambda cursor: cursor.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFullError) as caught:
        await alice.append(checkpoint(b"x" * 2_000_000))
    assert caught.value.context["outcome"] == "unknown"
    assert not await driver.landed(thread_key(), 2, alice.epoch)
    await alice.append(checkpoint(b"x" * 2_000_000))  # a new connection, without the limit
    assert len(bodies((await loaded(driver, thread_key())).rows)) == 2


async def test_busy_at_commit_keeps_the_transaction(driver, monkeypatch):
    """COMMIT is asked for again; what was written before it is written once."""
    alice = await take(driver, thread_key(), ALICE)
    commits = refuse_commits(monkeypatch, times=3)
    await alice.append(checkpoint(b"1"))
    assert len(commits) == 4
    assert bodies((await loaded(driver, thread_key())).rows) == [b"1"]


async def test_busy_at_commit_for_too_long_writes_nothing(driver, monkeypatch):
    alice = await take(driver, thread_key(), ALICE)
    piece = alice.slice(checkpoint(b"1"))
    refuse_commits(monkeypatch, times=10**9)
    with pytest.raises(StorageUnavailableError) as caught:
        await alice.send(piece)
    assert caught.value.context["outcome"] == "none"
    monkeypatch.undo()
    assert not driver._database._writer._native.in_transaction
    assert await alice.send(piece) == Committed(1)


def refuse_commits(monkeypatch, times):
    """Make COMMIT fail with SQLITE_BUSY so often; returns the list of its attempts."""
    attempts = []

    class Cursor(sqlite3.Cursor):
        def execute(self, sql, *parameters):
            if sql == "COMMIT":
                attempts.append(sql)
                if len(attempts) <= times:
                    raise native(sqlite3.SQLITE_BUSY)
            return super().execute(sql, *parameters)

    monkeypatch.setattr(
        "stepwell._db._sqlite_connection.Connection.cursor",
        lambda connection: sqlite3.Connection.cursor(connection, Cursor),
    )
    return attempts


def left_open(path):
    """The descriptors of the database's files, and its log if that was not folded in."""
    found = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    log = Path(f"{path}-wal")
    return [f for f in found if f.startswith(path)] + [str(log)] * log.exists()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists open files by /proc")
@pytest.mark.parametrize("verb", ["write", "read"])
async def test_a_connection_that_met_an_error_is_really_closed(driver, path, verb):
    """Whoever keeps the error keeps its traceback, and with it the cursor of the transaction: an
    unfinished statement would keep the file open, its locks, and the log beside it."""

    def fail(cursor):
        cursor.execute("SELECT 1 UNION ALL SELECT 2")  # not read to its end
        raise native(sqlite3.SQLITE_IOERR_FSYNC)

    with pytest.raises(StorageUnavailableError) as kept:
        await getattr(driver.database, verb)(fail)
    await driver.close()
    assert left_open(path) == []
    assert kept.value.__cause__ is not None


def test_no_statement_of_an_opening_gives_up_when_the_file_is_taken(path):
    """Processes that make one database at once have the whole file to themselves in turn, and
    SQLite does not wait by itself for every statement that switches to write-ahead mode."""

    class Taken:
        """A cursor that is refused the first time for every statement."""

        def __init__(self, cursor):
            self.cursor, self.refused = cursor, []

        def execute(self, statement):
            if statement not in self.refused:
                self.refused.append(statement)
                raise native(sqlite3.SQLITE_BUSY)
            self.cursor.execute(statement)

        def fetchone(self):
            return self.cursor.fetchone()

    connection = sqlite3.connect(path, isolation_level=None)
    database = Database(Settings(path=path))
    database.file = path
    taken = Taken(connection.cursor())
    database._enter_wal(taken, Hop(lambda _connection, _hop: None))
    assert len(taken.refused) >= 2
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
