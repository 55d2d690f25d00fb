"""A process with many callers of one thread, all at the same time."""

from __future__ import annotations

import asyncio
import operator
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph

CONFIG = {"configurable": {"thread_id": "hot"}}


class State(TypedDict, total=False):
    """Who has had the thread, in order."""

    log: Annotated[list[str], operator.add]


def build(saver: Saver) -> CompiledStateGraph:
    """One node that takes a moment."""

    async def hold(_: State) -> dict[str, Any]:
        await asyncio.sleep(0.002)
        return {}

    return StateGraph(State).add_node("hold", hold).add_edge(START, "hold").compile(saver)


async def main(url: str, name: str, callers: str, start: str) -> None:
    async with open_saver(url) as saver:
        graph = build(saver)
        await graph.aget_state(CONFIG)
        print("ready", flush=True)
        while not Path(start).exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        await asyncio.gather(*(graph.ainvoke({"log": [name]}, CONFIG) for _ in range(int(callers))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
