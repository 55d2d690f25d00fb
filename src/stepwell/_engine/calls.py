"""Task calls: tasks that a running task starts, and waits for or not.

A call is a task of the same superstep. It is executed like any other (policies, questions,
context variables, worker threads), but its result goes to whoever called it and is recorded
as a pending write, so that the n-th call of a task that is executed again returns what the
n-th call returned before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context, copy_context
from copy import copy
from itertools import count
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from stepwell._codec import Codec, register_schema
from stepwell._engine.binding import bind_call
from stepwell._engine.board import Board
from stepwell._engine.fanout import execute
from stepwell._engine.futures import Future, SyncAsyncFuture, deliver, fail
from stepwell._engine.pending import Called, call_path, call_place
from stepwell._engine.recall import Caching, cache_namespace, recall_call, remember_call
from stepwell._engine.rescue import note_task
from stepwell._engine.retry import NodePolicy
from stepwell._engine.task import TaskRun
from stepwell._engine.timed import guarded_writer, progressed
from stepwell._ids import digest16
from stepwell._journal.load import pending_writes
from stepwell._plan.spec import RETURN, NodeSpec
from stepwell._plan.tasks import PUSH, Task, Write
from stepwell.cache.base import Namespace
from stepwell.constants import NS_SEP
from stepwell.errors import GraphInterrupt, TaskOrderError
from stepwell.types import CacheKey

if TYPE_CHECKING:
    from stepwell._engine.program import Program

logger = logging.getLogger("stepwell")

Given = tuple[tuple[Any, ...], Mapping[str, Any]]
"""Positional and keyword arguments of a call."""

_making = threading.Lock()


class _ReturnRule:
    """What a call's return value writes."""

    branches = ()

    def own_writes(self, output: Any) -> list[Write]:
        return [(RETURN, output)]

    async def run(self, _command: Any, _task: TaskRun) -> list[Write]:
        """What is left of a command that a graph inside the call gave it: a call has no edges."""
        return [(RETURN, None)]


_RETURN_RULE = _ReturnRule()


class CallSpec(NodeSpec):
    """A function that can be called as a task."""

    __slots__ = ("__weakref__", "kept_in", "returns")

    def __init__(
        self, fn: Any, name: str, policy: NodePolicy | None, returns: Any, identity: str
    ) -> None:
        super().__init__(name)
        self.kept_in: Namespace = cache_namespace(identity)
        """Where a cache keeps its results."""
        self.body = bind_call(fn, name)
        self.writer = _RETURN_RULE
        self.policy = policy
        self.returns = returns
        """Annotation of the result: the classes it names may be stored. None if there is none."""

    def within(self, program: Program) -> CallSpec:
        """This function as a graph runs it: with the graph's policies, where it has none."""
        if self in program.call_specs:
            return program.call_specs[self] or self
        if self.returns is not None:
            register_schema(program.registry, self.returns)
        own: CallSpec | None = None
        if program.retry and (self.policy is None or not self.policy.retry):
            own = copy(self)
            timeout = None if self.policy is None else self.policy.timeout
            own.policy = NodePolicy(program.retry, timeout)
        if program.cache_policy is not None and self.cache is None:
            own = own or copy(self)
            own.cache = Caching(program.cache_policy, self.kept_in)
        program.call_specs[self] = own
        return own or self


class CallTask(Task):
    """The n-th call of a task. Its id follows from its place, not from when it was made."""

    __slots__ = ("parent",)

    def __init__(self, node: CallSpec, given: Given, index: int, parent: Task) -> None:
        super().__init__(node, given, index)
        self.parent = parent

    @property
    def path(self) -> tuple[Any, ...]:
        return (PUSH, self.parent.path, self.index, True)

    @property
    def path_text(self) -> str:
        return call_path(self.parent.path_text, self.index, self.name)

    def id(self, checkpoint: str, ns: str, step: int) -> bytes:
        if self._id is None:
            self._id = digest16(
                checkpoint, ns, str(step), self.name, PUSH, self.parent.path_text, str(self.index)
            )
        return self._id


