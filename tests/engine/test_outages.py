"""Outages, end to end: runs pause and go on, or fail typed with everything acknowledged intact."""

from __future__ import annotations

import asyncio
import operator
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

import asyncpg
import pytest

from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import StorageError, StorageUnavailableError
from stepwell.graph import END, START, StateGraph
from stepwell.testing import FaultPlan, FaultyDriver
from tests._postgres import fresh_schema, server_dsn

DRIVERS = pytest.mark.parametrize(
    "kind", ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
STEPS = 6


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


@asynccontextmanager
async def opened(kind: str, plan: FaultPlan, folder: Path, **options: Any) -> AsyncIterator[Saver]:
    """A saver on a real driver whose calls go wrong as planned."""
    if kind == "memory":
        async with Saver(FaultyDriver(MemoryDriver(), plan), **options) as saver:
            yield saver
    elif kind == "sqlite":
        driver = FaultyDriver(SqliteDriver(str(folder / "o.db")), plan)
        async with Saver(driver, **options) as saver:
            yield saver
    else:
        async with fresh_schema() as schema:
            driver = FaultyDriver(PostgresDriver(server_dsn(), schema=schema), plan)
            async with Saver(driver, **options) as saver:
                yield saver


def build(saver: Any, ran: Counter[str], **options: Any) -> Any:
    """STEPS nodes in a row, beside a fan of two in the middle."""

    def node(name: str) -> Any:
        async def run(state: State) -> dict[str, Any]:
            ran[f"{state['log'][0]} {name}"] += 1
            await asyncio.sleep(0)
            return {"log": [name]}

        return run

    builder = StateGraph(State)
    names = [f"n{n}" for n in range(STEPS)]
    builder.add_sequence([(name, node(name)) for name in names])
    builder.add_node("left", node("left")).add_node("right", node("right"))
    builder.add_edge(START, "n0").add_edge("n2", "left").add_edge("n2", "right")
    for name in ("left", "right", names[-1]):
        builder.add_edge(name, END)
    return builder.compile(saver, name="outages", **options)


def troubled(seed: int) -> FaultPlan:
    """Short troubles at calls drawn from a seed, after the opening."""
    draw = random.Random(seed)
    plan = FaultPlan()
    for verb in ("claim", "commit", "load", "release", "renew", "keyed_run", "unlock", "want"):
        at = 1
        for _ in range(8):
            at += draw.randrange(1, 5)
            trouble = draw.choice([plan.fail, plan.commit_then_fail])
            trouble(verb, at, times=draw.randrange(1, 3))
            at += 2
    return plan


@DRIVERS
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_troubles_within_the_budget_are_not_seen(kind, durability, tmp_path, seed):
    """Fails, lost replies: every run ends as without them, each node runs once, and nothing is
    there twice."""
    ran: Counter[str] = Counter()
    plan = troubled(seed)
    async with opened(kind, plan, tmp_path, outage_budget_s=50.0) as saver:
        graph = build(saver, ran, durability=durability)
        names = [f"t{n}" for n in range(6)]
        calls = [
            graph.ainvoke({"log": [name]}, thread(name), idempotency_key="k") for name in names
        ]
        for name, result in zip(names, await asyncio.gather(*calls), strict=True):
            assert sorted(result["log"]) == sorted(
                [name, "left", "right", *(f"n{n}" for n in range(STEPS))]
            )
            state = await graph.aget_state(thread(name))
            assert (state.values, state.next) == (result, ())
            history = [s async for s in graph.aget_state_history(thread(name))]
            assert len({s.config["configurable"]["checkpoint_id"] for s in history}) == len(history)
    assert set(ran.values()) == {1}
    assert len(ran) == 6 * (STEPS + 2)
    assert plan.fired


@DRIVERS
@pytest.mark.parametrize("at", [1, 2, 4])
async def test_beyond_the_budget_the_call_fails_typed(kind, at, tmp_path):
    """What a stream has acknowledged is there; the thread can be resumed; nobody is in its way."""
    ran: Counter[str] = Counter()
    plan = FaultPlan().fail("commit", at=at, times=10**6)
    acked: list[str] = []
    async with opened(kind, plan, tmp_path, outage_budget_s=0.3) as saver:
        graph = build(saver, ran, durability="sync")
        with pytest.raises(StorageUnavailableError) as caught:
            async for chunk in graph.astream(
                {"log": ["t"]}, thread("t"), stream_mode="checkpoints"
            ):
                acked.append(chunk["config"]["configurable"]["checkpoint_id"])
        assert caught.value.context["outcome"] == "none"
        assert caught.value.retryable
        plan._rules.clear()
        history = [s async for s in graph.aget_state_history(thread("t"))]
        names = [s.config["configurable"]["checkpoint_id"] for s in history]
        assert names[::-1] == acked
        assert len(acked) == at - 1
        before = ran.copy()
        again = None if acked else {"log": ["t"]}
        result = await graph.ainvoke(again, thread("t"), on_conflict="reject")
        assert len(result["log"]) == STEPS + 3
    # Only the superstep whose commit failed ran again.
    assert sum(ran.values()) - (STEPS + 2) == sum(before[name] - 1 for name in before) + (
        sum(ran[name] > before[name] for name in before)
    )
    assert sum(ran.values()) <= STEPS + 2 + 2


@DRIVERS
async def test_everything_fails_and_the_call_takes_one_budget(kind, tmp_path):
    """Commit, status, release, reads: all of them fail; the call still ends in about its time."""
    plan = FaultPlan()
    async with opened(kind, plan, tmp_path, outage_budget_s=2.0, lease_ttl_s=600.0) as saver:

        async def cut(state: State) -> dict[str, Any]:
            for verb in ("commit", "release", "renew", "load", "claim"):
                plan.fail(verb, at=plan.calls[verb] + 1, times=10**6)
            return {"log": ["cut"]}

        builder = StateGraph(State).add_node("cut", cut).add_node("more", cut)
        graph = builder.add_edge(START, "cut").add_edge("cut", "more").compile(saver)
        began = time.monotonic()
        with pytest.raises(StorageError):
            await graph.ainvoke({"log": ["t"]}, thread("t"), durability="sync")
        assert time.monotonic() - began < 120, "a lease of 600 s was waited for"
        plan._rules.clear()


async def test_a_file_that_is_locked_throughout_takes_one_budget(tmp_path):
    """Another process sits in a write transaction. The caller is told in about his budget; what
    was acknowledged is there when the file is free again."""
    path = tmp_path / "locked.db"
    driver = SqliteDriver(str(path), busy_timeout_s=0.2)
    locker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        async with Saver(driver, outage_budget_s=2.0, lease_ttl_s=600.0) as saver:

            async def lock(state: State) -> dict[str, Any]:
                locker.execute("BEGIN IMMEDIATE")
                return {"log": ["lock"]}

            builder = StateGraph(State).add_node("lock", lock).add_edge(START, "lock")
            graph = builder.compile(saver)
            began = time.monotonic()
            with pytest.raises(StorageUnavailableError):
                await graph.ainvoke({"log": ["t"]}, thread("t"), durability="sync")
            assert time.monotonic() - began < 120, "the lease lasts 600 s"
            locker.execute("ROLLBACK")
            state = await graph.aget_state(thread("t"))
            assert (state.values, bool(state.next)) == ({"log": ["t"]}, True)
    finally:
        locker.close()


@pytest.mark.postgres
async def test_tables_that_are_locked_throughout_take_one_budget(tmp_path):
    """The same of a server: somebody holds an exclusive lock on the table of threads."""
    async with fresh_schema() as schema:
        link = await asyncpg.connect(server_dsn())
        try:
            driver = PostgresDriver(server_dsn(), schema=schema)
            async with Saver(driver, outage_budget_s=2.0, lease_ttl_s=600.0) as saver:
                transaction = link.transaction()

                async def lock(state: State) -> dict[str, Any]:
                    await transaction.start()
                    await link.execute(
                        f'LOCK TABLE "{schema}".stepwell_thread IN ACCESS EXCLUSIVE MODE'
                    )
                    return {"log": ["lock"]}

                builder = StateGraph(State).add_node("lock", lock).add_edge(START, "lock")
                graph = builder.compile(saver)
                began = time.monotonic()
                with pytest.raises(StorageError):
                    await graph.ainvoke({"log": ["t"]}, thread("t"), durability="sync")
                assert time.monotonic() - began < 200, "the lease lasts 600 s"
                await transaction.rollback()
                state = await graph.aget_state(thread("t"))
                assert (state.values, bool(state.next)) == ({"log": ["t"]}, True)
        finally:
            await link.close()
