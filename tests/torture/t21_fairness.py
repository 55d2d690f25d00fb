"""T21: one hot thread beside a thousand cold ones, on a slow database and on virtual time.

The database takes 20 ms for a batch and 50 us more for each of its rows, 30 ms for a claim. The
hot thread is written as fast as the engine can: one run after the other, hundreds of supersteps
each, and in each of them tasks side by side whose results are recorded one by one. Time is that of
a loop that jumps from timer to timer, so the same seed measures the same on every machine.
"""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from stepwell._ids import RandomIds
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Busy, Claim, ClaimRequest, CommitOutcome, Slice
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.graph import END, START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.observe import CommitFinished, Event
from stepwell.testing import FaultPlan, FaultyDriver
from tests.simulation._virtual import LoopClock, simulate
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

COMMIT_S, ROW_S, CLAIM_S = 0.02, 0.000_05, 0.03
COLD = 1000
ARRIVALS_S = 0.005
"""Mean time between two cold runs."""
QUEUE_ROWS_MAX = 500
FAN = 20
RATIO_MAX = 3.0


class Hot(TypedDict, total=False):
    """What the hot thread keeps."""

    rounds: int
    seen: Annotated[list[int], operator.add]


class SlowDriver(FaultyDriver):
    """Takes its time for every batch, and for each row of it."""

    def __init__(self, clock: LoopClock) -> None:
        super().__init__(MemoryDriver(clock), FaultPlan())
        self.inflight = 0

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        await asyncio.sleep(CLAIM_S)
        return await super().claim(requests)

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        rows = sum(len(piece.checkpoints) + len(piece.writes) for piece in batch)
        await asyncio.sleep(COMMIT_S + rows * ROW_S)
        return await super().commit(batch)


class Queue:
    """The longest queue that a commit has left behind."""

    def __init__(self) -> None:
        self.rows_max = self.commits = self.threads_max = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, CommitFinished):
            self.commits += 1
            self.rows_max = max(self.rows_max, event.queued_rows)
            self.threads_max = max(self.threads_max, event.threads)


def cold_graph(saver: Saver) -> CompiledStateGraph:
    """Three supersteps of ten milliseconds."""

    async def step(state: Hot) -> Hot:
        await asyncio.sleep(0.01)
        return {"rounds": state.get("rounds", 0) + 1}

    graph = StateGraph(Hot)
    for name in "abc":
        graph.add_node(name, step)
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c").add_edge("c", END)
    return graph.compile(saver)


def hot_graph(saver: Saver) -> CompiledStateGraph:
    """Round after round: FAN tasks beside each other, then one that decides."""

    def fan(name: int) -> Any:
        async def task(state: Hot) -> Hot:
            # At different times, so that the results are recorded one by one.
            await asyncio.sleep(name * 0.001)
            return {"seen": [name]}

        return task

    async def again(state: Hot) -> Hot:
        return {"rounds": state.get("rounds", 0) + 1}

    graph = StateGraph(Hot)
    graph.add_node("again", again)
    for n in range(FAN):
        graph.add_node(f"f{n}", fan(n))
        graph.add_edge(f"f{n}", "again")
    graph.add_edge(START, "again")
    names = [f"f{n}" for n in range(FAN)]
    graph.add_conditional_edges("again", lambda state: END if state["rounds"] % 100 == 0 else names)
    return graph.compile(saver)


async def cold_runs(graph: CompiledStateGraph, dice: random.Random, count: int) -> list[float]:
    """How long each of so many runs takes, that begin one after the other."""
    loop = asyncio.get_running_loop()

    async def one(n: int) -> float:
        began = loop.time()
        state = await graph.ainvoke({"rounds": 0}, {"configurable": {"thread_id": f"cold-{n}"}})
        assert state["rounds"] == 3
        return loop.time() - began

    tasks: list[asyncio.Task[float]] = []
    for n in range(count):
        tasks.append(asyncio.create_task(one(n)))
        await asyncio.sleep(dice.expovariate(1 / ARRIVALS_S))
    return sorted(await asyncio.gather(*tasks))


async def hot_runs(graph: CompiledStateGraph, done: asyncio.Event) -> int:
    """One run after the other on one thread, until the cold ones are done."""
    config = {"configurable": {"thread_id": "hot"}, "recursion_limit": 1000}
    runs = 0
    while not done.is_set():
        await graph.ainvoke({"rounds": 0}, config)
        runs += 1
    return runs


async def measure(seed: int, cold: int, *, hot: bool) -> tuple[list[float], Queue, int]:
    """Latencies of the cold runs in order, the queue, and how many hot runs there were."""
    queue = Queue()
    clock = LoopClock()
    driver = SlowDriver(clock)
    saver = Saver(
        driver, clock=clock, ids=RandomIds(seed), observe=queue, queue_rows_max=QUEUE_ROWS_MAX
    )
    async with saver:
        done = asyncio.Event()
        load = asyncio.create_task(hot_runs(hot_graph(saver), done)) if hot else None
        latencies = await cold_runs(cold_graph(saver), random.Random(seed), cold)
        done.set()
        runs = await load if load is not None else 0
    return latencies, queue, runs


def p99(latencies: list[float]) -> float:
    return latencies[len(latencies) * 99 // 100]


def compare(seed: int, cold: int) -> Figures:
    """The same cold runs without and with the hot thread."""
    calm, _, _ = simulate(measure(seed, cold, hot=False))
    busy, queue, runs = simulate(measure(seed, cold, hot=True))
    figures = Figures(cases=cold)
    figures.counts["hot runs"] += runs
    ratio = p99(busy) / p99(calm)
    figures.at_worst("ratio of p99", ratio)
    figures.at_worst("cold p99 unloaded, s", p99(calm))
    figures.at_worst("cold p99 loaded, s", p99(busy))
    figures.at_worst("queued rows", queue.rows_max)
    if ratio > RATIO_MAX:
        figures.failures.append(f"cold p99 is {ratio:.2f} times that without the hot thread")
    if queue.rows_max > 2 * QUEUE_ROWS_MAX:
        figures.failures.append(f"{queue.rows_max} rows were queued, more than the bound")
    if not runs:
        figures.failures.append("the hot thread did not get through")
    return figures


@torture("T21", places=["memory"], per_commit="tests/torture/test_fairness.py")
def run(seed: int, budget: Budget) -> Figures:
    figures = Figures()
    turn = 0
    while budget.more(figures.cases):
        figures.add(compare(seed + turn, COLD))
        turn += 1
    return figures
