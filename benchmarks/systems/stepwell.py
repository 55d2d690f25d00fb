"""This package."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.systems._graphs import Graphs
from benchmarks.systems._sizes import afresh, postgres_bytes, sqlite_bytes
from stepwell import open_saver

SCHEMA = "bench_stepwell"


class Stepwell(Graphs):
    """Stepwell with its own savers, as `open_saver` opens them."""

    package = "stepwell"

    @asynccontextmanager
    async def opened(self, place: str, folder: str) -> AsyncIterator[Any]:
        self.folder = folder
        if place == "none":
            yield None
            return
        if place == "postgres":
            await afresh(SCHEMA)
            async with open_saver(os.environ["STEPWELL_BENCH_PG_DSN"], schema=SCHEMA) as saver:
                yield saver
            return
        url = "memory://" if place == "memory" else f"sqlite:///{folder}/stepwell.db"
        async with open_saver(url) as saver:
            yield saver

    async def stored(self, place: str) -> int:
        if place == "postgres":
            return await postgres_bytes(os.environ["STEPWELL_BENCH_PG_DSN"], SCHEMA)
        return sqlite_bytes(f"{self.folder}/stepwell.db")
