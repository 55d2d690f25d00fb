"""How savers end: closed, forgotten, left open at exit, and carried over a fork."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from contextlib import contextmanager

import pytest

from stepwell._portal import run_sync
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.errors import UsageError
from tests._postgres import server_dsn
from tests.facade.conftest import PLAIN, config, graph
from tests.unit._saver_records import checkpoint, claimed, every
from tests.unit.test_portal import LoopThread, python

# --- closing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLAIN)
async def test_closing_waits_for_what_is_being_committed(kind, make):
    saver = make(kind)
    journal = await saver.journal()
    handle = await journal.acquire(saver.key("a"))
    tickets = [checkpoint(handle, {"x": ["a", [n]]}).ticket for n in range(20)]
    await saver.aclose()
    assert all(ticket.done() and ticket.exception() is None for ticket in tickets)
    async with saver:
        thread = await saver.aget_thread("a")
        assert (thread.checkpoints, thread.owner) == (20, None)  # written, and let go


@pytest.mark.parametrize("kind", PLAIN)
async def test_closing_is_idempotent_also_at_the_same_time(kind, make):
    saver = make(kind)
    await saver.aclose()  # never opened
    async with saver:
        await asyncio.gather(*(saver.aclose() for _ in range(3)))
        await saver.aclose()
    await saver.aclose()
    await asyncio.to_thread(saver.close)
    assert saver.home() is None


@pytest.mark.parametrize("kind", PLAIN)
async def test_a_closed_saver_refuses_work_until_it_is_opened_again(kind, make):
    saver = make(kind)
    async with saver:
        await graph(saver).ainvoke({"seen": []}, config())
    for use in (
        saver.journal,
        lambda: saver.aget_thread("a"),
        lambda: graph(saver).ainvoke({"seen": []}, config()),
        lambda: every(saver.alist_threads()),
        saver.asetup,
    ):
        with pytest.raises(UsageError, match="is closed"):
            await use()
    async with saver:
        assert (await saver.aget_thread("a")).checkpoints == 3


def test_a_saver_closed_on_another_loop_than_its_home_is_closed_there(tmp_path):
    saver = SqliteSaver.from_conn_string(tmp_path / "a.db")
    with LoopThread() as other:
        run_sync(saver.journal, loop=other.loop, name="journal")
        assert saver.home() is other.loop
        asyncio.run(saver.aclose())  # from a third loop
        assert saver.home() is None
        run_sync(saver.__aenter__, loop=other.loop, name="enter")
        saver.close()  # from a thread without one
    assert saver.home() is None


def test_a_saver_whose_loop_is_gone_is_closed_without_it(tmp_path):
    saver = SqliteSaver.from_conn_string(tmp_path / "a.db")
    with threads_that_end() as begun:
        asyncio.run(saver.asetup())
        begun.extend(threads_of_sqlite())
        saver.close()


def threads_of_sqlite():
    """Worker threads of database connections that are there now."""
    return [t for t in threading.enumerate() if "_connection_worker" in t.name]


@contextmanager
def threads_that_end():
    """A list for worker threads that must have begun in here and end by themselves."""
    before, begun = threads_of_sqlite(), []
    yield begun
    begun = [thread for thread in begun if thread not in before]
    assert begun
    for thread in begun:
        thread.join(60)
    assert not any(thread.is_alive() for thread in begun)


@pytest.mark.parametrize("kind", [k for k in PLAIN if k is not InMemorySaver])  # it opens at once
async def test_closing_during_opening_leaves_nothing_open(kind, make):
    saver = make(kind)
    opening = asyncio.create_task(saver.journal())
    await asyncio.sleep(0)
    await saver.aclose()
    with pytest.raises(UsageError, match="closed"):
        await opening
    assert saver.home() is None


async def test_a_failed_opening_can_be_tried_again(tmp_path):
    folder = tmp_path / "later"
    saver = SqliteSaver.from_conn_string(folder / "a.db")
    with pytest.raises(Exception, match="does not exist"):
        await saver.aget_thread("a")
    folder.mkdir()
    assert await saver.aget_thread("a") is None
    await saver.aclose()


class Hanging(MemoryDriver):
    """A driver that hangs once, in `open` or in `close`."""

    def __init__(self, verb):
        super().__init__()
        self.verb, self.opened, self.forgotten = verb, 0, 0
        self.hanging = asyncio.Event()

    async def open(self):
        self.opened += 1
        await self.hang("open")

    async def close(self):
        await self.hang("close")

    def forget(self):
        self.forgotten += 1

    async def hang(self, verb):
        if self.verb == verb:
            self.verb = None
            self.hanging.set()
            await asyncio.Event().wait()


def test_a_loop_that_closes_while_a_saver_opens_does_not_spoil_it():
    driver = Hanging("open")
    saver = Saver(driver)

    async def begin():
        opening = asyncio.create_task(saver.journal())
        await driver.hanging.wait()
        return opening

    asyncio.run(begin())
    assert asyncio.run(saver.aget_thread("a")) is None
    assert (driver.opened, driver.forgotten) == (2, 1)
    saver.close()


def test_a_loop_that_closes_while_a_saver_closes_does_not_spoil_it():
    driver = Hanging("close")
    saver = Saver(driver)

    async def begin():
        await saver.journal()
        closing = asyncio.create_task(saver.aclose())
        await driver.hanging.wait()
        return closing

    asyncio.run(begin())
    with saver:
        assert saver.get_thread("a") is None
    assert (driver.opened, driver.forgotten) == (2, 1)


# --- forgetting ---------------------------------------------------------------------------------


def forget(make):
    """Make a saver, drop the only reference to it, and say what was warned of."""
    saver = make()
    gone = weakref.ref(saver)
    # Its last call may have been answered while the task that did it had not yet ended.
    run_sync(lambda: asyncio.sleep(0), loop=None, name="sleep")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del saver
        gc.collect()
    assert gone() is None
    return [str(w.message) for w in told if issubclass(w.category, ResourceWarning)]


def opened(kind, tmp_path):
    saver = SqliteSaver.from_conn_string(tmp_path / "a.db") if kind else InMemorySaver()
    saver.get_thread("a")
    return saver


def test_an_open_saver_that_is_forgotten_is_reported_and_its_connections_end(tmp_path):
    def make():
        saver = opened(SqliteSaver, tmp_path)
        begun.extend(threads_of_sqlite())
        return saver

    with threads_that_end() as begun:
        (told,) = forget(make)
    assert "SqliteSaver was never closed" in told
    here = opened.__code__
    assert f"it was made at {here.co_filename}:{here.co_firstlineno + 1}" in told


def test_after_its_loop_has_closed_too(tmp_path):
    def make():
        saver = SqliteSaver.from_conn_string(tmp_path / "a.db")
        asyncio.run(saver.asetup())
        begun.extend(threads_of_sqlite())
        return saver

    with threads_that_end() as begun:
        (told,) = forget(make)
    assert "never closed" in told


def test_a_view_keeps_its_saver_open(tmp_path):
    views = []

    def make():
        saver = opened(SqliteSaver, tmp_path)
        views.append(saver.scoped("s"))
        return saver

    told = forget(make)
    assert told == []
    assert views[0].get_thread("a") is None
    (told,) = forget(views.pop)
    assert "SqliteSaver was never closed" in told


@pytest.mark.parametrize("state", ["unused", "closed", "memory"])
def test_a_saver_that_holds_nothing_may_be_forgotten(state, tmp_path):
    def make():
        if state == "memory":
            return opened(None, tmp_path)
        saver = SqliteSaver.from_conn_string(tmp_path / "a.db")
        if state == "closed":
            with saver:
                saver.get_thread("a")
        return saver

    told = forget(make)
    assert told == []


# --- the end of a process -----------------------------------------------------------------------

PROGRAM = """
import asyncio, operator, os, sys, warnings
from typing import Annotated, TypedDict
from stepwell import open_saver
from stepwell.graph import START, StateGraph

