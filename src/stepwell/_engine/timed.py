"""Attempts with a time limit: who watches the clock, and what counts as progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from stepwell.errors import GraphDefinitionError, NodeTimeoutError
from stepwell.types import TimeoutPolicy

if TYPE_CHECKING:
    from stepwell._engine.task import TaskRun
    from stepwell._plan.tasks import Write

logger = logging.getLogger("stepwell")

STOP_WAIT_S: Final = 5.0
"""How long a node that was timed out is waited for, once it has been cancelled."""


class Guard:
    """One timed attempt as its node sees it.

    Progress pushes the idle limit back; once the attempt is over, what its leftovers stream is
    dropped. Any thread may use it: only single attributes are written.
    """

    __slots__ = ("_auto", "_loop", "idle_s", "last", "open")

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: TimeoutPolicy) -> None:
        self._loop = loop
        self._auto = limit.refresh_on == "auto"
        self.idle_s = seconds(limit.idle_timeout)
        self.last = loop.time()
        self.open = True

    def touch(self) -> None:
        """The node says that it is alive (`runtime.heartbeat`)."""
        self.last = self._loop.time()

    def progress(self) -> None:
        """Something was seen of the node: its streams, its subgraph, its calls."""
        if self._auto:
            self.last = self._loop.time()

    def writer(self, write: Callable[[Any], None]) -> Callable[[Any], None]:
        """A stream writer whose chunks are progress."""

        def guarded(chunk: Any) -> None:
            if self.open:
                self.progress()
                write(chunk)

        return guarded


def seconds(limit: Any) -> float | None:
    """A limit that `TimeoutPolicy.coerce` has brought to seconds."""
    return None if limit is None else float(limit)


def guards(task: TaskRun) -> Iterator[Guard]:
    """The timed attempts that a task is part of, its own first."""
    found: TaskRun | None = task
    while found is not None:
        if found.guard is not None:
            yield found.guard
        found = found.run.outer


def progressed(task: TaskRun) -> bool:
    """Something was seen of a task: no attempt that it is part of is idle.

    Returns:
        Whether it counts: not, if one of these attempts is over.
    """
    found = list(guards(task))
    for guard in found:
        guard.progress()
    return all(guard.open for guard in found)


def guarded_writer(task: TaskRun, write: Callable[[Any], None]) -> Callable[[Any], None]:
    """A task's stream writer, as progress of the attempts that it is part of."""
    for guard in guards(task):
        write = guard.writer(write)
    return write


def heartbeat_of(task: TaskRun) -> Callable[[], None] | None:
    """What `runtime.heartbeat` does: keeps the nearest attempt with an idle limit alive."""
    return next((g.touch for g in guards(task) if g.idle_s is not None), None)


def sync_timeout(name: str, kind: str = "Node") -> GraphDefinitionError:
    """The error for a timeout on something that cannot be cancelled."""
    msg = (
        "Node timeouts are only supported for async nodes because sync Python execution "
        f"cannot be safely cancelled in-process. {kind} {name!r} is sync: make it async, or drop "
        "the timeout."
    )
    return GraphDefinitionError(msg, node=name)


class _Limits:
    """Two timers that complete one future with the name of the limit that was passed."""

    __slots__ = ("_guard", "_handles", "_loop", "passed")

    def __init__(self, loop: asyncio.AbstractEventLoop, guard: Guard, run_s: float | None) -> None:
        self._loop = loop
        self._guard = guard
        self.passed: asyncio.Future[Literal["idle", "run"]] = loop.create_future()
        self._handles: dict[str, asyncio.TimerHandle] = {}
        if run_s is not None:
            self._handles["run"] = loop.call_later(run_s, self._pass, "run")
        if guard.idle_s is not None:
            self._look()

    def _look(self) -> None:
        """Idle for too long, or wait for as long as is left."""
        due = self._guard.last + (self._guard.idle_s or 0.0)
        if self._loop.time() >= due:
            self._pass("idle")
        else:
            self._handles["idle"] = self._loop.call_at(due, self._look)

    def _pass(self, kind: Literal["idle", "run"]) -> None:
        if not self.passed.done():
            self.passed.set_result(kind)

    def stop(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self.passed.cancel()


async def timed(
    task: TaskRun, limit: TimeoutPolicy, attempt: Callable[[TaskRun], Awaitable[list[Write]]]
) -> list[Write]:
    """One attempt within its limits.

    Raises:
        NodeTimeoutError: A limit was passed. The attempt has been cancelled, and waited for
            (for at most `STOP_WAIT_S`).
        GraphDefinitionError: The node is sync.
    """
    if not task.task.node.body.is_async:
        raise sync_timeout(task.name)
    loop, clock = asyncio.get_running_loop(), task.run.clock
    run_s = seconds(limit.run_timeout)
    guard = task.guard = Guard(loop, limit)
    started = clock.monotonic()

    async def attempted() -> list[Write]:
        return await attempt(task)

    child = loop.create_task(attempted())
    limits = _Limits(loop, guard, run_s)
    try:
        await asyncio.wait((child, limits.passed), return_when=asyncio.FIRST_COMPLETED)
        if not child.done():
            elapsed = clock.monotonic() - started
            guard.open = False
            await _stop(child, task)
            raise NodeTimeoutError(
                task.name, elapsed, kind=limits.passed.result(),
                idle_timeout=guard.idle_s, run_timeout=run_s,
            ) from TimeoutError()  # fmt: skip
    except asyncio.CancelledError:
        guard.open = False
        if not child.done():
            child.cancel()
            # As without a limit: a node that is cancelled from outside may clean up in peace.
            await asyncio.wait((child,))
        raise
    finally:
        guard.open = False
        limits.stop()
        _collect(child)
    return child.result()


async def _stop(child: asyncio.Task[Any], task: TaskRun) -> None:
    """Cancel an attempt and wait for its end, but not for ever."""
    child.cancel()
    await asyncio.wait((child,), timeout=STOP_WAIT_S)
    if not child.done():
        logger.warning(
            "Node %s goes on %.0f s after it was cancelled for its timeout; it is left to itself.",
            task.name,
            STOP_WAIT_S,
        )


def _collect(child: asyncio.Task[Any]) -> None:
    """An attempt that nobody waits for any more must not be reported as one whose exception
    was never looked at."""

    def look(done: asyncio.Task[Any]) -> None:
        if not done.cancelled():
            done.exception()

    child.add_done_callback(look)


__all__ = [
    "STOP_WAIT_S", "Guard", "guarded_writer", "guards", "heartbeat_of", "progressed",
    "sync_timeout", "timed",
]  # fmt: skip
