"""A process that is killed while an error handler runs."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import NodeError
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph

CONFIG: Any = {"configurable": {"thread_id": "guarded"}}


class State(TypedDict, total=False):
    """What was done."""

    log: Annotated[list[str], operator.add]


def build(saver: Saver, effects: Path, durability: Any, *, dies: bool) -> CompiledStateGraph:
    """fails -> its handler, which kills its process if it `dies`; every call leaves a line."""

    def note(line: str) -> None:
        with effects.open("a") as file:
            file.write(f"{line}\n")

    async def fails(state: State) -> None:
        note("node")
        raise ValueError("no")

    async def handle(state: State, error: NodeError) -> dict[str, Any]:
        note(f"handler {error.node} {error.error!r}")
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"log": ["handled"]}

    graph = StateGraph(State).add_node("fails", fails, error_handler=handle)
    return graph.add_edge(START, "fails").compile(saver, durability=durability)


async def main(url: str, effects: str, durability: str) -> None:
    async with open_saver(url) as saver:
        graph = build(saver, Path(effects), durability, dies=True)
        await graph.ainvoke({"log": ["in"]}, CONFIG)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
