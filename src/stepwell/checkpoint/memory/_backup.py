"""Memory: a snapshot of all threads, and threads put in place as they were elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from stepwell.checkpoint._driver_parts import RESEALED, not_there
from stepwell.checkpoint.driver import (
    UNENDED,
    NamespaceRow,
    RowKind,
    StoredRow,
    ThreadChange,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    place_of,
)
from stepwell.checkpoint.memory._rows import Space, Thread

R = TypeVar("R", bound=StoredRow)


class MemorySnapshot:
    """Threads as they were when it was made; their rows never change, only the lists of them."""

    def __init__(self, threads: Mapping[ThreadKey, Thread], note: str | None, now: float) -> None:
        self.note = note
        self._now = now
        self._threads = {key: _frozen(threads[key]) for key in sorted(threads)}

    async def count(self, scope: str | None = None) -> int:
        """Count threads."""
        return sum(scope is None or key.scope == scope for key in self._threads)

    async def threads(
        self, after: ThreadKey | None, limit: int, scope: str | None = None
    ) -> list[ThreadRow]:
        """Read one page of rows."""
        behind = (
            thread.row(self._now)
            for key, thread in self._threads.items()
            if (after is None or key > after) and (scope is None or key.scope == scope)
        )
        return list(islice(behind, limit))

    async def named(self, keys: Sequence[ThreadKey]) -> list[ThreadRow | None]:
        """Read the rows of some threads."""
        found = [self._threads.get(key) for key in keys]
        return [None if thread is None else thread.row(self._now) for thread in found]

    async def rows(
        self,
        kind: RowKind,
        keys: Sequence[ThreadKey],
        *,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
    ) -> list[list[Any]]:
        """Read rows of one kind."""
        answers: list[list[Any]] = []
        for key in keys:
            thread = self._threads.get(key)
            found = () if thread is None else _rows(thread, kind)
            behind = (row for row in found if after is None or place_of(kind, row) > after)
            answers.append(list(islice(behind, limit)))
        return answers


def _frozen(thread: Thread) -> Thread:
    """The thread with lists of its own, so that what comes later is not in them."""
    held = copy.copy(thread)
    held.root = _frozen_space(thread.root)
    if thread.spaces is not None:
        held.spaces = {number: _frozen_space(space) for number, space in thread.spaces.items()}
    held.runs = list(thread.runs)
    if thread.writes is not None:
        held.writes = {place: dict(slots) for place, slots in thread.writes.items()}
    return held


def _frozen_space(space: Space) -> Space:
    held = copy.copy(space)
    held.rows = list(space.rows)
    return held


def _rows(thread: Thread, kind: RowKind) -> Iterable[StoredRow]:
    spaces = {0: thread.root, **(thread.spaces or {})}
    if kind is RowKind.NAMESPACES:
        return [NamespaceRow(n, space.name, space.head) for n, space in spaces.items() if n]
    if kind is RowKind.RUNS:
        return thread.runs
    if kind is RowKind.CHECKPOINTS:
        return (row for space in spaces.values() for row in space.rows)
    if kind is RowKind.SEGMENTS:
        return (row for space in spaces.values() for row in space.segments or ())
    filed = [row for slots in (thread.writes or {}).values() for row in slots.values()]
    return sorted(filed, key=lambda row: row[:4])


def put(threads: dict[ThreadKey, Thread], part: ThreadPart) -> None:
    """Put a part of a thread in its place."""
    row = part.thread
    if part.begins:
        threads[row.key] = _begun(row)
    thread = threads[row.key]
    for ns, name, head in part.namespaces:
        thread.spaces = thread.spaces or {}
        thread.numbers = thread.numbers or {}
        space = thread.spaces[ns] = Space(name)
        space.head = space.last = head
        thread.numbers[name] = ns
    for run in part.runs:
        thread.runs.append(run)
        if run.idempotency_key is not None:
            thread.idempotency = thread.idempotency or {}
            thread.idempotency[run.idempotency_key] = run.run
    spaces = {0: thread.root, **(thread.spaces or {})}
    for checkpoint in part.checkpoints:
        space = spaces[checkpoint.ns]
        last = max(space.last, checkpoint.seq)
        space.append(checkpoint)
        space.last = last
    for segment in part.segments:
        space = spaces[segment.ns]
        space.segments = [*(space.segments or ()), segment]
        space.last = max(space.last, segment.seq_to)
        if segment.parent is not None:
            space.branches = {**(space.branches or {}), segment.seq_from: segment.parent}
    for write in part.writes:
        thread.writes = thread.writes or {}
        thread.writes.setdefault((write.ns, write.seq), {})[write.task_id, write.idx] = write
    if part.ends:
        thread.layout_no = row.layout_no
        for space in spaces.values():  # jumps of rows and of segments came one after the other
            space.branches = dict(sorted(space.branches.items())) if space.branches else None


def reseal(changes: Sequence[tuple[Thread | None, ThreadPart]]) -> list[bool]:
    """Put other bytes into rows of threads (None: one that is not ours).

    Raises:
        StorageError: A row is not there; nothing was done.
    """
    fit = [
        (thread, part)
        for thread, part in changes
        if thread is not None and thread.layout_no == part.thread.layout_no
    ]
    for thread, part in fit:
        _look_for(thread, part)
    for thread, part in fit:
        _reseal(thread, part)
    done = {part.thread.key for _, part in fit}
    return [part.thread.key in done for _, part in changes]


def _look_for(thread: Thread, part: ThreadPart) -> None:
    for kind in RESEALED:
        there = {place_of(kind, row) for row in _rows(thread, kind)}
        found = sum(place_of(kind, row) in there for row in getattr(part, kind))
        if found != len(getattr(part, kind)):
            raise not_there(part, kind, found)


def _reseal(thread: Thread, part: ThreadPart) -> None:
    for run in part.runs:
        known = thread.runs[run.run - 1]
        if known.idempotency_key is not None:
            (thread.idempotency or {}).pop(known.idempotency_key, None)
        if run.idempotency_key is not None:
            thread.idempotency = {**(thread.idempotency or {}), run.idempotency_key: run.run}
        thread.runs[run.run - 1] = _with_bytes(RowKind.RUNS, known, run)
    spaces = {0: thread.root, **(thread.spaces or {})}
    rows = {(row.ns, row.seq): row for row in part.checkpoints}
    segments = {(row.ns, row.seq_from): row for row in part.segments}
    for ns, space in spaces.items():
        space.rows = [
            _with_bytes(RowKind.CHECKPOINTS, row, rows.get((ns, row.seq))) for row in space.rows
        ]
        if space.segments is not None:
            space.segments = [
                _with_bytes(RowKind.SEGMENTS, row, segments.get((ns, row.seq_from)))
                for row in space.segments
            ]
    for write in part.writes:
        slots = (thread.writes or {})[write.ns, write.seq]
        place = write.task_id, write.idx
        slots[place] = _with_bytes(RowKind.WRITES, slots[place], write)
    thread.layout_no += 1
    thread.bytes = part.thread.bytes
    thread.change = thread.change._replace(error=part.thread.error)


def _with_bytes(kind: RowKind, row: R, other: R | None) -> R:
    if other is None:
        return row
    changed: Any = row
    return cast("R", changed._replace(**{n: getattr(other, n) for n in RESEALED[kind]}))


def _begun(row: ThreadRow) -> Thread:
    thread = Thread(row.key, row.uid, row.epoch, row.created_at)
    thread.layout_no = UNENDED
    thread.record_no = thread.claimed_record_no = row.record_no
    thread.change = ThreadChange(
        status=row.status, run=row.run, graph=row.graph, fingerprint=row.fingerprint,
        state_version=row.state_version, next_nodes=row.next_nodes, interrupts=row.interrupts,
        error=row.error,
    )  # fmt: skip
    thread.ttl_s = row.ttl_s
    thread.checkpoints, thread.bytes = row.checkpoints, row.bytes
    thread.updated_at = row.updated_at
    thread.root.head = thread.root.last = row.namespaces[0][1]
    return thread


__all__ = ["MemorySnapshot", "put", "reseal"]
