"""Deleting what has expired, again and again, in the background."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, Protocol

from stepwell._portal import background_loop
from stepwell.errors import StepwellError
from stepwell.store.base import TTLConfig

_log = logging.getLogger("stepwell")
_INTERVAL_MIN: Final = 5.0


class Sweepable(Protocol):
    """What is swept."""

    async def asweep_ttl(self) -> int:
        """Delete what has expired; how many items that were."""


class Sweeper:
    """Sweeps a store from time to time, for as long as that lives."""

    def __init__(self, store: Sweepable) -> None:
        self._store = weakref.ref(store)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._ended = threading.Event()
        self._ended.set()

    def start_here(
        self, config: TTLConfig | None, interval_min: float | None
    ) -> asyncio.Task[None]:
        """Begin on the running loop; the task that runs already, if there is one."""
        loop = asyncio.get_running_loop()
        if config is None:
            return loop.create_task(_nothing())
        with self._lock:
            task = self._task
            if task is not None and not task.done() and self._loop is loop:
                return task
            pause_s = 60.0 * float(
                interval_min or config.get("sweep_interval_minutes") or _INTERVAL_MIN
            )
            self._stop = asyncio.Event()
            task = loop.create_task(_sweep(self._store, pause_s, self._stop))
            ended = self._ended = threading.Event()
            task.add_done_callback(lambda _: ended.set())
            self._loop, self._task = loop, task
            return task

    def start(self, config: TTLConfig | None, interval_min: float | None) -> Future[None]:
        """Begin on the background loop. The future ends with it; cancelling that ends it."""
        begun = threading.Event()

        async def run() -> None:
            task = self.start_here(config, interval_min)
            begun.set()
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                task.cancel()
                raise

        if config is None:
            done: Future[None] = Future()
            done.set_result(None)
            return done
        sweeping = asyncio.run_coroutine_threadsafe(run(), background_loop())
        begun.wait()  # so that a stop that follows finds it
        return sweeping

    def stop(self, timeout: float | None) -> bool:
        """End it; whether it has ended. Waits in this thread, if that is not the loop's own."""
        with self._lock:
            loop, task = self._loop, self._task
            if task is None or loop is None or task.done() or loop.is_closed():
                return True
            ended, stop = self._ended, self._stop
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            stop.set()
            return True
        loop.call_soon_threadsafe(stop.set)
        return ended.wait(timeout)


async def _nothing() -> None:
    """A sweeper of a store in which nothing expires."""


async def _sweep(store: weakref.ref[Sweepable], pause_s: float, stop: asyncio.Event) -> None:
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await stop.wait()
        if stop.is_set():
            return
        swept = store()
        if swept is None:
            return
        try:
            count = await swept.asweep_ttl()
        except StepwellError as error:
            _log.warning("a sweep of expired items failed, and is tried again: %s", error)
        else:
            if count:
                _log.info("%d expired items were deleted", count)
        del swept
