"""Graphs that are run: chains, loops, fan-outs, many threads at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

Figures = dict[str, list[float]]


async def timed(repetitions: int, once: Callable[[int], Awaitable[int]]) -> Figures:
    """Microseconds, wall and CPU, per superstep (or branch, or call) of each repetition."""
    wall, cpu = [], []
    for repetition in range(repetitions + 1):
        started, busy = time.perf_counter(), time.process_time()
        units = await once(repetition)
        if repetition:
            wall.append((time.perf_counter() - started) / units * 1e6)
            cpu.append((time.process_time() - busy) / units * 1e6)
    return {"us": wall, "cpu_us": cpu, "per_s": [1e6 / us for us in wall]}


async def chain(system: Any, opened: Any, n: int, *, size: int, keys: int = 1) -> Figures:
    """`size` runs of a chain of ten, one after the other; per superstep."""
    run = system.chain(opened, 10, keys)

    async def once(repetition: int) -> int:
        for i in range(size):
            assert await run(f"{repetition}-{i}") == 10
        return size * 10

    return await timed(n, once)


async def loop(system: Any, opened: Any, n: int, *, size: int) -> Figures:
    """One run of `size` supersteps through a conditional edge; per superstep, and how much more
    that is than one of a run of a tenth of the length."""

    async def of_length(steps: int) -> Figures:
        run = system.loop(opened, steps)

        async def once(repetition: int) -> int:
            assert await run(f"{steps}-{repetition}") == steps
            return steps

        return await timed(n, once)

    figures, short = await of_length(size), await of_length(size // 10)
    growth = statistics.median(figures["us"]) / statistics.median(short["us"])
    return figures | {"growth": [growth]}


async def wide(system: Any, opened: Any, n: int, *, size: int, pause: float = 0.0) -> Figures:
    """1 -> `size` branches -> 1; per branch, and milliseconds of the whole."""
    run = system.wide(opened, size, pause)

    async def once(repetition: int) -> int:
        assert await run(f"{repetition}") == size
        return size

    figures = await timed(n, once)
    return figures | {"ms": [us * size / 1e3 for us in figures["us"]]}


async def crowd(system: Any, opened: Any, n: int, *, size: int) -> Figures:
    """`size` threads at once, each a chain of ten; per superstep, and the runs' latencies: from
    when all were asked for, not from when the event loop first came to one."""
    run = system.chain(opened, 10)
    latencies: list[float] = []

    async def one(thread: str, asked: float) -> None:
        assert await run(thread) == 10
        latencies.append((time.perf_counter() - asked) * 1e3)

    async def once(repetition: int) -> int:
        if repetition == 1:
            latencies.clear()
        asked = time.perf_counter()
        await asyncio.gather(*(one(f"{repetition}-{i}", asked) for i in range(size)))
        return size * 10

    figures = await timed(n, once)
    cuts = statistics.quantiles(latencies, n=100)
    return figures | {"p50_ms": [cuts[49]], "p99_ms": [cuts[98]]}
