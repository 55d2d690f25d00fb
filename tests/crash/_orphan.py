"""A process that begins a run and is killed in the middle of it."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import sys
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.runtime import Runtime

CONFIG = {"configurable": {"thread_id": "orphan"}}


class State(TypedDict, total=False):
    """What was asked, and what was done about it."""

    ask: str
    log: Annotated[list[str], operator.add]


def build(saver: Saver, *, dies: bool) -> CompiledStateGraph:
    """first -> second; the second kills its process if it `dies`."""

    async def first(state: State) -> dict[str, Any]:
        return {"log": [f"first {state['ask']}"]}

    async def second(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"log": [f"second {state['ask']}{runtime.context}"]}

    graph = StateGraph(State).add_sequence([("first", first), ("second", second)])
    return graph.add_edge(START, "first").compile(saver, durability="sync")


async def main(url: str, lease_ttl_s: str = "240") -> None:
    async with open_saver(url, lease_ttl_s=float(lease_ttl_s)) as saver:
        await build(saver, dies=True).ainvoke({"ask": "one"}, CONFIG, context="!")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
