"""Operations of one tick of the loop become one batch; while it is under way the next forms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

from stepwell.store.base._ops import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

O = TypeVar("O")  # noqa: E741  # an operation

BATCH_MAX: Final = 1000


class Gathering(Generic[O]):
    """Collects operations on one event loop and runs them in batches, one after the other.

    Args:
        run: Does the operations of a batch and gives one result for each.
        apart: Whether a batch that failed is tried again operation by operation, so that one
            bad operation does not fail the others.
    """

    def __init__(
        self,
        run: Callable[[list[O]], Awaitable[Sequence[Any]]],
        *,
        apart: Callable[[Exception], bool] = lambda _: False,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._run = run
        self._apart = apart
        self._queue: list[tuple[asyncio.Future[Any], O]] = []
        self._flusher: asyncio.Task[None] | None = None

    async def submit(self, op: O) -> Any:
        """The result of an operation, once its batch is done.

        A caller that is cancelled before its batch began takes its operation out of it.
        """
        done: asyncio.Future[Any] = self.loop.create_future()
        self._queue.append((done, op))
        if self._flusher is None:
            # It starts when this tick is over, with all that was submitted in it. What the
            # first caller has in its context is nothing to the others.
            self._flusher = self.loop.create_task(self._flush(), context=Context())
        return await done

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._flusher is not None:
            await asyncio.wait((self._flusher,))

    async def _flush(self) -> None:
        try:
            while self._queue:
                taken, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                batch = [(done, op) for done, op in taken if not done.done()]
                if batch:
                    await self._settle(batch)
        finally:
            self._flusher = None
            for done, _ in self._queue:  # only if this task was cancelled, with the loop
                done.cancel()
            self._queue.clear()

    async def _settle(self, batch: list[tuple[asyncio.Future[Any], O]]) -> None:
        try:
            results = await self._run([op for _, op in batch])
        except Exception as error:  # noqa: BLE001  # it belongs to those who wait
            if len(batch) > 1 and self._apart(error):
                for single in batch:
                    await self._settle([single])
                return
            for done, _ in batch:
                if not done.done():
                    done.set_exception(error)
        except BaseException:
            for done, _ in batch:
                done.cancel()
            raise
        else:
            for (done, _), result in zip(batch, results, strict=True):
                if not done.done():
                    done.set_result(result)


def dedupe(ops: list[Op]) -> tuple[list[int], list[Op]]:
    """Operations without repetitions: equal reads once, of several puts to a key the last.

    Returns:
        For each operation given, where its result stands; and those that are left.
    """
    left: list[Op] = []
    where: list[int] = []
    known: dict[Any, int] = {}
    for op in ops:
        place: int | None = None
        if isinstance(op, PutOp):
            name = (PutOp, op.namespace, op.key)
            place = known.setdefault(name, len(left))
            if place < len(left):
                left[place] = op
        elif isinstance(op, GetOp | SearchOp | ListNamespacesOp):
            place = _place_of_read(op, known, left)
        if place is None:
            place = len(left)
        if place == len(left):
            left.append(op)
        where.append(place)
    return where, left


def _place_of_read(op: Op, known: dict[Any, int], left: list[Op]) -> int:
    try:
        return known.setdefault((type(op), op), len(left))
    except TypeError:  # it holds a filter, which is a dict
        return next(
            (at for at, other in enumerate(left) if type(other) is type(op) and other == op),
            len(left),
        )
