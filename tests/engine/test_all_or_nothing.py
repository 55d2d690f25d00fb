"""What belongs together is one commit, however small batches are: after a crash it is found whole,
or not at all."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import RunPreemptedError, StorageError
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.testing import FaultPlan, FaultyDriver
from stepwell.types import Command, interrupt

CONFIG = {"configurable": {"thread_id": "t"}}
Hold = Callable[[], Awaitable[None]]


class State(TypedDict, total=False):
    """Where runs have been."""

    log: Annotated[list[str], operator.add]


def saver_whose_commits_fail(path: Path, plan: FaultPlan) -> Saver:
    """Every record is a commit of its own, unless records belong together."""
    return Saver(FaultyDriver(SqliteDriver(str(path)), plan), batch_rows_max=1)


def broken() -> StorageError:
    return StorageError("The disk is gone.", outcome="none")


# -- rollback


def two_steps(saver: Saver, hold: Hold | None = None) -> CompiledStateGraph:
    """one and beside (at once) -> two (waits, if it is told to)."""

    async def one(state: State) -> State:
        return {"log": ["one"]}

    async def two(state: State) -> State:
        if hold is not None and state["log"][-2] == "R1":
            await hold()
        return {"log": ["two"]}

    graph = StateGraph(State)
    graph.add_sequence([("one", one), ("two", two)])
    graph.add_edge(START, "one")
    return graph.compile(saver, name="two steps", durability="sync")


@pytest.mark.parametrize("k", range(1, 6))
async def test_an_undone_run_is_never_half_undone(tmp_path: Path, k: int) -> None:
    """The process that undoes a run can write k - 1 times more, then never again. Whoever has the
    thread next and wants it without that run, has it so: either the run is still open and can be
    undone, or it is."""
    path, plan = tmp_path / "t.db", FaultPlan()
    reached = asyncio.Event()

    async def hold() -> None:
        reached.set()
        await asyncio.sleep(60)

    async with saver_whose_commits_fail(path, plan) as saver:
        graph = two_steps(saver, hold)
        await graph.ainvoke({"log": ["R0"]}, CONFIG)
        undone = asyncio.create_task(graph.ainvoke({"log": ["R1"]}, CONFIG))
        await asyncio.wait_for(reached.wait(), 60)
        begun = plan.calls["commit"]
        plan.fail("commit", at=begun + k, times=10**6, error=broken)
        second = graph.ainvoke({"log": ["R2"]}, CONFIG, on_conflict="rollback")
        ends = await asyncio.wait_for(asyncio.gather(undone, second, return_exceptions=True), 30)
        assert isinstance(ends[0], (RunPreemptedError, StorageError))
        assert plan.fired or not isinstance(ends[1], Exception)
    async with open_saver(f"sqlite:///{path}") as calm:
        graph = two_steps(calm)
        found = await graph.aget_state(CONFIG)
        thread = await calm.aget_thread("t")
        assert thread is not None
        assert (thread.status == "done") == (found.next == ())
        result = await graph.ainvoke({"log": ["R3"]}, CONFIG, on_conflict="rollback")
        assert "R1" not in result["log"]
        assert result["log"][-3:] == ["R3", "one", "two"]


# -- durability="exit"


def two_beside(saver: Saver, ran: list[str]) -> CompiledStateGraph:
    """first -> (asks | beside) -> last"""

    async def first(state: State) -> State:
        return {"log": ["first"]}

    async def asks(state: State) -> State:
        return {"log": [interrupt("which?")]}

    async def beside(state: State) -> State:
        ran.append("beside")
        return {"log": ["beside"]}

    async def last(state: State) -> State:
        return {"log": ["last"]}

    graph = StateGraph(State)
    for node in (first, asks, beside, last):
        graph.add_node(node)
    graph.add_edge(START, "first")
    graph.add_edge("first", "asks")
    graph.add_edge("first", "beside")
    graph.add_edge(["asks", "beside"], "last")
    return graph.compile(saver, name="two beside", durability="exit")


@pytest.mark.parametrize("k", range(1, 5))
async def test_the_end_of_an_exit_run_is_there_or_not(tmp_path: Path, k: int) -> None:
    """durability="exit": after a crash while the run's end is written, the thread stands where it
    stood before the run, or where the run has stopped: with its question, and with what the task
    beside it has done, which does not run again."""
    path, plan = tmp_path / "t.db", FaultPlan()
    plan.fail("commit", at=k, times=10**6, error=broken)
    ran: list[str] = []
    failed = False
    async with saver_whose_commits_fail(path, plan) as saver:
        try:
            await two_beside(saver, ran).ainvoke({"log": []}, CONFIG)
        except StorageError:
            failed = True
    assert failed == bool(plan.fired)
    async with open_saver(f"sqlite:///{path}") as calm:
        graph = two_beside(calm, ran)
        found = await graph.aget_state(CONFIG)
        if failed and not found.values:
            assert found.next == ()
            return
        assert len(found.interrupts) == 1
        result: Any = await graph.ainvoke(Command(resume="this"), CONFIG)
        assert result == {"log": ["first", "this", "beside", "last"]}
        assert ran == ["beside"]
