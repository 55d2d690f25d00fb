"""SQLite and the life of a process: threads, loops, exit, forks, connections of others."""

from __future__ import annotations

import asyncio
import gc
import queue
import sqlite3
import subprocess
import sys
import threading

import aiosqlite
import pytest

from stepwell.checkpoint.driver import Busy, Capability, Claim, ThreadQuery
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import StorageError, StorageUnavailableError, UsageError
from stepwell.testing._rows import bodies, checkpoint, contest, loaded, take, thread_key, worker

ALICE, BOB = worker("alice"), worker("bob")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "threads.db")


async def opened(driver):
    await driver.open()
    await driver.migrate("auto")
    return driver


async def write(driver, body, key=None):
    writer = await take(driver, key or thread_key(), ALICE)
    await writer.append(checkpoint(body), let_go=True)
    await driver.unlock([writer.held])


async def read(driver, key=None):
    return bodies((await loaded(driver, key or thread_key())).rows)


def run(code, *arguments, status=0):
    """Run a program with every warning an error; its output."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
    return done.stdout


# --- threads and loops ------------------------------------------------------------------------


def test_closing_ends_every_thread_and_opening_again_works_in_another_loop(path):
    driver = SqliteDriver(path)
    before = set(threading.enumerate())

    async def use(body):
        await opened(driver)
        await write(driver, body)
        await asyncio.gather(*(read(driver) for _ in range(8)))  # several readers
        assert len(set(threading.enumerate()) - before) > 2
        await driver.close()
        assert not set(threading.enumerate()) - before
        return body

    for body in (b"1", b"2", b"3"):
        asyncio.run(use(body))
    gc.collect()

    async def see():
        await driver.open()
        found = await read(driver)
        await driver.close()
        return found

    assert asyncio.run(see()) == [b"1", b"2", b"3"]


def test_a_driver_whose_loop_died_is_forgotten_and_opened_again(path):
    """Connections and threads of the dead loop go, the locks too, without a warning."""
    driver = SqliteDriver(path)
    before = set(threading.enumerate())

    async def hold():
        await opened(driver)
        await take(driver, thread_key(), ALICE)

    asyncio.run(hold())
    ended = list(set(threading.enumerate()) - before)
    driver.forget()
    driver.forget()
    for thread in ended:
        thread.join(60)
    assert not set(threading.enumerate()) - before

    async def look():
        await driver.open()
        busy = await contest(driver, thread_key(), BOB)
        await driver.close()
        return busy

    busy = asyncio.run(look())
    assert isinstance(busy, Busy)
    assert busy.lock_free is True
    gc.collect()


async def test_open_and_close_may_be_called_by_many_at_once(path):
    driver = SqliteDriver(path)
    before = set(threading.enumerate())
    for _ in range(3):
        await asyncio.gather(*(driver.open() for _ in range(5)))
        await driver.migrate("auto")
        claim, *_ = await asyncio.gather(
            contest(driver, thread_key(), ALICE), driver.close(), driver.close()
        )
        assert isinstance(claim, Claim), "what was under way is finished first"
    assert not set(threading.enumerate()) - before


async def test_an_open_that_is_cancelled_leaves_nothing(path):
    before = set(threading.enumerate())
    for steps in range(12):
        driver = SqliteDriver(path)
        task = asyncio.ensure_future(driver.open())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await driver.close()
        assert not set(threading.enumerate()) - before


async def test_an_open_that_waits_may_be_cancelled(path, monkeypatch):
    """It would wait for a file in another journal mode that somebody else has locked."""
    monkeypatch.setattr("stepwell._db.sqlite._OPEN_WAIT_S", 100_000.0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE a (b)")
    other.execute("BEGIN EXCLUSIVE")
    before = set(threading.enumerate())
    task = asyncio.ensure_future(SqliteDriver(path).open())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not set(threading.enumerate()) - before
    other.close()


async def test_an_open_that_fails_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())
    with pytest.raises(StorageError):
        await SqliteDriver(str(tmp_path)).open()
    assert not set(threading.enumerate()) - before


FORGOTTEN = """
import asyncio, sys
from stepwell.checkpoint.sqlite._driver import SqliteDriver

async def use():
    driver = SqliteDriver(sys.argv[1])
    await driver.open()
    await driver.migrate("auto")
    return driver

driver = asyncio.run(use())
print("done", flush=True)
if sys.argv[2] == "forget":
    driver.forget()
else:
    import warnings
    warnings.simplefilter("ignore")     # whoever closes nothing is warned, but not held
"""


@pytest.mark.parametrize("how", ["forget", "leave open"])
def test_an_open_driver_does_not_keep_the_process_alive(path, how):
    assert run(FORGOTTEN, path, how) == "done\n"


AT_EXIT = """
import asyncio, atexit, sys, threading
from stepwell.checkpoint.sqlite._driver import SqliteDriver

driver = SqliteDriver(sys.argv[1])
leave = threading.Event()

