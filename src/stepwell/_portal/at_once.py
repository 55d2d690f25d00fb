"""Synchronous calls that need not wait, on the loop that their caller runs on.

What is kept in the memory of this process is read, and updated where nobody else writes, without
waiting for anything: such a coroutine ends at its first step. So these synchronous verbs work in
a coroutine too, without another thread. A coroutine that turns out to wait after all is cancelled
before it has changed anything, and its caller told to await it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

from stepwell.errors import UsageError

T = TypeVar("T")

logger = logging.getLogger("stepwell")


def finish(make: Callable[[], Awaitable[T]], *, name: str, instead: str) -> T:
    """The result of a coroutine that ends without waiting.

    Args:
        make: Makes it.
        name: Of the synchronous method, for the message.
        instead: What the message recommends.

    Raises:
        UsageError: It waits for something. It has been cancelled, as if it had been awaited.
        BaseException: What it raised, as it is.
    """

    async def run() -> T:
        return await make()

    coroutine = run()
    try:
        waits_for = coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    _cancel(coroutine, waits_for)
    raise UsageError(
        f"{name}() has to wait for something that this event loop does, which it blocks. Use "
        f"`{instead}`."
    )


def items(make: Callable[[], AsyncIterator[T]], *, name: str, instead: str) -> Iterator[T]:
    """The items of an async iterator that does not wait, all taken before the first is given.

    Raises:
        UsageError: As in `finish`.
    """

    async def take() -> list[T]:
        return [item async for item in make()]

    yield from finish(take, name=name, instead=instead)


class _Begun:
    """The rest of a coroutine that has made its first step outside of any task of its own."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        while True:
            error: BaseException | None = None
            sent: Any = None
            try:
                sent = yield waits_for
            except BaseException as exc:  # noqa: BLE001  # it is the coroutine's
                error = exc
            try:
                coroutine = self._coroutine
                waits_for = coroutine.send(sent) if error is None else coroutine.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                del error  # it must not hold this frame


_leaving: set[asyncio.Task[Any]] = set()


def _cancel(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
    """Cancel what has begun, in a task, so that it can clean up."""

    async def rest() -> None:
        await _Begun(coroutine, waits_for)

    loop = asyncio.get_running_loop()
    task = loop.create_task(rest())
    _leaving.add(task)
    task.add_done_callback(_left)
    loop.call_soon(task.cancel)  # once it has got hold of the coroutine


def _left(task: asyncio.Task[Any]) -> None:
    _leaving.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        kind = type(error).__name__
        logger.debug("A call that had to wait failed while it was cancelled: %s", kind)


__all__ = ["finish", "items"]
