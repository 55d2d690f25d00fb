"""Synchronous calls: block this thread while another one's loop does the work."""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from typing import TypeVar

from stepwell._portal import at_once as memory
from stepwell._portal.background import background_loop, is_background
from stepwell._portal.crossing import Call, End, Pump, running_loop, wait_for, wait_for_end
from stepwell.errors import UsageError

T = TypeVar("T")

_warned = False
_thread = threading.local()


def _this_thread() -> object:
    """What stands for the calling thread. Its number would not do: a later one may get it."""
    if not hasattr(_thread, "mark"):
        _thread.mark = object()
    mark: object = _thread.mark
    return mark


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
    if is_background(here):
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
            stacklevel=_levels_to_user(),
        )
    return target


def _is_here(loop: asyncio.AbstractEventLoop | None) -> bool:
    """Whether the calling thread runs the loop, or one that may become it."""
    here = running_loop()
    return here is not None and (loop is None or loop.is_closed() or loop is here)


def _levels_to_user() -> int:
    """How far up the stack, seen from the caller of this, the first frame is not ours."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("stepwell."):
        frame, level = frame.f_back, level + 1
    return level


def run_sync(
    make: Callable[[], Awaitable[T]],
    *,
    loop: asyncio.AbstractEventLoop | None,
    name: str,
    instead: str | None = None,
    at_once: bool = False,
) -> T:
    """Run a coroutine to its end and block the calling thread meanwhile.

    Args:
        make: Makes the coroutine; called on the loop.
        loop: Where it belongs; None (or closed) = the background loop.
        name: Of the synchronous method, for messages; its other form is `a{name}`.
        instead: What messages recommend, if it is not that.
        at_once: Whether it does not wait for anything, as a rule: then it may be called on the
            loop in question.

    Raises:
        UsageError: The calling thread runs the loop in question, the background loop, or
            nobody runs `loop`.
        BaseException: What the coroutine raised, as it is.
    """
    if at_once and _is_here(loop):
        return memory.finish(make, name=name, instead=instead or f"await ... .a{name}(...)")
    call = Call(_where(loop, name, instead), make)
    return wait_for(call, call.outcome)


def iterate_sync(
    make: Callable[[], AsyncIterator[T]],
    *,
    loop: asyncio.AbstractEventLoop | None,
    name: str,
    at_once: bool = False,
) -> Iterator[T]:
    """Iterate over an async iterator, blocking the calling thread for each item.

    The iterator does nothing between two items. Closing the generator closes it, and waits for
    its end if the thread that closes is the one that asked for the items.

    Args:
        make: Makes the async iterator; called on the loop.
        loop: As in `run_sync`.
        name: As in `run_sync`.
        at_once: As in `run_sync`.

    Raises:
        UsageError: As in `run_sync`, at once.
    """
    instead = f"async for ... in ... .a{name}(...)"
    if at_once and _is_here(loop):
        return memory.items(make, name=name, instead=instead)
    return _items(_where(loop, name, instead), make)


def _items(
    loop: asyncio.AbstractEventLoop, make: Callable[[], AsyncIterator[T]]
) -> Generator[T, None, None]:
    pump = Pump(loop, make)
    asker = None
    try:
        while True:
            asker = _this_thread()
            item = wait_for(pump.call, pump.ask())
            if isinstance(item, End):
                break
            yield item
    except GeneratorExit:
        raise
    except BaseException:  # Ctrl-C can come at any line of this
        pump.call.cancel()
        raise
    finally:
        if not pump.call.outcome.done():
            pump.end()
            # The collector may close a forgotten generator on any thread: on the one of the loop,
            # or on one that the loop waits for, which a starting worker thread is.
            if running_loop() is not loop and _this_thread() is asker:
                wait_for_end(pump.call)
