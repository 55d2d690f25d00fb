"""Graphs inside graphs that are killed, and the process that runs them.

As in `_workload`, but the work is done two levels down: each round sends two packets to a graph
whose middle node is a graph with a fan-out of its own.
"""

from __future__ import annotations

import asyncio
import operator
import os
import sys
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import END, START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.runtime import Runtime
from stepwell.types import Send
from tests.crash._workload import Log

THREADS = 4
ROUNDS = 3
SENT = 2
FAN = 2


class State(TypedDict, total=False):
    """`log` collects one entry per node run that counts."""

    n: int
    log: Annotated[list[str], operator.add]


class Packet(TypedDict, total=False):
    """What a graph inside is given, and what it returns."""

    name: str
    log: Annotated[list[str], operator.add]


class Name(TypedDict):
    """What a graph inside is given."""

    name: str


class Told(TypedDict):
    """What a graph inside returns."""

    log: Annotated[list[str], operator.add]


def build(saver: Saver, effects: Log, durability: Any = "sync") -> CompiledStateGraph:
    """count -> SENT x (a -> (x -> FAN x part -> y) -> b) -> join, ROUNDS times."""

    def node(label: str, pause_s: float = 0.0) -> Any:
        async def run(state: Packet, runtime: Runtime[Any]) -> dict[str, Any]:
            info = runtime.execution_info
            assert info is not None

            def seen(what: str) -> None:
                effects.write(
                    what=what, node=label, thread=info.thread_id, task=info.task_id,
                    epoch=runtime.epoch, pid=os.getpid(),
                )  # fmt: skip

            seen("start")
            await asyncio.sleep(pause_s)
            seen("end")
            return {"log": [f"{label} {state['name']}"]}

        return run

    def inside() -> StateGraph:
        return StateGraph(Packet, input_schema=Name, output_schema=Told)

    inner = inside().add_node("x", node("x")).add_node("y", node("y"))
    inner.add_edge(START, "x")
    for i in range(FAN):
        inner.add_node(f"part{i}", node(f"part{i}", 0.002 * (i + 1)))
        inner.add_edge("x", f"part{i}").add_edge(f"part{i}", "y")
    outer = inside().add_sequence(
        [("a", node("a")), ("inner", inner.compile()), ("b", node("b", 0.001))]
    )

    async def count(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1}

    async def join(state: State) -> dict[str, Any]:
        return {"log": [f"join {len(state['log'])}"]}

    def send(state: State) -> list[Send]:
        return [Send("outer", {"name": f"{state['n']}.{i}"}) for i in range(SENT)]

    def again(state: State) -> str:
        return "count" if state["n"] < ROUNDS else END

    graph = StateGraph(State).add_node("count", count).add_node("join", join)
    graph.add_node("outer", outer.add_edge(START, "a").compile())
    graph.add_edge(START, "count").add_edge("outer", "join")
    graph.add_conditional_edges("count", send, ["outer"])
    graph.add_conditional_edges("join", again, ["count", END])
    return graph.compile(saver, durability=durability)


def expected() -> dict[str, Any]:
    """The state a finished thread must have, computed without the engine."""
    log: list[str] = []
    nodes = ["a", "x", *(f"part{i}" for i in range(FAN)), "y", "b"]
    for n in range(1, ROUNDS + 1):
        log += [f"{node} {n}.{i}" for i in range(SENT) for node in nodes]
        log.append(f"join {len(log)}")
    return {"n": ROUNDS, "log": log}


async def drive(graph: CompiledStateGraph, thread: str, acks: Log | None) -> None:
    """Run one thread to its end, from wherever it stands."""
    config: Any = {"configurable": {"thread_id": thread}}
    state = await graph.aget_state(config)
    given: Any = None if state.metadata is not None else {"n": 0}
    if acks is None:
        await graph.ainvoke(given, config)
        return
    async for ns, chunk in graph.astream(given, config, stream_mode="checkpoints", subgraphs=True):
        acks.write(
            thread=thread,
            ns="|".join(ns),
            checkpoint=chunk["config"]["configurable"]["checkpoint_id"],
            step=chunk["metadata"]["step"],
        )


async def main(url: str, folder: str, batch: str, durability: str) -> None:
    effects, acks = Log(f"{folder}/effects.jsonl"), Log(f"{folder}/acks.jsonl")
    told = acks if durability == "sync" else None
    async with open_saver(url, lease_ttl_s=4.0) as saver:
        graph = build(saver, effects, durability)
        acks.write(ready=os.getpid())
        await asyncio.gather(*(drive(graph, f"{batch}-{i}", told) for i in range(THREADS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