class State(TypedDict):
    seen: Annotated[list, operator.add]

def graph(saver):
    return (
        StateGraph(State)
        .add_node("node", lambda state: {"seen": [os.getpid()]})
        .add_edge(START, "node")
        .compile(checkpointer=saver)
    )

def config(thread_id):
    return {"configurable": {"thread_id": thread_id}}

options = {"schema": sys.argv[2]} if sys.argv[2:] else {}
saver = open_saver(sys.argv[1], **options)
"""

LEFT_OPEN = """
print(graph(saver).invoke({"seen": []}, config("a"))["seen"] == [os.getpid()])
"""
LEFT_BEHIND = """
async def use():
    print((await graph(saver).ainvoke({"seen": []}, config("a")))["seen"] == [os.getpid()])
asyncio.run(use())
"""


def urls(request, tmp_path, name):
    if name == "sqlite":
        return [f"sqlite:///{tmp_path}/threads.db"]
    return [server_dsn(), request.getfixturevalue("schema")]


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.mark.parametrize("database", DATABASES)
def test_a_saver_left_open_does_not_disturb_the_end_of_a_program(database, request, tmp_path):
    """No hang, and not a word on stderr."""
    assert python(PROGRAM + LEFT_OPEN, *urls(request, tmp_path, database)) == "True\n"


def test_nor_does_one_whose_loop_has_closed(request, tmp_path):
    assert python(PROGRAM + LEFT_BEHIND, *urls(request, tmp_path, "sqlite")) == "True\n"


BLOCKED = """
import time
from stepwell._portal import run_sync
run_sync(saver.asetup, loop=None, name="setup")
async def block():
    blocking.set()
    time.sleep(600)
