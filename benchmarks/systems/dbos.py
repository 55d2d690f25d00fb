"""DBOS: a workflow of steps, each recorded in its system database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks.systems._sizes import afresh

SCHEMA = "bench_dbos"
Run = Callable[..., Awaitable[int]]


@DBOS.step()
async def step(n: int) -> int:
    """The trivial step."""
    return n + 1


@DBOS.workflow()
async def chain_of(length: int) -> int:
    """A chain of steps."""
    n = 0
    for _ in range(length):
        n = await step(n)
    return n


class Dbos:
    """Its SQLite database is opened by SQLAlchemy, at SQLite's own default: FULL."""

    places = ("sqlite", "postgres")

    @asynccontextmanager
    async def opened(self, place: str, folder: str) -> AsyncIterator[Any]:
        url = f"sqlite:///{folder}/dbos.sqlite"
        if place == "postgres":
            await afresh(SCHEMA)
            url = os.environ["STEPWELL_BENCH_PG_DSN"]
        DBOS(config={
            "name": "bench", "system_database_url": url, "dbos_system_schema": SCHEMA,
            "log_level": "ERROR", "enable_otlp": False, "run_admin_server": False,
        })  # fmt: skip
        DBOS.launch()
        try:
            yield DBOS
        finally:
            DBOS.destroy()

    def chain(self, opened: Any, length: int, keys: int = 1) -> Run:
        async def run(thread: str) -> int:
            with SetWorkflowID(thread):
                return await chain_of(length)

        return run
