"""An event loop whose time jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import functools
import gc
import random
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    """Never waits: what the loop would have waited for is added to its time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing will ever happen: every task waits for another")
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time; it is also the clock of what runs on it.

    With `shuffle`, callbacks that are ready at the same time run in an order that it draws:
    nothing may depend on who was woken first.
    """

    def __init__(self, shuffle: random.Random | None = None) -> None:
        self._jump = _Jump()
        self._shuffle = shuffle
        super().__init__(self._jump)
        self.slow_callback_duration = 1e9

    def _run_once(self) -> None:
        if self._shuffle is not None and len(self._ready) > 1:
            ready = list(self._ready)
            self._shuffle.shuffle(ready)
            self._ready.clear()
            self._ready.extend(ready)
        super()._run_once()

    def time(self) -> float:
        return self._jump.now

    def pass_time(self, seconds: float) -> None:
        """Block the loop for so long: timers come due, nothing runs meanwhile."""
        self._jump.now += seconds


class LoopClock:
    """The loop's time as a Stepwell clock."""

    def wall(self) -> float:
        return 1.7e9 + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def simulate(main: Coroutine[Any, Any, T], shuffle: random.Random | None = None) -> T:
    """Run to the end on virtual time; a standstill of all tasks raises RuntimeError.

    Nothing is collected meanwhile: what goes in a collection, a stream that nobody reads, wakes
    the loop, and when a collection comes depends on what the process has done before.
    """
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(shuffle)) as runner:
            return runner.run(main)
    finally:
        if collects:
            gc.enable()


async def bury() -> None:
    """End what dead processes have left behind, while there is still a loop to end it on."""
    me = asyncio.current_task()
    for _ in range(20):
        left = [task for task in asyncio.all_tasks() if task is not me]
        if not left:
            return
        for task in left:
            task.cancel()
        ended, _ = await asyncio.wait(left, timeout=1)
        for task in ended:
            if not task.cancelled():
                task.exception()  # nobody is left who could be told


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on virtual time. Whatever asyncio would only log fails the test."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            noise: list[dict[str, Any]] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: noise.append(context))
            await asyncio.wait_for(test(*args, **kwargs), 3600)
            await asyncio.sleep(0)
            gc.collect()  # futures complain about unheard exceptions when they go
            await asyncio.sleep(0)
            assert not noise, noise

        simulate(main())

    return run
