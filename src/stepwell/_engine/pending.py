"""What tasks of an unfinished superstep left behind."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from stepwell._codec import Codec
from stepwell._journal.load import Contribution, pending_value, pending_writes
from stepwell._journal.record import (
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_OUTPUT,
    SLOT_PASSED,
    SLOT_RESUME,
)
from stepwell._plan.tasks import Task, Write, handler_id
from stepwell.checkpoint.driver import WriteRow
from stepwell.types import Interrupt

NULL_TASK: Final = bytes(16)
"""The task id of writes that are no task's: a command's update, goto and resume."""
CALL_MARK: Final = "@"
"""First character of the path under which a task call files what it leaves."""


class Called:
    """What a task call left behind: nobody looks at its result before the call is made again."""

    __slots__ = ("name", "row")

    def __init__(self, name: str) -> None:
        self.name = name
        self.row: WriteRow | None = None
        """Its result, still encoded; None if it has none."""


def call_place(parent_path: str, index: int) -> str:
    """Where in the order of its parent's calls a call stands."""
    return f"{CALL_MARK}{parent_path}/{index}"


def call_path(parent_path: str, index: int, name: str) -> str:
    """The path of a call: its place, and its name (which must be the same every time)."""
    from urllib.parse import quote  # with what it loads, as large as the rest of the file

    return f"{call_place(parent_path, index)}:{quote(name, safe='')}"


class Pending:
    """Pending writes of one checkpoint, by task id.

    A task has finished when it has an entry in `outputs` (which may be empty); its
    interrupts wait for an answer only while it has not. `handled` are the tasks that failed
    and whose error handler was started, with what they failed with. Results of task calls are
    not in `outputs` but in `calls`, by place.
    """

    __slots__ = (
        "answers", "called", "calls", "errors", "handled", "interrupts", "outputs", "passed",
        "versions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outputs: dict[bytes, list[Write]] = {}
        self.errors: dict[bytes, Any] = {}
        self.interrupts: dict[bytes, tuple[Interrupt, ...]] = {}
        self.answers: dict[bytes, list[Any]] = {}
        self.handled: dict[bytes, BaseException] = {}
        self.calls: dict[str, Called] = {}
        self.called: set[bytes] = set()
        """Ids of the calls that left something, whatever it was."""
        self.passed = False
        """Whether somebody has resumed the run from a breakpoint before this superstep."""
        self.versions: dict[bytes, int] = {}
        """State versions of outputs, where they are not 0."""

    def __bool__(self) -> bool:
        return bool(self.outputs or self.errors or self.interrupts or self.answers or self.called)

    @classmethod
    def from_rows(cls, rows: Iterable[WriteRow], codec: Codec) -> Pending:
        """Decode the rows filed under one checkpoint, in the order they were written."""
        pending = cls()
        for row in rows:
            if row.task_path.startswith(CALL_MARK):
                pending._add_call(row)
            if row.idx != SLOT_OUTPUT:
                pending.set(row.task_id, row.idx, pending_value(row, codec))
            elif row.task_id not in pending.called:
                pending.outputs[row.task_id], version = pending_writes(row, codec)
                if version:
                    pending.versions[row.task_id] = version
        return pending

    def _add_call(self, row: WriteRow) -> None:
        self.called.add(row.task_id)
        if row.idx == SLOT_ERROR:
            return  # it left nothing that another call in its place could be given
        from urllib.parse import unquote

        place, _, name = row.task_path.rpartition(":")
        known = self.calls.setdefault(place, Called(unquote(name)))
        if row.idx == SLOT_OUTPUT:
            known.row = row

    def set(self, task_id: bytes, slot: int, value: Any) -> None:
        """Put the decoded value of a control slot in its place."""
        if slot == SLOT_ERROR:
            self.errors[task_id] = value
        elif slot == SLOT_INTERRUPT:
            self.interrupts[task_id] = load_interrupts(value)
        elif slot == SLOT_RESUME:
            self.answers[task_id] = value
        elif slot == SLOT_PASSED:
            self.passed = True
        elif slot == SLOT_HANDLED:
            self.handled[task_id] = _exception(value)

    def add(self, task_id: bytes, found: Contribution) -> None:
        """File what a barrier's record kept of a task."""
        if SLOT_HANDLED not in found.control:
            self.outputs.setdefault(task_id, found.writes)
        for slot, value in found.control.items():
            self.set(task_id, slot, value)

    def refile(self, names: Mapping[bytes, bytes], *, stay: Collection[bytes] = ()) -> None:
        """File what tasks left under other task ids; what is there already is newer, and stays.
        So do the outputs of the tasks in `stay`, which are filed under their ids of today."""
        _refile(self.outputs, {o: n for o, n in names.items() if o not in stay})
        for found in (self.errors, self.interrupts, self.answers, self.handled):
            _refile(found, names)

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
        done = {c.row.task_id for c in self.calls.values() if c.row is not None}
        return {
            i.id: i
            for task_id, interrupts in self.interrupts.items()
            if task_id not in self.outputs and task_id not in done and task_id not in self.handled
            for i in interrupts
        }


def _refile(found: dict[bytes, Any], names: Mapping[bytes, bytes]) -> None:
    # All are taken out first: the old id of one task may be the new one of another.
    left = {new: found.pop(old) for old, new in names.items() if old in found}
    for new, value in left.items():
        found.setdefault(new, value)


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


__all__ = [
    "CALL_MARK", "NULL_TASK", "Called", "Pending", "RecordedError", "call_path", "call_place",
    "dump_interrupts", "load_interrupts",
]  # fmt: skip