class CallRun(TaskRun):
    """A task call while it runs."""

    __slots__ = ("began", "over", "parent", "recalled", "steps", "stopping", "waiters")

    is_call = True

    def __init__(self, parent: TaskRun, task: CallTask, answers: Sequence[Any] = ()) -> None:
        super().__init__(parent.run, task, answers)
        self.parent = parent
        self.waiters: list[Future] = []
        self.steps: asyncio.Task[None] | None = None
        self.stopping = False
        """Whether nobody waits for it any more and it was told to stop."""
        self.over = False
        self.recalled = False
        self.began = 0.0

    @property
    def ns(self) -> str:
        return f"{self.parent.ns}{NS_SEP}{self.name}:{self.id}"

    def started(self) -> None:
        """Tell whoever watches that it begins."""
        self.run.publisher.call_started(self)
        if self.run.watch is not None:
            self.run.watch.call_started(self)

    @property
    def stream_writer(self) -> Callable[[Any], None]:
        outlet = self.run.publisher.sink
        if outlet is None:
            return guarded_writer(self, self.run.publisher.custom)
        # As in LangGraph, chunks of its own (and no others) bear its caller's namespace.
        ns = tuple(self.parent.ns.split(NS_SEP))
        return guarded_writer(self, lambda chunk: outlet.put_at(ns, "custom", chunk))

    @property
    def result(self) -> Any:
        """What it returned; it must have finished."""
        return self.writes[0][1] if self.writes else None

    def send(self, channel: str, value: Any) -> None:  # noqa: ARG002
        """A workflow has no state that a call could write to."""
        logger.warning(
            "Task %s of graph %s wrote to unknown channel %s, ignoring it.",
            self.name, self.run.graph.name, channel,
        )  # fmt: skip


