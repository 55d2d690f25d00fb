"""One run of a graph: plan, run, apply, append, publish, until nothing is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from stepwell._clock import Clock
from stepwell._engine.arguments import RunConfig
from stepwell._engine.ending import change, end, finished, leave_finished, out_of_steps
from stepwell._engine.entries import entry_of
from stepwell._engine.family import Family
from stepwell._engine.fanout import begin, calling, finish, in_place, run_many
from stepwell._engine.filing import keep, take_back
from stepwell._engine.halt import Stopped, be_undone
from stepwell._engine.messages import is_heard
from stepwell._engine.pending import NULL_TASK, Pending
from stepwell._engine.program import Program
from stepwell._engine.publish import Publisher
from stepwell._engine.recall import recall, remember
from stepwell._engine.recorder import Recorder
from stepwell._engine.rescue import forget_rescued, note_task, resume_handlers
from stepwell._engine.task import TaskRun
from stepwell._engine.timed import progressed
from stepwell._engine.watch import Watch
from stepwell._ids import Ids
from stepwell._journal.record import KIND_COMMAND, Entry
from stepwell._plan.apply import TaskWrites, apply, compose, deltas
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Task, Write, plan
from stepwell.channels.base import Op
from stepwell.checkpoint.driver import RunStatus, Source, ThreadStatus
from stepwell.errors import GraphDrained, GraphInterrupt
from stepwell.runtime import RunControl
from stepwell.types import Interrupt

if TYPE_CHECKING:
    from stepwell._engine.board import Board
    from stepwell._engine.open import Opened
    from stepwell._engine.snapshot import View

logger = logging.getLogger("stepwell")

_LOOP: Final = int(Source.LOOP)  # looked up once: a member of an enum is not found in no time

INPUT = "__input__"
YIELD_EVERY = 64
"""Supersteps after which a run lets others have a turn of the event loop."""
Breakpoints = Sequence[str] | Literal["*"]


class Run:
    """State and verbs of one run. Made by `entry`, driven by `begin` and `finish`.

    The loop: plan -> run -> apply -> append -> (wait, if durability says so) -> publish.
    """

    __slots__ = (
        "__weakref__", "_name", "answer", "barriers", "board", "carried", "clock", "config",
        "config_run_id", "context", "control", "graph", "home", "ids", "interrupt_after",
        "interrupt_before", "interrupt_seen", "interrupts", "kin", "nested", "ns",
        "null_writes", "opened", "opening", "outer", "parent_checkpoint", "parents", "passed_now",
        "pending", "publisher", "rec", "relays", "replaying", "rescued", "resume_map", "resuming",
        "run_id", "slots", "source", "spec", "state", "step", "stop", "surrounds", "tasks",
        "watch",
    )  # fmt: skip

    def __init__(
        self,
        graph: Program,
        state: ThreadState,
        config: RunConfig,
        *,
        clock: Clock,
        ids: Ids,
        run_id: str,
        ns: str = "",
    ) -> None:
        self.ns = ns
        """The namespace of the run; the root's is empty."""
        self.nested = False
        """Whether it is part of a task of another run, `outer`."""
        self.relays = False
        """Whether what it goes on from is held back, and recorded nowhere yet."""
        self.parents: Mapping[str, str] = {}
        """The checkpoints of the graphs around it, by namespace."""
        self.kin: Family | None = None
        """What it shares with the runs inside it; None before there is one."""
        self.opened: Opened | None = None
        self.graph = graph
        self.spec = graph.spec
        self.state = state
        self.config = config
        self.clock = clock
        self.ids = ids
        self.run_id = run_id
        self.config_run_id = config.run_id
        self.home = asyncio.get_running_loop()
        limit = config.max_concurrency
        self.slots = None if limit is None else asyncio.Semaphore(limit)
        """Room for the tasks that may run at once."""
        self.board: Board | None = None
        """Task calls of the superstep, if it makes any."""
        self.context: Any = None
        self.control: RunControl | None = None
        self.outer: TaskRun | None = None
        self.rec: Recorder | None = None
        self.watch: Watch | None = None
        self._name = ""
        self.parent_checkpoint: str | None = None
        self.source = Source.LOOP
        self.step, self.stop = -1, 0
        self.barriers = 0
        """Supersteps this run has finished."""
        self.interrupt_before: Breakpoints = graph.interrupt_before
        self.interrupt_after: Breakpoints = graph.interrupt_after
        self.publisher = Publisher(self)
        self.surrounds = False
        """Whether LangChain's config, or what observers set, has to stand around a task's code."""
        self.opening = True
        """Whether its first superstep is to come: only before it can tasks have left something."""
        self.pending = Pending()
        self.resuming = False
        """Whether this is the first superstep of a run that goes on: graphs inside go on too."""
        self.replaying = False
        """Whether tasks run again although they left results behind."""
        self.answer: list[Any] = []
        """The resume value that goes to whichever task asks next; at most one."""
        self.resume_map: Mapping[str, Any] = {}
        self.null_writes: list[Write] = []
        self.carried: dict[str, Op] = {}
        """What a command changed; recorded by the next barrier."""
        self.passed_now = False
        """Whether breakpoints were passed since the last record."""
        self.rescued: list[TaskRun] = []  # their error handlers have taken over
        self.tasks: list[TaskRun] = []
        self.interrupts: list[Interrupt] = []

    # -- what tasks ask of their run -------------------------------------------------------

    @property
    def thread_id(self) -> str | None:
        return self.config.thread_id

    @property
    def epoch(self) -> int | None:
        return None if self.rec is None else self.rec.handle.epoch

    @property
    def place_id(self) -> str:
        """What tasks are named after: the checkpoint, or, where none is kept, this very run."""
        if self.rec is None and not self._name:
            self._name = self.ids.run_id()
        return self.checkpoint_id

    @property
    def checkpoint_id(self) -> str:
        """What the checkpoint is called that the run stands at."""
        return self._name if self.rec is None else self.rec.checkpoint_id

    @property
    def root(self) -> Run:
        """The run that this one is a part of, at whatever depth; itself, if of none."""
        run = self
        while run.nested and run.outer is not None:
            run = run.outer.run
        return run

    @property
    def family(self) -> Family:
        """What the root shares with the runs inside it."""
        if self.nested and self.outer is not None:
            return self.outer.run.family
        if self.kin is None:
            self.kin = Family()
        return self.kin

    def take_answer(self) -> tuple[bool, Any]:
        """Hand the caller's resume value to the task that asks first."""
        answer = self.root.answer
        return (True, answer.pop()) if answer else (False, None)

    def continue_from(self, view: View) -> None:
        """Stand at a checkpoint that was loaded."""
        self.step = view.row.step + 1
        self.source = Source(view.row.source)
        self.pending = view.pending
        self.parent_checkpoint = view.parent

    # -- the loop ----------------------------------------------------------------------------

    async def loop(self) -> None:
        """Run supersteps until nothing is due, or something stops the run.

        Raises:
            GraphRecursionError: The supersteps are used up.
            GraphDrained, Stopped: The run was asked to stop; somebody else asked for its thread.
            Exception: Whatever a node raised.
        """
        self.surrounds = is_heard(self) or (self.watch is not None and self.watch.surrounds)
        publisher, rec, control = self.publisher, self.rec, self.control
        simple = self.is_simple()
        due = self.plan()
        while True:
            if publisher.sink is not None:
                await publisher.checkpoint(due)
            if self.step > self.stop:
                await publisher.stopping()
                raise out_of_steps(self)
            if not due:
                return
            one = simple and len(due) == 1
            self.tasks = [TaskRun(self, due[0])] if one and not self.opening else self._known(due)
            if self.interrupt_before and self._stops(self.interrupt_before, due):
                await publisher.stopping()
                self._break()
                return
            if control is not None and control.drain_reason is not None:
                await publisher.stopping()
                raise GraphDrained(control.drain_reason or "shutdown")
            if rec is not None and rec.handle.stopping:
                self._stop(due)
            if rec is not None and rec.handle.doubtful:
                await rec.handle.fresh()
            try:
                if one and (task := self.tasks[0]).writes is None:
                    if (rest := begin(task)) is not None:
                        await rest
                    if task.failure is not None:
                        await finish(task, self.settle)
                    elif rec is not None:
                        keep(rec, task, calling(task))
                    elif task.calls is not None:
                        calling(task)
                else:
                    await self._superstep()
            except BaseException:
                if self.board is not None:
                    await self.board.finish(cancel=True)
                raise
            if self.board is not None:
                await self.board.finish(cancel=any(t.failure is not None for t in self.tasks))
            ran = self.tasks
            done: list[TaskWrites] = [(t.task, t.writes) for t in ran if t.writes is not None]
            if len(done) < len(ran) or (self.board is not None and self.board.asks):
                await publisher.stopping()
                self._raise_or_interrupt()
                return
            due = self._barrier(done)
            self.tasks = []  # they are part of the state now, whatever ends the run from here on
            if rec is not None and (written := rec.pace()) is not None:
                await written
            if not self.barriers % YIELD_EVERY:
                await asyncio.sleep(0)  # nodes that never wait must not keep others waiting
            if not publisher.knows:
                publisher.values(done)
            if self.interrupt_after and self._stops(self.interrupt_after, [t.task for t in ran]):
                await publisher.checkpoint(due)
                await publisher.stopping()
                self._break()
                return

    def is_simple(self) -> bool:
        """Whether a superstep of one task is that task and nothing else: nobody watches, nothing
        limits it, no result of it may be known already."""
        return (
            self.publisher.sink is None
            and self.watch is None
            and self.outer is None
            and self.slots is None
            and self.graph.results is None
            and self.graph.step_timeout is None
        )

    def plan(self) -> list[Task]:
        """What is due now."""
        return plan(self.spec, self.state, (self.step, self.stop))

    def _known(self, due: Sequence[Task]) -> list[TaskRun]:
        """The tasks of a superstep; of the first, with what they had left and the answers to
        them."""
        if not self.opening or (not self.pending and not self.resume_map):
            return [TaskRun(self, task) for task in due]
        runs: list[TaskRun] = []
        self.tasks = runs  # a handler that goes on joins them
        for task in due:
            known = task.id(self.checkpoint_id, self.ns, self.step)
            run = TaskRun(self, task, self.pending.answers.get(known, ()))
            if not self.replaying and known in self.pending.outputs:
                run.writes, run.loaded = self.pending.outputs[known], True
            elif self.resume_map:
                run.answer_by_id(self.resume_map)
            runs.append(run)
        if self.pending.handled and not self.replaying:
            resume_handlers(self)
        return runs

    async def _superstep(self) -> None:
        todo = self.tasks[:]
        if self.opening:
            todo = [t for t in todo if t.writes is None]
        if self.publisher.sink is not None:
            self.publisher.started(self.tasks)
        if self.watch is not None:
            self.watch.tasks_started(todo)
        if self.outer is not None:
            progressed(self.outer)
        keys = None
        if self.graph.results is not None:
            todo, keys = await recall(self, self.graph.results, todo)
        limit = self.graph.step_timeout
        if len(todo) == 1 and limit is None and self.slots is None:
            await in_place(todo[0], self.settle)
        elif todo:
            quiet = self.rec is None and self.is_simple()
            await run_many(todo, None if quiet else self.settle, self.slots, limit)
        if keys:
            await remember(self, keys)

    def settle(self, run: TaskRun, others: bool) -> asyncio.Future[None] | None:
        """A task has ended: make what it left durable if the barrier may not come, publish.

        Returns:
            With durability="sync", what to wait for before another task takes its place: so
            that no more tasks than run at once can be lost.
        """
        left = None
        if self.rec is not None:
            left = keep(self.rec, run, others)
        elif self.nested and run.took_answer and run.writes is not None:
            take_back(run)
        if self.outer is not None:
            progressed(self.outer)
        if self.publisher.sink is not None:
            self.publisher.ended(run)
        if self.watch is not None:
            self.watch.task_finished(run)
        return left

    def _barrier(self, done: list[TaskWrites]) -> list[Task]:
        """Apply what the tasks wrote, record it, and plan what is due next."""
        rec, spec, state = self.rec, self.spec, self.state
        if rec is not None and rec.holds:
            rec.remember(state, done)
        try:
            changed = apply(spec, state, done)
        except Exception:
            # What finished stays finished: the barrier can be tried again after an update.
            leave_finished(self)
            raise
        step = self.step
        self.step = step + 1
        self.barriers += 1
        due = plan(spec, state, (step + 1, self.stop))
        if rec is not None:
            last = not due and self.step <= self.stop and not self.interrupt_after
            if last and self.stopping:
                be_undone(self.root.opened)
            if last and rec.run_row.idempotency_key is not None:
                self.publisher.foresee(done)
            self._record(rec, changed, step, last=last)
            if rec.holds and self.family.spaces:
                self.family.forget_below(self.ns)
        if self.watch is not None:
            self.watch.superstep_finished(step, len(self.tasks))
        if self.board is not None:
            self.board.release()
            self.board = None
        if self.rescued:
            forget_rescued(self)
        if self.opening:
            self._open()
        return due

    def _open(self) -> None:
        """The first superstep is over: nothing of what it went on from counts any more."""
        self.opening = self.replaying = self.resuming = False
        if self.pending:
            self.pending = Pending()
        self.resume_map = {}
        self.answer = []
        self.null_writes = []
        self.source = Source.LOOP

    def _record(self, rec: Recorder, changed: dict[str, None], step: int, *, last: bool) -> None:
        ops = deltas(self.spec, self.state, changed)
        if self.carried:
            ops, self.carried = compose(self.carried, ops, self.state.channels), {}
        # Nobody else looks at it. While supersteps become one record, its parent stays.
        if self.publisher.sink is not None and not (rec.exits or rec.held_back):
            self.parent_checkpoint = rec.checkpoint_id or None
        rec.checkpoint(
            self.state,
            source=_LOOP,
            step=step,
            entries=self._entries(),
            ops=ops,
            drops=not (self.opening and self._leaves_others()),
            interrupt_seen=self.state.interrupt_seen if self.passed_now else None,
            thread=change(self, ThreadStatus.DONE, RunStatus.DONE, ()) if last else None,
            let_go=last and not self.nested,
        )
        self.passed_now = False

    def _leaves_others(self) -> bool:
        """Whether tasks that this superstep replaced left something: history goes on showing it."""
        pending = self.pending
        if not pending:
            return False
        mine = {t.id_bytes for t in self.tasks} | pending.called
        mine.add(NULL_TASK)
        left = (
            pending.outputs, pending.interrupts, pending.errors, pending.answers, pending.handled
        )  # fmt: skip
        return any(name not in mine for found in left for name in found)

    def _entries(self) -> list[Entry]:
        tasks: Sequence[TaskRun] = self.tasks
        if len(tasks) == 1:
            entries = [entry_of(tasks[0])]
        else:
            entries = [entry_of(t) for t in sorted(tasks, key=lambda t: t.task.order)]
        if self.null_writes:
            entries.insert(0, Entry(INPUT, KIND_COMMAND, (), self.null_writes))
        return entries

    # -- how a run ends ------------------------------------------------------------------------

    def _paused(self) -> bool:
        """Whether something inside a task has stopped without asking anything."""
        calls = () if self.board is None else self.board.made
        return any(t.paused for t in self.tasks) or any(c.over and c.paused for c in calls)

    def _stops(self, names: Breakpoints, tasks: Sequence[Task]) -> bool:
        if not names or not self.state.at_new_breakpoint:
            return False
        if names == "*":
            return not self.publisher.hides and any(not t.node.hidden for t in tasks)
        return any(t.node.name in names for t in tasks)

    def _break(self) -> None:
        """Stop at a breakpoint."""
        if self.nested:
            end(self, ThreadStatus.INTERRUPTED, RunStatus.INTERRUPTED)
            raise GraphInterrupt(())
        self.publisher.stopped()
        end(self, ThreadStatus.INTERRUPTED, RunStatus.INTERRUPTED)

    @property
    def stopping(self) -> bool:
        """Whether nothing new is to be begun, because somebody asked for the thread."""
        return self.rec is not None and self.rec.handle.stopping

    def _stop(self, due: Sequence[Task]) -> None:
        """Stop before a superstep, so that somebody else can have the thread; but not before
        the input has become a part of the state."""
        be_undone(self.root.opened)
        if all(t.node.hidden for t in due):
            return
        if self.nested:
            self._break()
        raise Stopped

    def _raise_or_interrupt(self) -> None:
        """Some task has no result: raise the first failure, else stop at the questions."""
        if self.stopping:
            be_undone(self.root.opened)
        failed = [t for t in self.tasks if t.failure is not None]
        failed.sort(key=lambda t: isinstance(t.failure, asyncio.CancelledError))
        if failed:
            task = failed[0]
            if task.failure is None:
                return
            # It has no name here, as this frame becomes a part of its traceback.
            note_task(task, task.failure)
            end(self, ThreadStatus.FAILED, RunStatus.FAILED, task.failure)
            raise task.failure
        if self.stopping and not self.nested and self._paused():
            raise Stopped
        for run in self.tasks:
            self.interrupts.extend(run.interrupts)
        end(self, ThreadStatus.INTERRUPTED, RunStatus.INTERRUPTED)
        if self.nested:
            raise GraphInterrupt(tuple(self.interrupts))
        if not self.interrupts:
            self.publisher.stopped()
        # The caller sees what finished siblings wrote, although the barrier has not come.
        done = finished(self)
        if done:
            apply(self.spec, self.state, done)
            self.publisher.values(done)


__all__ = ["INPUT", "Breakpoints", "Run"]
