"""The graph that is killed, and the process that runs it.

Eight threads run at once. Each walks through rounds of a chain and a fan-out whose result can
be computed by anybody. Every start and end of a node goes to an effect log outside the
database before the node goes on; every checkpoint that the stream acknowledges goes to an
acknowledgement log.
"""

from __future__ import annotations

import asyncio
import operator
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import orjson

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import END, START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.runtime import Runtime
from stepwell.testing import EffectLog, History
from stepwell.types import Send

THREADS = 8


class Size(NamedTuple):
    """How much one thread does."""

    rounds: int = 5
    fan: int = 4


SIZE = Size()


class State(TypedDict):
    """`log` collects one entry per node run that counts."""

    n: int
    log: Annotated[list[str], operator.add]
    parts: Annotated[list[int], operator.add]


class Log:
    """Lines of JSON that are on the disk when `write` returns."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **entry: Any) -> None:
        os.write(self._file, orjson.dumps(entry) + b"\n")
        os.fdatasync(self._file)

    def lines(self) -> bytes:
        """What was written so far, by anybody."""
        return Path(self.path).read_bytes()


def read_log(path: str) -> list[dict[str, Any]]:
    """The entries of a log; a last line that was cut off counts for nothing."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [orjson.loads(line) for line in lines[:-1]]


def build(
    saver: Saver,
    effects: Log,
    durability: Any = "sync",
    size: Size = SIZE,
    told: EffectLog | None = None,
) -> CompiledStateGraph:
    """count -> `fan` x part -> join, `rounds` times.

    `told`: where executions are written for the checker of `stepwell.testing`.
    """

    def seen(runtime: Runtime[Any], what: str, name: str) -> None:
        info = runtime.execution_info
        assert info is not None
        if told is not None and what == "start":
            told.record(runtime)
        effects.write(
            what=what, node=name, thread=info.thread_id, task=info.task_id, epoch=runtime.epoch,
            pid=os.getpid(),
        )  # fmt: skip

    async def count(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        seen(runtime, "start", "count")
        await asyncio.sleep(0.001)
        seen(runtime, "end", "count")
        return {"n": state["n"] + 1, "log": [f"count {state['n'] + 1}"]}

    async def part(packet: dict[str, int], runtime: Runtime[Any]) -> dict[str, Any]:
        seen(runtime, "start", "part")
        await asyncio.sleep(0.001 * (1 + packet["i"]))
        seen(runtime, "end", "part")
        return {"parts": [packet["n"] * 10 + packet["i"]]}

    async def join(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
        seen(runtime, "start", "join")
        seen(runtime, "end", "join")
        return {"log": [f"join {len(state['parts'])}"]}

    def fan(state: State) -> list[Send]:
        return [Send("part", {"n": state["n"], "i": i}) for i in range(size.fan)]

    def again(state: State) -> str:
        return "count" if state["n"] < size.rounds else END

    graph = StateGraph(State)
    graph.add_node("count", count)
    graph.add_node("part", part)
    graph.add_node("join", join)
    graph.add_edge(START, "count")
    graph.add_conditional_edges("count", fan, ["part"])
    graph.add_edge("part", "join")
    graph.add_conditional_edges("join", again, ["count", END])
    return graph.compile(saver, durability=durability)


def expected(size: Size = SIZE) -> dict[str, Any]:
    """The state a finished thread must have, computed without the engine."""
    log, parts = [], []
    for n in range(1, size.rounds + 1):
        log.append(f"count {n}")
        parts += [n * 10 + i for i in range(size.fan)]
        log.append(f"join {len(parts)}")
    return {"n": size.rounds, "log": log, "parts": parts}


async def drive(
    graph: CompiledStateGraph, thread: str, acks: Log, history: History | None = None
) -> None:
    """Run one thread to its end, from wherever it stands.

    What is acknowledged goes to the history, if there is one, else to `acks`.
    """
    config = {"configurable": {"thread_id": thread}}
    state = await graph.aget_state(config)
    given = None if state.metadata is not None else {"n": 0}
    if history is not None:
        await history.arun(graph, given, config)
    else:
        async for chunk in graph.astream(given, config, stream_mode="checkpoints"):
            acks.write(
                thread=thread,
                checkpoint=chunk["config"]["configurable"]["checkpoint_id"],
                step=chunk["metadata"]["step"],
            )
    acks.write(thread=thread, done=True)


def oracle(folder: str) -> tuple[History, EffectLog]:
    """The files that the checker reads, of all processes that work in a folder."""
    return History(f"{folder}/history.jsonl"), EffectLog(f"{folder}/told.jsonl")


async def main(url: str, folder: str, batch: str, durability: str) -> None:
    effects, acks = Log(f"{folder}/effects.jsonl"), Log(f"{folder}/acks.jsonl")
    history, told = oracle(folder)
    async with open_saver(url, lease_ttl_s=4.0) as saver:
        graph = build(saver, effects, durability, told=told)
        acks.write(ready=os.getpid())
        await asyncio.gather(*(drive(graph, f"{batch}-{i}", acks, history) for i in range(THREADS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
