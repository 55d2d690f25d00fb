"""The databases that the model test works on at the same time, and rough hands for each."""

from __future__ import annotations

import asyncio
import operator
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell._clock import SYSTEM_CLOCK
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Driver, ThreadKey
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.graph import END, START, StateGraph
from stepwell.types import interrupt
from tests._postgres import execute, server_dsn
from tests.simulation._model import mode_of, way


class Boom(Exception):
    """What the node `boom` raises until it is fixed."""


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class SteppedClock:
    """The system's clock, with a wall clock that somebody sets now and then."""

    def __init__(self) -> None:
        self.off = 0.0

    def wall(self) -> float:
        return SYSTEM_CLOCK.wall() + self.off

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()


class Place:
    """One database, the process that uses it now, and the graph on it."""

    def __init__(self, name: str, clock: SteppedClock) -> None:
        self.name = name
        self.clock = clock
        self.hangs = asyncio.Event()
        """Set when a node has begun to hang."""
        self.gate = asyncio.Event()
        """Set when nodes need not hang any longer."""
        self.gate.set()
        self.saver: Saver
        self.graph: Any

    def driver(self) -> Driver:
        raise NotImplementedError

    async def expire(self, thread: str) -> None:
        """End the lease of a thread."""
        raise NotImplementedError

    async def steal(self, thread: str) -> None:
        """Take a thread from its owner, and let the thief's lease end at once."""
        raise NotImplementedError

    async def open(self) -> None:
        """A new process on the same database."""
        self.saver = Saver(self.driver(), clock=self.clock)
        self.graph = _graph(self).compile(checkpointer=self.saver)
        await self.saver.journal()

    async def crash(self) -> None:
        """The process ends where it stands: its connections and locks go, its claims stay.

        (`Journal.forget` alone would leave sockets of a loop that lives on.)
        """
        journal = await self.saver.journal()
        core, journal._core = journal._opened_core(), None
        await core._heart.stop()
        core.forget()
        await journal.driver.close()
        self.saver._home._warns = False

    async def close(self) -> None:
        await self.saver.aclose()


class Memory(Place):
    def __init__(self, clock: SteppedClock) -> None:
        super().__init__("memory", clock)
        self.rows = MemoryDriver(clock)

    def driver(self) -> Driver:
        return self.rows

    async def expire(self, thread: str) -> None:
        self.rows._threads[ThreadKey("", thread)].lease_until = -1.0

    async def steal(self, thread: str) -> None:
        row = self.rows._threads[ThreadKey("", thread)]
        row.epoch += 1
        row.owner, row.lease_until = b"thief" * 3 + b"!", -1.0


class Sqlite(Place):
    def __init__(self, clock: SteppedClock, folder: Path) -> None:
        super().__init__("sqlite", clock)
        self.path = folder / "model.db"

    def driver(self) -> Driver:
        return SqliteDriver(str(self.path), synchronous="normal", clock=self.clock)

    async def expire(self, thread: str) -> None:
        self._change("lease_until = 0", thread)

    async def steal(self, thread: str) -> None:
        self._change("epoch = epoch + 1, owner = randomblob(16), lease_until = 0", thread)

    def _change(self, what: str, thread: str) -> None:
        with closing(sqlite3.connect(self.path, timeout=30)) as rows, rows:
            rows.execute(f"UPDATE stepwell_thread SET {what} WHERE thread_id = ?", (thread,))


class Postgres(Place):
    def __init__(self, clock: SteppedClock, schema: str) -> None:
        super().__init__("postgres", clock)
        self.schema = schema

    def driver(self) -> Driver:
        return PostgresDriver(server_dsn(), schema=self.schema)

    async def expire(self, thread: str) -> None:
        await self._change("lease_until = clock_timestamp() - interval '1 hour'", thread)

    async def steal(self, thread: str) -> None:
        past = "lease_until = clock_timestamp() - interval '1 hour'"
        await self._change(f"epoch = epoch + 1, owner = gen_random_uuid(), {past}", thread)

    async def _change(self, what: str, thread: str) -> None:
        sql = f'UPDATE "{self.schema}".stepwell_thread SET {what} WHERE thread_id = $1'
        await execute(sql + " RETURNING 1", thread)


def _graph(place: Place) -> Any:
    async def a(state: State) -> State:
        if mode_of(state["log"]) == "hang" and not place.gate.is_set():
            place.hangs.set()
            await place.gate.wait()
        return {"log": ["a"]}

    async def ask(_: State) -> State:
        return {"log": [f"ask={interrupt('q')}"]}

    async def boom(state: State) -> State:
        if "fixed" not in state["log"]:
            raise Boom
        return {"log": ["boom"]}

    async def b(_: State) -> State:
        return {"log": ["b"]}

    graph = StateGraph(State)
    nodes: dict[str, Callable[..., Any]] = {"a": a, "ask": ask, "boom": boom, "b": b}
    for name, node in nodes.items():
        graph.add_node(name, node)
    graph.add_edge(START, "a").add_edge("ask", "b").add_edge("boom", "b").add_edge("b", END)
    graph.add_conditional_edges("a", lambda state: way(state["log"]), ["ask", "boom", "b"])
    return graph
