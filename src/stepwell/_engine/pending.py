"""What tasks of an unfinished superstep left behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from stepwell._codec import Codec
from stepwell._journal.load import Contribution, pending_value, pending_writes
from stepwell._journal.record import (
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_OUTPUT,
    SLOT_RESUME,
)
from stepwell._plan.tasks import Task, Write, handler_id
from stepwell.checkpoint.driver import WriteRow
from stepwell.types import Interrupt

NULL_TASK: Final = bytes(16)
"""The task id of writes that are no task's: a command's update, goto and resume."""


class Pending:
    """Pending writes of one checkpoint, by task id.

    A task has finished when it has an entry in `outputs` (which may be empty); its
    interrupts wait for an answer only while it has not. `handled` are the tasks that failed
    and whose error handler was started, with what they failed with.
    """

    __slots__ = ("answers", "errors", "handled", "interrupts", "outputs")

    def __init__(self) -> None:
        self.outputs: dict[bytes, list[Write]] = {}
        self.errors: dict[bytes, Any] = {}
        self.interrupts: dict[bytes, tuple[Interrupt, ...]] = {}
        self.answers: dict[bytes, list[Any]] = {}
        self.handled: dict[bytes, BaseException] = {}

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
        elif slot == SLOT_HANDLED:
            self.handled[task_id] = _exception(value)

    def add(self, task_id: bytes, found: Contribution) -> None:
        """File what a barrier's record kept of a task."""
        if SLOT_HANDLED not in found.control:
            self.outputs.setdefault(task_id, found.writes)
        for slot, value in found.control.items():
            self.set(task_id, slot, value)

    def handler_of(self, task: Task, task_id: bytes) -> bytes | None:
        """The id of the task that handles this one's failure, None if it has not failed."""
        if task_id not in self.handled or task.node.handler is None:
            return None
        return handler_id(task_id, task.node.handler)

    def output_of(self, task: Task, task_id: bytes) -> list[Write] | None:
        """What a finished task wrote (its error handler, where it failed); None: unfinished."""
        if task_id in self.outputs:
            return self.outputs[task_id]
        handler = self.handler_of(task, task_id) if self.handled else None
        return None if handler is None else self.outputs.get(handler)

    def open_interrupts(self) -> dict[str, Interrupt]:
        """Questions that wait for an answer, by id."""
        return {
            i.id: i
            for task_id, interrupts in self.interrupts.items()
            if task_id not in self.outputs
            for i in interrupts
        }


def _exception(stored: Any) -> BaseException:
    """A failure as it was stored: the exception, or its repr where that was all there was."""
    return stored if isinstance(stored, BaseException) else RecordedError(str(stored))


class RecordedError(Exception):
    """Stands for an exception whose class could not be stored; its text is that one's repr.

    Register the class (`stepwell.register`) to be given the exception itself.
    """

    def __repr__(self) -> str:
        return str(self)


def dump_interrupts(interrupts: Iterable[Interrupt]) -> list[list[Any]]:
    """Interrupts as plain values."""
    return [[i.value, i.id, i.response_schema] for i in interrupts]


def load_interrupts(stored: Iterable[list[Any]]) -> tuple[Interrupt, ...]:
    """Interrupts from the plain values that `dump_interrupts` made."""
    return tuple(Interrupt(value, id_, response_schema=schema) for value, id_, schema in stored)


__all__ = ["NULL_TASK", "Pending", "RecordedError", "dump_interrupts", "load_interrupts"]
