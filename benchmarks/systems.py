"""What is compared: Stepwell, LangGraph with its own savers, and the floors.

A floor is the least that any Python program doing the same job pays: a loop over coroutines,
or a raw database client that commits the same rows in groups.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypedDict

NAMES = ("stepwell", "langgraph", "floor")
Run = Callable[[str], Awaitable[int]]


class State(TypedDict):
    """One number."""

    n: int


async def step(state: State) -> State:
    """The trivial node."""
    return {"n": state["n"] + 1}


def load(name: str) -> Any:
    """The system of that name."""
    return {"stepwell": Stepwell, "langgraph": LangGraph, "floor": Floor}[name]()


class _Graphs:
    """Systems with LangGraph's API."""

    package = ""

    def chain(self, saver: Any, length: int) -> Run:
        graphs = importlib.import_module(f"{self.package}.graph")
        builder = graphs.StateGraph(State)
        names = [f"n{i}" for i in range(length)]
        for name in names:
            builder.add_node(name, step)
        for start, end in zip([graphs.START, *names], names, strict=False):
            builder.add_edge(start, end)
        graph = builder.compile(checkpointer=saver)
        options = {} if saver is None else {"durability": "sync"}

        async def run(thread: str) -> int:
            config = {"configurable": {"thread_id": thread}}
            return (await graph.ainvoke({"n": 0}, config, **options))["n"]

        return run


class Stepwell(_Graphs):
    """This package."""

    package = "stepwell"

    @asynccontextmanager
    async def opened(self, storage: str, folder: str) -> AsyncIterator[Any]:
        if storage == "none":
            yield None
            return
        from stepwell import open_saver

        urls = {
            "memory": "memory://",
            "sqlite": f"sqlite:///{folder}/stepwell.db",
            "postgres": os.environ.get("STEPWELL_BENCH_PG_DSN", ""),
        }
        async with open_saver(urls[storage]) as saver:
            yield saver


class LangGraph(_Graphs):
    """LangGraph with its own savers, each as its documentation opens it."""

    package = "langgraph"

    @asynccontextmanager
    async def opened(self, storage: str, folder: str) -> AsyncIterator[Any]:
        if storage == "none":
            yield None
        elif storage == "memory":
            from langgraph.checkpoint.memory import InMemorySaver

            yield InMemorySaver()
        elif storage == "sqlite":
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

            async with AsyncSqliteSaver.from_conn_string(f"{folder}/langgraph.db") as saver:
                await saver.conn.execute("PRAGMA synchronous=FULL")
                yield saver
        else:
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
            from psycopg.rows import dict_row
            from psycopg_pool import AsyncConnectionPool

            pool = AsyncConnectionPool(
                os.environ["STEPWELL_BENCH_PG_DSN"],
                max_size=10,
                open=False,
                kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
            )
            async with pool:
                saver = AsyncPostgresSaver(pool)
                await saver.setup()
                yield saver


class Floor:
    """The least a program pays: a loop; with SQLite, one group-committed row a superstep."""

    @asynccontextmanager
    async def opened(self, storage: str, folder: str) -> AsyncIterator[Any]:
        if storage in ("none", "memory"):
            yield None
            return
        if storage == "postgres":
            import asyncpg

            connection = await asyncpg.connect(os.environ["STEPWELL_BENCH_PG_DSN"])
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS floor(t text, s int, b bytea, PRIMARY KEY (t, s));"
                "TRUNCATE floor"
            )
            yield GroupCommit(_postgres_writer(connection))
            await connection.close()
            return
        database = sqlite3.connect(
            f"{folder}/floor.db", isolation_level=None, check_same_thread=False
        )
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE row(t TEXT, s INTEGER, b BLOB, UNIQUE(t, s))")
        yield GroupCommit(_sqlite_writer(database))
        database.close()

    def chain(self, commits: GroupCommit | None, length: int) -> Run:
        async def run(thread: str) -> int:
            state: State = {"n": 0}
            for position in range(length):
                state = await step(state)
                if commits is not None:
                    await commits.append((thread, position, b'{"n": 1}' * 30))
            return state["n"]

        return run


def _sqlite_writer(database: sqlite3.Connection) -> Callable[[list[Any]], Awaitable[None]]:
    def write(rows: list[Any]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")

    async def commit(rows: list[Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, write, rows)

    return commit


def _postgres_writer(connection: Any) -> Callable[[list[Any]], Awaitable[None]]:
    statement = "INSERT INTO floor SELECT * FROM unnest($1::text[], $2::int[], $3::bytea[])"

    async def commit(rows: list[Any]) -> None:
        await connection.execute(statement, *map(list, zip(*rows, strict=True)))

    return commit


class GroupCommit:
    """All rows that wait go into one transaction; the next batch forms meanwhile."""

    def __init__(self, commit: Callable[[list[Any]], Awaitable[None]]) -> None:
        self._commit = commit
        self._rows: list[tuple[Any, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None

    def append(self, row: Any) -> asyncio.Future[None]:
        """A future that is done when the row is durable."""
        done = asyncio.get_running_loop().create_future()
        self._rows.append((row, done))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return done

    async def _flush(self) -> None:
        while self._rows:
            batch, self._rows = self._rows, []
            await self._commit([row for row, _ in batch])
            for _, done in batch:
                done.set_result(None)
        self._flusher = None
