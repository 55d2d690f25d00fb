"""Run the tasks of one superstep: one in place, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import replace
from functools import partial
from types import coroutine
from typing import Any, Final

from stepwell._context import current_task
from stepwell._engine.program import plain_namespace
from stepwell._engine.rescue import can_rescue, rescue, until_durable
from stepwell._engine.retry import attempts, once, stop_inner
from stepwell._engine.task import TaskRun
from stepwell.errors import (
    GraphBubbleUp,
    GraphInterrupt,
    NodeCancelledError,
    ParentCommand,
    is_invalid_resume,
)
from stepwell.types import Command

Settle = Callable[[TaskRun, bool], asyncio.Future[None] | None]
"""Called when a task has ended: (task, whether others of its superstep still run). What it
returns is to be awaited, shielded, before another task may start in its place."""


async def execute(task: TaskRun) -> None:
    """Run one task and note how it ended.

    A question and an ordinary error are noted on the task; what must stop the whole run
    (cancellation, other signals, KeyboardInterrupt) is raised.
    """
    planned, run = task.task, task.run
    node = planned.node
    try:
        if node.policy is not None or planned.timeout is not None:
            writes = await attempts(task)
        elif run.surrounds:
            writes = await once(task)
        else:
            # The same, written out: each coroutine that awaits another one costs when it is made
            # and whenever it is woken. The context is the task's own, so nothing is put back.
            current_task.set(task)
            try:
                output = await node.body.call(planned.input, task)
                writer = node.writer
                if writer.branches:
                    writes = await writer.run(output, task)
                else:
                    writes = writer.own_writes(output)
                    if task.sent:
                        writes = [*task.sent, *writes]
            finally:
                task.over = True
                if task.inner:
                    await stop_inner(task.inner)
        if run.rec is not None and run.rec.take_long(writes):
            try:
                task.encoded = await run.rec.encode_aside(writes)
            except asyncio.CancelledError:
                task.writes = writes  # it has finished, whatever becomes of its superstep
                raise
        task.writes = writes
    except GraphInterrupt as signal:
        task.interrupts = tuple(signal.args[0]) if signal.args else ()
    except asyncio.CancelledError as exc:
        if _is_cancelled():
            raise
        # The node raised it although nobody cancelled the run.
        task.failure = NodeCancelledError(task.name)
        task.failure.__cause__ = exc
    except ParentCommand as signal:
        await _commanded(task, signal)
    except GraphBubbleUp:
        raise
    except BaseExceptionGroup as group:
        _note_group(task, group)
    except Exception as exc:  # noqa: BLE001  # whatever a node raises is its caller's business
        task.failure = exc


def _is_cancelled() -> bool:
    """Whether somebody cancels who runs here. The asyncio task must have no name in the frame that
    asks: that one is a part of the traceback which the task keeps."""
    current = asyncio.current_task()
    return current is None or current.cancelling() > 0


async def _commanded(task: TaskRun, signal: ParentCommand) -> None:
    """Obey a command that a graph inside this task gave its parent, or pass it on.

    Raises:
        ParentCommand: The command is for a graph around this one.
    """
    command: Command[Any] = signal.args[0]
    if command.graph == Command.PARENT:
        # The task's own graph cannot be meant: the one around it is, in whose task it runs.
        raise ParentCommand(replace(command, graph=plain_namespace(task.run.ns))) from None
    if command.graph not in (plain_namespace(task.ns), task.ns, task.name):
        raise signal
    task.over = False
    try:
        task.writes = await task.task.node.writer.run(replace(command, graph=None), task)
    except Exception as exc:  # noqa: BLE001  # a router's failure is its task's
        task.failure = exc


def _note_group(task: TaskRun, group: BaseExceptionGroup[BaseException]) -> None:
    """Note the end of a node whose own tasks raised several things (`asyncio.TaskGroup`).

    If all of them are questions, the node asks them.
    """
    questions, others = group.split(GraphInterrupt)
    if questions is not None and others is None:
        task.interrupts = tuple(i for signal in _leaves(questions) for i in signal.args[0])
    elif isinstance(group, Exception):
        task.failure = group
    else:
        raise group


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


_OVER: Any = object()
_STARTED_AT_ONCE: Final = 1000
"""Branches that begin in one turn of the event loop, at most."""


def begin(task: TaskRun) -> Awaitable[None] | None:
    """Begin to execute a task where we stand, with context variables of its own, as an asyncio
    Task would have them (which would cost more than the node).

    Returns:
        The rest of it, to be awaited; None if it is over already.
    """
    context = copy_context()
    steps = execute(task).__await__()
    # `next` takes the end of a coroutine that returns None without making an exception of it.
    waiting = context.run(next, steps, _OVER)
    return None if waiting is _OVER else _other_steps(context, steps, waiting)


@coroutine
def _other_steps(
    context: Context, steps: Generator[Any, Any, None], waiting: Any
) -> Generator[Any, Any, None]:
    """Go on with a task; what it waits for is handed on to the event loop."""
    while waiting is not _OVER:
        try:
            yield waiting
        except GeneratorExit:
            context.run(steps.close)
            raise
        except BaseException as exc:  # noqa: BLE001  # cancellation above all: it is the node's
            waiting = None  # a future keeps its error, in whose traceback we are
            try:
                waiting = context.run(steps.throw, exc)
            except StopIteration:
                return
        else:
            waiting = context.run(next, steps, _OVER)


async def in_place(task: TaskRun, settle: Settle) -> None:
    """Run a task, and its error handler if it fails, where we stand."""
    rest = begin(task)
    if rest is not None:
        await rest
    await finish(task, settle)


async def finish(task: TaskRun, settle: Settle) -> None:
    """Run the error handler of a task that was run in place, if it has failed; settle it."""
    if task.failure is not None and can_rescue(task):
        settle(task, calling(task))
        task = rescue(task)
        await until_durable(task)
        rest = begin(task)
        if rest is not None:
            await rest
    settle(task, calling(task))


def calling(task: TaskRun) -> bool:
    """Note that a task has ended. Returns whether tasks that it called still run."""
    return task.calls is not None and task.calls.ended()


def _gave_slot(task: TaskRun) -> bool:
    return task.calls is not None and task.calls.gave_slot


def _starter(
    loop: asyncio.AbstractEventLoop,
) -> Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]:
    """What makes asyncio Tasks of branches: `create_task`, if somebody has put a factory of his
    own into the loop, or the loop has a `create_task` of its own, else what that would call."""
    usual = type(loop).create_task is asyncio.BaseEventLoop.create_task
    if usual and loop.get_task_factory() is None:
        return partial(asyncio.Task, loop=loop)
    return loop.create_task


class _Branches:
    """Many tasks at once, one coroutine each, counting down one future.

    The first failure cancels the others; a question does not, nor an answer that did not fit
    its question: the others were answered too, and what they have done need not be undone.
    """

    __slots__ = (
        "_children",
        "_done",
        "_fatal",
        "_handlers",
        "_left",
        "_settle",
        "_slots",
        "_stopping",
        "_timeout_s",
    )

    def __init__(
        self, settle: Settle | None, slots: asyncio.Semaphore | None, timeout_s: float | None
    ) -> None:
        self._settle = settle
        self._timeout_s = timeout_s
        self._slots = slots
        self._done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """True: all have ended. False: one failed and the rest must be cancelled."""
        self._left = 0
        self._fatal: BaseException | None = None
        self._children: list[asyncio.Task[None]] = []
        self._handlers: list[TaskRun] = []
        self._stopping = False
        """Whether the branches were cancelled."""

    async def run(self, tasks: Sequence[TaskRun]) -> None:
        loop = asyncio.get_running_loop()
        self._left = len(tasks)
        expiry = None
        if self._timeout_s is not None:
            expiry = loop.call_later(self._timeout_s, self._expire)
        try:
            await self._start(tasks, _starter(loop))
            complete = await self._done
        except asyncio.CancelledError:
            await self._cancel()
            raise
        finally:
            if expiry is not None:
                expiry.cancel()
        if not complete:
            await self._cancel()
            self._mark_cancelled([*tasks, *self._handlers])
        if self._fatal is not None:
            try:
                raise self._fatal
            finally:
                self._fatal = None  # in whose traceback we are

    async def _start(
        self, tasks: Sequence[TaskRun], start: Callable[..., asyncio.Task[None]]
    ) -> None:
        """Start a branch for each task. The loop runs all that are started in one turn, so of very
        many some are started in the next: others want a turn too."""
        self._children = [start(self._branch(task)) for task in tasks[:_STARTED_AT_ONCE]]
        for first in range(_STARTED_AT_ONCE, len(tasks), _STARTED_AT_ONCE):
            await asyncio.sleep(0)
            if self._done.done():
                return  # one has failed, or their time is up
            some = tasks[first : first + _STARTED_AT_ONCE]
            self._children += [start(self._branch(task)) for task in some]

    async def _branch(self, task: TaskRun) -> None:
        try:
            if self._slots is None:
                await execute(task)
                if task.failure is not None and can_rescue(task):
                    task = await self._rescue(task)
                if self._settle is None and task.calls is None:
                    self._left -= 1  # as `_end` does, without the call
                else:
                    self._end(task)
            else:
                first = task
                await self._slots.acquire()
                try:
                    if task.run.rec is not None:
                        await task.run.rec.sure()
                    await execute(task)
                    if task.failure is not None and can_rescue(task):
                        task = await self._rescue(task)
                    durable = self._end(task)
                    if durable is not None:
                        await asyncio.shield(durable)
                finally:
                    if not (_gave_slot(first) or _gave_slot(task)):
                        self._slots.release()
        except asyncio.CancelledError as exc:
            if self._stopping or self._done.done():
                raise
            # The node has cancelled what it runs in: nobody else would hear of it.
            self._fatal = NodeCancelledError(task.name)
            self._fatal.__cause__ = exc
            if task.writes is None and not task.interrupts:
                task.failure = task.failure or self._fatal
        except BaseException as exc:  # noqa: BLE001  # carried to the run, which raises it
            self._fatal = self._fatal or exc
            if task.writes is None and not task.interrupts:
                task.failure = task.failure or exc
        failed = task.failure is not None and not is_invalid_resume(task.failure)
        if failed or self._fatal is not None:
            if not self._done.done():
                self._done.set_result(False)
        elif self._left == 0 and not self._done.done():
            self._done.set_result(True)

    async def _rescue(self, failed: TaskRun) -> TaskRun:
        """Run the error handler of a task that failed, in its branch; its task."""
        calling(failed)
        if self._settle is not None:
            self._settle(failed, True)
        handler = rescue(failed)
        self._handlers.append(handler)
        await until_durable(handler)
        await execute(handler)
        return handler

    def _end(self, task: TaskRun) -> asyncio.Future[None] | None:
        self._left -= 1
        others = calling(task) or self._left > 0
        return None if self._settle is None else self._settle(task, others)

    def _expire(self) -> None:
        if not self._done.done():
            self._fatal = TimeoutError(
                f"The superstep took longer than the graph's step_timeout of {self._timeout_s} s."
            )
            self._done.set_result(False)

    async def _cancel(self) -> None:
        self._stopping = True
        for child in self._children:
            child.cancel()
        # A node may take its time to clean up; its run must not end before it has.
        await asyncio.gather(*self._children, return_exceptions=True)
        for child in self._children:
            with suppress(asyncio.CancelledError):
                child.exception()  # it forgets what it is given, whose traceback leads to it
        self._children = []

    def _mark_cancelled(self, tasks: Sequence[TaskRun]) -> None:
        for task in tasks:
            if task.writes is None and task.failure is None and not task.interrupts:
                task.failure = asyncio.CancelledError()
                if self._settle is not None:
                    self._settle(task, False)


async def run_many(
    tasks: Sequence[TaskRun],
    settle: Settle | None,
    slots: asyncio.Semaphore | None,
    timeout_s: float | None = None,
) -> None:
    """Run tasks concurrently, each in one of the `slots`, and wait for all of them.

    `settle`: None, where nobody needs to hear of the end of each.

    Raises:
        TimeoutError: They took longer than `timeout_s`; those that run were cancelled.
    """
    await _Branches(settle, slots, timeout_s).run(tasks)


__all__ = ["begin", "calling", "execute", "finish", "in_place", "run_many"]
