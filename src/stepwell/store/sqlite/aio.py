"""Documents in an SQLite file, under the name that LangGraph gives the asynchronous store."""

from __future__ import annotations

import asyncio

from stepwell.store.sqlite.base import BaseSqliteStore


class AsyncSqliteStore(BaseSqliteStore):
    """`SqliteStore`, except that `setup` and the verbs of expiry are coroutines."""

    async def setup(self) -> None:
        """`asetup`."""
        await self.asetup()

    async def sweep_ttl(self) -> int:
        """`asweep_ttl`."""
        return await self.asweep_ttl()

    async def start_ttl_sweeper(
        self, sweep_interval_minutes: int | None = None
    ) -> asyncio.Task[None]:
        """`astart_ttl_sweeper`."""
        return await self.astart_ttl_sweeper(sweep_interval_minutes)

    async def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """`astop_ttl_sweeper`."""
        return await self.astop_ttl_sweeper(timeout)


__all__ = ["AsyncSqliteStore"]