async def use():
    await driver.open()
    await driver.migrate("auto")
    if sys.argv[2] == "busy":
        task = asyncio.ensure_future(driver._database.write(lambda cursor: leave.wait()))
        task._log_destroy_pending = False
        await asyncio.sleep(0.05)

def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")

def end():
    driver.forget()
    for thread in others():
        thread.join(1)
    print(not others())

def others():
    return [t for t in threading.enumerate() if t is not threading.main_thread()]

loop = asyncio.new_event_loop()
loop.run_until_complete(use())
loop.close()
threading.Thread.start = refuse  # as Python 3.12 and later do at that time
atexit.register(end)
"""


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_a_driver_is_forgotten_when_no_thread_can_be_started(path, how):
    """A connection that is idle is closed; one that is not holds nobody up."""
    assert run(AT_EXIT, path, how) == f"{how == 'idle'}\n"


SHORT_OF_THREADS = """
import asyncio, sys, threading
from stepwell.checkpoint.sqlite._driver import SqliteDriver

driver = SqliteDriver(sys.argv[1])

async def use():
    await driver.open()
    await driver.migrate("auto")

def refuse(thread):
    raise RuntimeError("can't start new thread")

async def forget():
    driver.forget()

loop = asyncio.new_event_loop()
loop.run_until_complete(use())
loop.close()
threading.Thread.start = refuse
asyncio.run(forget())
print("forgotten")
"""


def test_a_driver_is_forgotten_inside_a_loop_when_no_thread_can_be_started(path):
    """No second loop is run in a thread that is running one."""
    assert run(SHORT_OF_THREADS, path) == "forgotten\n"


INTERRUPTED = """
import asyncio, sys, threading
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.checkpoint.driver import ThreadQuery

driver = SqliteDriver(sys.argv[1])
leave = threading.Event()
died = []
threading.excepthook = lambda arguments: died.append(arguments.exc_type)

async def start():
    await driver.open()
    await driver.migrate("auto")
    task = asyncio.ensure_future(driver._database.write(lambda cursor: leave.wait()))
    await asyncio.sleep(0.05)
    return task

async def again():
    await driver.open()
    found = await driver.threads(ThreadQuery())
    await driver.close()
    return found

loop = asyncio.new_event_loop()
task = loop.run_until_complete(start())
task._log_destroy_pending = False
loop.close()                  # in the middle of a hop, which nobody can be told about
leave.set()
driver._database._writer._thread.join()
driver.forget()
print(died, asyncio.run(again()))
"""


def test_a_loop_that_dies_inside_a_transaction_leaves_the_file_usable(path):
    """aiosqlite's thread ends with the loop; its connection is closed all the same."""
    assert run(INTERRUPTED, path) == "[<class 'RuntimeError'>] []\n"


# --- forks ------------------------------------------------------------------------------------

FORK = """
import asyncio, os, sys, warnings
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.testing._rows import bodies, checkpoint, loaded, take, thread_key, worker

warnings.simplefilter("ignore", DeprecationWarning)   # newer Pythons warn of every fork
driver = inherited = SqliteDriver(sys.argv[1])
go_in, go_out = os.pipe()
did_in, did_out = os.pipe()

async def append(body):
    writer = await take(driver, thread_key(), worker(str(os.getpid())))
    await writer.append(checkpoint(body), let_go=True)
    await driver.unlock([writer.held])

async def in_child():
    await driver.open()
    await append(b"child 1")
    os.write(did_out, b"1")
    os.read(go_in, 1)                 # the parent has closed its driver
    await append(b"child 2")
    await driver.close()

async def in_parent():
    global driver
    await driver.open()
    await driver.migrate("auto")
    held = await take(driver, thread_key("held"), worker("parent"))
    await append(b"parent 1")
    await loaded(driver, thread_key())          # a reader is open too
    child = os.fork()
    if not child:        # never back into the parent's loop: its epoll is shared
        if sys.argv[2] == "forget":
            driver.forget()
        else:            # the child does not even know that there was a driver
            driver = SqliteDriver(sys.argv[1])
        asyncio.run(in_child())
        os._exit(0)
    os.read(did_in, 1)
    await append(b"parent 2")
    await driver.release(worker("parent"), [held.held])
    await driver.close()              # the last one to close folds and deletes the log
    os.write(go_out, b"1")
    assert os.waitpid(child, 0)[1] == 0
    await driver.open()
    print(bodies((await loaded(driver, thread_key())).rows))
    await driver.close()

asyncio.run(in_parent())
"""


@pytest.mark.parametrize("child", ["forget", "open another"])
def test_what_a_forked_child_commits_survives_its_parents_close(path, child):
    """SQLite's locks are not inherited: without care the parent deletes the log in use."""
    said = run(FORK, path, child)
    assert said == "[b'parent 1', b'child 1', b'parent 2', b'child 2']\n"


