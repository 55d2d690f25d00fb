"""What a run tells observers. Made only when somebody observes: else it costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from stepwell.observe import (
    Observers,
    RunFinished,
    RunRecovered,
    RunStarted,
    SuperstepFinished,
    TaskFinished,
    TaskStarted,
)

if TYPE_CHECKING:
    from stepwell._engine.run import Run
    from stepwell._engine.task import TaskRun

Outcome = Literal["ok", "error", "interrupt", "cancelled"]


class Watch:
    """The events of one run. State values are never part of an event."""

    __slots__ = ("_observers", "_run", "_run_began", "_step_began")

    def __init__(self, observers: Observers, run: Run) -> None:
        self._observers = observers
        self._run = run
        self._run_began = run.clock.monotonic()
        self._step_began = self._run_began

    def inside(self, run: Run) -> Watch:
        """The events of a run inside this one; beginning and end are the root's alone."""
        return Watch(self._observers, run)

    @property
    def surrounds(self) -> bool:
        """Whether an observer sets something around the code of tasks."""
        return bool(self._observers.entering)

    def surround(self, task: TaskRun) -> None:
        """An attempt of a task is about to run, here, in its own context."""
        if self._observers.entering:
            self._observers.enter_task(self._started(task))

    def run_started(self, *, attempt: int, resumed: bool) -> None:
        """The run holds its thread and begins."""
        run = self._run
        self._observers(
            RunStarted(
                thread_id=run.thread_id, ns=run.ns, run_id=run.run_id, graph=run.graph.name,
                attempt=attempt, resumed=resumed,
            )
        )  # fmt: skip

    def run_recovered(self, *, attempt: int) -> None:
        """The run of a worker that is gone goes on here."""
        run = self._run
        self._observers(
            RunRecovered(
                thread_id=run.thread_id, ns=run.ns, run_id=run.run_id, graph=run.graph.name,
                attempt=attempt,
            )
        )  # fmt: skip

    def run_finished(self, status: str, error: BaseException | None = None) -> None:
        """The run has ended, in whatever way."""
        run = self._run
        self._observers(
            RunFinished(
                thread_id=run.thread_id, ns=run.ns, run_id=run.run_id, graph=run.graph.name,
                status=status, supersteps=run.barriers,
                duration_s=run.clock.monotonic() - self._run_began,
                error=None if error is None else type(error).__name__,
            )
        )  # fmt: skip

    def tasks_started(self, tasks: Sequence[TaskRun]) -> None:
        """A superstep begins."""
        run = self._run
        self._step_began = run.clock.monotonic()
        for task in tasks:
            self.call_started(task)

    def call_started(self, task: TaskRun) -> None:
        """A task begins, of a superstep or called by another one."""
        self._observers(self._started(task))

    def _started(self, task: TaskRun) -> TaskStarted:
        run = self._run
        return TaskStarted(
            thread_id=run.thread_id, ns=run.ns, run_id=run.run_id, node=task.name,
            task_id=task.id, step=run.step, attempt=task.attempt,
        )  # fmt: skip

    def task_finished(self, task: TaskRun) -> None:
        """A task has ended, in whatever way."""
        run = self._run
        outcome: Outcome = "ok"
        if task.interrupts:
            outcome = "interrupt"
        elif isinstance(task.failure, asyncio.CancelledError):
            outcome = "cancelled"
        elif task.failure is not None:
            outcome = "error"
        self._observers(
            TaskFinished(
                thread_id=run.thread_id, ns=run.ns, run_id=run.run_id, node=task.name,
                task_id=task.id, step=run.step, attempt=task.attempt, outcome=outcome,
                duration_s=run.clock.monotonic() - (task.began or self._step_began),
                error=None if task.failure is None else type(task.failure).__name__,
            )
        )  # fmt: skip

    def superstep_finished(self, step: int, tasks: int) -> None:
        """The barrier has been applied and its record appended."""
        run = self._run
        self._observers(
            SuperstepFinished(
                thread_id=run.thread_id, ns=run.ns, run_id=run.run_id, step=step,
                seq=None if run.rec is None else run.rec.seq, tasks=tasks,
                duration_s=run.clock.monotonic() - self._step_began,
            )
        )  # fmt: skip


__all__ = ["Watch"]
