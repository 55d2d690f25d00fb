"""LangGraph with its own savers, each as its documentation opens it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

from benchmarks.systems._graphs import Conversations, Graphs, Talk
from benchmarks.systems._sizes import afresh, postgres_bytes, sqlite_bytes

SCHEMA = "bench_langgraph"


class Savers:
    """Its savers: SQLite at synchronous=FULL, PostgreSQL over a pool of ten."""

    folder: str

    @asynccontextmanager
    async def opened(self, place: str, folder: str, *, fresh: bool = True) -> AsyncIterator[Any]:
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
            async with _postgres(fresh=fresh) as saver:
                yield saver

    async def stored(self, place: str, *, cleared: bool = False) -> int:
        if place == "postgres":
            dsn = os.environ["STEPWELL_BENCH_PG_DSN"]
            return await postgres_bytes(dsn, SCHEMA, cleared=cleared)
        return sqlite_bytes(f"{self.folder}/langgraph.db")


class LangGraph(Savers, Graphs):
    """LangGraph."""

    package = "langgraph"
    packages = ("langgraph", "langgraph-checkpoint-sqlite", "langgraph-checkpoint-postgres",
                "psycopg-binary")  # fmt: skip
    imports = "import langgraph.graph"

    def codec(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

        serializer = JsonPlusSerializer()
        return serializer.dumps_typed, serializer.loads_typed


def joined(messages: list[Any], writes: list[list[Any]]) -> list[Any]:
    """The reducer of a `DeltaChannel`: all writes of a superstep at once."""
    return messages + [message for write in writes for message in write]


class LangGraphDelta(Savers, Conversations):
    """The same conversation in its `DeltaChannel` (beta), which is made for those that grow."""

    package = "langgraph"

    def __init__(self) -> None:
        from langgraph.channels.delta import DeltaChannel

        super().__init__()
        kept = Annotated[list, DeltaChannel(joined)]
        self.talking = TypedDict("Talk", Talk.__annotations__ | {"messages": kept})


@asynccontextmanager
async def _postgres(*, fresh: bool) -> AsyncIterator[Any]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    dsn = os.environ["STEPWELL_BENCH_PG_DSN"]
    if fresh:
        await afresh(SCHEMA, make=True)
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
