"""What the record of a barrier keeps of each task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell._engine.pending import dump_interrupts
from stepwell._engine.rescue import described
from stepwell._journal.record import (
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_RESUME,
    Entry,
)

if TYPE_CHECKING:
    from stepwell._engine.task import TaskRun


_new = tuple.__new__


def entry_of(run: TaskRun) -> Entry:
    """The contribution of a finished task."""
    task = run.task
    index = task.index
    return _new(
        Entry,
        (
            task.name, index, task.triggers if index < 0 else (), run.writes or (), run.encoded,
            None if not run.answers and run.handled is None and not run.run.opening
            else _control(run),
        ),
    )  # fmt: skip


def _control(run: TaskRun) -> dict[int, Any] | None:
    """What a finished task asked and was told on the way: history shows it."""
    control: dict[int, Any] = {}
    if run.handled is not None:
        control[SLOT_ERROR] = described(run.handled)
        control[SLOT_HANDLED] = described(run.handled)
    pending = run.run.pending
    if not run.answers and (not run.run.opening or not pending):
        return control or None
    name = run.id_bytes
    if asked := pending.interrupts.get(name):
        control[SLOT_INTERRUPT] = dump_interrupts(asked)
    if name in pending.errors and run.handled is None:
        control[SLOT_ERROR] = pending.errors[name]
    if run.answers:
        control[SLOT_RESUME] = run.answers
    return control or None


__all__ = ["entry_of"]
