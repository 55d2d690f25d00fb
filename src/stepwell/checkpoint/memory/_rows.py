"""How the memory driver keeps one thread: small objects, and the rows as they were sent."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any

from stepwell.checkpoint.driver import (
    NAMESPACES_MAX,
    CheckpointRow,
    Relayout,
    RunRow,
    RunStatus,
    SegmentRow,
    Slice,
    ThreadChange,
    ThreadKey,
    ThreadRow,
    ThreadStatus,
    WriteRow,
)
from stepwell.errors import SequenceConflictError, StorageError

_new = tuple.__new__
_NEW = ThreadChange(status=ThreadStatus.IDLE, run=0)
_by_place = attrgetter("record_no", "idx")
_by_seq = attrgetter("seq")
_by_start = attrgetter("seq_from")


class Space:
    """The rows and segments of one namespace, each by seq."""

    __slots__ = ("branches", "head", "last", "name", "rows", "segments")

    def __init__(self, name: str) -> None:
        self.name = name
        self.head = 0
        self.last = 0
        """The highest seq there has been."""
        self.rows: list[CheckpointRow] = []
        self.segments: list[SegmentRow] | None = None
        self.branches: dict[int, int] | None = None
        """The parents of rows and segments that name one, by seq, ascending; None = none does."""

    def append(self, row: CheckpointRow) -> None:
        """Take the next row; its seq has been checked."""
        self.rows.append(row)
        self.last = row.seq
        if row.parent is not None:
            if self.branches is None:
                self.branches = {}
            self.branches[row.seq] = row.parent

    def between(self, first: int, last: int) -> list[CheckpointRow]:
        """The rows first..last that are not folded."""
        rows = self.rows
        if rows and len(rows) == rows[-1].seq:  # as most are: nothing is folded or pruned
            return rows[first - 1 : last]
        low = bisect_left(rows, first, key=_by_seq)
        return rows[low : bisect_right(rows, last, key=_by_seq)]

    def folded(self, first: int, last: int) -> list[SegmentRow]:
        """The segments that hold one of the rows first..last."""
        if self.segments is None:
            return []
        return [s for s in self.segments if s.seq_from <= last and s.seq_to >= first]

    def holds(self, seq: int) -> bool:
        """Whether there is such a checkpoint."""
        return bool(self.between(seq, seq) or self.folded(seq, seq))

    def legs(self, seq: int) -> list[tuple[int, int]]:
        """The chain of `seq` as stretches of consecutive seqs, oldest first; empty if there is
        no such checkpoint.

        A chain is a few legs, so reading it costs one slice per fork on the way, not one
        look-up per row.
        """
        if seq < 1 or not self.holds(seq):
            return []
        if self.branches is None:
            return [(1, seq)]
        starts = list(self.branches)
        legs: list[tuple[int, int]] = []
        while seq:
            at = bisect_right(starts, seq)
            first = starts[at - 1] if at else 1
            legs.append((first, seq))
            seq = self.branches[first] if at else 0
        legs.reverse()
        return legs

    def relay(self, change: Relayout) -> None:
        """Put rows and segments in the place of others.

        Raises:
            StorageError: One that is to go is not there, or a place is taken.
        """
        rows = {row.seq: row for row in self.rows}
        segments = {segment.seq_from: segment for segment in self.segments or ()}
        for gone, stored in ((change.rows_gone, rows), (change.segments_gone, segments)):
            for seq in gone:
                if stored.pop(seq, None) is None:
                    raise _unfit(change, seq, "is not there")
        for row in change.rows:
            if rows.setdefault(row.seq, row) is not row:
                raise _unfit(change, row.seq, "is there already")
        for segment in change.segments:
            if segments.setdefault(segment.seq_from, segment) is not segment:
                raise _unfit(change, segment.seq_from, "is there already")
        self.rows = sorted(rows.values(), key=_by_seq)
        self.segments = sorted(segments.values(), key=_by_start) or None
        branches = {row.seq: row.parent for row in self.rows if row.parent is not None}
        for segment in self.segments or ():
            if segment.parent is not None:
                branches[segment.seq_from] = segment.parent
        self.branches = dict(sorted(branches.items())) or None


def _stamped(row: CheckpointRow, now: float) -> CheckpointRow:
    return _new(CheckpointRow, row[:-1] + (now,))  # noqa: RUF005  # which makes a list first


def _unfit(change: Relayout, seq: int, why: str) -> StorageError:
    return StorageError(
        f"Checkpoint {seq} of namespace {change.ns} {why}: its thread cannot be stored anew.",
        thread_id=change.key.thread_id, ns=change.ns, seq=seq, outcome="none",
    )  # fmt: skip


class Thread:
    """One thread: the columns of its row, its namespaces, runs and pending writes."""

    __slots__ = (
        "beat", "bytes", "change", "checkpoints", "claimed_record_no", "created_at", "epoch",
        "idempotency", "key", "layout_no", "lease_until", "numbers", "owner", "record_no",
        "request", "root", "runs", "spaces", "ttl_s", "uid", "updated_at", "wanted", "writes",
    )  # fmt: skip

    def __init__(self, key: ThreadKey, uid: bytes, start_no: int, now: float) -> None:
        self.key = key
        self.uid = uid
        self.epoch = start_no
        self.layout_no = start_no
        self.owner: bytes | None = None
        self.lease_until: float | None = None
        """On the monotonic clock; None = free."""
        self.beat = 0
        self.record_no = 0
        self.claimed_record_no = 0
        """record_no at the last claim: what lies behind it was written under `epoch`."""
        self.request: str | None = None
        self.wanted = False
        self.change = _NEW
        self.ttl_s: float | None = None
        self.checkpoints = 0
        self.bytes = 0
        self.created_at = now
        self.updated_at = now
        self.root = Space("")
        # The rest is made when first needed: most threads never have it.
        self.spaces: dict[int, Space] | None = None
        """By number, in the order of their numbers."""
        self.numbers: dict[str, int] | None = None
        """Their numbers, by name."""
        self.runs: list[RunRow] = []
        self.writes: dict[tuple[int, int], dict[tuple[bytes, int], WriteRow]] | None = None
        self.idempotency: dict[str, int] | None = None

    # --- reading ------------------------------------------------------------------------------

    def space(self, number: int) -> Space | None:
        """The namespace with this number."""
        if number == 0:
            return self.root
        return self.spaces.get(number) if self.spaces else None

    def named(self, ns_name: str) -> tuple[int, Space] | None:
        """Number and namespace called `ns_name`."""
        if not ns_name:
            return 0, self.root
        number = self.numbers.get(ns_name) if self.numbers else None
        return None if number is None or not self.spaces else (number, self.spaces[number])

    def newest_spaces(self) -> Iterator[tuple[int, Space]]:
        """Number and namespace of all but the root, the newest first."""
        return reversed(self.spaces.items()) if self.spaces else iter(())

    def _all_spaces(self) -> Iterator[tuple[int, Space]]:
        yield 0, self.root
        if self.spaces:
            yield from self.spaces.items()

    def run_id(self) -> str | None:
        """Name of the newest run, for messages."""
        run = self.change.run
        return self.runs[run - 1].run_id if 0 < run <= len(self.runs) else None

    def described(self) -> RunRow | None:
        """The newest run that has metadata."""
        return next((run for run in reversed(self.runs) if run.metadata is not None), None)

    def has(self, wanted: Mapping[str, Any]) -> bool:
        """Whether the index of its metadata has these keys with these values."""
        run = self.described()
        if run is None or run.meta_index is None:
            return False
        known = json.loads(run.meta_index)
        return all(
            key in known
            and known[key] == value
            and isinstance(known[key], bool) is isinstance(value, bool)
            for key, value in wanted.items()
        )

    def row(self, now: float, asked: str = "") -> ThreadRow:
        """The thread row; `now` on the monotonic clock, `asked` a namespace to be in it."""
        lease_until = self.lease_until
        change = self.change
        return ThreadRow(
            self.key, self.uid, self.epoch, self.owner, None,
            None if lease_until is None else lease_until - now,
            self.beat, self.record_no, self.layout_no, self.request, self.wanted,
            change.status, change.run, change.graph, change.fingerprint, change.state_version,
            change.next_nodes, change.interrupts, change.error,
            self.checkpoints, self.bytes, self.ttl_s, self.created_at, self.updated_at,
            self._shown_spaces(asked), len(self.runs),
            self.spaces is not None and len(self.spaces) > NAMESPACES_MAX,
        )  # fmt: skip

    def _shown_spaces(self, asked: str) -> dict[int, tuple[str, int]]:
        shown = {0: ("", self.root.head)}
        if self.spaces:
            for number, space in islice(self.newest_spaces(), NAMESPACES_MAX):
                shown[number] = (space.name, space.head)
            found = self.named(asked)
            if found is not None:
                shown[found[0]] = (found[1].name, found[1].head)
        return shown

    def writes_under(self, ns: int, seq: int) -> list[WriteRow]:
        """Pending writes filed under one checkpoint, by (record_no, idx)."""
        slots = self.writes.get((ns, seq)) if self.writes else None
        return sorted(slots.values(), key=_by_place) if slots else []

    def runs_of(
        self, rows: Iterable[CheckpointRow], segments: Iterable[SegmentRow] = ()
    ) -> dict[int, RunRow]:
        """The runs that `rows` name, those that `segments` may name, and the newest."""
        numbers = {row.run for row in rows}
        for segment in segments:
            numbers.update(range(segment.run_from, segment.run_to + 1))
        numbers.add(len(self.runs))
        return {n: self.runs[n - 1] for n in sorted(numbers) if 0 < n <= len(self.runs)}

    def holds(self, record_no: int, epoch: int) -> bool:
        """Was the record `record_no` written under `epoch`?

        Under the present epoch the numbers alone tell. Of earlier epochs the rows that are
        still there bear witness. A record that left none is known of the epoch just before
        only: what lies below the beginning of the present one is that one's.
        """
        if epoch == self.epoch and self.claimed_record_no < record_no:
            return record_no <= self.record_no
        stored: list[Iterable[CheckpointRow | WriteRow]] = [
            space.rows for _, space in self._all_spaces()
        ]
        stored += [slots.values() for slots in (self.writes or {}).values()]
        for row in chain.from_iterable(stored):
            if row.record_no == record_no:
                return row.epoch == epoch
        return epoch == self.epoch - 1 and record_no <= self.claimed_record_no

    # --- writing ------------------------------------------------------------------------------

    def write_next(self, piece: Slice, now: float) -> bool:
        """Apply a slice that is the next checkpoint of the root and, at most, how its run began or
        ended, as most are: it fits. False: it is another one, for `check` and `write`, and nothing
        was done."""
        _, _, _, _, after, _, rows, writes, runs, namespaces, drops, heads, change, _ = piece
        if len(rows) != 1 or writes or namespaces or (runs and not self._is_next(runs)):
            return False
        row, root = rows[0], self.root
        seq = row[1]
        if row[0] or row[2] is not None or seq != root.last + 1:
            return False
        if len(heads) != 1 or heads.get(0) != seq:
            return False
        if row[15] is None:
            row = _stamped(row, now)
        root.rows.append(row)
        root.last = root.head = seq
        self.bytes += len(row[10])
        if row[11]:
            self.bytes += len(row[11])
        self.checkpoints += 1
        if drops and self.writes:
            self._drop(self.writes, drops)
        if runs:
            self._put_run(runs[0], now)
        if change is not None:
            self.change = change
        self.record_no = after
        self.beat += 1
        self.updated_at = now
        return True

    def _is_next(self, runs: Sequence[RunRow]) -> bool:
        """Whether this is one run that fits, and has no key that another might have."""
        run = runs[0]
        known = 0 < run.run <= len(self.runs) + 1
        return known and len(runs) == 1 and run.idempotency_key is None

    def check(self, piece: Slice) -> None:
        """Refuse a slice that does not fit behind what is there.

        Raises:
            SequenceConflictError: A seq is taken or leaves a gap, a parent is not before its
                row, a namespace or run has a wrong number, an idempotency key is taken.
        """
        made: dict[int, str] = {}
        for number, name in piece.namespaces:
            if number in made or self.space(number) or name in made.values() or self.named(name):
                raise SequenceConflictError(
                    f"Namespace {number} ({name!r}) exists already.", thread_id=self.key.thread_id
                )
            made[number] = name
        next_seqs: dict[int, int] = {}
        for row in piece.checkpoints:
            expected = next_seqs.get(row.ns) or self._next_seq(row.ns, made)
            if row.seq != expected or not (row.parent is None or 0 <= row.parent < row.seq):
                raise SequenceConflictError(
                    f"Checkpoint {row.seq} (parent {row.parent}) of namespace {row.ns} does not "
                    f"fit: the next seq is {expected}.",
                    thread_id=self.key.thread_id, ns=row.ns, seq=row.seq,
                )  # fmt: skip
            next_seqs[row.ns] = expected + 1
        for write in piece.writes:
            self._next_seq(write.ns, made)
        for number, head in piece.heads.items():
            if head >= (next_seqs.get(number) or self._next_seq(number, made)):
                raise SequenceConflictError(
                    f"The head of namespace {number} cannot be {head}: no such checkpoint.",
                    thread_id=self.key.thread_id, ns=number, seq=head,
                )  # fmt: skip
        if piece.runs:
            self._check_runs(piece.runs)

    def _next_seq(self, ns: int, made: dict[int, str]) -> int:
        space = self.space(ns)
        if space is not None:
            return space.last + 1
        if ns in made:
            return 1
        raise SequenceConflictError(
            f"There is no namespace {ns}.", thread_id=self.key.thread_id, ns=ns
        )

    def _check_runs(self, runs: Sequence[RunRow]) -> None:
        count = len(self.runs)
        taken = self.idempotency or {}
        added: dict[str, int] = {}
        for run in runs:
            if not 0 < run.run <= count + 1:
                raise SequenceConflictError(
                    f"Run {run.run} does not fit: the next is {count + 1}.",
                    thread_id=self.key.thread_id, run_id=run.run_id,
                )  # fmt: skip
            count = max(count, run.run)
            key = run.idempotency_key
            if key is not None:
                if taken.get(key, run.run) != run.run or added.get(key, run.run) != run.run:
                    raise SequenceConflictError(
                        f"Another run has the idempotency key {key!r}.",
                        thread_id=self.key.thread_id, run_id=run.run_id,
                    )  # fmt: skip
                added[key] = run.run

    def write(self, piece: Slice, now: float) -> None:
        """Apply a slice that `check` has passed. `now`: unix time, put into the rows."""
        if piece.namespaces:
            self._make_spaces(piece.namespaces)
        for row in piece.checkpoints:
            space = self.root if row.ns == 0 else (self.spaces or {})[row.ns]
            if row.created_at is None:  # else it was made elsewhere, and is brought here
                row = _stamped(row, now)  # noqa: PLW2901  # the same row
            space.append(row)
            self.bytes += len(row.body) + (len(row.metadata) if row.metadata else 0)
        self.checkpoints += len(piece.checkpoints)
        if piece.writes:
            self._file(piece.writes)
        if self.writes and piece.drop_writes:
            self._drop(self.writes, piece.drop_writes)
        for number, head in piece.heads.items():
            space = self.root if number == 0 else (self.spaces or {})[number]
            space.head = head
        for run in piece.runs:
            self._put_run(run, now)
        if piece.thread is not None:
            self.change = piece.thread
        self.record_no = piece.record_no_after
        self.beat += 1
        self.updated_at = now

    def _make_spaces(self, made: Sequence[tuple[int, str]]) -> None:
        known = self.spaces or {}
        last = next(reversed(known), 0)
        known |= {number: Space(name) for number, name in sorted(made)}
        if min(made)[0] < last:  # nobody does, but nothing forbids it
            known = dict(sorted(known.items()))
        self.spaces = known
        self.numbers = self.numbers or {}
        self.numbers |= {name: number for number, name in made}

    def _file(self, writes: Sequence[WriteRow]) -> None:
        filed = self.writes
        if filed is None:
            filed = self.writes = {}
        for row in writes:
            place = (row.ns, row.seq)
            slots = filed.get(place)
            if slots is None:
                filed[place] = {(row.task_id, row.idx): row}
            else:
                slots[row.task_id, row.idx] = row

    def _drop(
        self,
        filed: dict[tuple[int, int], dict[tuple[bytes, int], WriteRow]],
        places: Sequence[tuple[int, int]],
    ) -> None:
        for place in places:
            filed.pop(place, None)
        self.writes = filed or None

    def _put_run(self, run: RunRow, now: float) -> None:
        finished = None if run.status == RunStatus.RUNNING else now
        if run.run > len(self.runs):
            self.runs.append(_new(RunRow, (*run[:-2], now, finished)))
        else:
            known = self.runs[run.run - 1]
            started = known.started_at
            self.runs[run.run - 1] = _new(RunRow, (*run[:-2], started, finished))
            if known.idempotency_key is not None and self.idempotency:
                self.idempotency.pop(known.idempotency_key, None)
        if run.idempotency_key is not None:
            self.idempotency = self.idempotency or {}
            self.idempotency[run.idempotency_key] = run.run
