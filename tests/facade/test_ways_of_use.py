"""Every saver works in three ways, on any loop, one after the other and from several at once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import warnings

import aiosqlite
import asyncpg
import pytest

from stepwell._portal import background_loop
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.checkpoint.sqlite.aio import AsyncSqliteSaver
from stepwell.errors import UsageError
from tests._postgres import server_dsn
from tests.facade.conftest import CLASSES, PLAIN, config, graph

ONE = {"seen": ["node"]}


def use(saver):
    """Synchronous use of a saver, its graph included."""
    compiled = graph(saver)
    assert compiled.invoke({"seen": []}, config()) == ONE
    assert compiled.get_state(config()).values == ONE
    assert [thread.thread_id for thread in saver.list_threads()] == ["a"]


async def ause(saver):
    """Asynchronous use of a saver, its graph included."""
    compiled = graph(saver)
    assert await compiled.ainvoke({"seen": []}, config()) == ONE
    assert (await compiled.aget_state(config())).values == ONE
    assert [thread.thread_id async for thread in saver.alist_threads()] == ["a"]


# --- three ways ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
class TestThreeWays:
    def test_used_directly(self, kind, make):
        saver = make(kind)
        assert saver.home() is None
        use(saver)
        assert saver.home() is background_loop()
        saver.close()

    def test_as_a_context_manager(self, kind, make):
        with make(kind) as saver:
            assert type(saver) is kind
            assert saver.home() is background_loop()
            use(saver)
        assert saver.home() is None

    async def test_used_directly_in_a_loop(self, kind, make):
        saver = make(kind)
        await ause(saver)
        assert saver.home() is asyncio.get_running_loop()
        await saver.aclose()

    async def test_as_an_async_context_manager(self, kind, make):
        async with make(kind) as saver:
            assert type(saver) is kind
            assert saver.home() is asyncio.get_running_loop()
            await ause(saver)
        assert saver.home() is None


@pytest.mark.postgres
async def test_a_given_pool_serves_its_loop_and_other_threads(schema):
    async with asyncpg.create_pool(server_dsn(), min_size=0) as pool:
        saver = PostgresSaver(pool, schema=schema)
        assert saver.home() is asyncio.get_running_loop()
        # The first call comes from elsewhere, and is sent to where the pool works.
        assert await asyncio.to_thread(saver.get_thread, "a") is None
        async with saver:
            await ause(saver)
        assert await pool.fetchval("select 1") == 1  # it was used, not closed


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_a_given_connection_serves_its_loop_and_other_threads(where, tmp_path):
    async with aiosqlite.connect(tmp_path / "a.db" if where == "file" else ":memory:") as conn:
        async with AsyncSqliteSaver(conn) as saver:
            await ause(saver)
            assert (await asyncio.to_thread(saver.get_thread, "a")).status == "done"
        assert await conn.execute_fetchall("select 1") == [(1,)]


# --- one loop after the other -------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLAIN)
def test_one_saver_serves_one_asyncio_run_after_the_other(kind, make):
    saver = make(kind)

    async def turn(number):
        assert saver.home() is None
        found = await graph(saver).ainvoke({"seen": []}, config())
        assert saver.home() is asyncio.get_running_loop()
        return len(found["seen"]), number

    assert asyncio.run(turn(1)) == (1, 1)
    assert asyncio.run(turn(2)) == (2, 2)  # nothing of the first turn is lost, in memory either
    assert len(graph(saver).invoke({"seen": []}, config())["seen"]) == 3
    saver.close()


@pytest.mark.parametrize("kind", PLAIN)
def test_synchronous_calls_between_two_uses_of_one_loop(kind, make):
    loop, saver = asyncio.new_event_loop(), make(kind)
    loop.run_until_complete(ause(saver))
    assert saver.get_thread("a").checkpoints == 3
    assert len(graph(saver).invoke({"seen": []}, config())["seen"]) == 2
    assert saver.home() is loop
    loop.run_until_complete(ause_again(saver))
    saver.close()
    assert saver.home() is None
    loop.close()


@pytest.mark.parametrize("kind", PLAIN)
def test_a_run_cut_off_with_its_loop_does_not_keep_its_thread(kind, make):
    """The thread is free for the next loop, long before the lease of 10 s is over.

    Whether the end of the cut-off run was still written is a matter of luck: where it was
    not, that run is finished first, as that of a worker that died.
    """
    saver = make(kind)

    async def wait_in(state):
        begun.set()
        await asyncio.Event().wait()

    async def cut_off():
        running = asyncio.create_task(graph(saver, wait_in).ainvoke({"seen": []}, config()))
        await begun.wait()
        return running

    begun = asyncio.Event()
    asyncio.run(cut_off())
    found = graph(saver).invoke({"seen": []}, config(), lock_timeout=5)
    assert found["seen"] in (["node"], ["node", "node"])
    saver.close()


# --- several at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLAIN)
async def test_threads_call_while_the_loop_works(kind, make):
    """A saver that belongs to a running loop serves synchronous calls of other threads."""
    async with make(kind) as saver:
        compiled = graph(saver)

        def in_thread(number):
            for _ in range(3):
                compiled.invoke({"seen": []}, config(f"sync {number}"))
            return saver.get_thread(f"sync {number}").checkpoints

        calls = [asyncio.to_thread(in_thread, number) for number in range(3)]
        here = [compiled.ainvoke({"seen": []}, config(f"async {n}")) for n in range(5)]
        found = await asyncio.gather(*calls, *here)
        assert found[:3] == [9, 9, 9]
        assert found[3:] == [ONE] * 5
        assert saver.home() is asyncio.get_running_loop()


@pytest.mark.parametrize("kind", PLAIN)
def test_two_running_loops_share_a_saver(kind, make):
    """Whoever comes first is home; the other one's calls are forwarded, errors included."""
    saver = make(kind)
    ready, over = threading.Event(), threading.Event()

    async def first():
        await ause(saver)
        ready.set()
        await asyncio.to_thread(over.wait, 30)

    async def second():
        home = saver.home()
        assert home is not asyncio.get_running_loop()
        compiled = graph(saver)
        assert await compiled.ainvoke({"seen": []}, config("b")) == ONE
        assert {t.thread_id async for t in saver.alist_threads()} == {"a", "b"}
        chunks = [c async for c in compiled.astream({"seen": []}, config("b"))]
        assert chunks == [{"node": ONE}]
        assert (await saver.aget_tuple(config("b"))).metadata["step"] == 4
        with pytest.raises(UsageError, match="belongs to another event loop"):
            await saver.journal()
        await saver.adelete_thread("b")
        assert saver.home() is home

    thread = threading.Thread(target=lambda: asyncio.run(first()))
    thread.start()
    assert ready.wait(120)
    try:
        asyncio.run(second())
    finally:
        over.set()
        thread.join()
    saver.close()