class Calls:
    """The calls of one task, in the order in which it made them.

    A task whose calls run counts neither for `max_concurrency` nor among the worker threads:
    it waits, and what it waits for needs the room.
    """

    __slots__ = (
        "_board",
        "_broken",
        "_count",
        "_last",
        "_lent",
        "_made",
        "_parent",
        "_running",
        "gave_slot",
        "over",
    )

    def __init__(self, parent: TaskRun, board: Board) -> None:
        self._parent = parent
        self._board = board
        self._broken: TaskOrderError | None = None
        """The order of the calls was another one: nothing the task returns can count."""
        self._count = count()
        self._last = -1
        """Index of the newest call of this attempt."""
        self._made: dict[int, CallRun] = {}
        self._running = 0
        self._lent = False
        """Whether a worker thread more may run, because this task's thread waits."""
        self.gave_slot = False
        """Whether the task gave up the slot that it held."""
        self.over = False

    def rewind(self) -> None:
        """The task starts over: its next call is its first again."""
        self._count = count()
        self._last = -1
        self._broken = None

    def ended(self) -> bool:
        """The task has ended. Returns whether calls of it still run."""
        self.over = True
        parent = self._parent
        if self._broken is not None and parent.failure is None:
            parent.writes, parent.failure = None, self._broken
        elif parent.writes is not None and self._last >= 0:
            asked = [c for i, c in self._made.items() if i <= self._last and c.interrupts]
            if asked:  # it went on without the answers, but a question cannot be swallowed
                parent.writes = None
                parent.interrupts = tuple(q for call in asked for q in call.interrupts)
        return self._running > 0

    # -- making a call: in whatever thread the task runs ---------------------------------------

    def call(self, spec: CallSpec, given: Given) -> Future:
        """Make the next call.

        Raises:
            TaskOrderError: The call that was made in its place before was another one.
            RuntimeError: The task that makes it has ended.
            GraphInterrupt: The run is being stopped.
        """
        if self._board.closed or self.over:
            raise _too_late(spec.name)
        progressed(self._parent)
        run = self._parent.run
        call = self._next(spec.within(run.graph), given)
        if run.stopping and not call.over and call.steps is None:
            # Somebody asked for the thread: what runs is finished, nothing more is begun.
            raise GraphInterrupt(())
        context = copy_context()
        if _loop_here() is run.home:
            future: Future = run.home.create_future()
            self._begin(call, future, context)
        else:
            future = SyncAsyncFuture()
            run.home.call_soon_threadsafe(self._begin, call, future, context)
        return future

    def _next(self, spec: CallSpec, given: Given) -> CallRun:
        index = self._last = next(self._count)
        task = CallTask(spec, given, index, self._parent.task)
        if (known := self._made.get(index)) is not None:
            # The task was tried again; what it had called may run, or have finished.
            left_something = known.writes is not None or known.interrupts or not known.over
            if known.name != spec.name and left_something:
                raise self._out_of_order(index, spec.name, known.name)
            if not known.stopping and (known.writes is not None or not known.over):
                return known
            call = CallRun(self._parent, task, known.answers)
            self._board.made.remove(known)  # whatever it asked is asked anew
        else:
            call = self._recalled(task)
        self._made[index] = call
        return call

    def _recalled(self, task: CallTask) -> CallRun:
        """The call with whatever is stored of it."""
        run = self._parent.run
        if run.replaying:
            return CallRun(self._parent, task)
        found: Called | None = None
        answers: Sequence[Any] = ()
        if run.pending:
            found = run.pending.calls.get(call_place(self._parent.task.path_text, task.index))
            if found is not None and found.name != task.name:
                raise self._out_of_order(task.index, task.name, found.name)
            answers = run.pending.answers.get(task.id(run.place_id, run.ns, run.step), ())
        call = CallRun(self._parent, task, answers)
        if found is not None and found.row is not None:
            # Decoded only now: the graph did not know the call's classes when it was loaded.
            codec = Codec(run.graph.registry, keep_unknown=False)
            writes, _ = pending_writes(found.row, codec)
            if writes:  # else its result was kept off the disk, and has to be computed again
                call.writes = writes
                call.loaded = call.over = True
        elif run.resume_map:
            call.answer_by_id(run.resume_map)
        return call

    def _out_of_order(self, index: int, name: str, known: str) -> TaskOrderError:
        run, caller = self._parent.run, self._parent.name
        msg = (
            f"Call {index + 1} of {caller!r} is {name!r} now and was {known!r} when it was "
            "recorded. Tasks have to be called in the same order whenever their caller is "
            "executed again: put whatever decides the order (time, chance, the outside world) "
            "into a task of its own."
        )
        self._broken = TaskOrderError(msg, thread_id=run.thread_id, node=caller)
        return self._broken

    # -- running it: on the loop of the run ----------------------------------------------------

    def _begin(self, call: CallRun, future: Future, context: Context) -> None:
        if call.over:
            if call.loaded and not call.began:
                call.began = call.run.clock.monotonic()
                call.run.publisher.call_started(call)
            deliver(call, future)
            return
        if self._board.closed:
            fail(future, _too_late(call.name))
            return
        call.waiters.append(future)
        future.add_done_callback(lambda _: self._given_up(call, future))
        if call.steps is not None:
            return
        self._running += 1
        self._board.made.append(call)
        slots = call.run.slots
        if slots is not None and not self.gave_slot and not self.over:
            self.gave_slot = True
            slots.release()
        call.began = call.run.clock.monotonic()
        if call.task.node.cache is None:
            call.started()
        lend = isinstance(future, SyncAsyncFuture)
        call.steps = call.run.home.create_task(self._drive(call, lend), context=context)
        self._board.running.add(call.steps)
        call.steps.add_done_callback(lambda steps: self._stopped(call, steps))

    def _given_up(self, call: CallRun, future: Future) -> None:
        """Stop a call once everybody who waited for it was cancelled."""
        if not future.cancelled():
            return
        if _loop_here() is not call.run.home:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and the call with it
                call.run.home.call_soon_threadsafe(self._given_up, call, future)
        elif not call.over and all(w.cancelled() for w in call.waiters) and call.steps is not None:
            call.stopping = True
            call.steps.cancel()

    def _stopped(self, call: CallRun, steps: asyncio.Task[None]) -> None:
        self._board.running.discard(steps)
        if not call.over:  # it was cancelled before its first step
            call.failure = asyncio.CancelledError()
            self._over(call, took=False)

    async def _drive(self, call: CallRun, lend: bool) -> None:
        slots, took = call.run.slots, False
        key: CacheKey | None = None
        if lend and not self._lent:
            self._lent = True
            to_thread.current_default_thread_limiter().total_tokens += 1
        try:
            if call.task.node.cache is not None:
                call.started()
                key = await recall_call(call)
                if key is not None:
                    await asyncio.sleep(0)  # calls made together do not find each other's results
            call.recalled = call.writes is not None
            if not call.recalled:
                if slots is not None:
                    took = await slots.acquire()
                if call.run.rec is not None:
                    await call.run.rec.sure()
                await execute(call)
        except asyncio.CancelledError:
            if call.writes is None:
                call.failure = asyncio.CancelledError()
        except (KeyboardInterrupt, SystemExit) as exc:
            call.failure = exc
            self._over(call, took=took)
            raise
        except BaseException as exc:  # noqa: BLE001  # handed to the caller, whatever it is
            call.failure = exc
        await self._settle(call, key)
        self._over(call, took=took)

    async def _settle(self, call: CallRun, key: CacheKey | None) -> None:
        """Make what the call left durable, and known to the cache, before its caller hears of
        it."""
        if call.calls is not None:
            call.calls.ended()
        if isinstance(call.failure, Exception):
            note_task(call, call.failure)
        run = call.run
        try:
            durable = run.settle(call, others=True)
            if durable is not None:
                await asyncio.shield(durable)
            elif run.rec is not None:
                await run.rec.handle.room()
            if key is not None:
                await remember_call(call, key)
        except asyncio.CancelledError:
            return  # it has ended all the same
        except Exception as exc:  # noqa: BLE001  # the run has lost its thread: nothing counts
            call.writes, call.interrupts, call.failure = None, (), exc

    def _over(self, call: CallRun, *, took: bool) -> None:
        call.over = True
        self._running -= 1
        slots = call.run.slots
        if self._running == 0 and self._lent:
            self._lent = False
            to_thread.current_default_thread_limiter().total_tokens -= 1
        if slots is not None and took and (call.calls is None or not call.calls.gave_slot):
            if self._running == 0 and self.gave_slot and not self.over:
                self.gave_slot = False  # the task goes on in the slot of its last call
            else:
                slots.release()
        if self.over and isinstance(call.failure, Exception):
            logger.warning(
                "Task %s failed when nobody waited for it any more: %s",
                call.name, type(call.failure).__name__,
            )  # fmt: skip
        for future in call.waiters:
            deliver(call, future, heard=not self.over)


def start_call(parent: TaskRun, spec: CallSpec, given: Given) -> Future:
    """Call a function as a task of the running task `parent`.

    Returns:
        A future of the call's result: on the loop of the run one of asyncio, elsewhere one
        whose `result()` waits.

    Raises:
        TaskOrderError: The call that was made in its place before was another one.
        RuntimeError: The task that makes it has ended.
    """
    calls = parent.calls
    if calls is None:
        with _making:  # a sync node may call from several threads of its own
            run = parent.run
            if (
                parent.over
                or parent.writes is not None
                or parent.failure is not None
                or parent.interrupts
            ):
                raise _too_late(spec.name)
            if run.board is None:
                run.board = Board()
            if parent.calls is None:
                parent.calls = Calls(parent, run.board)
            calls = parent.calls
    return calls.call(spec, given)


def _too_late(name: str) -> RuntimeError:
    return RuntimeError(
        f"Task {name!r} was called when the node that calls it had ended; call tasks while the "
        "node runs, and wait for whatever calls them."
    )


def _loop_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


__all__ = ["CallRun", "CallSpec", "Calls", "start_call"]
