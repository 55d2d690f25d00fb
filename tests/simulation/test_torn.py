"""Runs, updates, forks, undone runs, folds and prunes in random order, cut off at a random commit.

Batches hold one or two records, so that whatever is appended in several records and must not be
torn is torn if nothing keeps it together. After each cut another saver looks at the thread: every
state that it has ever shown is the same, its row says what its newest state says, and in the end
it can be finished. A failure names the seed that replays it.
"""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import Retention
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import EmptyInputError, InvalidUpdateError, StorageError
from stepwell.graph import END, START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.testing import FaultPlan, FaultyDriver
from stepwell.types import Command, StateUpdate, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
SEEDS = range(40)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    n: int


class Inside(TypedDict, total=False):
    heard: Annotated[list[int], operator.add]
    n: int


def build(saver: Saver, *, fails: bool) -> CompiledStateGraph:
    """one -> (ask | side | a graph that keeps its history) -> last, which may fail."""

    async def one(state: State) -> State:
        return {"log": [f"one {state.get('n', 0)}"]}

    async def ask(state: State) -> State:
        if state.get("n", 0) % 3:
            return {"log": ["nothing to ask"]}
        return {"log": [interrupt("which?")]}

    async def side(state: State) -> State:
        return {"log": ["side"]}

    async def last(state: State) -> State:
        if fails and state.get("n", 0) % 5 == 0:
            raise ConnectionError
        return {"log": ["last"]}

    async def hear(state: Inside) -> Inside:
        return {"heard": [state.get("n", 0)]}

    inside = StateGraph(Inside).add_node("hear", hear).add_edge(START, "hear")
    graph = StateGraph(State).add_node(one).add_node(ask).add_node(side).add_node(last)
    graph.add_node("inside", inside.compile(checkpointer=True)).add_edge(START, "one")
    for name in ("ask", "side", "inside"):
        graph.add_edge("one", name)
    graph.add_edge(["ask", "side", "inside"], "last").add_edge("last", END)
    return graph.compile(saver, name="torn")


async def undone(graph: CompiledStateGraph, r: random.Random, n: int, durability: Any) -> None:
    """A run, and another one that undoes it at some moment."""
    first = asyncio.ensure_future(graph.ainvoke({"n": n}, CONFIG, durability=durability))
    for _ in range(r.randint(1, 40)):
        await asyncio.sleep(0)
    second = graph.ainvoke({"n": n + 1}, CONFIG, on_conflict="rollback", durability=durability)
    await asyncio.gather(first, second, return_exceptions=True)


async def act(saver: Saver, graph: CompiledStateGraph, r: random.Random, n: int) -> None:
    """One thing that somebody does to the thread."""
    durability: Any = r.choice(["sync", "async", "exit"])
    policy: Any = r.choice(["wait", "rollback", "interrupt"])
    past = [s.config async for s in graph.aget_state_history(CONFIG)]
    chosen = r.choice(past) if past else CONFIG
    node = r.choice(["one", "side", "last"])
    updates = [[StateUpdate({"log": [f"{name} {n}"]}, name)] for name in ("one", "side")]
    acts: list[Callable[[], Awaitable[Any]]] = [
        lambda: graph.ainvoke({"n": n}, CONFIG, durability=durability, on_conflict=policy),
        lambda: graph.ainvoke({"n": n}, CONFIG, durability=durability, on_conflict=policy),
        lambda: graph.ainvoke({"n": n}, CONFIG, durability=durability, idempotency_key=f"k{n}"),
        lambda: graph.ainvoke(Command(resume="this"), CONFIG, durability=durability),
        lambda: graph.ainvoke(None, CONFIG, durability=durability),
        lambda: undone(graph, r, n, durability),
        lambda: graph.aupdate_state(CONFIG, {"log": [f"by hand {n}"]}, as_node=node),
        lambda: graph.aupdate_state(chosen, {"log": [f"fork {n}"]}, as_node=node),
        lambda: graph.abulk_update_state(CONFIG, updates),
        lambda: saver.acompact(["t"]),
        lambda: saver.aprune(["t"], Retention(keep_last=r.randint(1, 8))),
    ]
    if past:
        acts.append(lambda: graph.arollback(CONFIG, where=lambda s: s.config == chosen))
    try:
        await r.choice(acts)()
    except (StorageError, ConnectionError, EmptyInputError, InvalidUpdateError):
        return


async def look(saver: Saver, known: dict[str, Any]) -> None:
    """Every state is what it was, and the row agrees with the newest."""
    graph = build(saver, fails=True)
    async for shown in graph.aget_state_history(CONFIG):
        name = shown.config["configurable"]["checkpoint_id"]
        assert known.setdefault(name, shown.values) == shown.values
    newest, row = await graph.aget_state(CONFIG), await saver.aget_thread("t")
    if row is None or row.status == "running":
        return
    assert [run.run_id async for run in saver.alist_runs("t", status="running")] == []
    assert row.status != "done" or newest.next == ()
    if row.status == "failed":
        return
    assert row.next == newest.next
    assert (row.status == "interrupted") == (newest.interrupts != ())
    assert row.interrupts == len(newest.interrupts)


def broken() -> StorageError:
    return StorageError("The disk is gone.", outcome="none")


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_found_torn(seed: int) -> None:
    r, rows, known = random.Random(seed), MemoryDriver(), {}
    for n in range(1, r.randint(8, 16)):
        plan = FaultPlan()
        if r.random() < 0.6:
            plan.fail("commit", at=r.randint(1, 7), times=10**6, error=broken)
        driver = FaultyDriver(rows, plan)
        async with Saver(driver, batch_rows_max=r.choice([1, 1, 2, 1000])) as saver:
            await act(saver, build(saver, fails=r.random() < 0.4), r, n)
        async with Saver(rows) as saver:
            await look(saver, known)
    async with Saver(rows) as saver:
        graph = build(saver, fails=False)
        for _ in range(6):
            state = await graph.aget_state(CONFIG)
            if not state.next:
                break
            await graph.ainvoke(Command(resume="this") if state.interrupts else None, CONFIG)
        assert (await graph.aget_state(CONFIG)).next == ()
