"""The floors: the least that any Python program doing the same job pays.

A loop over coroutines where nothing is kept; a raw database client that commits the same rows in
groups where something is. Rows have the size that Stepwell's have.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from benchmarks.systems._sizes import postgres_bytes, sqlite_bytes

Run = Callable[..., Awaitable[int]]
BODY = b'{"n": 1}' * 30
CHUNK = 100


async def step(state: dict[str, int]) -> dict[str, int]:
    """The trivial node."""
    return {"n": state["n"] + 1}


class Floor:
    """Raw clients, group commit, nothing else."""

    places = ("none", "memory", "sqlite", "postgres")
    alone = False
    packages = ("orjson", "aiosqlite", "asyncpg")
    imports = "import orjson, aiosqlite, asyncpg"

    @asynccontextmanager
    async def opened(self, place: str, folder: str, *, fresh: bool = True) -> AsyncIterator[Any]:
        if place in ("none", "memory"):
            yield None
        elif place == "sqlite":
            database = sqlite3.connect(
                f"{folder}/floor.db", isolation_level=None, check_same_thread=False
            )
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS row(t TEXT, s INTEGER, b BLOB, UNIQUE(t, s))"
            )
            yield GroupCommit(_sqlite_writer(database), database)
            database.close()
        else:
            import asyncpg

            connection = await asyncpg.connect(os.environ["STEPWELL_BENCH_PG_DSN"])
            if fresh:
                await connection.execute("DROP SCHEMA IF EXISTS bench_floor CASCADE")
            await connection.execute(
                "CREATE SCHEMA IF NOT EXISTS bench_floor;"
                "CREATE TABLE IF NOT EXISTS bench_floor.row"
                "(t text, s int, b bytea, PRIMARY KEY (t, s))"
            )
            yield GroupCommit(_postgres_writer(connection), connection)
            await connection.close()

    async def stored(self, place: str, *, cleared: bool = False) -> int:
        if place == "postgres":
            dsn = os.environ["STEPWELL_BENCH_PG_DSN"]
            return await postgres_bytes(dsn, "bench_floor", cleared=cleared)
        return sqlite_bytes(f"{self.folder}/floor.db")

    def chain(self, commits: GroupCommit | None, length: int, keys: int = 1) -> Run:
        others = {f"k{i}": "some text" for i in range(keys - 1)}

        async def run(thread: str) -> int:
            state: dict[str, Any] = {"n": 0, **others}
            for position in range(length):
                state = {**state, **await step(state)}
                if commits is not None:
                    await commits.append((thread, position, BODY))
            return state["n"]

        return run

    def loop(self, commits: GroupCommit | None, steps: int) -> Run:
        return self.chain(commits, steps)

    def wide(self, commits: GroupCommit | None, branches: int, pause: float = 0.0) -> Run:
        async def work(number: int) -> list[int]:
            if pause:
                await asyncio.sleep(pause)
            return [number]

        async def run(thread: str) -> int:
            found = await asyncio.gather(*(work(i) for i in range(branches)))
            return len([n for each in found for n in each])

        return run

    def enduring(self, commits: GroupCommit, steps: int, tick: Callable[[int], None]) -> Run:
        async def run(thread: str, again: bool) -> int:
            n = len(await commits.rows(thread)) if again else 0
            while n < steps:
                tick(n + 1)
                n += 1
                await commits.append((thread, n, BODY))
            return n

        return run

    def rows(self, commits: GroupCommit) -> Callable[[list[str]], Awaitable[None]]:
        turns: dict[str, int] = {}

        async def append(threads: list[str]) -> None:
            done = []
            for thread in threads:
                turns[thread] = turn = turns.get(thread, 0) + 1
                done.append(commits.append((thread, turn, BODY)))
            for each in done:
                await each

        return append

    def codec(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        return orjson.dumps, orjson.loads

    # -- a long conversation: a row a turn, and a look at all of them -------------------------

    def talk(self, commits: GroupCommit) -> Run:
        turns: dict[str, int] = {}

        async def say(thread: str, message: dict[str, str]) -> int:
            turn = turns[thread] = turns.get(thread, 0) + 1
            await commits.append(
                (thread, turn, orjson.dumps([message, message | {"author": "ai"}]))
            )
            return turn * 2

        return say

    def latest(self, commits: GroupCommit) -> Run:
        async def read(thread: str) -> int:
            rows = await commits.rows(thread)
            return len([m for row in rows for m in orjson.loads(row)])

        return read

    def history(self, commits: GroupCommit) -> Run:
        async def read(thread: str, limit: int) -> int:
            rows = await commits.rows(thread)
            return len([orjson.loads(row) for row in rows][-limit:])

        return read


def _sqlite_writer(database: sqlite3.Connection) -> Callable[[list[Any]], Awaitable[None]]:
    def write(rows: list[Any]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")

    async def commit(rows: list[Any]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, write, rows)

    return commit


def _postgres_writer(connection: Any) -> Callable[[list[Any]], Awaitable[None]]:
    insert = "INSERT INTO bench_floor.row SELECT * FROM unnest($1::text[], $2::int[], $3::bytea[])"

    async def commit(rows: list[Any]) -> None:
        await connection.execute(insert, *map(list, zip(*rows, strict=True)))

    return commit


class GroupCommit:
    """All rows that wait go into one transaction; the next batch forms meanwhile."""

    def __init__(self, commit: Callable[[list[Any]], Awaitable[None]], database: Any) -> None:
        self._commit = commit
        self._database = database
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

    async def rows(self, thread: str) -> list[bytes]:
        """Bodies of all rows of a thread, oldest first."""
        if isinstance(self._database, sqlite3.Connection):
            query = "SELECT b FROM row WHERE t = ? ORDER BY s"
            return [b for (b,) in self._database.execute(query, (thread,))]
        query = "SELECT b FROM bench_floor.row WHERE t = $1 ORDER BY s"
        return [row["b"] for row in await self._database.fetch(query, thread)]
