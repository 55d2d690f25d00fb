"""Room of rows that are gone, used again before the server's autovacuum comes.

A fold deletes a hundred rows and makes one. Autovacuum comes once a minute at most; until then
every row goes into fresh pages, so tables that hold little at any time would grow to what is
written in a minute. So whoever has deleted enough asks for a VACUUM itself. It blocks neither
readers nor writers; a table that is being vacuumed, or that is another role's, is left out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from stepwell._db.postgres import Postgres
from stepwell.checkpoint.driver import Relayout
from stepwell.errors import StorageError

_log = logging.getLogger("stepwell.journal")

ROWS: Final = 200
"""Rows deleted from the tail after which a VACUUM is worth it."""
SEGMENTS: Final = 10
"""The same of segments, which are a thousand times as large: one merge takes as many away."""
PAUSE_S: Final = 0.5
"""Between two of them."""
_PATIENCE_S: Final = 60.0
"""After one that failed: the server has its reasons, and its autovacuum."""


class Sweep:
    """Counts what one driver has deleted, and has it cleared away in the background.

    Args:
        db: The database.
        chores: Where the task that does it is kept meanwhile.
    """

    def __init__(self, db: Postgres, chores: set[asyncio.Task[None]]) -> None:
        self._db = db
        self._chores = chores
        self._rows = self._segments = 0
        self._not_before = 0.0
        self._busy: asyncio.Task[None] | None = None

    def gone(self, change: Relayout) -> None:
        """Rows and segments have been deleted."""
        self._rows += len(change.rows_gone)
        self._segments += len(change.segments_gone)
        if self._rows < ROWS and self._segments < SEGMENTS:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._not_before or not (self._busy is None or self._busy.done()):
            return
        self._busy = loop.create_task(self._sweep())
        self._chores.add(self._busy)
        self._busy.add_done_callback(self._chores.discard)

    async def _sweep(self) -> None:
        rows, segments, pause_s = self._rows, self._segments, PAUSE_S
        try:
            done = await self._db.vacuum(rows, segments)
        except StorageError as error:
            # Nothing depends on it: autovacuum will come, and a later fold tries again.
            pause_s = _PATIENCE_S
            _log.info("Deleted rows could not be cleared away now: %s", error)
        else:
            self._rows -= rows if "vacuum_tail" in done else 0
            self._segments -= segments if "vacuum_segment" in done else 0
        finally:
            self._not_before = asyncio.get_running_loop().time() + pause_s


__all__ = ["PAUSE_S", "ROWS", "SEGMENTS", "Sweep"]
