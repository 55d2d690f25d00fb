"""Threads in PostgreSQL, under the name that LangGraph gives the asynchronous saver."""

from __future__ import annotations

from stepwell.checkpoint.postgres._saver import BasePostgresSaver


class AsyncPostgresSaver(BasePostgresSaver):
    """`PostgresSaver`, except that `setup` is a coroutine."""

    async def setup(self) -> None:
        """`asetup`.

        Raises:
            StorageError: The server cannot be reached, or has a newer schema.
        """
        await self.asetup()


__all__ = ["AsyncPostgresSaver"]
