"""Stepwell and LangGraph: the same programs, from the package that is named."""

from __future__ import annotations

import asyncio
import importlib
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

Run = Callable[..., Awaitable[int]]


class Number(TypedDict):
    """One number."""

    n: int


class Talk(TypedDict):
    """A conversation, and three small things that every turn overwrites."""

    messages: Annotated[list, operator.add]
    turn: int
    mood: str
    cost: float


class Wide(TypedDict):
    """What the branches bring back."""

    found: Annotated[list, operator.add]


class Total(TypedDict):
    """A sum."""

    total: Annotated[int, operator.add]


async def step(state: Number) -> dict[str, Any]:
    """The trivial node."""
    return {"n": state["n"] + 1}


class Conversations:
    """A long conversation with LangGraph's API; `talking` is its state."""

    package = ""
    places: tuple[str, ...] = ("sqlite", "postgres")
    alone = False
    talking: Any = Talk

    def __init__(self) -> None:
        self.graphs = importlib.import_module(f"{self.package}.graph")
        self.types = importlib.import_module(f"{self.package}.types")
        self.durability = "sync"

    def _talk(self, saver: Any) -> Any:
        async def answer(state: Any) -> dict[str, Any]:
            turn = state.get("turn", 0) + 1
            return {"messages": [state["messages"][-1] | {"author": "ai"}], "turn": turn,
                    "mood": f"mood {turn % 7}", "cost": turn * 0.1}  # fmt: skip

        builder = self.graphs.StateGraph(self.talking).add_node("answer", answer)
        return builder.add_edge(self.graphs.START, "answer").compile(checkpointer=saver)

    def talk(self, saver: Any) -> Run:
        graph = self._talk(saver)

        async def say(thread: str, message: dict[str, str]) -> int:
            config = {"configurable": {"thread_id": thread}}
            out = await graph.ainvoke({"messages": [message]}, config, durability=self.durability)
            return len(out["messages"])

        return say

    def latest(self, saver: Any) -> Run:
        graph = self._talk(saver)

        async def read(thread: str) -> int:
            state = await graph.aget_state({"configurable": {"thread_id": thread}})
            return len(state.values["messages"])

        return read

    def history(self, saver: Any) -> Run:
        graph = self._talk(saver)

        async def read(thread: str, limit: int) -> int:
            config = {"configurable": {"thread_id": thread}}
            found = [s async for s in graph.aget_state_history(config, limit=limit)]
            return len(found)

        return read

    async def middle_of(self, saver: Any, thread: str) -> dict[str, Any]:
        """The config of a state in the middle of a thread."""
        graph = self._talk(saver)
        config = {"configurable": {"thread_id": thread}}
        states = [s.config async for s in graph.aget_state_history(config)]
        return states[len(states) // 2]

    def middle(self, saver: Any) -> Callable[[dict[str, Any]], Awaitable[int]]:
        graph = self._talk(saver)

        async def read(config: dict[str, Any]) -> int:
            return len((await graph.aget_state(config)).values["messages"])

        return read


class Graphs(Conversations):
    """Systems with LangGraph's API; `package` says which."""

    places = ("none", "memory", "sqlite", "postgres")

    @property
    def compiles(self) -> str:
        return (
            f"from {self.package}.graph import START, StateGraph; "
            "StateGraph(dict).add_node('a', lambda state: {}).add_edge(START, 'a').compile()"
        )

    def _runner(self, builder: Any, saver: Any, given: dict[str, Any], key: str) -> Run:
        graph = builder.compile(checkpointer=saver)
        options = {} if saver is None else {"durability": self.durability}

        async def run(thread: str) -> int:
            config = {"configurable": {"thread_id": thread}, "recursion_limit": 100_000}
            found = (await graph.ainvoke(given, config, **options))[key]
            return len(found) if isinstance(found, list) else found

        return run

    def chain(self, saver: Any, length: int, keys: int = 1) -> Run:
        state = Number if keys == 1 else TypedDict("Keys", {"n": int} | dict.fromkeys(
            [f"k{i}" for i in range(keys - 1)], str))  # fmt: skip
        builder = self.graphs.StateGraph(state)
        names = [f"n{i}" for i in range(length)]
        for name in names:
            builder.add_node(name, step)
        for start, end in zip([self.graphs.START, *names], names, strict=False):
            builder.add_edge(start, end)
        given = {"n": 0} | {f"k{i}": "some text" for i in range(keys - 1)}
        return self._runner(builder, saver, given, "n")

    def loop(self, saver: Any, steps: int) -> Run:
        builder = self.graphs.StateGraph(Number).add_node("step", step)
        builder.add_edge(self.graphs.START, "step")
        builder.add_conditional_edges(
            "step", lambda state: "step" if state["n"] < steps else self.graphs.END
        )
        return self._runner(builder, saver, {"n": 0}, "n")

    def wide(self, saver: Any, branches: int, pause: float = 0.0) -> Run:
        send = self.types.Send

        async def spread(state: Wide) -> dict[str, Any]:
            return {}

        async def work(number: int) -> dict[str, Any]:
            if pause:
                await asyncio.sleep(pause)
            return {"found": [number]}

        async def collect(state: Wide) -> dict[str, Any]:
            return {}

        builder = self.graphs.StateGraph(Wide)
        builder.add_node("spread", spread).add_node("work", work).add_node("collect", collect)
        builder.add_edge(self.graphs.START, "spread").add_edge("work", "collect")
        builder.add_conditional_edges(
            "spread", lambda state: [send("work", i) for i in range(branches)], ["work"]
        )
        return self._runner(builder, saver, {"found": []}, "found")

    # -- many callers of one thread ----------------------------------------------------------

    def adding(self, saver: Any) -> tuple[Run, Run]:
        async def add(state: Total) -> dict[str, int]:
            await asyncio.sleep(0)
            return {"total": 1}

        builder = self.graphs.StateGraph(Total).add_node("add", add)
        graph = builder.add_edge(self.graphs.START, "add").compile(checkpointer=saver)

        async def once(thread: str) -> int:
            config = {"configurable": {"thread_id": thread}}
            return (await graph.ainvoke({"total": 0}, config))["total"]

        async def total(thread: str) -> int:
            config = {"configurable": {"thread_id": thread}}
            return (await graph.aget_state(config)).values["total"]

        return once, total

    # -- a run whose process is killed -------------------------------------------------------

    def enduring(self, saver: Any, steps: int, tick: Callable[[int], None]) -> Run:
        async def work(state: Number) -> dict[str, int]:
            tick(state["n"] + 1)
            return {"n": state["n"] + 1}

        builder = self.graphs.StateGraph(Number).add_node("work", work)
        builder.add_edge(self.graphs.START, "work")
        builder.add_conditional_edges(
            "work", lambda state: "work" if state["n"] < steps else self.graphs.END
        )
        graph = builder.compile(checkpointer=saver)

        async def run(thread: str, again: bool) -> int:
            config = {"configurable": {"thread_id": thread}, "recursion_limit": 100_000}
            # Not even its input may be there. What is due does not tell: of a task whose writes
            # are durable, and the checkpoint behind them is not, LangGraph says that nothing is.
            stored = again and (await graph.aget_state(config)).created_at is not None
            given = None if stored else {"n": 0}
            return (await graph.ainvoke(given, config, durability=self.durability))["n"]

        return run
