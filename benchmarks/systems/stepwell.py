"""This package."""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.systems._graphs import Graphs
from benchmarks.systems._sizes import afresh, postgres_bytes, sqlite_bytes
from stepwell import open_saver

SCHEMA = "bench_stepwell"
BODY = b'{"t":[],"c":{"text":["s","' + b"the same as the floor writes, " * 7 + b'"]}}'
CRC = zlib.crc32(BODY)


class Stepwell(Graphs):
    """Stepwell with its own savers, as `open_saver` opens them."""

    package = "stepwell"
    scales = True
    packages = ("stepwell",)
    imports = "import stepwell, stepwell.graph"

    @asynccontextmanager
    async def opened(self, place: str, folder: str, *, fresh: bool = True) -> AsyncIterator[Any]:
        if place == "none":
            yield None
            return
        if place == "postgres":
            if fresh:
                await afresh(SCHEMA)
            async with open_saver(os.environ["STEPWELL_BENCH_PG_DSN"], schema=SCHEMA) as saver:
                yield saver
            return
        url = "memory://" if place == "memory" else f"sqlite:///{folder}/stepwell.db"
        async with open_saver(url) as saver:
            yield saver

    def rows(self, saver: Any) -> Callable[[list[str]], Awaitable[None]]:
        """Straight to the journal: claims that are kept, a checkpoint of each at a time."""
        claims: dict[str, Any] = {}

        async def append(threads: list[str]) -> None:
            journal = await saver.journal()
            for thread in threads:
                if thread not in claims:
                    claims[thread] = await journal.acquire(saver.key(thread))
            tickets = [
                claims[thread]
                .append_checkpoint(
                    0, parent=None, step=0, source=1, run=0, format=1, crc=CRC, body=BODY
                )
                .ticket
                for thread in threads
            ]
            for ticket in tickets:
                await ticket

        return append

    def codec(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        from stepwell._codec import Codec

        codec = Codec()
        return codec.encode, lambda encoded: codec.decode(*encoded)

    async def stored(self, place: str, *, cleared: bool = False) -> int:
        if place == "postgres":
            dsn = os.environ["STEPWELL_BENCH_PG_DSN"]
            return await postgres_bytes(dsn, SCHEMA, cleared=cleared)
        return sqlite_bytes(f"{self.folder}/stepwell.db")
