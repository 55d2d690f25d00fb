"""The workloads: one definition for every system.

A workload builds its graph with what the system offers (`system.graph(...)`) and returns a
coroutine function that does one repetition and says how many supersteps it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Measure = Callable[[int], Awaitable[int]]
CHAIN = 10


async def chain(system: Any, opened: Any, size: int) -> Measure:
    """W1, W3: chains of 10 trivial async nodes, `size` runs one after the other."""
    run = system.chain(opened, CHAIN)

    async def once(repetition: int) -> int:
        for i in range(size):
            result = await run(f"{repetition}-{i}")
            assert result == CHAIN, result
        return size * CHAIN

    return once


async def crowd(system: Any, opened: Any, size: int) -> Measure:
    """W4: `size` threads at once, each a chain of 10, durable superstep by superstep."""
    run = system.chain(opened, CHAIN)

    async def once(repetition: int) -> int:
        results = await asyncio.gather(*(run(f"{repetition}-{i}") for i in range(size)))
        assert results == [CHAIN] * size
        return size * CHAIN

    return once


WORKLOADS: dict[str, Callable[..., Awaitable[Measure]]] = {"chain": chain, "crowd": crowd}
