"""The graphs that wrote the golden databases, and that go on with them.

What is changed here changes what the golden databases hold the next time they are made; from
0.1.0 on, a release's folder is never made again, so from then on things may only be added.
"""

from __future__ import annotations

import asyncio
import operator
import os
import time as clock
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.message import add_messages
from stepwell.graph.state import CompiledStateGraph
from stepwell.types import Command, Send, interrupt


class Colour(Enum):
    """An enum of the state's."""

    RED = "red"


class Point(NamedTuple):
    """A named tuple of the state's."""

    x: int
    y: float


@dataclass
class Order:
    """A dataclass of the state's, with one inside."""

    name: str
    lines: list[Point]


class State(TypedDict, total=False):
    """A channel of every kind that ends in a record of its own form."""

    n: int
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], add_messages]
    table: dict[str, int]
    order: Order
    colour: Colour
    point: Point
    kinds: dict[str, Any]


def kinds() -> dict[str, Any]:
    """A value of every type that bodies have a tag for, and texts that databases stumble over."""
    return {
        "none": None, "flags": [True, False], "big": 2**80, "floats": [0.1, -0.0, 1e300],
        "infinite": float("inf"), "bytes": b"\x00\xff", "tuple": (1, (2,)), "set": {1},
        "frozen": frozenset({"a"}), "complex": 1 + 2j, "decimal": Decimal("1.10"),
        "date": date(2026, 1, 2), "time": time(3, 4, 5, 6), "span": timedelta(days=1, seconds=2),
        "moment": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "uuid": UUID("12345678-1234-5678-1234-567812345678"), "path": PurePosixPath("a/b"),
        "keys": {1: "int", (1, 2): "tuple", None: "none"}, "nul": "a\x00b", "lone": "\ud800",
        "words": "größer 漢字 🙂", "tag": {"$": "no tag"}, "range": [[], {}, ""],
    }  # fmt: skip


async def add(state: State) -> dict[str, Any]:
    """Change a little of everything."""
    n = state.get("n", 0) + 1
    return {
        "n": n, "log": [f"add {n}"], "table": {**state.get("table", {}), f"k{n}": n},
        "messages": [{"role": "user", "content": f"hello {n}", "id": f"m{n}"}],
    }  # fmt: skip


async def fill(state: State) -> dict[str, Any]:
    """Values of all types."""
    return {
        "kinds": kinds(), "colour": Colour.RED, "point": Point(1, 2.5),
        "order": Order("first", [Point(3, 4.5)]), "log": ["fill"],
    }  # fmt: skip


async def ask(state: State) -> dict[str, Any]:
    """A question."""
    return {"log": [f"asked: {interrupt({'question': 'go on?', 'n': state['n']})}"]}


def saver_of(url: str) -> Saver:
    """The saver of a golden database; on PostgreSQL it lives in a schema of its own."""
    schema = {} if url.startswith("sqlite") else {"schema": "golden"}
    return open_saver(url, **schema)  # type: ignore[arg-type]


def plain(saver: Saver, durability: Any = "sync") -> CompiledStateGraph:
    """add -> fill -> add."""
    graph = StateGraph(State).add_sequence([("first", add), ("fill", fill), ("second", add)])
    return graph.add_edge(START, "first").compile(saver, durability=durability)


def asking(saver: Saver) -> CompiledStateGraph:
    """add -> ask -> add."""
    graph = StateGraph(State).add_sequence([("first", add), ("ask", ask), ("second", add)])
    return graph.add_edge(START, "first").compile(saver, durability="sync")


def nested(saver: Saver) -> CompiledStateGraph:
    """add -> a graph that asks -> add."""
    inner = StateGraph(State).add_sequence([("deep", add), ("ask", ask)])
    inner.add_edge(START, "deep")
    graph = StateGraph(State).add_sequence(
        [("first", add), ("inner", inner.compile()), ("second", add)]
    )
    return graph.add_edge(START, "first").compile(saver, durability="sync")


def _wait_for_gate() -> None:
    while not Path(os.environ["STEPWELL_GOLDEN_GATE"]).exists():
        clock.sleep(0.01)


def dying(saver: Saver, *, dies: bool) -> CompiledStateGraph:
    """Two parts beside each other, of which one is done when the process dies in the other."""

    async def part(packet: dict[str, int]) -> dict[str, Any]:
        if packet["i"] == 1 and dies:
            await asyncio.to_thread(_wait_for_gate)
            os._exit(9)
        return {"log": [f"part {packet['i']}"]}

    graph = StateGraph(State)
    graph.add_node("first", add)
    graph.add_node("part", part)
    graph.add_node("second", add)
    graph.add_edge(START, "first")
    graph.add_conditional_edges(
        "first", lambda s: [Send("part", {"i": i}) for i in (0, 1)], ["part"]
    )
    graph.add_edge("part", "second")
    return graph.compile(saver, durability="sync")


def failing(saver: Saver, *, fails: bool) -> CompiledStateGraph:
    """add -> a node that fails -> add."""

    async def broken(state: State) -> dict[str, Any]:
        if fails:
            raise ValueError("planted")
        return {"log": ["mended"]}

    graph = StateGraph(State).add_sequence([("first", add), ("broken", broken), ("second", add)])
    return graph.add_edge(START, "first").compile(saver, durability="sync")


def at(thread: str) -> Any:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread}}


START_WITH: Any = {"log": ["in"]}
GO_ON: Any = Command(resume="yes")


async def fork(saver: Saver) -> None:
    """A run to its end, then an edit of a state in its middle: the thread goes on from there."""
    graph = plain(saver)
    await graph.ainvoke(START_WITH, at("forked"))
    history = [s async for s in graph.aget_state_history(at("forked"))]
    middle = next(s for s in history if s.next == ("fill",))
    await graph.aupdate_state(middle.config, {"log": ["edited"]}, as_node="first")


async def grow(saver: Saver) -> None:
    """A thread that is long enough to be folded."""
    for _ in range(6):
        await failing(saver, fails=False).ainvoke(START_WITH, at("folded"))
