"""Checking a thread: is what is stored of it whole, and does it mean what it says?

Works on rows alone, needs neither graph nor classes, and changes nothing. What it finds:

- `checksum`: the bytes of a record are not those that were written.
- `unreadable`: its bytes are, but they are no such record, or do not apply to the state before.
- `missing`: a checkpoint that others build on is not there.
- `twice`: two records claim the same place.
- `segment`: the body of a segment does not say what its rows say.
- `head`: a namespace's head is not its newest checkpoint.
- `run`: a run that something names is not there.
- `newer`: a record is newer than its thread's row knows of.
- `orphan`: a record belongs to a namespace or checkpoint that is not there.

`mend` makes of the rows of a thread rows without what can be mended: orphans are left out, and
segments are folded anew from their rows. With `heads`, a namespace whose newest checkpoint cannot
be read, or whose head is no checkpoint, goes back to the newest that can; what is behind it goes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from stepwell._dataclass import dataclass
from stepwell._journal.details import PIECE_ROWS, Cut, Inside, unpack_segment
from stepwell._journal.folded import Folded
from stepwell._journal.load import add_row, parent_of, parse
from stepwell._journal.merging import merge_segments
from stepwell._journal.segments import header_after, pack_segment, segment_body
from stepwell.checkpoint.driver import (
    CheckpointRow,
    NamespaceRow,
    RowKind,
    RunRow,
    SegmentRow,
    ThreadPart,
    ThreadRow,
    ThreadStatus,
    WriteRow,
    at_rest,
)
from stepwell.constants import NS_END, NS_SEP
from stepwell.errors import CodecError

Damage = (CodecError, KeyError, IndexError, TypeError, AttributeError, ValueError)


class Finding(NamedTuple):
    """What is wrong, where. `ns`: the name of the namespace; `seq`: of the checkpoint."""

    kind: str
    ns: str
    seq: int | None
    message: str
    mendable: bool = False
    """Whether `mend` does something about it without `heads`."""


@dataclass(slots=True)
class Stored:
    """All rows of one thread, of one moment."""

    thread: ThreadRow
    namespaces: Sequence[NamespaceRow]
    runs: Sequence[RunRow]
    checkpoints: Sequence[CheckpointRow]
    writes: Sequence[WriteRow]
    segments: Sequence[SegmentRow]

    @classmethod
    def of(cls, thread: ThreadRow, rows: Mapping[RowKind, Sequence[Any]]) -> Stored:
        """From rows by kind."""
        return cls(thread, *(rows[kind] for kind in RowKind))

    def spaces(self) -> dict[int, NamespaceRow]:
        """Namespaces by number, the root first."""
        root = NamespaceRow(0, "", self.thread.namespaces[0][1])
        return {0: root, **{space.ns: space for space in self.namespaces}}


@dataclass(slots=True)
class Space:
    """One namespace while it is checked."""

    row: NamespaceRow
    rows: list[CheckpointRow] = field(default_factory=list)
    segments: list[SegmentRow] = field(default_factory=list)
    good: set[int] = field(default_factory=set)
    """Checkpoints whose state can be read."""
    there: set[int] = field(default_factory=set)
    before: dict[int, Folded] = field(default_factory=dict)
    """What segments that are to be folded anew extend, by `seq_from`."""


class Checked(NamedTuple):
    """What was found, and what `mend` needs to know."""

    findings: list[Finding]
    spaces: dict[int, Space]


def check_thread(stored: Stored, *, deep: bool = True) -> Checked:
    """Check one thread.

    Args:
        stored: Its rows.
        deep: Also fold every state, and compare segments with their rows.
    """
    spaces = {number: Space(row) for number, row in stored.spaces().items()}
    findings: list[Finding] = []
    for row in stored.checkpoints:
        if row.ns in spaces:
            spaces[row.ns].rows.append(row)
        else:
            message = f"Checkpoint {row.seq} belongs to namespace {row.ns}, which is not there."
            findings.append(Finding("orphan", f"#{row.ns}", row.seq, message, mendable=True))
    for segment in stored.segments:
        if segment.ns in spaces:
            spaces[segment.ns].segments.append(segment)
        else:
            place = f"Segment {segment.seq_from}-{segment.seq_to}"
            message = f"{place} belongs to namespace {segment.ns}, which is not there."
            findings.append(
                Finding("orphan", f"#{segment.ns}", segment.seq_from, message, mendable=True)
            )
    runs = {run.run for run in stored.runs}
    for space in spaces.values():
        findings += _Namespace(space, stored.thread, runs, deep=deep).check()
    findings += _heads(spaces)
    findings += _writes(stored, spaces)
    if stored.thread.run and stored.thread.run not in runs:
        message = f"The thread's newest run has number {stored.thread.run}, which is not there."
        findings.append(Finding("run", "", None, message))
    return Checked(findings, spaces)


class _Namespace:
    """One namespace: its rows from the oldest to the newest."""

    def __init__(self, space: Space, thread: ThreadRow, runs: set[int], *, deep: bool) -> None:
        self._space = space
        self._thread = thread
        self._runs = runs
        self._deep = deep
        self._found: list[Finding] = []

    def _add(self, kind: str, seq: int | None, message: str, *, mendable: bool = False) -> None:
        self._found.append(Finding(kind, self._space.row.name, seq, message, mendable))

    def check(self) -> list[Finding]:
        """What is wrong in it."""
        space = self._space
        rows: list[CheckpointRow] = []
        whole: dict[int, SegmentRow] = {}
        lost: set[int] = set()
        for segment in space.segments:
            inside = range(segment.seq_from, segment.seq_to + 1)
            if space.there.intersection(inside):
                place = f"Segment {segment.seq_from}-{segment.seq_to}"
                self._add("twice", segment.seq_from, f"{place} overlaps another one.")
            space.there.update(inside)
            try:
                opened = Inside(segment)
                rows += opened.rows(segment.seq_from, segment.seq_to)
                whole |= {cut.seq_to: cut for cut in opened.cuts()}
                whole[segment.seq_to] = segment
            except CodecError as error:
                self._add(_kind(segment), segment.seq_from, str(error))
                lost.update(inside)
        for row in space.rows:
            if row.seq in space.there:
                self._add("twice", row.seq, f"Checkpoint {row.seq} is in a segment as well.")
                continue
            space.there.add(row.seq)
            if zlib.crc32(row.body) != row.crc:
                self._add(
                    "checksum", row.seq,
                    f"Checkpoint {row.seq}: the checksum does not match its body.",
                )  # fmt: skip
                lost.add(row.seq)
            else:
                rows.append(row)
        rows.sort(key=lambda row: row.seq)
        self._named_things(rows)
        self._chain(rows, whole, lost)
        return self._found

    def _named_things(self, rows: Sequence[CheckpointRow]) -> None:
        thread = self._thread
        for row in rows:
            if row.run and row.run not in self._runs:
                self._add(
                    "run", row.seq, f"Checkpoint {row.seq} is of run {row.run}, which is not there."
                )
            if row.record_no > thread.record_no or row.epoch > thread.epoch:
                self._add(
                    "newer", row.seq,
                    f"Checkpoint {row.seq} is record {row.record_no} of epoch {row.epoch}; its "
                    f"thread is at record {thread.record_no} of epoch {thread.epoch}.",
                )  # fmt: skip

    def _chain(
        self, rows: Sequence[CheckpointRow], whole: Mapping[int, SegmentRow], lost: set[int]
    ) -> None:
        space = self._space
        branches = {row.parent for row in rows if row.parent}
        branches.update(segment.seq_from - 1 for segment in whole.values())
        kept: dict[int, Folded] = {0: Folded()}
        running, last = Folded(), 0
        for row in rows:
            parent = parent_of(row)
            if parent and parent not in space.there:
                # Only the row that names it: what follows is lost with it.
                self._add(
                    "missing", row.seq,
                    f"Checkpoint {row.seq} extends checkpoint {parent}, which is not there.",
                )  # fmt: skip
            if parent and (parent in lost or parent not in space.there):
                lost.add(row.seq)
                continue
            if not self._deep:
                space.good.add(row.seq)
                continue
            before = running if parent == last else kept.get(parent)
            if before is None:
                self._add("missing", row.seq, f"Checkpoint {row.seq} extends a later one.")
                lost.add(row.seq)
                continue
            state = running if parent == last else before.snapshot()
            try:
                add_row(state, row)
            except Damage as error:
                self._add("unreadable", row.seq, f"Checkpoint {row.seq} cannot be read: {error}")
                lost.add(row.seq)
                running, last = Folded(), 0
                continue
            space.good.add(row.seq)
            running, last = state, row.seq
            if row.seq in branches:
                kept[row.seq] = state.snapshot()
            segment = whole.get(row.seq)
            if segment is not None:
                self._segment(segment, kept, state)

    def _segment(self, segment: SegmentRow, kept: Mapping[int, Folded], after: Folded) -> None:
        """Compare what a segment says with what its rows have come to."""
        parent = segment.seq_from - 1 if segment.parent is None else segment.parent
        before = kept[parent]
        told = before.snapshot()
        try:
            told.add_segment(segment_body(segment))
            same = _meaning(told) == _meaning(after)
        except Damage as error:
            self._add(
                "segment", segment.seq_from,
                f"{_name(segment)} cannot be read ({error}), but its rows can.",
                mendable=True,
            )  # fmt: skip
            self._space.before[segment.seq_from] = before
            return
        if not same:
            self._add(
                "segment", segment.seq_from,
                f"{_name(segment)} says something else than its rows.", mendable=True,
            )  # fmt: skip
            self._space.before[segment.seq_from] = before


def _heads(spaces: Mapping[int, Space]) -> list[Finding]:
    named = {space.row.name: space for space in spaces.values()}
    found = []
    for space in spaces.values():
        head, newest = space.row.head, max(space.there, default=0)
        if head == newest or (not newest and _pruned_away(space.row.name, named)):
            continue
        what = "is not there" if head not in space.there else "is not the newest"
        message = f"The head is checkpoint {head}, which {what} ({newest} is)."
        found.append(Finding("head", space.row.name, head, message))
    return found


def _pruned_away(name: str, named: Mapping[str, Space]) -> bool:
    """Whether pruning may have left an empty namespace: its task's checkpoint went before it.

    That was one of the namespace around it, which is then without its oldest checkpoints.
    """
    around, _, own = name.rpartition(NS_SEP)
    space = named.get(around)
    return NS_END in own and (space is None or 1 not in space.there)


def _writes(stored: Stored, spaces: Mapping[int, Space]) -> list[Finding]:
    found = []
    for row in stored.writes:
        space = spaces.get(row.ns)
        name = f"#{row.ns}" if space is None else space.row.name
        if space is None or (row.seq and row.seq not in space.there):
            message = (
                f"A result of task {row.task_path!r} is filed under checkpoint {row.seq}, which "
                "is not there."
            )
            found.append(Finding("orphan", name, row.seq, message, mendable=True))
            continue
        what = f"The result {row.idx} of task {row.task_path!r} after checkpoint {row.seq}"
        if zlib.crc32(row.body) != row.crc:
            message = f"{what}: the checksum does not match its body."
            found.append(Finding("checksum", name, row.seq, message))
            continue
        try:
            parse(row)
        except Damage as error:
            found.append(Finding("unreadable", name, row.seq, f"{what} cannot be read: {error}"))
        if row.record_no > stored.thread.record_no:
            message = f"{what} is record {row.record_no}; its thread is at an earlier one."
            found.append(Finding("newer", name, row.seq, message))
    return found


def _meaning(folded: Folded) -> tuple[Any, ...]:
    return tuple(getattr(folded, name) for name in Folded.__slots__)


def _name(segment: SegmentRow) -> str:
    if isinstance(segment, Cut):
        whole = segment.inside
        return f"Segment {whole.seq_from}-{whole.seq_to}: its detail, up to {segment.seq_to},"
    return f"Segment {segment.seq_from}-{segment.seq_to}: its body"


def _kind(segment: SegmentRow) -> str:
    return "checksum" if zlib.crc32(segment.body) != segment.crc else "unreadable"


def mend(stored: Stored, checked: Checked, *, heads: bool) -> ThreadPart | None:
    """The rows of a thread without what can be mended; None if nothing can.

    Args:
        stored: Its rows.
        checked: What `check_thread` (deep) has found in them.
        heads: Whether heads may go back.
    """
    spaces = checked.spaces
    tops = {n: _top(space) if heads else space.row.head for n, space in spaces.items()}
    ends = {n: tops[n] if heads else max(space.there, default=0) for n, space in spaces.items()}
    checkpoints: list[CheckpointRow] = []
    segments: list[SegmentRow] = []
    for number, space in spaces.items():
        limit = ends[number]
        checkpoints += [row for row in space.rows if row.seq <= limit]
        for segment in space.segments:
            if segment.seq_to <= limit:
                before = space.before.get(segment.seq_from)
                again = segment if before is None else _again(segment, before)
                segments.append(again)
            elif segment.seq_from <= limit:
                inside = [row for row in unpack_segment(segment) if row.seq <= limit]
                checkpoints += inside
    kept = {n: {seq for seq in space.there if seq <= ends[n]} for n, space in spaces.items()}
    writes = [
        row for row in stored.writes if row.ns in kept and (not row.seq or row.seq in kept[row.ns])
    ]
    checkpoints.sort(key=lambda row: (row.ns, row.seq))
    namespaces = [space.row._replace(head=tops[n]) for n, space in spaces.items() if n]
    whole = ThreadPart(
        thread=_row(stored, tops, checkpoints, segments),
        begins=True,
        ends=True,
        namespaces=namespaces,
        runs=stored.runs,
        checkpoints=checkpoints,
        writes=writes,
        segments=segments,
    )
    same = (
        list(stored.checkpoints) == checkpoints
        and list(stored.segments) == segments
        and list(stored.writes) == writes
        and list(stored.namespaces) == namespaces
        and stored.thread.namespaces[0][1] == tops[0]
    )
    return None if same else whole


def _again(segment: SegmentRow, before: Folded) -> SegmentRow:
    rows, parts = unpack_segment(segment), list[SegmentRow]()
    for at in range(0, len(rows), PIECE_ROWS):
        parts.append(pack_segment(rows[at : at + PIECE_ROWS], before))
        before = header_after(parts[-1])
    return merge_segments(parts)._replace(key_id=segment.key_id)


def _top(space: Space) -> int:
    """Where the head belongs: the newest checkpoint, if it can be read; else the newest that
    can."""
    newest = max(space.there, default=0)
    return newest if newest in space.good else max(space.good, default=0)


def _row(
    stored: Stored,
    tops: Mapping[int, int],
    checkpoints: Sequence[CheckpointRow],
    segments: Sequence[SegmentRow],
) -> ThreadRow:
    row = at_rest(stored.thread)
    rows_gone = len(stored.checkpoints) - len(checkpoints)
    folded_gone = _folded(stored.segments) - _folded(segments)
    before = _size(stored.checkpoints, stored.segments)
    moved = row.namespaces[0][1] != tops[0]
    row = row._replace(
        layout_no=row.layout_no + 1,
        checkpoints=max(0, row.checkpoints - rows_gone - folded_gone),
        bytes=max(0, row.bytes + _size(checkpoints, segments) - before),
        namespaces={0: ("", tops[0])},
    )
    if not moved:
        return row
    # What it was about to do belonged to another state.
    return row._replace(status=int(ThreadStatus.IDLE), interrupts=0, error=None, next_nodes="[]")


def _folded(segments: Sequence[SegmentRow]) -> int:
    return sum(segment.seq_to - segment.seq_from + 1 for segment in segments)


def _size(checkpoints: Sequence[CheckpointRow], segments: Sequence[SegmentRow]) -> int:
    rows = sum(len(row.body) + len(row.metadata or b"") for row in checkpoints)
    return rows + sum(len(segment.body) + len(segment.detail) for segment in segments)


__all__ = ["Checked", "Finding", "Stored", "check_thread", "mend"]
