"""Threads in PostgreSQL."""

from __future__ import annotations

from stepwell.checkpoint.postgres._saver import BasePostgresSaver


class PostgresSaver(BasePostgresSaver):
    """Threads in PostgreSQL, shared by any number of processes and hosts.

    `PostgresSaver.from_conn_string("postgresql://...")` opens connections of its own;
    `PostgresSaver(pool)` uses an `asyncpg.Pool`. Both forms of every verb are there.
    """

    def setup(self) -> None:
        """Open, and create or upgrade the schema. Needed only with `migrate="check"` or "off".

        Raises:
            StorageError: The server cannot be reached, or has a newer schema.
        """
        self._now(self.asetup, "setup")


__all__ = ["PostgresSaver"]
