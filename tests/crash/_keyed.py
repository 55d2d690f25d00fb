"""A client that makes the same calls from the beginning each time it is started."""

from __future__ import annotations

import asyncio
import operator
import os
import sys
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from tests.crash._workload import Log

THREADS = 4
CALLS = 10
STEPS = 3


class State(TypedDict, total=False):
    """Which call it is, and what all calls so far have done."""

    call: int
    log: Annotated[list[str], operator.add]


def thread(number: int) -> Any:
    return {"configurable": {"thread_id": f"t{number}"}}


def key(call: int) -> str:
    return f"call {call}"


def build(saver: Saver) -> CompiledStateGraph:
    """STEPS nodes in a row; each says that it ran for this call."""

    def node(step: int) -> Any:
        async def run(state: State) -> dict[str, Any]:
            await asyncio.sleep(0.06)  # long enough to be killed in
            return {"log": [f"{state['call']}.{step}"]}

        return run

    builder = StateGraph(State).add_sequence([(f"n{n}", node(n)) for n in range(STEPS)])
    return builder.add_edge(START, "n0").compile(saver, name="keyed")


def expected(call: int) -> list[str]:
    """What the log must hold when a call returns, whoever made it and how often."""
    return [f"{c}.{step}" for c in range(call + 1) for step in range(STEPS)]


async def drive(graph: CompiledStateGraph, number: int, acks: Log) -> None:
    for call in range(CALLS):
        result: Any = await graph.ainvoke({"call": call}, thread(number), idempotency_key=key(call))
        acks.write(thread=number, call=call, log=result["log"], pid=os.getpid())


async def main(url: str, acks_path: str) -> None:
    acks = Log(acks_path)
    async with open_saver(url, lease_ttl_s=4.0) as saver:
        graph = build(saver)
        acks.write(ready=os.getpid())
        async with graph.sweeper(interval_s=0.3):
            await asyncio.gather(*(drive(graph, n, acks) for n in range(THREADS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
