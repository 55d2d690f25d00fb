"""From one thread or loop into another: how the synchronous calls reach the asynchronous code.

There is one implementation, and it is asynchronous. A synchronous call runs it on the loop
that the saver concerned belongs to, or on the one background loop of this process. The
caller's context variables are visible there, and its cancellation or Ctrl-C is passed on.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from stepwell.errors import UsageError

T = TypeVar("T")

_LOOK_EVERY_S = 0.5
"""How often a waiting caller looks whether the loop it waits for is still there."""
_STANDING_LOOKS_MAX = 4
"""How many times it may find a loop that nobody runs before it gives up."""
_EXIT_MAX_S = 2.0


# --- one call on another loop -------------------------------------------------------------------


class Call(Generic[T]):
    """One coroutine on the loop of another thread. `outcome` is its result, once there is one.

    The task is made in the context of whoever makes the `Call`.

    Raises:
        RuntimeError: The loop is closed.
    """

    __slots__ = ("_cancelled", "_make", "_task", "loop", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Awaitable[T]]) -> None:
        self.loop = loop
        self.outcome: Future[T] = Future()
        self.outcome.set_running_or_notify_cancel()  # nobody cancels it but the task
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        loop.call_soon_threadsafe(self._start)

    @property
    def started(self) -> bool:
        """Whether the loop has taken the call up."""
        return self._task is not None or self.outcome.done()

    def _start(self) -> None:
        if self._cancelled:
            self.outcome.set_exception(asyncio.CancelledError())
        else:
            self._task = self.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            result = await self._make()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to the caller
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)

    def cancel(self) -> None:
        """Ask the coroutine to stop; `outcome` tells when it has."""
        self._cancelled = True
        with suppress(RuntimeError):  # the loop is closed: nothing runs there any more
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


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
        if call.started or call.loop.is_running():
            return
        self._left -= 1
        if self._left <= 0:
            call.cancel()
            raise UsageError(
                "The saver belongs to an event loop that nobody runs at the moment. Close the "
                "saver on that loop before using it elsewhere, or open another saver."
            )


def _wait(call: Call[Any], future: Future[T]) -> T:
    """Block until `future`, which `call` is to fulfil, is done.

    Ctrl-C cancels the call; it is raised when the call has stopped, or at the second Ctrl-C.
    """
    patience = _Patience(call, future)
    try:
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
        _await_end(call)
        raise
    try:
        if error is not None:
            raise error
        return future.result()
    finally:
        del error, future, call, patience  # an exception's frames must not hold themselves


def _await_end(call: Call[Any]) -> None:
    patience = _Patience(call, call.outcome)
    while not call.outcome.done():
        try:
            call.outcome.exception(_LOOK_EVERY_S)
        except TimeoutError:
            try:
                patience.check()
            except UsageError:  # it has ended with its loop
                return


async def _await(call: Call[Any], future: Future[T]) -> T:
    """`_wait` for a caller that runs on a loop itself."""
    patience = _Patience(call, future)
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
                patience.check()
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
    call = _call(loop, make)
    return await _await(call, call.outcome)


def _call(loop: asyncio.AbstractEventLoop, make: Callable[[], Awaitable[T]]) -> Call[T]:
    try:
        return Call(loop, make)
    except RuntimeError as error:
        raise UsageError("The event loop that the call belongs to was just closed.") from error


# --- one iterator on another loop ---------------------------------------------------------------


class _End:
    """Comes after the last item."""


_END = _End()


class _Pump(Generic[T]):
    """Steps an async iterator on its loop, one item for each that is asked for.

    All steps run in one task: what an iterator holds open across its items (cancel scopes,
    timeouts) belongs to the task it was entered in.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], AsyncIterator[T]]
    ) -> None:
        self._make = make
        self._asked: asyncio.Queue[Future[T | _End] | None] = asyncio.Queue()
        self.call = _call(loop, self._run)

    async def _run(self) -> None:
        slot: Future[T | _End] | None = None
        try:
            items = self._make()
            try:
                while (slot := await self._asked.get()) is not None:
                    try:
                        item = await anext(items)
                    except StopAsyncIteration:
                        break
                    slot.set_result(item)
            finally:
                close = getattr(items, "aclose", None)
                if close is not None:
                    await close()
        except BaseException as error:
            if slot is None or slot.done():
                raise
            slot.set_exception(error)
        else:
            if slot is not None:
                slot.set_result(_END)

    def ask(self) -> Future[T | _End]:
        """Ask for the next item, after the one before has come."""
        slot: Future[T | _End] = Future()
        slot.set_running_or_notify_cancel()
        self._put(slot)
        return slot

    def end(self) -> None:
        """Ask for the iterator to be closed; `call.outcome` tells when it is."""
        with suppress(UsageError):  # it has ended with its loop
            self._put(None)

    def _put(self, slot: Future[T | _End] | None) -> None:
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
    pump = _Pump(loop, make)
    try:
        while True:
            item = await _await(pump.call, pump.ask())
            if isinstance(item, _End):
                break
            yield item
    finally:
        if not pump.call.outcome.done():
            pump.end()
            await _await(pump.call, pump.call.outcome)