FORK_INSIDE = """
import asyncio, os, sys, threading, warnings
from stepwell._db import _sqlite_connection
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.checkpoint.driver import ThreadQuery
from stepwell.errors import StorageError, UsageError

warnings.simplefilter("ignore", DeprecationWarning)
_sqlite_connection._QUIET_MAX_S = 0.1
driver = SqliteDriver(sys.argv[1])
inside, leave = threading.Event(), threading.Event()

def slow(cursor):
    inside.set()
    leave.wait()

async def main():
    await driver.open()
    await driver.migrate("auto")
    task = asyncio.ensure_future(driver._database.write(slow))
    while not inside.is_set():
        await asyncio.sleep(0.001)
    child = os.fork()
    if not child:
        asyncio.run(in_child())
        os._exit(0)
    leave.set()
    await task
    assert os.waitpid(child, 0)[1] == 0
    await driver.close()

async def in_child():
    try:
        await driver.threads(ThreadQuery())
    except UsageError:
        print("usage", flush=True)
    driver.forget()
    try:
        await driver.open()
    except StorageError as error:
        print("forked while" in str(error), flush=True)
    elsewhere = SqliteDriver(sys.argv[1] + "2")
    await elsewhere.open()
    await elsewhere.close()

asyncio.run(main())
"""


def test_a_fork_inside_a_transaction_makes_the_file_off_limits(path):
    """A handle torn in the middle cannot be closed, so the child may not use that file."""
    assert run(FORK_INSIDE, path) == "usage\nTrue\n"


# --- connections of others --------------------------------------------------------------------


async def test_an_aiosqlite_connection_in_memory_is_used_and_given_back():
    async with aiosqlite.connect(":memory:") as connection:
        connection.row_factory = sqlite3.Row
        driver = await opened(SqliteDriver.from_connection(connection))
        await write(driver, b"1")
        assert await read(driver) == [b"1"]
        assert driver.capabilities == {Capability.ONLINE_BACKUP}
        await driver.close()
        rows = await connection.execute_fetchall("SELECT thread_id FROM stepwell_thread")
        assert rows[0]["thread_id"] == "thread-1"


async def test_a_plain_connection_keeps_its_settings():
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.text_factory = bytes
    driver = await opened(SqliteDriver.from_connection(connection))
    await write(driver, b"1")
    assert await read(driver) == [b"1"]
    await driver.close()
    row = connection.execute("SELECT thread_id FROM stepwell_thread").fetchone()
    assert row["thread_id"] == b"thread-1"
    await driver.open()
    assert await read(driver) == [b"1"], "the same connection again, with what it holds"
    await driver.close()
    connection.close()


async def test_a_connection_inside_a_transaction_is_refused_for_now():
    connection = sqlite3.connect(":memory:")
    driver = await opened(SqliteDriver.from_connection(connection))
    connection.execute("CREATE TABLE mine (a)")
    connection.execute("INSERT INTO mine VALUES (1)")
    with pytest.raises(StorageUnavailableError, match="transaction"):
        await contest(driver, thread_key(), ALICE)
    connection.commit()
    assert isinstance(await contest(driver, thread_key(), ALICE), Claim)
    await driver.close()
    connection.close()


async def test_a_connection_of_another_thread_is_refused_with_advice():
    made, enough = queue.SimpleQueue(), threading.Event()

    def hold():
        connection = sqlite3.connect(":memory:")
        made.put(connection)
        enough.wait()
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    with pytest.raises(UsageError, match="check_same_thread=False"):
        await SqliteDriver.from_connection(made.get()).open()
    enough.set()
    holder.join()


@pytest.mark.parametrize("kind", ["sqlite3", "aiosqlite"])
async def test_a_closed_connection_is_refused(kind):
    if kind == "sqlite3":
        connection = sqlite3.connect(":memory:")
        connection.close()
    else:
        connection = await aiosqlite.connect(":memory:")
        await connection.close()
    with pytest.raises(UsageError):
        await SqliteDriver.from_connection(connection).open()


@pytest.mark.parametrize("kind", ["sqlite3", "aiosqlite"])
async def test_of_a_connection_on_a_file_the_path_is_used(tmp_path, kind):
    path = str(tmp_path / "with space \u00e9.db")
    connection = sqlite3.connect(path) if kind == "sqlite3" else await aiosqlite.connect(path)
    driver = await opened(SqliteDriver.from_connection(connection, synchronous="normal"))
    assert driver.capabilities == set(Capability) - {Capability.LISTEN, Capability.USER_TRANSACTION}
    other = SqliteDriver(path)
    await other.open()
    await write(driver, b"1")
    assert await read(other) == [b"1"]
    await other.close()
    await driver.close()
    closing = connection.close()
    if closing is not None:
        await closing


async def test_private_databases_share_nothing():
    one, two = [await opened(SqliteDriver(":memory:")) for _ in range(2)]
    await write(one, b"1")
    assert await two.threads(ThreadQuery()) == []
    await one.close()
    await two.close()
