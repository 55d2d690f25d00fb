"""The workloads: one definition for every system.

A workload builds its program with what the system offers and returns its figures: for each
metric the values of all repetitions. The first repetition warms up and is not counted.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

Figures = dict[str, list[float]]
WORDS = (
    "river", "stone", "lantern", "copper", "meadow", "signal", "harbour", "thread", "silver",
    "engine", "window", "garden", "winter", "paper", "north", "bridge", "candle", "orchard",
    "violin", "market", "summit", "anchor", "valley", "marble",
)  # fmt: skip


def message(number: int, size: int) -> dict[str, str]:
    """A message of about `size` bytes of varied words: repeated text would flatter compression."""
    draw = random.Random(number)
    text = ""
    while len(text) < size:
        text += draw.choice(WORDS) + " "
    return {"role": "user", "id": f"{draw.getrandbits(128):032x}", "content": text[:size]}


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
    """One run of `size` supersteps through a conditional edge; per superstep."""
    run = system.loop(opened, size)

    async def once(repetition: int) -> int:
        assert await run(f"{repetition}") == size
        return size

    return await timed(n, once)


async def wide(system: Any, opened: Any, n: int, *, size: int, pause: float = 0.0) -> Figures:
    """1 -> `size` branches -> 1; per branch, and milliseconds of the whole."""
    run = system.wide(opened, size, pause)

    async def once(repetition: int) -> int:
        assert await run(f"{repetition}") == size
        return size

    figures = await timed(n, once)
    return figures | {"ms": [us * size / 1e3 for us in figures["us"]]}


async def crowd(system: Any, opened: Any, n: int, *, size: int) -> Figures:
    """`size` threads at once, each a chain of ten; per superstep, and the runs' latencies."""
    run = system.chain(opened, 10)
    latencies: list[float] = []

    async def one(thread: str) -> None:
        started = time.perf_counter()
        assert await run(thread) == 10
        latencies.append((time.perf_counter() - started) * 1e3)

    async def once(repetition: int) -> int:
        if repetition == 1:
            latencies.clear()
        await asyncio.gather(*(one(f"{repetition}-{i}") for i in range(size)))
        return size * 10

    figures = await timed(n, once)
    cuts = statistics.quantiles(latencies, n=100)
    return figures | {"p50_ms": [cuts[49]], "p99_ms": [cuts[98]]}


async def talk(system: Any, opened: Any, n: int, *, size: int, place: str) -> Figures:
    """A conversation of `size` turns of about 500 bytes: time of turns, bytes, reading it."""
    say = system.talk(opened)
    times: list[float] = []
    payload = 0
    for turn in range(size):
        said = message(turn, 190)
        payload += 2 * (sum(len(v) for v in said.values()) + 40)
        started = time.perf_counter()
        assert await say("talk", said) == 2 * (turn + 1)
        times.append((time.perf_counter() - started) * 1e3)
    figures: Figures = {
        f"turn_{at}_ms": [statistics.median(times[max(0, at - 5) : at + 4])]
        for at in (10, 100, 1000)
        if at <= size + 1
    }
    figures["turns_ms"] = times
    if hasattr(system, "stored"):
        figures["bytes"] = [float(await system.stored(place))]
        figures["bytes_per_payload"] = [figures["bytes"][0] / payload]
    return figures | await _reads(system, opened, n, turns=size)


async def _reads(system: Any, opened: Any, n: int, *, turns: int) -> Figures:
    """Milliseconds to read the newest state, a middle one, and the history."""
    figures: Figures = {"latest_ms": []}
    latest = system.latest(opened)
    for _ in range(n * 3):
        started = time.perf_counter()
        assert await latest("talk") == 2 * turns
        figures["latest_ms"].append((time.perf_counter() - started) * 1e3)
    history = system.history(opened)
    for limit in (10, 1000):
        figures[f"history_{limit}_ms"] = values = []
        for _ in range(n):
            started = time.perf_counter()
            assert await history("talk", limit) <= limit
            values.append((time.perf_counter() - started) * 1e3)
    if hasattr(system, "middle"):
        middle, config = system.middle(opened), await system.middle_of(opened, "talk")
        figures["middle_ms"] = []
        for _ in range(n * 3):
            started = time.perf_counter()
            assert 0 < await middle(config) < 2 * turns
            figures["middle_ms"].append((time.perf_counter() - started) * 1e3)
    return figures


async def race(system: Any, opened: Any, n: int, *, size: int) -> Figures:
    """`size` calls at once of one thread, each adding 1: how many of them count."""
    run = system.race(opened, size)
    return {"counted": [float(await run(f"race-{i}")) for i in range(n)]}


async def idle(system: Any, opened: Any, n: int, *, size: int) -> Figures:
    """`size` idle threads: resident kilobytes each."""
    run = system.chain(opened, 1)
    for i in range(200):
        await run(f"warm-{i}")
    before = _resident()
    for i in range(size):
        await run(f"idle-{i}")
    return {"kb": [(_resident() - before) / 1024 / size]}


def _resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096.0


WORKLOADS: dict[str, Callable[..., Awaitable[Figures]]] = {
    "chain": chain, "loop": loop, "wide": wide, "crowd": crowd, "talk": talk, "race": race,
    "idle": idle,
}  # fmt: skip
NEEDS = {"talk": "talk", "race": "race", "loop": "loop", "wide": "wide"}
"""The method a system must have for a workload, where it is not `chain`."""