# --- the background loop ------------------------------------------------------------------------


class _Background:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stopping = False
        self.thread = threading.Thread(target=self._serve, name="stepwell-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            # A task that exits the interpreter stops its loop; the others have to go on, and
            # who waits for that task is told by its result.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()
        self.loop.close()

    async def _wind_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_EXIT_MAX_S / 2)
        await self.loop.shutdown_asyncgens()
        self._stopping = True
        self.loop.stop()

    def stop(self) -> None:
        """Cancel what runs and end the thread; give up after two seconds."""
        asyncio.run_coroutine_threadsafe(self._wind_down(), self.loop)
        self.thread.join(_EXIT_MAX_S)


_starting = threading.Lock()
_background: _Background | None = None
_warned = False


def background_loop() -> asyncio.AbstractEventLoop:
    """The one background loop of this process; started at the first call."""
    global _background  # noqa: PLW0603  # there is one, by definition
    with _starting:
        if _background is None:
            _background = _Background()
        return _background.loop


def _stop_at_exit() -> None:
    global _background
    background, _background = _background, None
    if background is not None:
        background.stop()


def _after_fork_in_child() -> None:
    global _background, _starting  # noqa: PLW0603
    _starting = threading.Lock()
    if _background is not None:
        # Its thread was not forked. Closing the loop here would take the parent's wake-up
        # pipe out of the selector that both processes share.
        keep_forever(_background.loop)
        _background = None


def keep_forever(thing: object) -> None:
    """Make `thing` immortal: in a forked child its finaliser would harm the parent."""
    import ctypes  # costs milliseconds, and is needed in few processes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


atexit.register(_stop_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# --- synchronous calls --------------------------------------------------------------------------


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in the calling thread; None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _where(
    loop: asyncio.AbstractEventLoop | None, name: str, instead: str | None
) -> asyncio.AbstractEventLoop:
    """The loop that a synchronous call is to run on.

    Raises:
        UsageError: The caller would wait for itself.
    """
    global _warned  # noqa: PLW0603  # once per process
    here = running_loop()
    target = background_loop() if loop is None or loop.is_closed() else loop
    if here is None:
        return target
    better = instead or f"await ... .a{name}(...)"
    if here is target:
        raise UsageError(
            f"{name}() was called on the event loop that has to do the work, so it would wait "
            f"for itself. Use `{better}`."
        )
    if _background is not None and here is _background.loop:
        raise UsageError(
            f"{name}() was called on Stepwell's own background loop and would block it. "
            f"Use `{better}`, or call it from a synchronous node."
        )
    if not _warned:
        _warned = True
        warnings.warn(
            f"{name}() blocks the event loop that runs here until it is done. Use `{better}`. "
            "This is said once per process.",
            RuntimeWarning,
            stacklevel=4,
        )
    return target


def run_sync(
    make: Callable[[], Awaitable[T]],
    *,
    loop: asyncio.AbstractEventLoop | None,
    name: str,
    instead: str | None = None,
) -> T:
    """Run a coroutine to its end and block the calling thread meanwhile.

    Args:
        make: Makes the coroutine; called on the loop.
        loop: Where it belongs; None (or closed) = the background loop.
        name: Of the synchronous method, for messages; its other form is `a{name}`.
        instead: What messages recommend, if it is not that.

    Raises:
        UsageError: The calling thread runs the loop in question, the background loop, or
            nobody runs `loop`.
        BaseException: What the coroutine raised, as it is.
    """
    call = _call(_where(loop, name, instead), make)
    return _wait(call, call.outcome)


def iterate_sync(
    make: Callable[[], AsyncIterator[T]],
    *,
    loop: asyncio.AbstractEventLoop | None,
    name: str,
) -> Iterator[T]:
    """Iterate over an async iterator, blocking the calling thread for each item.

    The iterator does nothing between two items. Closing the generator closes it.

    Args:
        make: Makes the async iterator; called on the loop.
        loop: As in `run_sync`.
        name: As in `run_sync`.

    Raises:
        UsageError: As in `run_sync`, at once.
    """
    return _items(_where(loop, name, f"async for ... in ... .a{name}(...)"), make)


def _items(
    loop: asyncio.AbstractEventLoop, make: Callable[[], AsyncIterator[T]]
) -> Generator[T, None, None]:
    pump = _Pump(loop, make)
    try:
        while True:
            item = _wait(pump.call, pump.ask())
            if isinstance(item, _End):
                break
            yield item
    finally:
        if not pump.call.outcome.done():
            pump.end()
            # The collector may close a forgotten generator on the very thread it waits for.
            if running_loop() is not loop:
                _wait(pump.call, pump.call.outcome)


__all__ = [
    "background_loop", "iterate_on", "iterate_sync", "keep_forever", "run_on", "run_sync",
    "running_loop",
]  # fmt: skip
