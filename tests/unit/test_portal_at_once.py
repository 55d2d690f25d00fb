"""Synchronous calls on the loop that runs here: what need not wait is done, the rest is told."""

from __future__ import annotations

import asyncio

import pytest

from stepwell._portal import iterate_sync, run_sync
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.sqlite.aio import AsyncSqliteSaver
from stepwell.errors import UsageError
from stepwell.graph import START, MessagesState, StateGraph


async def test_what_need_not_wait_is_done():
    async def add(one, two):
        return one + two

    here = asyncio.get_running_loop()
    for loop in (here, None):
        assert run_sync(lambda: add(1, 2), loop=loop, name="add", at_once=True) == 3


async def test_its_error_is_raised():
    async def fail():
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        run_sync(fail, loop=asyncio.get_running_loop(), name="fail", at_once=True)


async def test_what_waits_is_cancelled_and_cleans_up():
    seen = []
    gate, left = asyncio.Event(), asyncio.Event()

    async def wait():
        try:
            await gate.wait()
            seen.append("went on")
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")
            left.set()

    with pytest.raises(UsageError, match=r"wait\(\) has to wait .* Use `await"):
        run_sync(wait, loop=asyncio.get_running_loop(), name="wait", at_once=True)
    assert seen == []
    await left.wait()
    assert seen == ["cleaned up"]


async def test_what_waits_may_swallow_its_cancellation():
    left = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.set()
            raise ValueError("stubborn") from None

    with pytest.raises(UsageError, match="has to wait"):
        run_sync(stubborn, loop=asyncio.get_running_loop(), name="stubborn", at_once=True)
    await left.wait()


async def test_items_are_taken_when_the_first_is_asked_for():
    taken = []

    async def numbers():
        for n in range(3):
            taken.append(n)
            yield n

    items = iterate_sync(numbers, loop=asyncio.get_running_loop(), name="numbers", at_once=True)
    assert taken == []
    assert [next(items), taken, *items] == [0, [0, 1, 2], 1, 2]


async def test_a_call_that_is_not_said_to_is_refused_at_once():
    async def never():
        raise AssertionError("it was begun")

    with pytest.raises(UsageError, match="wait for itself"):
        run_sync(never, loop=asyncio.get_running_loop(), name="never")


def conversation(saver, node):
    graph = StateGraph(MessagesState)
    graph.add_node("say", node)
    graph.add_edge(START, "say")
    return graph.compile(checkpointer=saver)


def thread(name="t"):
    return {"configurable": {"thread_id": name}}


async def test_a_thread_that_a_run_holds_is_not_updated():
    """The update would wait for the run, which waits for the loop: nothing has changed."""
    entered, gate = asyncio.Event(), asyncio.Event()

    async def say(state):
        entered.set()
        await gate.wait()

    async with InMemorySaver() as saver:
        graph = conversation(saver, say)
        running = asyncio.create_task(graph.ainvoke({"messages": []}, thread()))
        await entered.wait()
        with pytest.raises(UsageError, match=r"update_state\(\) has to wait"):
            graph.update_state(thread(), {"messages": [{"role": "user", "content": "x"}]})
        gate.set()
        await running
        assert (await graph.aget_state(thread())).values == {"messages": []}


async def test_a_database_is_waited_for(tmp_path):
    async def say(state):
        return None

    async with AsyncSqliteSaver.from_conn_string(f"{tmp_path}/t.db") as saver:
        graph = conversation(saver, say)
        await graph.ainvoke({"messages": []}, thread())
        for call in (graph.get_state, graph.get_state_history, saver.get_tuple, saver.list):
            with pytest.raises(UsageError, match="wait for itself"):
                call(thread())
