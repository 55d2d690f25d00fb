"""How much may wait to become durable, over all threads."""

from __future__ import annotations

import asyncio
from collections import OrderedDict


class Bound:
    """Counts records and bytes on their way; producers wait in line when it is full.

    It never holds back a record that was appended: it only asks producers to wait before
    they make the next one, so whatever must get through (status, release) does.
    """

    __slots__ = ("_bytes_max", "_loop", "_rows_max", "_waiting", "bytes", "rows")

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._loop = asyncio.get_running_loop()
        self.rows = 0
        self.bytes = 0

    @property
    def full(self) -> bool:
        """Are producers to wait?"""
        return self.rows >= self._rows_max or self.bytes >= self._bytes_max

    @property
    def crowded(self) -> bool:
        """Is it full, or does anybody wait already?"""
        return bool(self._waiting) or self.full

    def give_back(self, rows: int, size: int) -> None:
        """Records left the queue: let as many waiters in as there is room for."""
        self.rows -= rows
        self.bytes -= size
        if self._waiting and not self.full:
            self._let_in(self._rows_max - self.rows)

    def _let_in(self, count: int) -> None:
        for future in self._waiting:
            if count <= 0:
                break
            if not future.done():
                future.set_result(None)
                count -= 1

    async def room(self) -> None:
        """Return at once when there is room and nobody is in front; else wait in line."""
        if not self.crowded:
            return
        again = False
        while True:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting[future] = None
            if again:
                # Others took the room this one was woken for; it does not lose its place.
                self._waiting.move_to_end(future, last=False)
            if not self.full:
                self._let_in(1)
            try:
                await future
            finally:
                del self._waiting[future]
                # Whoever leaves without using the room, or finds more of it, tells the next.
                if not self.full:
                    self._let_in(1)
            if not self.full:
                return
            again = True
