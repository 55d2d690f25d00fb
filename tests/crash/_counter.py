"""A process that adds one to a counter on one thread, many times at once."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph

CONFIG = {"configurable": {"thread_id": "counter"}}


class Count(TypedDict, total=False):
    """One number."""

    n: int


def build(saver: Saver) -> CompiledStateGraph:
    """A graph whose one node reads, waits, and writes: the classic lost update."""

    async def add(state: Count) -> dict[str, Any]:
        n = state.get("n", 0)
        await asyncio.sleep(0.001)
        return {"n": n + 1}

    graph = StateGraph(Count)
    graph.add_node("add", add)
    graph.add_edge(START, "add")
    return graph.compile(saver)


async def count(saver: Saver, times: int) -> None:
    """`times` runs at once on the one thread."""
    graph = build(saver)
    await asyncio.gather(*(graph.ainvoke({}, CONFIG) for _ in range(times)))


async def counted(saver: Saver) -> int:
    """Where the counter stands."""
    return int((await build(saver).aget_state(CONFIG)).values.get("n", 0))


async def main(url: str, times: int) -> None:
    async with open_saver(url) as saver:
        await count(saver, times)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