import threading
blocking = threading.Event()
threading.Thread(
    target=lambda: run_sync(block, loop=None, name="block"), daemon=True
).start()
blocking.wait()
print("over")
"""


def test_a_blocked_background_loop_does_not_hold_up_the_end_of_a_program(request, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + BLOCKED, *urls(request, tmp_path, "sqlite")],
        capture_output=True,
        check=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.stdout == b"over\n"


HOLDING = """
async def hold():
    journal = await saver.journal()
    await journal.acquire(saver.key("a"))
from stepwell._portal import run_sync
run_sync(hold, loop=None, name="hold")
"""


@pytest.mark.parametrize("database", DATABASES)
def test_claims_held_at_exit_are_let_go(database, request, tmp_path):
    from stepwell import open_saver

    url, *schema = urls(request, tmp_path, database)
    python(PROGRAM + HOLDING, url, *schema)
    with open_saver(url, **({"schema": schema[0]} if schema else {})) as saver:
        assert saver.get_thread("a").owner is None


# --- forks --------------------------------------------------------------------------------------

FORK = """
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: a fork with threads
compiled = graph(saver)
compiled.invoke({"seen": []}, config("both"))
home = saver.home()
child = os.fork()
if not child:
    assert saver.home() is None
for _ in range(5):
    compiled.invoke({"seen": []}, config("both"))
    compiled.invoke({"seen": []}, config("child" if not child else "parent"))
assert (saver.home() is home) == bool(child)
if not child:
    async def inside():
        await compiled.ainvoke({"seen": []}, config("child"))
    asyncio.run(inside())
    saver.close()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
compiled.invoke({"seen": []}, config("both"))
def pids(thread_id):
    return compiled.get_state(config(thread_id)).values["seen"]
assert pids("parent") == [os.getpid()] * 5
assert pids("child") == [child] * 6
both = pids("both")
assert (len(both), both.count(child)) == (12, 5)
saver.close()
print("both")
"""


@pytest.mark.parametrize("database", DATABASES)
def test_after_a_fork_parent_and_child_go_on_with_connections_of_their_own(
    database, request, tmp_path
):
    assert python(PROGRAM + FORK, *urls(request, tmp_path, database), timeout=200) == "both\n"


FORK_IN_MEMORY = """
warnings.simplefilter("ignore", DeprecationWarning)
compiled = graph(saver)
compiled.invoke({"seen": []}, config("a"))
child = os.fork()
compiled.invoke({"seen": []}, config("a"))
seen = compiled.get_state(config("a")).values["seen"]
assert len(seen) == 2 and seen[1] == os.getpid()
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("each has its own")
"""


def test_after_a_fork_each_process_has_its_own_memory():
    assert python(PROGRAM + FORK_IN_MEMORY, "memory://") == "each has its own\n"


async def test_a_claim_is_released_by_closing_the_saver_that_holds_it(tmp_path):
    path = tmp_path / "a.db"
    one = SqliteSaver.from_conn_string(path)
    async with SqliteSaver.from_conn_string(path) as two:
        await (await one.journal()).acquire(one.key("a"))
        assert (await two.aget_thread("a")).owner is not None
        await one.aclose()
        async with claimed(two, "a") as handle:
            assert not handle.taken_over
