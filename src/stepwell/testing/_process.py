"""A process inside this process: it can be killed at any await, and then it is gone.

It has an event loop, a journal and a worker id of its own; only the database is shared. All
its coroutines are resumed through a count. At the count that was asked for, the resumption
does not happen and the loop stops: no `finally`, no `except` and no callback of it runs any
more, now or when it is collected, because what is left of it is made immortal.

Calls of the driver have two awaits of their own: one before the request leaves, one after the
database has answered and before anybody has heard. So a kill falls before a commit, and
between a commit and its reply.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field, replace
from types import CodeType, CoroutineType
from typing import Any, Final, TypeVar

from stepwell._ids import RandomIds
from stepwell._journal.journal import Journal
from stepwell._portal import Home
from stepwell._portal.background import keep_forever
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Busy, Claim, ClaimRequest, Driver, Held
from stepwell.observe import Event, Observers
from stepwell.testing._virtual import VirtualClock, worker_of

T = TypeVar("T")

AtHome = Callable[[Callable[[], Awaitable[Any]]], Any]
"""Awaits a call where the database is, and blocks this thread meanwhile."""

_NODE_MAX_S: Final = 60.0
"""How long a synchronous node that was begun is waited for."""
_LEASE_S: Final = 3600.0
_CALL: Final = "call_driver"
_NOT_SENT: Final = "not sent"
_NOT_READ: Final = "done, its reply not read"
_INLINE = ("commit_now", "claim_now")


class _KilledError(SystemExit):
    """Leaves an event loop at once: asyncio passes it on and runs nothing more."""


@dataclass(slots=True)
class Count:
    """Resumptions of coroutines so far, and at which one to die (None: at none)."""

    at: int | None
    made: int = 0
    where: str = ""


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose resumptions are counted."""

    def __init__(self, inner: Coroutine[Any, Any, Any], count: Count) -> None:
        self._inner = inner
        self._count = count

    def _step(self) -> None:
        count = self._count
        count.made += 1
        if count.made == count.at:
            count.where = _where(self._inner)
            raise _KilledError

    def send(self, value: Any, /) -> Any:
        self._step()
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        self._step()
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # cr_running and the like, which anyio looks at


def _where(coroutine: Any) -> str:
    """The innermost function that a suspended coroutine stands in, as "name:line"."""
    found = ""
    while coroutine is not None:
        code: CodeType | None = getattr(coroutine, "cr_code", None)
        frame = getattr(coroutine, "cr_frame", None)
        if code is not None and frame is not None:
            if code.co_name == _CALL:
                return f"{frame.f_locals['verb']}: {frame.f_locals.get('stage', _NOT_SENT)}"
            if not frame.f_globals.get("__name__", "").startswith(("asyncio", "anyio")):
                found = f"{code.co_qualname}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or _stepped(coroutine)
    return found


def _stepped(generator: Any) -> Any:
    """The coroutine that the engine steps by hand where it awaits a task in place."""
    frame = getattr(generator, "gi_frame", None)
    steps = None if frame is None else frame.f_locals.get("steps")
    # It holds what `__await__` has made of the coroutine, which does not say of what.
    return next((c for c in gc.get_referents(steps) if isinstance(c, CoroutineType)), None)


async def _turn() -> None:
    """One await that others may use."""
    await asyncio.sleep(0)


class ProcessDriver:
    """The database as one process has it: any driver, called where that one lives.

    Verbs of the SPI are found by name, so that there is none that goes past the count.
    """

    def __init__(self, real: Driver, at_home: AtHome, dead: set[bytes]) -> None:
        self.name = real.name
        self.capabilities = real.capabilities
        self.epochs: dict[str, int] = {}
        """Thread -> epoch of the newest claim."""
        self.claims: list[Held] = []
        self.workers: set[bytes] = set()
        self._real = real
        self._at_home = at_home
        self._dead = dead

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_") or verb in _INLINE:
            raise AttributeError(verb)
        real = getattr(self._real, verb)
        if not asyncio.iscoroutinefunction(real):
            return real

        async def call_driver(*args: Any, **options: Any) -> Any:
            stage = _NOT_SENT
            await _turn()
            answer = self._at_home(lambda: self._answer(verb, real, args, options))
            stage = _NOT_READ
            await _turn()
            del stage  # it is for `_where`, which looks into the frame of a killed process
            return answer

        return call_driver

    async def _answer(self, verb: str, real: Any, args: Any, options: Any) -> Any:
        answer = await real(*args, **options)
        if verb == "claim":
            requests: list[ClaimRequest] = list(args[0])
            answer = [await self._take_over(r, a) for r, a in zip(requests, answer, strict=True)]
            self._note(requests, answer)
        return answer

    async def _take_over(self, request: ClaimRequest, answer: Claim | Busy) -> Claim | Busy:
        """The owner of the thread was killed here, so nobody has to wait for its lease."""
        if not (isinstance(answer, Busy) and answer.owner in self._dead):
            return answer
        confirmed = request._replace(confirmed=(answer.epoch, answer.beat))
        [answer] = await self._real.claim([confirmed])
        if isinstance(answer, Claim):
            return answer
        # Without locks there is no evidence, and the lease is of real time: it is ended in the
        # name of the dead.
        worker = answer.owner
        [ended] = await self._real.claim([request._replace(worker=worker, lock=False)])
        if isinstance(ended, Claim):
            await self._real.release(worker, [Held(ended.key, ended.epoch, ended.lock_key)])
        [answer] = await self._real.claim([request])
        return replace(answer, taken_over=True) if isinstance(answer, Claim) else answer

    def _note(self, requests: list[ClaimRequest], answers: list[Claim | Busy]) -> None:
        for request, answer in zip(requests, answers, strict=True):
            self.workers.add(request.worker)
            if isinstance(answer, Claim):
                self.epochs[request.key.thread_id] = answer.epoch
                self.claims.append(Held(answer.key, answer.epoch, answer.lock_key))

    async def open(self) -> None:
        """It is open."""

    async def close(self) -> None:
        """It stays open: others use it too."""

    def forget(self) -> None:
        """Nothing of it is this process's own."""


