"""What tasks of an unfinished superstep left behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from stepwell._codec import Codec
from stepwell._journal.load import Contribution, pending_value, pending_writes
from stepwell._journal.record import SLOT_ERROR, SLOT_INTERRUPT, SLOT_OUTPUT, SLOT_RESUME
from stepwell._plan.tasks import Write
from stepwell.checkpoint.driver import WriteRow
from stepwell.types import Interrupt

NULL_TASK: Final = bytes(16)
"""The task id of writes that are no task's: a command's update, goto and resume."""


class Pending:
    """Pending writes of one checkpoint, by task id.

    A task has finished when it has an entry in `outputs` (which may be empty); its
    interrupts wait for an answer only while it has not.
    """

    __slots__ = ("answers", "errors", "interrupts", "outputs")

    def __init__(self) -> None:
        self.outputs: dict[bytes, list[Write]] = {}
        self.errors: dict[bytes, Any] = {}
        self.interrupts: dict[bytes, tuple[Interrupt, ...]] = {}
        self.answers: dict[bytes, list[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self.outputs or self.errors or self.interrupts or self.answers)

    @classmethod
    def from_rows(cls, rows: Iterable[WriteRow], codec: Codec) -> Pending:
        """Decode the rows filed under one checkpoint, in the order they were written."""
        pending = cls()
        for row in rows:
            if row.idx == SLOT_OUTPUT:
                pending.outputs[row.task_id] = pending_writes(row, codec)
            else:
                pending.set(row.task_id, row.idx, pending_value(row, codec))
        return pending

    def set(self, task_id: bytes, slot: int, value: Any) -> None:
        """Put the decoded value of a control slot in its place."""
        if slot == SLOT_ERROR:
            self.errors[task_id] = value
        elif slot == SLOT_INTERRUPT:
            self.interrupts[task_id] = load_interrupts(value)
        elif slot == SLOT_RESUME:
            self.answers[task_id] = value

    def add(self, task_id: bytes, found: Contribution) -> None:
        """File what a barrier's record kept of a task."""
        self.outputs.setdefault(task_id, found.writes)
        for slot, value in found.control.items():
            self.set(task_id, slot, value)

    def open_interrupts(self) -> dict[str, Interrupt]:
        """Questions that wait for an answer, by id."""
        return {
            i.id: i
            for task_id, interrupts in self.interrupts.items()
            if task_id not in self.outputs
            for i in interrupts
        }


def dump_interrupts(interrupts: Iterable[Interrupt]) -> list[list[Any]]:
    """Interrupts as plain values."""
    return [[i.value, i.id, i.response_schema] for i in interrupts]


def load_interrupts(stored: Iterable[list[Any]]) -> tuple[Interrupt, ...]:
    """Interrupts from the plain values that `dump_interrupts` made."""
    return tuple(Interrupt(value, id_, response_schema=schema) for value, id_, schema in stored)


__all__ = ["NULL_TASK", "Pending", "dump_interrupts", "load_interrupts"]
