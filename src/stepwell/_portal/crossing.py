"""A call, or an iterator, on the event loop of another thread."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from anyio import to_thread

from stepwell._context import current_task
from stepwell.errors import UsageError

T = TypeVar("T")

_LOOK_EVERY_S = 0.5
"""How often a waiting caller looks whether the loop it waits for is still there."""
_STANDING_LOOKS_MAX = 4
"""How many times it may find a loop that nobody runs before it gives up."""


class Call(Generic[T]):
    """One coroutine on the loop of another thread. `outcome` is its result, once there is one.

    It begins with `begin`, in the context of whoever calls that.
    """

    __slots__ = ("_lends", "_make", "_task", "begun", "loop", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Awaitable[T]]) -> None:
        self.loop = loop
        self.outcome: Future[T] = Future()
        self.outcome.set_running_or_notify_cancel()  # nobody cancels it but the task
        self.begun = False
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self._lends = current_task.get() is not None and running_loop() is None
        """Whether a synchronous node waits for it, whose worker thread does nothing meanwhile."""

    @property
    def taken_up(self) -> bool:
        """Whether the loop has seen the call."""
        return self._task is not None or self.outcome.done()

    def begin(self) -> None:
        """Send the call to its loop, unless that was done before.

        Raises:
            UsageError: The loop is closed.
        """
        if self.begun:
            return
        self.begun = True
        try:
            self.loop.call_soon_threadsafe(self._start)
        except RuntimeError as error:
            raise UsageError("The event loop that the call belongs to was just closed.") from error

    def _start(self) -> None:
        if not self.outcome.done():
            self._task = self.loop.create_task(self._run())
            self._task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        """A task that was cancelled before its first step has run nothing of `_run`."""
        if not self.outcome.done():
            self.outcome.set_exception(asyncio.CancelledError())

    async def _run(self) -> None:
        try:
            if self._lends:
                with _one_thread_more():
                    result = await self._make()
            else:
                result = await self._make()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to the caller
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)

    def cancel(self) -> None:
        """Ask the coroutine to stop; `outcome` tells when it has."""
        with suppress(RuntimeError):  # the loop is closed: nothing runs there any more
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self.outcome.done():
            self.outcome.set_exception(asyncio.CancelledError())


@contextmanager
def _one_thread_more() -> Iterator[None]:
    """Let one worker thread more run: else nodes that wait for graphs which they have called
    could hold all of them, and the nodes of those graphs would never get one."""
    limiter = to_thread.current_default_thread_limiter()
    limiter.total_tokens += 1
    try:
        yield
    finally:
        limiter.total_tokens -= 1


class _Patience:
    """Tells a caller that waits for `future` when waiting longer makes no sense."""

    __slots__ = ("_call", "_future", "_left")

    def __init__(self, call: Call[Any], future: Future[Any]) -> None:
        self._call = call
        self._future = future
        self._left = _STANDING_LOOKS_MAX

    def check(self) -> None:
        """Return while there may be an outcome.

        Raises:
            UsageError: There will be none.
        """
        call = self._call
        if self._future.done():
            return
        if call.loop.is_closed() or call.outcome.done():
            raise UsageError(
                "The event loop that the call was made on was closed before the call had ended."
            )
        if call.taken_up or call.loop.is_running():
            return
        self._left -= 1
        if self._left <= 0:
            call.cancel()
            raise UsageError(
                "The saver belongs to an event loop that nobody runs at the moment. Close the "
                "saver on that loop before using it elsewhere, or open another saver."
            )


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in the calling thread; None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_runners: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()


def note_runner(loop: asyncio.AbstractEventLoop) -> None:
    """Remember that the calling thread runs this loop: it may go on with it when it stands."""
    _runners[loop] = threading.get_ident()


def _run_standing(call: Call[Any], future: Future[Any]) -> None:
    """If the loop stands because its own thread is here, waiting, run it until `future` is done.

    That is the thread of a program that calls `run_until_complete` again and again.
    """
    loop = call.loop
    if loop.is_running() or loop.is_closed() or _runners.get(loop) != threading.get_ident():
        return
    if running_loop() is not None:  # this thread is busy with another loop
        return
    waiter = asyncio.wrap_future(future, loop=loop)
    waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
    loop.run_until_complete(asyncio.wait((waiter,)))


def wait_for(call: Call[Any], future: Future[T]) -> T:
    """Begin the call, and block until `future`, which it is to fulfil, is done.

    Ctrl-C cancels the call; it is raised when the call has stopped, or at the second Ctrl-C.
    """
    patience = _Patience(call, future)
    try:
        call.begin()
        _run_standing(call, future)
        while True:
            try:
                error = future.exception(_LOOK_EVERY_S)
            except TimeoutError:
                patience.check()
                continue
            break
    except UsageError:
        raise
    except BaseException:
        call.cancel()
        with suppress(Exception):  # the interruption is what the caller hears
            wait_for_end(call)
        raise
    try:
        if error is not None:
            raise error
        return future.result()
    finally:
        del error, future, call, patience  # an exception's frames must not hold themselves


def wait_for_end(call: Call[Any]) -> None:
    """Block until the call has ended, or its loop has.

    Raises:
        BaseException: What the call raised, unless that was its cancellation.
    """
    patience = _Patience(call, call.outcome)
    if call.begun and not call.outcome.done():
        _run_standing(call, call.outcome)
    while call.begun and not call.outcome.done():
        try:
            call.outcome.exception(_LOOK_EVERY_S)
        except TimeoutError:
            try:
                patience.check()
            except UsageError:  # nobody runs it any more
                return
    error = call.outcome.exception() if call.outcome.done() else None
    if error is not None and not isinstance(error, asyncio.CancelledError):
        raise error


async def await_for(call: Call[Any], future: Future[T]) -> T:
    """`wait_for` for a caller that runs on a loop itself."""
    patience = _Patience(call, future)
    call.begin()
    waiter = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not waiter.done():
        try:
            await asyncio.wait((waiter,), timeout=_LOOK_EVERY_S)
        except asyncio.CancelledError as error:
            cancelled = error
            call.cancel()
        else:
            if not waiter.done():
                try:
                    patience.check()
                except UsageError as error:
                    raise (cancelled or error) from None
    try:
        result = waiter.result()
    except asyncio.CancelledError:
        raise (cancelled or asyncio.CancelledError()) from None
    if cancelled is not None:
        raise cancelled
    return result


async def run_on(loop: asyncio.AbstractEventLoop, make: Callable[[], Awaitable[T]]) -> T:
    """Run `make()` on a loop of another thread, from this one; both go on meanwhile.

    When the caller is cancelled, the coroutine is cancelled and waited for.

    Raises:
        UsageError: That loop is closed, or nobody runs it.
    """
    call = Call(loop, make)
    return await await_for(call, call.outcome)


class End:
    """Comes after the last item."""


END = End()


class Pump(Generic[T]):
    """Steps an async iterator on its loop, one item for each that is asked for.

    All steps run in one task: what an iterator holds open across its items (cancel scopes,
    timeouts) belongs to the task it was entered in.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], AsyncIterator[T]]
    ) -> None:
        self._make = make
        self._asked: asyncio.Queue[Future[T | End] | None] = asyncio.Queue()
        self.call = Call(loop, self._run)

    async def _run(self) -> None:
        slot = await self._asked.get()
        if slot is None:
            return
        try:
            items = self._make()  # which may refuse its arguments: whoever asked first is told
            try:
                while slot is not None:
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        break
                    slot.set_result(item)
                    slot = await self._asked.get()
            finally:
                close = getattr(items, "aclose", None)
                if close is not None:
                    await close()
        except BaseException as error:  # it belongs to whoever asked for the item
            if slot is None or slot.done():
                raise
            slot.set_exception(error)
        else:
            if slot is not None:
                slot.set_result(END)

    def ask(self) -> Future[T | End]:
        """Ask for the next item, after the one before has come."""
        slot: Future[T | End] = Future()
        slot.set_running_or_notify_cancel()
        self._put(slot)
        return slot

    def end(self) -> None:
        """Ask for the iterator to be closed; `call.outcome` tells when it is."""
        with suppress(UsageError):  # it has ended with its loop
            self._put(None)

    def _put(self, slot: Future[T | End] | None) -> None:
        try:
            self.call.loop.call_soon_threadsafe(self._asked.put_nowait, slot)
        except RuntimeError as error:
            raise UsageError("The event loop of the iterator was closed.") from error


async def iterate_on(
    loop: asyncio.AbstractEventLoop, make: Callable[[], AsyncIterator[T]]
) -> AsyncIterator[T]:
    """Iterate over `make()` on a loop of another thread, from this one.

    Closing this iterator closes that one, and waits for it.

    Raises:
        UsageError: That loop is closed, or nobody runs it.
    """
    pump = Pump(loop, make)
    try:
        while True:
            item = await await_for(pump.call, pump.ask())
            if isinstance(item, End):
                break
            yield item
    finally:
        if pump.call.begun and not pump.call.outcome.done():
            pump.end()
            await await_for(pump.call, pump.call.outcome)
