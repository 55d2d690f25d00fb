"""What an unfinished run left, while durability="exit" holds its records back."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from stepwell._engine.filing import leave
from stepwell._engine.pending import Called, Pending, call_place
from stepwell._engine.rescue import described

if TYPE_CHECKING:
    from stepwell._engine.calls import CallRun
    from stepwell._engine.run import Run
    from stepwell._engine.task import TaskRun


def left_by(run: Run) -> Pending:
    """What the tasks of a run's open superstep left, as if it had been recorded and loaded."""
    pending = Pending()
    for part in Pending.__slots__:
        setattr(pending, part, copy(getattr(run.pending, part)))
    for task in run.tasks:
        if not task.loaded:
            _file(pending, task)
            if task.writes is not None and task.handled is None:
                pending.outputs[task.id_bytes] = task.writes
    for call in () if run.board is None else run.board.made:
        if not call.loaded:
            _file(pending, call)
            _file_call(pending, call)
    return pending


def leave_again(run: Run) -> None:
    """File what a run found of its superstep in the run before it, which was never recorded."""
    rec = run.rec
    if rec is None or not run.relays:
        return
    for task in run.tasks:
        if task.loaded and task.writes is not None:
            task.encoded = rec.encode(task.writes)
            leave(rec, task)
    for called in run.pending.calls.values():
        if called.row is not None:
            rec.write_again(called.row)


def _file(pending: Pending, task: TaskRun) -> None:
    name = task.id_bytes
    error = task.handled or task.failure
    if error is not None:
        pending.errors[name] = described(error)
    if task.handled is not None:
        pending.handled[name] = task.handled
    if task.interrupts:
        pending.interrupts[name] = task.interrupts
    if task.answers:
        pending.answers[name] = list(task.answers)


def _file_call(pending: Pending, call: CallRun) -> None:
    rec, name = call.run.rec, call.id_bytes
    pending.called.add(name)
    if rec is None or call.failure is not None:
        return
    place = call_place(call.parent.task.path_text, call.task.index)
    known = pending.calls.setdefault(place, Called(call.name))
    if call.writes is not None:
        known.row = rec.row_of(name, call.task.path_text, call.writes, call.encoded)


__all__ = ["leave_again", "left_by"]
