"""One history and one database side by side, indexed for the invariants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from stepwell.testing._effects import Effect
from stepwell.testing._history import OP_KEY, Event, Operation, operations
from stepwell.testing._naive import Rule, State, UnreadableError, states_of
from stepwell.testing._stored import StoredCheckpoint, StoredDatabase, StoredThread

ENDS_THREAD = ("delete",)
THINS_OUT = ("prune",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken promise.

    Attributes:
        invariant: "I1" to "I10".
        thread: The thread it was seen on.
        message: What is wrong, with the places to look at.
    """

    invariant: str
    thread: str | None
    message: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {"invariant": self.invariant, "thread": self.thread, "message": self.message}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the invariants look at.

    Attributes:
        events: The history.
        database: What is there now.
        effects: What nodes said of themselves.
        rules: Channel -> how its writes combine (None: the last one stays), where that is
            known; checked are only these.
        ahead_max: Supersteps that may run ahead of what is durable (durability="async").
    """

    events: Sequence[Event]
    database: StoredDatabase
    effects: Sequence[Effect] = ()
    rules: Mapping[str, Rule | None] = field(default_factory=dict)
    ahead_max: int = 16

    @cached_property
    def operations(self) -> list[Operation]:
        """Operations in the order in which they began."""
        return operations(self.events)

    @cached_property
    def by_op(self) -> dict[str, Operation]:
        """Operations by name."""
        return {each.begin.op: each for each in self.operations}

    @cached_property
    def acknowledged(self) -> list[Event]:
        """Events that tell of a checkpoint which was said to be durable."""
        return [
            event
            for event in self.events
            if event.what == "ok" and event.verb != "read" and event.checkpoint is not None
        ]

    @cached_property
    def thread_ids(self) -> list[str]:
        """Threads that either side knows."""
        told = {e.thread for e in self.events if e.thread is not None}
        return sorted(told | {e.thread for e in self.effects} | set(self.database.threads))

    @cached_property
    def _of_thread(self) -> dict[str | None, list[Operation]]:
        found: dict[str | None, list[Operation]] = {}
        for each in self.operations:
            found.setdefault(each.begin.thread, []).append(each)
        return found

    def of_thread(self, thread: str | None) -> list[Operation]:
        """Operations on one thread."""
        return self._of_thread.get(thread, [])

    def voided(self, event: Event, verbs: Sequence[str] = ENDS_THREAD) -> bool:
        """Whether an operation of this kind may have undone what an event tells of."""
        return any(
            each.begin.verb in verbs and each.outcome != "fail" and each.ended > event.n
            for each in self.of_thread(event.thread)
        )

    def may_miss_rows(self, thread: str) -> bool:
        """Whether the thread may have been thinned out."""
        return any(
            each.begin.verb in THINS_OUT and each.outcome != "fail"
            for each in self.of_thread(thread)
        )

    def was_deleted(self, thread: str) -> bool:
        """Whether the thread may have been deleted, and begun anew."""
        return any(
            each.begin.verb in ENDS_THREAD and each.outcome != "fail"
            for each in self.of_thread(thread)
        )

    def durabilities(self, thread: str) -> set[str]:
        """The durabilities that runs of the thread had; empty if the history has no runs."""
        runs = (each.begin for each in self.of_thread(thread) if each.begin.verb == "run")
        return {begin.durability or "async" for begin in runs}

    def travels(self, thread: str) -> bool:
        """Whether somebody went back to an older checkpoint of the thread."""
        return any(
            each.begin.from_checkpoint is not None or each.begin.verb == "rollback"
            for each in self.of_thread(thread)
        )

    def writer(self, thread: StoredThread, row: StoredCheckpoint) -> Operation | None:
        """The operation that wrote a checkpoint, if its metadata (or its run's) tell."""
        name = row.metadata.get(OP_KEY)
        run = None if row.source == "update" else thread.runs_by_number.get(row.run)
        if name is None and run is not None:
            name = run.metadata.get(OP_KEY)
        return None if name is None else self.by_op.get(name)

    def may_branch(self, thread: StoredThread, row: StoredCheckpoint) -> bool:
        """Whether a checkpoint may go on from one that has another child already."""
        if row.source == "fork":
            return True
        writer = self.writer(thread, row)
        if writer is not None and writer.begin.from_checkpoint is not None:
            return True
        if writer is not None and "z" not in row.document:
            return False
        # The one record of a run with durability="exit" may stand for a fork.
        return row.source == "update" or self.travels(thread.thread_id)

    @cached_property
    def _states(self) -> dict[tuple[str, str], dict[int, State | UnreadableError]]:
        return {}

    def states(self, thread: StoredThread, ns: str) -> dict[int, State | UnreadableError]:
        """Seq -> what the recorded changes add up to."""
        known = self._states.get((thread.thread_id, ns))
        if known is None:
            known = self._states[thread.thread_id, ns] = states_of(thread, ns)
        return known

    def threads(self) -> Iterator[StoredThread]:
        """The threads of the database."""
        yield from self.database.threads.values()


__all__ = ["Case", "Violation"]
