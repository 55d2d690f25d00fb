"""Sizes at which something else than the usual path may rule. Only Stepwell is measured.

Each function takes an open saver and a size, so that the tests run it small; `stored` tells the
bytes of the database, where there are any.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from benchmarks.workloads.graphs import Figures
from benchmarks.workloads.micro import resident
from benchmarks.workloads.talk import message
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, Send, interrupt

CALLERS = 64
CHAIN = 10
PAGE = 100


class Number(TypedDict, total=False):
    n: int


class Large(TypedDict, total=False):
    n: int
    big: list


class Wide(TypedDict):
    found: Annotated[list, operator.add]


def at(thread: str) -> dict[str, Any]:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread}, "recursion_limit": 10_000_000}


async def step(state: Number) -> Number:
    return {"n": state["n"] + 1}


def chain(saver: Any, length: int) -> Any:
    """A graph of so many nodes, one after the other."""
    builder = StateGraph(Number)
    for i in range(length):
        builder.add_node(f"n{i}", step)
        builder.add_edge(f"n{i - 1}" if i else START, f"n{i}")
    return builder.compile(checkpointer=saver)


async def each(items: Iterable[Any], call: Callable[[Any], Awaitable[Any]]) -> None:
    """Call for every item, `CALLERS` at a time."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await call(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(work())


@asynccontextmanager
async def stalls() -> AsyncIterator[list[float]]:
    """Milliseconds between two turns of the loop, beyond the millisecond that was slept."""
    gaps: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(max(0.0, (now - last) * 1e3 - 1))
            last = now

    watcher = asyncio.create_task(watch())
    try:
        await asyncio.sleep(0.005)
        gaps.clear()
        yield gaps
        await asyncio.sleep(0.002)
    finally:
        watcher.cancel()


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else values[0]


def grown(before: float) -> list[float]:
    return [(resident() - before) / (1 << 20)]


async def bytes_each(system: Any, place: str, count: int) -> Figures:
    if place == "memory" or not hasattr(system, "stored"):
        return {}
    return {"bytes_each": [await system.stored(place) / count]}


