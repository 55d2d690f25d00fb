"""LangGraph with its own savers, each as its documentation opens it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.systems._graphs import Graphs
from benchmarks.systems._sizes import postgres_bytes, sqlite_bytes

SCHEMA = "bench_langgraph"


class LangGraph(Graphs):
    """LangGraph; SQLite at synchronous=FULL, PostgreSQL over a pool of ten."""

    package = "langgraph"

    @asynccontextmanager
    async def opened(self, place: str, folder: str) -> AsyncIterator[Any]:
        self.folder = folder
        if place == "none":
            yield None
        elif place == "memory":
            from langgraph.checkpoint.memory import InMemorySaver

            yield InMemorySaver()
        elif place == "sqlite":
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

            async with AsyncSqliteSaver.from_conn_string(f"{folder}/langgraph.db") as saver:
                await saver.conn.execute("PRAGMA synchronous=FULL")
                yield saver
        else:
            async with _postgres() as saver:
                yield saver

    async def stored(self, place: str) -> int:
        if place == "postgres":
            return await postgres_bytes(os.environ["STEPWELL_BENCH_PG_DSN"], SCHEMA)
        return sqlite_bytes(f"{self.folder}/langgraph.db")


@asynccontextmanager
async def _postgres() -> AsyncIterator[Any]:
    import psycopg
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    dsn = os.environ["STEPWELL_BENCH_PG_DSN"]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    pool = AsyncConnectionPool(
        dsn,
        max_size=10,
        open=False,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row,
                "options": f"-c search_path={SCHEMA}"},
    )  # fmt: skip
    async with pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        yield saver
