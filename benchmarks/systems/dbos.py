"""DBOS: a workflow of steps, each recorded in its system database."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
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


ticks: list[Callable[[int], None]] = []


@DBOS.step()
async def tick_and_step(n: int) -> int:
    """A step that is counted outside."""
    while not ticks:  # noqa: ASYNC110  # DBOS resumes as soon as it is launched
        await asyncio.sleep(0.01)
    ticks[0](n + 1)
    return n + 1


@DBOS.workflow()
async def long_loop(steps: int) -> int:
    """A loop of steps."""
    n = 0
    while n < steps:
        n = await tick_and_step(n)
    return n


class Dbos:
    """Its SQLite database is opened by SQLAlchemy, at SQLite's own default: FULL. It is given a
    write-ahead log, as everybody's is, which DBOS leaves to whoever makes the file."""

    places = ("sqlite", "postgres")
    alone = True
    packages = ("dbos",)
    imports = "import dbos"

    @asynccontextmanager
    async def opened(self, place: str, folder: str, *, fresh: bool = True) -> AsyncIterator[Any]:
        url = f"sqlite:///{folder}/dbos.sqlite"
        if place == "postgres":
            if fresh:
                await afresh(SCHEMA)
            url = os.environ["STEPWELL_BENCH_PG_DSN"]
        else:
            with closing(sqlite3.connect(f"{folder}/dbos.sqlite")) as made:
                made.execute("PRAGMA journal_mode=WAL")
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

    def enduring(self, opened: Any, steps: int, tick: Callable[[int], None]) -> Run:
        ticks[:] = [tick]

        async def run(thread: str, again: bool) -> int:
            if again:  # it was taken up again when DBOS was launched
                return await (await DBOS.retrieve_workflow_async(thread)).get_result()
            with SetWorkflowID(thread):
                return await long_loop(steps)

        return run