async def threads(system: Any, saver: Any, n: int, *, size: int, place: str) -> Figures:
    """So many threads, each waiting at a question: make them, list them, answer some."""

    async def ask(state: Number) -> Number:
        return {"n": state["n"] + interrupt("how many?")}

    builder = StateGraph(Number).add_node("ask", ask).add_edge(START, "ask")
    graph = builder.add_edge("ask", END).compile(checkpointer=saver)
    before = resident()
    started = time.perf_counter()
    await each(range(size), lambda i: graph.ainvoke({"n": i}, at(f"{i:08}")))
    figures: Figures = {"create_per_s": [size / (time.perf_counter() - started)]}
    figures["grown_mib"] = grown(before)
    middle, seen = "", 0
    async for info in saver.alist_threads(order="thread_id", descending=False):
        seen += 1
        if seen == size // 2:
            middle = info.cursor
    assert seen == size, f"{seen} of {size} threads were listed"
    figures["list_ms"] = times = []
    for _ in range(20):
        started = time.perf_counter()
        listing = saver.alist_threads(order="thread_id", descending=False, after=middle, limit=PAGE)
        page = [info async for info in listing]
        times.append((time.perf_counter() - started) * 1e3)
        assert len(page) == min(PAGE, size - size // 2)
    took = []
    for i in random.Random(size).sample(range(size), min(500, size)):
        started = time.perf_counter()
        assert (await graph.ainvoke(Command(resume=1), at(f"{i:08}")))["n"] == i + 1
        took.append((time.perf_counter() - started) * 1e3)
    figures |= {"resume_p50_ms": [statistics.median(took)], "resume_p99_ms": [p99(took)]}
    return figures | await bytes_each(system, place, size)


async def runs(system: Any, saver: Any, n: int, *, size: int, place: str) -> Figures:
    """So many runs at once in one process; their latencies from when all were asked for."""
    graph = chain(saver, CHAIN)
    await graph.ainvoke({"n": 0}, at("warm"))
    took: list[float] = []

    async def one(i: int) -> None:
        assert (await graph.ainvoke({"n": 0}, at(f"{i}"), durability="sync"))["n"] == CHAIN
        took.append((time.perf_counter() - started) * 1e3)

    before, started = resident(), time.perf_counter()
    await asyncio.gather(*map(one, range(size)))
    return {
        "per_s": [size * CHAIN / (time.perf_counter() - started)],
        "p99_ms": [p99(took)],
        "grown_mib": grown(before),
    }


async def steps(system: Any, saver: Any, n: int, *, size: int, place: str) -> Figures:
    """One thread of so many supersteps."""
    marks: list[float] = []

    async def work(state: Number) -> Number:
        if state["n"] % (size // 10) == 0:
            marks.append(time.perf_counter())
        return {"n": state["n"] + 1}

    builder = StateGraph(Number).add_node("work", work).add_edge(START, "work")
    builder.add_conditional_edges("work", lambda state: "work" if state["n"] < size else END)
    graph = builder.compile(checkpointer=saver)
    before, started = resident(), time.perf_counter()
    assert (await graph.ainvoke({"n": 0}, at("long")))["n"] == size
    marks.append(time.perf_counter())
    tenths = [b - a for a, b in itertools.pairwise(marks)]
    figures: Figures = {
        "us": [(marks[-1] - started) / size * 1e6],
        "growth": [tenths[-1] / tenths[1]],
        "tenths_s": tenths,
        "grown_mib": grown(before),
        "latest_ms": [],
        "history_ms": [],
    }
    for _ in range(9):
        started = time.perf_counter()
        assert (await graph.aget_state(at("long"))).values["n"] == size
        figures["latest_ms"].append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        found = [s async for s in graph.aget_state_history(at("long"), limit=10)]
        figures["history_ms"].append((time.perf_counter() - started) * 1e3)
        assert [s.values["n"] for s in found] == list(range(size, size - 10, -1))
    return figures | await bytes_each(system, place, size)


async def large(system: Any, saver: Any, n: int, *, size: int, place: str) -> Figures:
    """A state of `size` bytes, made by one node and kept by the next ones; other runs go on."""
    value = [message(i, 400) for i in range(size // 500)]

    async def grow(state: Large) -> Large:
        return {"n": 1, "big": value}

    async def small(state: Large) -> Large:
        return {"n": state["n"] + 1}

    builder = StateGraph(Large).add_node("grow", grow).add_node("small", small)
    builder.add_edge(START, "grow").add_edge("grow", "small")
    graph = builder.compile(checkpointer=saver)
    others, ended = chain(saver, CHAIN), asyncio.Event()

    async def go_on() -> int:
        done = 0
        while not ended.is_set():
            await others.ainvoke({"n": 0}, at(f"other-{done}"))
            await asyncio.sleep(0)  # in memory, nothing else waits
            done += 1
        return done

    beside = asyncio.create_task(go_on())
    figures: Figures = {}
    before = resident()
    for name, call in (
        ("run", lambda: graph.ainvoke({"n": 0}, at("large"))),
        ("read", lambda: graph.aget_state(at("large"))),
    ):
        async with stalls() as gaps:
            started = time.perf_counter()
            found = await call()
            figures[f"{name}_s"] = [time.perf_counter() - started]
        figures[f"{name}_stall_ms"] = [max(gaps)]
        values = found if name == "run" else found.values
        assert values["n"] == 2
        assert values["big"] == value
    ended.set()
    assert await beside > 0
    figures["grown_mib"] = grown(before)
    return figures


async def fan(system: Any, saver: Any, n: int, *, size: int, place: str) -> Figures:
    """One superstep of so many branches."""

    async def work(number: int) -> dict[str, Any]:
        return {"found": [number]}

    async def collect(state: Wide) -> dict[str, Any]:
        return {}

    builder = StateGraph(Wide).add_node("work", work).add_node("collect", collect)
    builder.add_conditional_edges(
        START, lambda state: [Send("work", i) for i in range(size)], ["work"]
    )
    graph = builder.add_edge("work", "collect").compile(checkpointer=saver)
    before = resident()
    async with stalls() as gaps:
        started = time.perf_counter()
        found = (await graph.ainvoke({"found": []}, at("wide")))["found"]
        took = time.perf_counter() - started
    assert found == list(range(size))
    return {"us": [took / size * 1e6], "stall_ms": [max(gaps)], "grown_mib": grown(before)}


async def hot(system: Any, saver: Any, n: int, *, size: int, place: str) -> Figures:
    """Threads that run now and then, alone and beside one that never rests."""
    cold, ended, done = chain(saver, 3), asyncio.Event(), 0

    async def work(state: Number) -> Number:
        nonlocal done
        done += 1
        return {"n": state["n"] + 1}

    builder = StateGraph(Number).add_node("work", work).add_edge(START, "work")
    builder.add_conditional_edges("work", lambda state: END if ended.is_set() else "work")
    busy = builder.compile(checkpointer=saver)

    async def visit(prefix: str) -> float:
        took = []
        for i in range(size // 4):
            started = time.perf_counter()
            assert (await cold.ainvoke({"n": 0}, at(f"{prefix}-{i}"), durability="sync"))["n"] == 3
            took.append((time.perf_counter() - started) * 1e3)
            await asyncio.sleep(0)
        return p99(took)

    await visit("warm")
    figures: Figures = {"alone_p99_ms": [await visit("alone")]}
    never_rests = asyncio.create_task(busy.ainvoke({"n": 0}, at("hot")))
    started = time.perf_counter()
    figures["beside_p99_ms"] = [await visit("beside")]
    figures["hot_per_s"] = [done / (time.perf_counter() - started)]
    ended.set()
    await never_rests
    return figures