async def test_many_calls_that_open_a_saver_at_once_open_it_once(tmp_path):
    saver = SqliteSaver.from_conn_string(tmp_path / "a.db")
    journals = await asyncio.gather(*(saver.journal() for _ in range(10)))
    assert len(set(map(id, journals))) == 1
    await saver.aclose()


def test_threads_that_use_a_new_saver_at_once_agree_on_its_home(tmp_path):
    saver = SqliteSaver.from_conn_string(tmp_path / "a.db")
    begin, homes = threading.Barrier(4), []

    def one():
        begin.wait()
        assert asyncio.run(ask()) is None

    async def ask():
        found = await saver.aget_thread("a")
        homes.append(saver.home())
        await asyncio.sleep(0.2)  # all four loops are there at once
        return found

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(homes)) == 1
    assert homes[0] is not None
    saver.close()


# --- inside a running loop ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", PLAIN)
async def test_in_a_notebook_everything_works_with_one_warning(kind, make, not_warned):
    saver = make(kind)
    with pytest.warns(RuntimeWarning, match="once per process") as told:
        use(saver)
    assert len(told) == 1
    assert told[0].filename == __file__  # it points at the call, not into the library
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A cell may await what another cell called synchronously: it is forwarded.
        assert len((await graph(saver).ainvoke({"seen": []}, config()))["seen"]) == 2
        saver.close()


@pytest.mark.parametrize("kind", PLAIN)
async def test_on_its_own_loop_a_saver_names_the_async_form(kind, make):
    async with make(kind) as saver:
        await ause(saver)
        if kind is InMemorySaver:  # what is in memory can be read without waiting
            assert saver.get_thread("a").status == "done"
            assert [thread.thread_id for thread in saver.list_threads()] == ["a"]
        else:
            with pytest.raises(UsageError, match="aget_thread"):
                saver.get_thread("a")
            with pytest.raises(UsageError, match="alist_threads"):
                saver.list_threads()
        with pytest.raises(UsageError, match="aclose"):
            saver.close()
        with pytest.raises(UsageError, match="async with"):
            saver.__enter__()
        with pytest.raises(UsageError, match="ainvoke"):
            graph(saver).invoke({"seen": []}, config())
        await ause_again(saver)


async def ause_again(saver):
    assert (await saver.aget_thread("a")).status == "done"


def test_a_sync_node_may_call_the_saver_and_other_threads(tmp_path):
    """It runs in a worker thread, so the loop is free to answer."""
    with SqliteSaver.from_conn_string(tmp_path / "a.db") as saver:

        def node(state):
            inner = graph(saver).invoke({"seen": []}, config("inner"))
            return {"seen": [saver.get_thread("outer").status, inner["seen"]]}

        found = graph(saver, node).invoke({"seen": []}, config("outer"))
        assert found["seen"] == ["running", ["node"]]


async def test_an_async_node_is_told_not_to_block_its_loop(tmp_path):
    caught = []
    async with SqliteSaver.from_conn_string(tmp_path / "a.db") as saver:

        async def node(state):
            with pytest.raises(UsageError, match="aget_thread") as refused:
                saver.get_thread("a")
            caught.append(refused.value)
            return {"seen": ["node"]}

        assert await graph(saver, node).ainvoke({"seen": []}, config()) == ONE
    assert len(caught) == 1


variable = contextvars.ContextVar("variable", default="unset")


def test_the_caller_s_context_variables_are_visible_in_nodes():
    with InMemorySaver() as saver:

        async def node(state):
            return {"seen": [variable.get()]}

        def sync_node(state):
            return {"seen": [variable.get()]}

        variable.set("mine")
        for each in (node, sync_node):
            assert graph(saver, each).invoke({"seen": []}, config())["seen"][-1] == "mine"
