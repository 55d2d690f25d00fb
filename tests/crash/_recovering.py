"""Processes that begin runs and die, and processes that take over what those left."""

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
from tests.crash._workload import Log

THREADS = 12
KEY = "the call"


class State(TypedDict, total=False):
    """What was asked, and what was done about it."""

    ask: str
    log: Annotated[list[str], operator.add]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def build(saver: Saver, log: str, *, dies_in: str = "", waits_in: str = "") -> CompiledStateGraph:
    """first -> second; one of them kills the process, or waits to be killed."""
    effects = Log(log)

    def node(name: str) -> Any:
        async def run(state: State) -> dict[str, Any]:
            if dies_in == name:
                os.kill(os.getpid(), signal.SIGKILL)
            effects.write(node=name, ask=state["ask"], pid=os.getpid())
            if waits_in == name:
                await asyncio.sleep(60)
            return {"log": [f"{name} {state['ask']}"]}

        return run

    builder = StateGraph(State).add_sequence([(n, node(n)) for n in ("first", "second")])
    return builder.add_edge(START, "first").compile(saver, name="recovering")


async def main(what: str, url: str, log: str) -> None:
    async with open_saver(url, lease_ttl_s=240.0) as saver:
        if what.startswith("die in "):
            graph = build(saver, log, dies_in=what.removeprefix("die in "))
            await graph.ainvoke({"ask": "a"}, thread("a"), idempotency_key=KEY)
        elif what == "die while recovering":
            await build(saver, log, dies_in="second").arecover()
        elif what == "leave many":
            graph = build(saver, log, waits_in="second")
            names = [f"t{n}" for n in range(THREADS)]
            await asyncio.gather(*(graph.ainvoke({"ask": n}, thread(n)) for n in names))
        elif what == "sweep":
            async with build(saver, log).sweeper(interval_s=0.2, concurrency=3):
                left = True
                while left:
                    await asyncio.sleep(0.1)
                    left = [i async for i in saver.alist_threads(status="running")]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
