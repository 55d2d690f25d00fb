"""What a task that has ended leaves behind, filed under the checkpoint it was planned at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepwell._engine.rescue import described, stored
from stepwell._engine.task import TaskRun
from stepwell._plan.tasks import Write

if TYPE_CHECKING:
    from stepwell._engine.recorder import Recorder
    from stepwell._engine.run import Run


def keep(rec: Recorder, task: TaskRun, others: bool) -> asyncio.Future[None] | None:
    """Fix what a task left, and file it if the barrier may not come.

    Args:
        others: Whether others of its superstep still run.

    Returns:
        What to wait for before another task takes its place; see `Run.settle`.
    """
    run = task.run
    if task.encoded is None and task.writes is not None:
        _encode(rec, task, task.writes)
    if rec.exits and task.interrupts:
        try:
            rec.try_question(task.interrupts, node=task.task.name)
        except Exception as exc:  # noqa: BLE001  # as above
            task.interrupts, task.failure = (), exc
    if run.nested and task.took_answer and task.writes is not None:
        take_back(task)
    if rec.exits:
        return None
    if task.writes is not None:
        tasks = run.tasks
        alone = len(tasks) == 1 and tasks[0] is task
        if not (others or (not alone and _broken(run))):
            return None
        if rec.held_back and not task.is_call:
            return None  # worth nothing without the checkpoint, and that was left out
    leave(rec, task)
    return rec.settled()


def _encode(rec: Recorder, task: TaskRun, writes: Sequence[Write]) -> None:
    """Fix what a finished task wrote; what cannot be fixed is its failure."""
    try:
        task.encoded = rec.encode(writes)
    except Exception as exc:  # noqa: BLE001  # the codec refuses it, or a filter fails
        task.writes, task.failure = None, exc


def _broken(run: Run) -> bool:
    """Whether a task of this superstep ended without a result: then no barrier follows."""
    return any(t.interrupts or t.failure is not None for t in run.tasks)


def leave(rec: Recorder, task: TaskRun) -> None:
    """File what a task left behind under the current checkpoint."""
    path, name = task.task.path_text, task.id_bytes
    task.left = True
    if task.encoded is None and task.writes is not None:  # it was cancelled meanwhile
        _encode(rec, task, task.writes)
    if task.handled is not None:
        rec.failed(name, path, described(task.handled))
        rec.handled(name, path, stored(rec, task.handled))
    elif task.writes is not None:
        rec.finished(name, path, task.writes, task.encoded)
    elif task.interrupts:
        try:
            rec.asked(name, path, task.interrupts, node=task.task.name)
        except Exception as exc:  # noqa: BLE001  # as above
            task.interrupts, task.failure = (), exc
    if task.failure is not None:
        rec.failed(name, path, described(task.failure))
    if task.new_answers:
        rec.answered(name, path, task.answers, node=task.task.name)
    if task.took_answer:
        take_back(task)


def take_back(task: TaskRun) -> None:
    """A task has used the caller's bare answer: nobody else may be given it.

    Recorded before the task's result is: else the next question would find the answer after a
    crash.
    """
    task.took_answer = False
    rec = task.run.root.rec
    if rec is not None and not rec.exits:
        rec.command((), [])


__all__ = ["keep", "leave", "take_back"]
