"""What the claim statement answers: threads that were claimed, with their newest state, and those
that were not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from operator import itemgetter
from typing import Final, NamedTuple
from uuid import UUID

from stepwell._dataclass import dataclass
from stepwell._db.postgres import FastUUID
from stepwell.checkpoint.driver import (
    NAMESPACES_MAX,
    CheckpointRow,
    Loaded,
    RunRow,
    SegmentRow,
    ThreadRow,
    WriteRow,
)
from stepwell.checkpoint.postgres._rows import (
    Record,
    checkpoint_row,
    run_row,
    segment_row,
    text_of,
    thread_row,
    write_row,
)

_THREAD: Final = slice(5, 32)
_INTS: Final = 39
"""Where the columns begin that every kind of row uses in its own way: nine integers, seven of
bytes, a text, two floats."""
_BYTES: Final = 48
_TEXT: Final = 55
_FLOAT: Final = 56


class Seen(NamedTuple):
    """A thread row as `present` shows it, or `claim` where it does not pass."""

    epoch: int
    beat: int
    owner: UUID | None
    late: bool
    lease_left_s: float | None
    lock_free: bool | None
    run_id: bytes | None


@dataclass(slots=True)
class Answer:
    """A thread whose compare-and-set has passed, and what was read beside it."""

    row: ThreadRow
    taken_over: bool
    whole: bool = False
    """Whether what was read is the newest state: of the moment of the claim."""
    parted: bool = False
    """Whether anything says what it extends: a fork, or what was behind it has been pruned."""
    rows: list[CheckpointRow] = field(default_factory=list)
    segments: list[SegmentRow] = field(default_factory=list)
    writes: list[WriteRow] = field(default_factory=list)
    runs: dict[int, RunRow] = field(default_factory=dict)

    def loaded(self) -> Loaded | None:
        """The newest state of the root; None: it has to be loaded."""
        row = self.row
        if not row.record_no:
            return Loaded(thread=row)
        if not self.whole:
            return None
        rows, segments, writes = self.rows, self.segments, self.writes
        rows.sort(key=lambda r: r.seq)
        segments.sort(key=lambda s: s.seq_from)
        last = max([0, *(r.seq for r in rows[-1:]), *(s.seq_to for s in segments[-1:])])
        if self.parted and not (self._is_line() and last == row.namespaces[0][1]):
            return None
        if last < row.namespaces[0][1]:
            rows, segments, writes = [], [], []  # it was pruned: these are not its ancestors
        writes.sort(key=lambda w: (w.record_no, w.idx))
        return Loaded(thread=row, ns=0, rows=rows, segments=segments, writes=writes, runs=self.runs)

    def _is_line(self) -> bool:
        """Whether each piece extends the one before it, as what pruning leaves mostly does."""
        pieces = [(r.seq, r.seq, r.parent) for r in self.rows]
        pieces += [(s.seq_from, s.seq_to, s.parent) for s in self.segments]
        end = 0
        for first, last, parent in sorted(pieces, key=itemgetter(0)):
            if (first - 1 if parent is None else parent) != end:
                return False
            end = last
        return True


def read_answers(
    keys: list[UUID], records: Iterable[Record]
) -> tuple[dict[UUID, Answer], dict[UUID, Seen]]:
    """Threads that were claimed, and those that were not and exist. `keys`: as they were asked."""
    taken: dict[UUID, Answer] = {}
    seen: dict[UUID, Seen] = {}
    parts: list[Record] = []
    for record in records:
        what = record[0]
        if what == 0:
            taken[record[4]] = _answer(record)
        elif what == 5:
            seen[keys[record[1] - 1]] = _seen(record)
        else:
            parts.append(record)
    for record in parts:
        _add(taken[keys[record[1] - 1]], record)
    return taken, seen


def _answer(record: Record) -> Answer:
    numbers, names, heads = record[36:39]
    texts = [text_of(name) or "" for name in names or ()]
    spaces = sorted(zip(numbers or (), texts, heads or (), strict=True), reverse=True)
    kept = {number: (name, head) for number, name, head in spaces[:NAMESPACES_MAX]}
    row = thread_row(record[_THREAD], kept, more=len(spaces) > NAMESPACES_MAX)
    read = record[32:35]
    whole = record[3] and read == (row.epoch - 1, row.record_no, row.layout_no)
    return Answer(row=row, taken_over=record[2], whole=whole, parted=record[35])


def _seen(record: Record) -> Seen:
    epoch, beat, late, lock_free = record[_INTS : _INTS + 4]
    owner, run_id = record[_BYTES : _BYTES + 2]
    return Seen(
        epoch, beat, None if owner is None else FastUUID(owner), bool(late), record[_FLOAT],
        None if lock_free is None else bool(lock_free), run_id,
    )  # fmt: skip


def _add(answer: Answer, record: Record) -> None:
    """Take up a row of what was read."""
    what, n, b = record[0], record[_INTS:_BYTES], record[_BYTES:_TEXT]
    if what == 1:
        answer.rows.append(
            checkpoint_row((0, *n, b[0], b[1], record[_TEXT], b[2], b[3], record[_FLOAT]))
        )
    elif what == 2:
        answer.segments.append(segment_row((0, *n[:5], *b[:3], *n[5:7])))
    elif what == 3:
        answer.writes.append(write_row((0, n[0], b[0], n[1], b[1], b[2], *n[2:6], b[3], b[4])))
    else:
        run = run_row(
            (n[0], b[0], *n[1:4], b[1], b[2], b[3], record[_TEXT], *b[4:7], n[4],
             *record[_FLOAT:])
        )  # fmt: skip
        answer.runs[run.run] = run


__all__ = ["Answer", "Seen", "read_answers"]
