"""Pruning: checkpoints that no rule keeps go, in transactions of bounded size.

Rows go from the newest to the oldest, and a row that stays is rebased in the transaction that
comes before those of its ancestors. So after each transaction the namespace is whole: whoever is
killed in between leaves a thread in which every checkpoint that is there has its state, and who
prunes it again goes on. All of it happens under a claim: no run stands on what goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from stepwell._journal.details import unpack_segment
from stepwell._journal.kept import Rules, kept_rows, rebase
from stepwell._journal.load import chain
from stepwell._journal.unusual import stored_bytes
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    Relayout,
    SegmentRow,
    ThreadKey,
)
from stepwell.constants import NS_END, NS_SEP

Piece = CheckpointRow | SegmentRow

_EMPTY: Final[frozenset[int]] = frozenset()


class Pruning(NamedTuple):
    """What pruning one namespace takes: the changes, in order, and what they free."""

    changes: Sequence[Relayout]
    checkpoints: int
    bytes: int
    oldest_kept: int | None
    """`record_no` of the oldest checkpoint that stays; None: none does."""


def plan_pruning(
    key: ThreadKey, page: HistoryPage, rules: Rules, *, batch_rows: int, dead: bool = False
) -> Pruning:
    """What is to be done to one namespace.

    Args:
        key: Its thread.
        page: All that it holds.
        rules: What lets a checkpoint go.
        batch_rows: Rows that one transaction deletes or writes, about.
        dead: Nothing can lead to it any more: all that the rules let go goes, the head too.

    Raises:
        CorruptRecordError: A record is damaged; the namespace cannot be pruned.
    """
    rows = chain(page.rows, page.segments)
    thread = page.thread
    if thread is None or not rows:
        return Pruning((), 0, 0, None)
    head = thread.namespaces.get(page.ns, ("", 0))[1]
    filed = {write.seq for write in page.writes}
    kept = kept_rows(rows, -1 if dead else head, _EMPTY if dead else filed, rules)
    staying = [row.record_no for row in rows if row.seq in kept]
    oldest = min(staying) if staying else None
    if len(kept) == len(rows):
        return Pruning((), 0, 0, oldest)
    rebased = rebase(rows, kept)
    changes = _changes(key, page, kept, rebased, batch_rows)
    freed = -sum(change.bytes for change in changes)
    return Pruning(changes, len(rows) - len(kept), freed, oldest)


def _changes(
    key: ThreadKey,
    page: HistoryPage,
    kept: Collection[int],
    rebased: Mapping[int, CheckpointRow],
    batch_rows: int,
) -> list[Relayout]:
    """Pieces are rows and whole segments, newest first; a segment is never half in a batch."""
    pieces: list[Piece] = sorted([*page.rows, *page.segments], key=_start, reverse=True)
    filed = {write.seq for write in page.writes}
    layout_no = 0 if page.thread is None else page.thread.layout_no
    changes: list[Relayout] = []
    batch = _Batch()
    for piece in pieces:
        batch.add(piece, kept, rebased)
        if batch.rows >= batch_rows:
            changes.append(batch.change(key, page.ns, layout_no + len(changes), filed))
            batch = _Batch()
    if batch.rows:
        changes.append(batch.change(key, page.ns, layout_no + len(changes), filed))
    return changes


def _start(piece: Piece) -> int:
    return piece.seq if isinstance(piece, CheckpointRow) else piece.seq_from


class _Batch:
    """What one transaction does."""

    __slots__ = ("bytes", "gone", "new", "rows", "rows_gone", "segments_gone")

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self.gone: list[int] = []
        """Checkpoints that go for good."""
        self.rows_gone: list[int] = []
        self.segments_gone: list[int] = []
        self.new: list[CheckpointRow] = []

    def add(
        self, piece: Piece, kept: Collection[int], rebased: Mapping[int, CheckpointRow]
    ) -> None:
        """Take a row, or a segment with all of its rows, if anything about it changes."""
        if isinstance(piece, CheckpointRow):
            if piece.seq in kept and piece.seq not in rebased:
                return
            held = [piece]
            self.rows_gone.append(piece.seq)
            self.bytes -= stored_bytes(piece)
        else:
            seqs = range(piece.seq_from, piece.seq_to + 1)
            if all(seq in kept and seq not in rebased for seq in seqs):
                return
            held = unpack_segment(piece)
            self.segments_gone.append(piece.seq_from)
            self.bytes -= stored_bytes(piece)
        for row in held:
            if row.seq not in kept:
                self.gone.append(row.seq)
                continue
            new = rebased.get(row.seq, row)
            self.new.append(new)
            self.bytes += _row_bytes(new)
        self.rows += len(held)

    def change(self, key: ThreadKey, ns: int, layout_no: int, filed: Collection[int]) -> Relayout:
        return Relayout(
            key, ns, layout_no,
            rows_gone=self.rows_gone, segments_gone=self.segments_gone, rows=self.new,
            writes_gone=[seq for seq in self.gone if seq in filed],
            checkpoints=-len(self.gone), bytes=self.bytes,
        )  # fmt: skip


def _row_bytes(row: CheckpointRow) -> int:
    return len(row.body) + len(row.metadata or b"")


def is_dead(name: str, page: HistoryPage, oldest_kept: Mapping[str, int | None]) -> bool:
    """Whether a namespace belongs to a task that nothing leads to any more.

    The task was planned at a checkpoint of the namespace around it, before anything was written
    inside. If all that stays there is younger than everything in here, that checkpoint is gone.
    Namespaces without a task's id outlive their tasks.
    """
    around, _, own = name.rpartition(NS_SEP)
    if NS_END not in own or around not in oldest_kept:
        return False
    oldest = oldest_kept[around]
    if oldest is None:
        return bool(around)  # that one is dead itself
    rows = chain(page.rows, page.segments)
    newest = max([*(row.record_no for row in rows), *(w.record_no for w in page.writes)], default=0)
    return newest < oldest


__all__ = ["Pruning", "is_dead", "plan_pruning"]
