"""Threads in an SQLite file, under the name that LangGraph gives the asynchronous saver."""

from __future__ import annotations

from stepwell.checkpoint.sqlite._saver import BaseSqliteSaver


class AsyncSqliteSaver(BaseSqliteSaver):
    """`SqliteSaver`, except that `setup` is a coroutine."""

    async def setup(self) -> None:
        """`asetup`.

        Raises:
            StorageError: The file cannot be opened, or has a newer schema.
        """
        await self.asetup()


__all__ = ["AsyncSqliteSaver"]
