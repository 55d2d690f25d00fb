"""Many small calls of one tick become one call of the driver."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from stepwell.errors import InternalError, SchemaVersionError, StorageError

Q = TypeVar("Q")
R = TypeVar("R")

_UNDER_WAY_MAX = 2


class Gather(Generic[Q, R]):
    """Collects what is asked in one tick of the loop and sends it as one batch.

    While two batches are under way the next one forms. A batch that fails for good is split
    until the request at fault stands alone; one that fails for now fails as a whole, and who
    asked decides whether to ask again. Calls run in tasks of their own: cancelling who waits
    for an answer never cancels a call.
    """

    __slots__ = ("_call", "_limit", "_loop", "_queue", "_scheduled", "_tasks")

    def __init__(
        self, call: Callable[[list[Q]], Awaitable[Sequence[R]]], *, limit: int = 1000
    ) -> None:
        self._call = call
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Q, asyncio.Future[R]]] = deque()
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, request: Q) -> asyncio.Future[R]:
        """Ask; the answer arrives in the future."""
        future: asyncio.Future[R] = self._loop.create_future()
        self._queue.append((request, future))
        self._schedule()
        return future

    def withdraw(self, future: asyncio.Future[R]) -> bool:
        """Take back a request that has not been sent. False: it is too late."""
        for entry in self._queue:
            if entry[1] is future:
                self._queue.remove(entry)
                future.cancel()
                return True
        return False

    async def idle(self) -> None:
        """Wait until nothing is queued or under way."""
        while self._tasks or self._queue:
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await asyncio.sleep(0)

    def _schedule(self) -> None:
        if self._queue and not self._scheduled and len(self._tasks) < _UNDER_WAY_MAX:
            self._scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        if not self._queue:
            return
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), self._limit))]
        task = self._loop.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        self._schedule()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._schedule()

    async def _run(self, batch: list[tuple[Q, asyncio.Future[R]]]) -> None:
        try:
            await self._deliver(batch)
        finally:
            # Only a cancelled call (the loop is going down) leaves answers open.
            for _, future in batch:
                future.cancel()

    async def _deliver(self, batch: list[tuple[Q, asyncio.Future[R]]]) -> None:
        parts = [batch]
        while parts:
            part = parts.pop()
            try:
                answers = await self._call([request for request, _ in part])
                if len(answers) != len(part):
                    msg = f"The driver gave {len(answers)} answers to {len(part)} requests."
                    raise InternalError(msg)
            except Exception as error:  # noqa: BLE001  # handed to who asked
                whole = isinstance(error, SchemaVersionError) or (
                    isinstance(error, StorageError) and error.retryable
                )
                if whole or len(part) == 1:
                    _fail(part, error)
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
            else:
                for (_, future), answer in zip(part, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)


def _fail(part: Sequence[tuple[object, asyncio.Future[R]]], error: Exception) -> None:
    for _, future in part:
        if not future.done():
            future.set_exception(error)
            future.exception()  # who asked may be gone: then nobody need hear of it
