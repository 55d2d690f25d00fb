"""What a task call returns: a future, of asyncio or of a worker thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from stepwell.errors import GraphInterrupt

if TYPE_CHECKING:
    from stepwell._engine.calls import CallRun

T = TypeVar("T")


class SyncAsyncFuture(concurrent.futures.Future[T], Generic[T]):
    """The result of a task call that is not there yet.

    In a sync function `result()` waits for it; in an async one it is awaited.
    """

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()


Future: TypeAlias = "asyncio.Future[Any] | SyncAsyncFuture[Any]"


def deliver(call: CallRun, future: Future, *, heard: bool = True) -> None:
    """Hand a call's end to somebody who waits for it (not if `heard` is False: then asyncio
    need not report that nobody does). On the loop of the run."""
    failure = call.failure
    if call.interrupts or call.paused:
        failure = GraphInterrupt(call.interrupts)
    if isinstance(failure, asyncio.CancelledError):
        future.cancel()
        if isinstance(future, SyncAsyncFuture):
            future.set_running_or_notify_cancel()
    elif failure is not None:
        fail(future, failure)
        if isinstance(future, SyncAsyncFuture) or (heard and isinstance(failure, Exception)):
            return
        future.exception()  # a question that nobody waits for is asked all the same
    elif _ready(future):
        future.set_result(call.result)


def fail(future: Future, error: BaseException) -> None:
    """End the wait with an error."""
    if _ready(future):
        future.set_exception(error)


def _ready(future: Future) -> bool:
    if isinstance(future, SyncAsyncFuture):
        return not future.done() and future.set_running_or_notify_cancel()
    return not future.done()


__all__ = ["Future", "SyncAsyncFuture", "deliver", "fail"]
