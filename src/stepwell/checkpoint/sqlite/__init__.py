"""Threads in an SQLite file."""

from __future__ import annotations

from stepwell.checkpoint.sqlite._saver import BaseSqliteSaver


class SqliteSaver(BaseSqliteSaver):
    """Threads in an SQLite file that the processes of one host share, or in memory.

    `SqliteSaver.from_conn_string("threads.db")` takes a path; `SqliteSaver(conn)` an open
    connection. Both forms of every verb are there: `list_threads` and `alist_threads`.
    """

    def setup(self) -> None:
        """Open, and create or upgrade the schema. Needed only with `migrate="check"` or "off".

        Raises:
            StorageError: The file cannot be opened, or has a newer schema.
        """
        self._now(self.asetup, "setup")


__all__ = ["SqliteSaver"]