@dataclass(slots=True, kw_only=True)
class Ending:
    """How a process ended. `where`: the await at which it was killed."""

    killed: bool
    steps: int
    where: str = ""
    result: Any = None
    error: BaseException | None = None
    epochs: dict[str, int] = field(default_factory=dict)


class Process:
    """One life: from its start to its end, or to the await at which it is killed.

    Args:
        saver: Whose database, options, scope and classes it has.
        real: The driver of that saver's open journal.
        seed: Where its names and its jitter start.
        dead: Workers that were killed; this one is added if it is.
        observer: Is told of what happens in it.
    """

    def __init__(
        self,
        saver: Saver,
        journal: Journal,
        *,
        seed: int,
        dead: set[bytes],
        observer: Callable[[Event], None],
    ) -> None:
        home = saver.home()
        if home is None:
            raise RuntimeError("the saver is not open")
        self._loop: asyncio.AbstractEventLoop = home
        self._dead = dead
        self._real = journal.driver
        self.driver = ProcessDriver(journal.driver, self._at_home, dead)
        clock = VirtualClock(seed)
        # A node that sleeps for an hour must not make a thousand heartbeats, each with awaits.
        options = replace(journal.options, lease_ttl_s=max(journal.options.lease_ttl_s, _LEASE_S))

        async def make() -> Journal:
            return Journal(
                self.driver, options=options, clock=clock, ids=RandomIds(seed),
                observers=Observers([observer]),
            )  # fmt: skip

        self.saver = copy.copy(saver)
        self.saver._home = Home(make, migrate="off", name="a process", warns=False)  # noqa: SLF001
        self.saver._clock = clock  # noqa: SLF001
        self.saver._is_view = False  # noqa: SLF001
        self._clock = clock

    def _at_home(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async def there() -> Any:
            return await call()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result()

    def live(
        self, work: Callable[[Saver], Coroutine[Any, Any, Any]], kill_at: int | None
    ) -> Ending:
        """Run `work` in this thread, which no event loop may use, to its end or to the kill."""
        count = Count(at=kill_at)
        loop = self._clock.lonely_loop()
        tasks: list[Any] = []

        def make_task(
            on: asyncio.AbstractEventLoop, coro: Any, **options: Any
        ) -> asyncio.Task[Any]:
            options.pop("eager_start", None)
            task = asyncio.Task(_Counted(coro, count), loop=on, **options)
            tasks.append(task)
            return task

        loop.set_task_factory(make_task)

        async def main() -> Any:
            async with self.saver:
                return await work(self.saver)

        ending = Ending(killed=False, steps=0)
        try:
            ending.result = loop.run_until_complete(main())
        except _KilledError:
            ending.killed = True
        except Exception as error:  # noqa: BLE001  # how the run ended is what is asked for
            ending.error = error
        ending.steps, ending.where = count.made, count.where
        count.at = None  # what follows is not a part of its life
        ending.epochs = dict(self.driver.epochs)
        if ending.killed:
            self._bury(loop, tasks)
        else:
            _finish(loop)
        return ending

    def _bury(self, loop: asyncio.AbstractEventLoop, tasks: list[Any]) -> None:
        """What the end of a process does: its locks are free, its connections are gone."""
        for thread in threading.enumerate():
            if worker_of(thread) is loop:
                thread.stop()  # type: ignore[attr-defined]  # after the node that it runs
                thread.join(_NODE_MAX_S)
        for ended in getattr(loop, "begun", ()):
            ended.wait(_NODE_MAX_S)
        # Collecting a suspended coroutine would run its `finally`.
        keep_forever((tasks, loop, self.saver, self.driver))
        for task in tasks:
            task._log_destroy_pending = False  # noqa: SLF001
        loop.close()
        self._dead |= self.driver.workers
        held = [claim for claim in self.driver.claims if claim.lock_key is not None]
        if held:
            self._at_home(lambda: self._real.unlock(held))


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """As `asyncio.run` ends."""
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


__all__ = ["Ending", "Process"]
