"""What a database holds, as plain values: what the checker reasons about.

Nothing here knows a saver or a driver. Tests of the checker build these by hand, or take
those of a real database and change them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """One superstep of one namespace.

    Attributes:
        ns: The name of the namespace.
        seq: Its number there.
        parent: The seq it goes on from; 0 = nothing.
        checkpoint_id: Its name.
        step: The superstep.
        source: "input" | "loop" | "update" | "fork".
        run: Small number of the run that wrote it; 0 = none.
        epoch: The epoch it was written under.
        record_no: Its number among the records of the thread.
        document: Its body, parsed.
        state: Channel values as the library folds them; None: they were not read.
        metadata: Its own, not the run's.
    """

    ns: str
    seq: int
    parent: int
    checkpoint_id: str
    step: int
    source: str
    run: int
    epoch: int
    record_no: int
    document: Mapping[str, Any]
    state: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWrite:
    """What one task of an unfinished superstep left behind. `slot` 0 is its result."""

    ns: str
    seq: int
    task: str
    slot: int
    path: str
    epoch: int
    record_no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run: its small number, its name, how it stands."""

    run: int
    run_id: str
    status: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StoredThread:
    """One thread.

    Attributes:
        epoch: The newest claim's.
        record_no: How many records it has had.
        status: "idle" | "running" | "interrupted" | "failed" | "done".
        next: The nodes still to run, as the library shows them; None: not known.
        heads: Namespace -> seq of its newest checkpoint.
        damage: What could not be read.
    """

    thread_id: str
    epoch: int
    record_no: int
    status: str
    next: tuple[str, ...] | None
    heads: Mapping[str, int]
    checkpoints: Sequence[StoredCheckpoint] = ()
    writes: Sequence[StoredWrite] = ()
    runs: Sequence[StoredRun] = ()
    damage: Sequence[str] = ()

    @cached_property
    def by_seq(self) -> dict[tuple[str, int], StoredCheckpoint]:
        """(namespace, seq) -> checkpoint."""
        return {(row.ns, row.seq): row for row in self.checkpoints}

    @cached_property
    def by_id(self) -> dict[tuple[str, str], StoredCheckpoint]:
        """(namespace, checkpoint id) -> checkpoint."""
        return {(row.ns, row.checkpoint_id): row for row in self.checkpoints}

    @cached_property
    def runs_by_number(self) -> dict[int, StoredRun]:
        """Small number -> run."""
        return {run.run: run for run in self.runs}

    @cached_property
    def children(self) -> dict[tuple[str, int], list[StoredCheckpoint]]:
        """(namespace, seq) -> checkpoints that go on from it."""
        found: dict[tuple[str, int], list[StoredCheckpoint]] = {}
        for row in self.checkpoints:
            found.setdefault((row.ns, row.parent), []).append(row)
        return found

    def chain(self, ns: str, seq: int | None = None) -> list[StoredCheckpoint]:
        """A checkpoint (None: the head) and its ancestors, oldest first, as far as they are
        there; a circle ends the walk."""
        at, found, seen = self.heads.get(ns, 0) if seq is None else seq, [], set[int]()
        while at and at not in seen and (row := self.by_seq.get((ns, at))) is not None:
            seen.add(at)
            found.append(row)
            at = row.parent
        return found[::-1]

    def head(self, ns: str = "") -> StoredCheckpoint | None:
        """The newest checkpoint of a namespace."""
        return self.by_seq.get((ns, self.heads.get(ns, 0)))


@dataclass(frozen=True, kw_only=True)
class StoredDatabase:
    """Threads by id."""

    threads: Mapping[str, StoredThread]


__all__ = ["StoredCheckpoint", "StoredDatabase", "StoredRun", "StoredThread", "StoredWrite"]
