"""Time that passes when nobody has anything to do: timeouts and leases without waiting."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from stepwell._ids import RandomIds
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import UsageError

T = TypeVar("T")

_START_S: Final = 1000.0
_EPOCH_S: Final = 1.7e9
_SLICE_S: Final = 0.02
"""Real seconds for which threads and sockets are waited for at a time."""
_SLICES_MAX: Final = 50
"""Slices without any event, and without a timer, after which everybody is taken for stuck."""
_GRACE_S: Final = 0.002
"""Real seconds that threads get of which nobody knows whether they work."""
_IDLERS: Final = ("asyncio_", "stepwell")
"""Names of threads whose work for a loop is counted, or that never work for it."""
_OWN_FILES: Final = 1
"""What a loop itself listens to: the pipe by which threads wake it."""


class VirtualClock:
    """A clock that moves only when it is told to, or when a loop of its own has nothing to do.

    Give it to a saver, and run what is tested on its loop: an hour of waiting takes no time,
    and the same `seed` makes the same names and the same jitter::

        clock = VirtualClock(seed=1)
        saver = clock.saver(lease_ttl_s=10)
        clock.run(main(saver))

    While threads work (synchronous nodes) or sockets are open, time passes as it does
    outside. On another event loop than its own, the clock moves by `pass_time` alone.

    Args:
        seed: Where `ids`, the randomness of savers on this clock, starts.

    Attributes:
        seed: As given.
        ids: Names and jitter drawn from `seed`.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.ids = RandomIds(seed)
        self._now = _START_S
        self._drivers: WeakKeyDictionary[Saver, MemoryDriver] = WeakKeyDictionary()

    def wall(self) -> float:
        """Unix time, as this clock has it."""
        return _EPOCH_S + self._now

    def monotonic(self) -> float:
        """Seconds since some beginning."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass in which nothing runs: timers come due, leases end.

        Raises:
            UsageError: Time does not go back.
        """
        if seconds < 0:
            raise UsageError(f"Time does not go back: {seconds} s.")
        self._now += seconds

    def loop(self) -> asyncio.AbstractEventLoop:
        """A new event loop on this clock: waiting for a timer moves the clock instead."""
        return _VirtualLoop(self)

    def lonely_loop(self) -> asyncio.AbstractEventLoop:
        """A loop that no threads work for, except for synchronous nodes: it need not wait and
        see before it moves the clock."""
        loop = _VirtualLoop(self)
        loop.jump.alone = True
        return loop

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end on a loop of this clock, as `asyncio.run` does.

        Raises:
            RuntimeError: Every task waits for another: nothing would ever happen.
        """
        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(main)

    def saver(self, *, database: Saver | None = None, **options: Any) -> Saver:
        """A saver in memory on this clock.

        Args:
            database: Another saver of this clock: the new one is one more worker on its
                threads, as of another process.
            options: As of `InMemorySaver`.

        Raises:
            UsageError: `database` is no saver of this clock.
        """
        if database is None:
            driver = MemoryDriver(self)
        elif database in self._drivers:
            driver = self._drivers[database]
        else:
            raise UsageError("database= takes a saver that this clock has made.")
        saver = Saver(driver, clock=self, ids=self.ids, **options)
        self._drivers[saver] = driver
        return saver


class _Jump(selectors.DefaultSelector):
    """What the loop would have waited is added to its clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self.loop: _VirtualLoop | None = None
        self.alone = False
        """Whether nothing comes from threads but what is known of."""
        self._quiet = 0
        """How many slices without a timer have brought nothing."""

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._quiet = 0
            return ready
        if self._somebody_works() or (timeout is None and self._quiet < _SLICES_MAX):
            # Real time: what is waited for comes from outside.
            slice_s = _SLICE_S if timeout is None else min(timeout, _SLICE_S)
            ready = super().select(slice_s)
            self._quiet = self._quiet + 1 if timeout is None and not ready else 0
            if not ready:
                self.clock.pass_time(slice_s)
        elif timeout is None:
            raise RuntimeError("Nothing will ever happen: every task waits for another.")
        elif not (ready := super().select(_GRACE_S if self._strangers() else 0)):
            self.clock.pass_time(timeout)
        return ready

    def _somebody_works(self) -> bool:
        """Whether something outside of the loop is at work for it, as far as can be told."""
        if len(self.get_map()) > _OWN_FILES or (self.loop is not None and self.loop.at_work):
            return True
        return any(
            thread.queue.unfinished_tasks > 0  # type: ignore[attr-defined]
            for thread in threading.enumerate()
            if worker_of(thread) is self.loop
        )

    def _strangers(self) -> bool:
        """Whether there are threads of which that cannot be told."""
        return not self.alone and any(
            thread is not threading.current_thread()
            and thread is not threading.main_thread()
            and worker_of(thread) is None
            and not thread.name.startswith(_IDLERS)
            for thread in threading.enumerate()
        )


def worker_of(thread: threading.Thread) -> asyncio.AbstractEventLoop | None:
    """The loop that a worker thread of anyio works for; None: it is none."""
    loop = getattr(thread, "loop", None)
    known = isinstance(loop, asyncio.AbstractEventLoop) and hasattr(thread, "queue")
    return loop if known else None


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        self.jump = _Jump(clock)
        self.at_work = 0
        """Calls in threads of an executor that have not come back."""
        self.begun: list[threading.Event] = []
        """Set when such a call has ended, whether or not the loop still runs."""
        super().__init__(self.jump)
        self.jump.loop = self
        self.slow_callback_duration = 1e9

    def time(self) -> float:
        return self.jump.clock.monotonic()

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        self.at_work += 1
        ended = threading.Event()
        self.begun.append(ended)

        def call() -> Any:
            try:
                return func(*args)
            finally:
                ended.set()

        future = super().run_in_executor(executor, call)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: Any) -> None:
        self.at_work -= 1

    async def shutdown_default_executor(self, *limit: Any) -> None:
        """As it is; time stands still meanwhile: since Python 3.12 it has a timeout."""
        self.at_work += 1
        try:
            await super().shutdown_default_executor(*limit)
        finally:
            self.at_work -= 1


__all__ = ["VirtualClock", "worker_of"]
