"""Which event loop a saver or store belongs to, and what it keeps open there."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Generic, Literal, Protocol, TypeVar

from stepwell._portal.background import keep_forever
from stepwell._portal.crossing import iterate_on, note_runner, run_on
from stepwell.errors import StepwellError, UsageError

T = TypeVar("T")
Migrate = Literal["auto", "check", "off"]

_EXIT_MAX_S = 2.0


class Openable(Protocol):
    """What lives on one event loop at a time: a journal, the tables of a store."""

    async def open(self, migrate: Migrate) -> None:
        """Connect, and see to the schema. Idempotent."""

    async def migrate(self, mode: Migrate) -> None:
        """See to the schema of what is open."""

    async def close(self) -> None:
        """Finish what is under way and let go. Idempotent; may be opened again."""

    def forget(self) -> None:
        """Drop everything without touching it: the loop is gone, or this is a forked child."""


H = TypeVar("H", bound=Openable)


class Home(Generic[H]):
    """One thing (here: the journal), opened on the event loop that first asks for it.

    If that loop has closed, the next asker's becomes home; so it does in a forked child.
    Views of one saver share one home.

    Args:
        make: Makes the journal, not opened yet; called once, on the first home loop.
        migrate: How it is opened.
        name: For messages.
        warns: Whether forgetting to close it leaves something behind.
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[H]],
        *,
        migrate: Migrate,
        name: str,
        warns: bool,
    ) -> None:
        self._make = make
        self._made: H | None = None
        self._migrate: Migrate = migrate
        self._name = name
        self._warns = warns
        self._made_at = _place_of_user()
        self._lock = threading.Lock()
        self._native: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._touched = False
        """Whether the journal is open, or was left half-way into or out of that."""
        self._open = False
        self._closed = False

    def __repr__(self) -> str:
        return self._name

    # -- where

    def settle(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the home loop before anything is opened: the only one it can live on."""
        self._native = self._loop = loop

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop that the journal belongs to, if it is still there and in this process."""
        loop = self._loop
        if loop is None or loop.is_closed() or self._pid != os.getpid():
            return None
        return loop

    def _bind(self, here: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        """The home loop; the running one, if there was none."""
        with self._lock:
            loop = self.loop()
            if loop is None:
                self._leave()
                self._loop, self._pid = here, os.getpid()
                note_runner(here)
                loop = here
            return loop

    def _leave(self) -> None:
        """Drop what belongs to a loop that is gone, or to the process this was forked from."""
        if self._loop is not None and self._pid != os.getpid():
            keep_forever(self._loop)  # its finaliser would reach into the parent's selector
        if self._touched and self._made is not None:
            self._made.forget()
        self._touched = self._open = False
        self._loop = None

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` on the home loop."""
        here = asyncio.get_running_loop()
        home = here if self._loop is here else self._bind(here)
        return await (call() if home is here else run_on(home, call))

    def iterate(self, make: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        """Iterate over `make()` on the home loop."""
        here = asyncio.get_running_loop()
        home = self._bind(here)
        return make() if home is here else iterate_on(home, make)

    # -- opening

    async def opened(self) -> H:
        """The open journal. When it is open already, this does not suspend.

        Raises:
            UsageError: Closed, or called on another loop than home.
            StorageError: It cannot be opened.
        """
        if self._open and self._made is not None and self._loop is asyncio.get_running_loop():
            return self._made
        return await self._open_here(self._migrate)

    async def _open_here(self, migrate: Migrate) -> H:
        self._check_not_closed()
        here = asyncio.get_running_loop()
        if self._bind(here) is not here:
            raise UsageError(
                f"{self._name} belongs to another event loop. Go through at_home() or "
                "iterate_home()."
            )
        if self._made is None:
            fresh = await self._make()
            if self._made is None:  # else somebody was faster, and this one was never opened
                self._made = fresh
        journal, self._touched = self._made, True
        await journal.open(migrate)
        self._check_not_closed()
        self._open = True
        _open_homes.add(self)
        return journal

    def _check_not_closed(self) -> None:
        if self._closed:
            raise UsageError(
                f"{self._name} is closed. Open it again with `with` or `async with`, or make "
                "another one."
            )

    async def migrate(self) -> None:
        """Open, and create or upgrade the schema, whatever was chosen for opening."""
        if self._migrate == "auto" or not self._open:
            await self._open_here("auto")
        else:
            await (await self.opened()).migrate("auto")

    def reopen(self) -> None:
        """Allow use again after `close`."""
        self._closed = False

    # -- closing

    async def close(self) -> None:
        """Wait for what is under way, release claims, close the driver. Idempotent."""
        self._closed = True
        loop = self.loop()
        if loop is None:
            with self._lock:
                self._leave()
        elif loop is asyncio.get_running_loop():
            await self._close_here()
        else:
            await run_on(loop, self._close_here)

    async def _close_here(self) -> None:
        self._open = False
        if self._made is not None:
            await self._made.close()
        with self._lock:
            if self._closed:
                self._touched = False
                self._loop = self._native

    def _drop(self) -> None:
        """Close as well as can be done without waiting for it."""
        loop, journal = self.loop(), self._made
        if journal is None or loop is None or not loop.is_running():
            self._leave()
            return
        closing = journal.close()
        try:
            asyncio.run_coroutine_threadsafe(closing, loop)
        except RuntimeError:  # the loop was closed just now
            closing.close()
            self._leave()

    def at_exit(self) -> None:
        """Close, so that other processes need not wait for leases; but never hang."""
        loop = self.loop()
        if loop is None or not loop.is_running():
            self._leave()
            return
        closing = asyncio.run_coroutine_threadsafe(self.close(), loop)
        with suppress(StepwellError, TimeoutError, CancelledError):  # nobody is left to be told
            closing.result(_EXIT_MAX_S)

    def __del__(self) -> None:
        if not getattr(self, "_touched", False):
            return
        try:
            if self._warns and self._open and self._pid == os.getpid():
                warnings.warn(
                    f"{self._name} was never closed; it was made at {self._made_at}. Use `with`, "
                    "`async with`, close() or aclose().",
                    ResourceWarning,
                    source=self,
                    stacklevel=1,
                )
        finally:
            self._drop()


def _place_of_user() -> str:
    """File and line of the innermost frame that is not ours."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("stepwell."):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


_open_homes: weakref.WeakSet[Home[Any]] = weakref.WeakSet()


def _close_at_exit() -> None:
    for home in list(_open_homes):
        home.at_exit()


def _after_fork_in_child() -> None:
    for home in list(_open_homes):
        home._lock = threading.Lock()  # noqa: SLF001  # its holder was not forked


# After the portal's own, so before it: exit handlers run last in, first out.
atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
