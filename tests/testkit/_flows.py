"""Graphs and workloads whose histories are checked."""

from __future__ import annotations

import asyncio
import operator
import random
from typing import Annotated, Any, TypedDict

from stepwell.graph import END, START, StateGraph
from stepwell.runtime import Runtime
from stepwell.testing import EffectLog, History
from stepwell.types import Command, Send, interrupt


class State(TypedDict, total=False):
    n: int
    limit: int
    asks: bool
    tag: str
    log: Annotated[list[str], operator.add]
    parts: Annotated[list[int], operator.add]


def build(saver: Any, effects: EffectLog, **options: Any) -> Any:
    """count -> three parts -> join, `limit` times; asks a question at its end if told to."""

    async def count(state: State, runtime: Runtime) -> dict[str, Any]:
        effects.record(runtime)
        await asyncio.sleep(0)
        return {"n": state.get("n", 0) + 1, "log": [f"count {state.get('n', 0) + 1}"]}

    async def part(packet: dict[str, int], runtime: Runtime) -> dict[str, Any]:
        effects.record(runtime)
        for _ in range(packet["i"]):
            await asyncio.sleep(0)
        return {"parts": [packet["n"] * 10 + packet["i"]]}

    async def join(state: State, runtime: Runtime) -> dict[str, Any]:
        effects.record(runtime)
        return {"log": [f"join {len(state['parts'])}"]}

    async def ask(state: State, runtime: Runtime) -> dict[str, Any]:
        effects.record(runtime)
        if not state.get("asks"):
            return {}
        return {"tag": interrupt("tag?")}

    def fan(state: State) -> list[Send]:
        return [Send("part", {"n": state["n"], "i": i}) for i in range(3)]

    def again(state: State) -> str:
        return "count" if state["n"] < state.get("limit", 2) else "ask"

    graph = StateGraph(State)
    for node in (count, part, join, ask):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "count")
    graph.add_conditional_edges("count", fan, ["part"])
    graph.add_edge("part", "join")
    graph.add_conditional_edges("join", again, ["count", "ask"])
    graph.add_edge("ask", END)
    return graph.compile(saver, **options)


def config(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}


class Client:
    """Does what clients do, drawn from a seed, on threads that others use as well."""

    def __init__(self, graph: Any, history: History, seed: int) -> None:
        self.graph = graph
        self.history = history
        self.random = random.Random(seed)
        self.seed = seed
        self.made = 0

    def unique(self, what: str) -> str:
        self.made += 1
        return f"{what}-{self.seed}-{self.made}"

    async def work(self, threads: int, operations: int) -> None:
        for _ in range(operations):
            thread = config(f"t{self.random.randrange(threads)}")
            what = self.random.choice(("run", "run", "update", "read", "read", "travel"))
            try:
                await getattr(self, what)(thread)
            except Exception as error:
                if not self.expected(error):
                    raise

    @staticmethod
    def expected(error: Exception) -> bool:
        return False

    async def run(self, thread: dict[str, Any]) -> None:
        shown = await self.history.aread(self.graph, thread)
        if shown.interrupts:
            answers = {i.id: self.unique("answer") for i in shown.interrupts}
            given: Any = Command(resume=answers)
            parts: tuple[str, ...] = ()
        else:
            parts = (self.unique("a"), self.unique("b"))
            given = {"limit": shown.values.get("n", 0) + self.random.randint(1, 2),
                     "asks": self.random.random() < 0.3, "log": list(parts)}  # fmt: skip
        mode = self.random.choice(("sync", "async", "async", "exit"))
        await self.history.arun(self.graph, given, thread, durability=mode, parts=parts)

    async def update(self, thread: dict[str, Any]) -> None:
        parts = (self.unique("u"), self.unique("v"))
        await self.history.aupdate(
            self.graph, thread, {"tag": parts[0], "log": [parts[1]]}, as_node="ask", parts=parts
        )

    async def read(self, thread: dict[str, Any]) -> None:
        await self.history.aread(self.graph, thread)

    async def travel(self, thread: dict[str, Any]) -> None:
        if self.random.random() < 0.7:
            return
        seen = [s async for s in self.graph.aget_state_history(thread)]
        if not seen:
            return
        back = self.random.choice(seen).config
        await self.history.arun(
            self.graph, {"limit": 1, "log": [self.unique("back")]}, back, durability="sync"
        )
