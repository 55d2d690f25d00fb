"""A run that is cancelled between two supersteps leaves a thread row that tells the truth."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._engine.run import Run
from stepwell._ids import RandomIds
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import ThreadKey
from stepwell.errors import EmptyInputError
from stepwell.graph import END, START, StateGraph
from stepwell.types import interrupt
from tests.simulation._journal_world import Database, Process, unavailable
from tests.simulation._virtual import LoopClock, simulated

CONFIG = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


async def a(state: State) -> State:
    return {"log": [f"a{len(state['log'])}"]}


async def b(_: State) -> State:
    return {"log": ["b"]}


def line(saver):
    graph = StateGraph(State)
    graph.add_sequence([("a", a), ("b", b)])
    graph.add_edge(START, "a")
    return graph.compile(saver)


def fresh(process):
    return Saver(process, clock=LoopClock(), ids=RandomIds(seed=1))


@simulated
async def test_cancelled_at_its_barrier_it_says_what_is_due_now():
    """The superstep of `a` is over: what is due is `b`, not `a` once more."""
    process = Process(Database())
    async with fresh(process) as saver:
        graph = line(saver)

        async def slow(batch):
            if any(
                row.source == 1 and row.seq == 3 for piece in batch for row in piece.checkpoints
            ):
                run.cancel()
                await asyncio.sleep(1)
            return await Process.commit(process, batch)

        process.commit = slow
        run = asyncio.ensure_future(graph.ainvoke({"log": ["in"]}, CONFIG, durability="sync"))
        with pytest.raises(asyncio.CancelledError):
            await run
        state, thread = await graph.aget_state(CONFIG), await saver.aget_thread("t")
        assert (state.values["log"], state.next) == (["in", "a1"], ("b",))
        assert (thread.status, thread.next) == ("idle", ("b",))


@simulated
async def test_cancelled_before_its_barrier_it_has_work_left():
    """All tasks of the superstep have finished, and what comes after them was never planned: a
    `next` that is empty would say that the thread is done."""
    process = Process(Database())
    runs: list[asyncio.Task[object]] = []
    begun: list[str] = []

    async def one(_: State) -> State:
        begun.append("one")
        return {"log": ["one"]}

    async def two(_: State) -> State:
        begun.append("two")
        runs[0].cancel()
        return {"log": ["two"]}

    graph = StateGraph(State)
    for name, node in (("one", one), ("two", two)):
        graph.add_node(name, node)
        graph.add_edge(START, name)
        graph.add_edge(name, "b")
    graph.add_node("b", b)
    async with fresh(process) as saver:
        compiled = graph.compile(saver)
        runs.append(
            asyncio.ensure_future(compiled.ainvoke({"log": ["in"]}, CONFIG, durability="exit"))
        )
        with pytest.raises(asyncio.CancelledError):
            await runs[0]
        state, thread = await compiled.aget_state(CONFIG), await saver.aget_thread("t")
        assert (state.values["log"], state.next) == (["in", "one", "two"], ("one", "two"))
        assert (thread.status, thread.next) == ("idle", ("one", "two"))
        found = await compiled.ainvoke(None, CONFIG)
        assert found["log"] == ["in", "one", "two", "b"]
        assert begun == ["one", "two"], "finished tasks do not run again"


@simulated
async def test_cancelled_with_nothing_left_to_do_it_is_done():
    """A call that went on with a finished thread and is cancelled leaves it finished."""
    process = Process(Database())
    async with fresh(process) as saver:
        graph = line(saver)
        await graph.ainvoke({"log": ["in"]}, CONFIG)
        process.latency_s = 1.0
        run = asyncio.ensure_future(graph.ainvoke(None, CONFIG))
        await asyncio.sleep(1.5)  # claimed, and about to say that it runs
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        thread = await saver.aget_thread("t")
        assert (thread.status, thread.next) == ("done", ())


@simulated
async def test_cancelled_after_a_barrier_at_exit_it_files_nothing_twice():
    """A node that leads to itself, cancelled while its run waits for room behind a barrier: its
    finished task is part of the checkpoint, and not also a pending result under it."""
    process = Process(Database())
    ran = 0

    async def again(_: State) -> State:
        nonlocal ran
        ran += 1
        return {"log": [f"again {ran}"]}

    graph = StateGraph(State)
    graph.add_node("again", again)
    graph.add_edge(START, "again")
    graph.add_conditional_edges("again", lambda s: "again" if len(s["log"]) < 4 else END)
    async with fresh(process) as saver:
        compiled = graph.compile(saver)
        journal = await saver.journal()
        bound = journal._opened_core()._bound

        bound.rows += 1_000_000  # other runs have filled the queue
        run = asyncio.ensure_future(compiled.ainvoke({"log": ["in"]}, CONFIG, durability="exit"))
        await asyncio.sleep(1)
        run.cancel()
        await asyncio.sleep(1)
        bound.give_back(1_000_000, 0)
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not process.database.rows._threads[ThreadKey("", "t")].writes
        found = await compiled.ainvoke(None, CONFIG)
        assert found["log"] == ["in", "again 1", "again 2", "again 3"]


@simulated
async def test_cancelled_while_its_empty_thread_is_deleted_a_call_lets_it_go():
    """At every moment: whoever comes next has the thread at once, and the row is gone."""
    deleted = 0
    for moment in range(20):
        process = Process(Database())
        process.latency_s = 0.01
        async with fresh(process) as saver:
            graph = line(saver)
            call = asyncio.ensure_future(graph.ainvoke(None, CONFIG))
            await asyncio.sleep(moment * 0.002)
            if call.done():
                with pytest.raises(EmptyInputError):
                    await call
                break
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.sleep(0.1)
            if process.calls["delete"]:
                deleted += 1
                assert ThreadKey("", "t") not in process.database.rows._threads, moment
            found = await graph.ainvoke({"log": ["in"]}, CONFIG, lock_timeout=1.0)
            assert found["log"] == ["in", "a1", "b"]
        assert process.database.locks == {}
    assert deleted


@simulated
async def test_an_outage_while_its_empty_thread_is_deleted_is_not_what_a_call_tells():
    """The error is the caller's own; the empty row may stay, and is free."""
    process = Process(Database())
    async with fresh(process) as saver:
        graph = line(saver)

        async def delete(claim, worker):
            raise unavailable()

        process.delete = delete
        with pytest.raises(EmptyInputError):
            await graph.ainvoke(None, CONFIG)
        assert (await process.database.row(ThreadKey("", "t"))).owner is None
    assert process.database.locks == {}


async def test_stopped_before_it_began_it_says_what_is_due_and_not_what_had_finished(
    saver, monkeypatch
):
    """The thread's row agrees with the state: a task whose result is kept is not due."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("which?")]}

    async def beside(state: State) -> dict[str, Any]:
        return {"log": ["beside"]}

    builder = StateGraph(State).add_node("ask", ask).add_node("beside", beside)
    graph = builder.add_edge(START, "ask").add_edge(START, "beside").compile(saver)
    await graph.ainvoke({"log": []}, CONFIG)

    async def loop(_self: Run) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Run, "loop", loop)
    with pytest.raises(asyncio.CancelledError):
        await graph.ainvoke(None, CONFIG)
    row = await saver.aget_thread("t")
    assert (row.status, tuple(row.next)) == ("idle", ("ask",))
    assert (await graph.aget_state(CONFIG)).next == ("ask",)
