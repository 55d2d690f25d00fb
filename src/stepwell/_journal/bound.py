"""How much may wait to become durable, over all threads."""

from __future__ import annotations

import asyncio


class Bound:
    """Counts records and bytes on their way; producers wait in line when it is full.

    It never holds back a record that was appended: it only asks producers to wait before
    they make the next one, so whatever must get through (status, release) does.
    """

    __slots__ = ("_bytes_max", "_loop", "_rows_max", "bytes", "rows", "waiting")

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self.waiting: dict[_Waiter, None] = {}
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
        return bool(self.waiting) or self.full

    def give_back(self, rows: int, size: int) -> None:
        """Records left the queue: let as many waiters in as there is room for."""
        self.rows -= rows
        self.bytes -= size
        if self.waiting:
            self.let_in()

    def let_in(self) -> None:
        """Let as many waiters in as there is room for."""
        if not self.full:
            self._let_in(self._rows_max - self.rows)

    def _let_in(self, count: int) -> None:
        for waiter in self.waiting:
            if count <= 0:
                break
            if not waiter.woken.done():
                waiter.woken.set_result(None)
                count -= 1

    async def room(self) -> None:
        """Return at once when there is room and nobody is in front; else wait in line."""
        if not self.crowded:
            return
        waiter = _Waiter()
        self.waiting[waiter] = None
        try:
            while True:
                # Woken but too late (others took the room), it keeps its place in line.
                waiter.woken = self._loop.create_future()
                if not self.full:
                    self._let_in(1)
                await waiter.woken
                if not self.full:
                    return
        finally:
            del self.waiting[waiter]
            # Whoever leaves without using the room, or leaves some of it, tells the next.
            if not self.full:
                self._let_in(1)


class _Waiter:
    __slots__ = ("woken",)

    woken: asyncio.Future[None]
