"""From a page of a history to the states of its checkpoints: one pass, oldest first.

What the page extends is folded once, as segments where it can be. States of the page share what
they have in common: only the lists and dicts around it are copied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from stepwell._journal.details import Inside, damaged
from stepwell._journal.folded import Folded
from stepwell._journal.load import MISSHAPEN, add_row, parent_of
from stepwell._journal.segments import row_at_end, segment_body
from stepwell.checkpoint.driver import CheckpointRow, HistoryPage, RunRow, SegmentRow, ThreadKey
from stepwell.errors import CorruptRecordError

if TYPE_CHECKING:
    from stepwell._journal.journal import Journal

_PAGE_LEAST: Final = 20
_PAGE_MOST: Final = 500
"""How many whole states a listing makes at a time."""


def page_sizes(limit: int | None) -> Iterator[int]:
    """How many checkpoints to ask for, page after page: few first, since whoever lists them may
    have seen enough soon. `limit`: how many are wanted; None: nobody knows."""
    size = _PAGE_LEAST if limit is None else min(max(limit, 1), _PAGE_MOST)
    while True:
        yield size
        size = min(size * 4, _PAGE_MOST) if limit is None else _PAGE_MOST


Told = Callable[[CheckpointRow, dict[str, Any], Folded], None]
"""Told of a row that extends one of the page: the row, its parsed body, and the state after it,
which is not kept: what follows changes it."""


class Standing(NamedTuple):
    """A checkpoint, the one before it (of which the body may be missing), and its state."""

    row: CheckpointRow
    parent: CheckpointRow | None
    folded: Folded


class Sheet:
    """A page of a history, with its rows taken out of their segments where that is needed.

    Args:
        page: As a driver's `page` returns it.
    """

    __slots__ = ("_opened", "_rows", "page")

    def __init__(self, page: HistoryPage) -> None:
        self.page = page
        self._rows: list[CheckpointRow] | None = None
        self._opened: dict[int, Inside] = {}

    def rows(self) -> list[CheckpointRow]:
        """The checkpoints of the page, oldest first.

        Raises:
            CorruptRecordError: A segment is damaged.
        """
        if self._rows is None:
            first, last = self.page.first, self.page.last
            found = [row for row in self.page.rows if first <= row.seq <= last]
            for segment in self.page.segments:
                if segment.seq_from <= last and segment.seq_to >= first:
                    found += self._inside(segment).rows(first, last)
            found.sort(key=lambda row: row.seq)
            self._rows = found
        return self._rows

    def states(self, chosen: Collection[int], told: Told | None = None) -> dict[int, Standing]:
        """The states of the checkpoints that are chosen, by seq.

        Args:
            chosen: Seqs of the page.
            told: Called for every row that extends a chosen one.

        Raises:
            CorruptRecordError: A record is damaged, or missing.
        """
        if not chosen:
            return {}
        branched = self._branched()
        kept: dict[int, Standing] = {}
        saved: dict[int, Folded] = {}
        rows: dict[int, CheckpointRow] = {}
        current, at = Folded(), 0
        for piece in self._pieces(sorted({*chosen, *branched}), chosen):
            if isinstance(piece, CheckpointRow):
                parent = piece.seq - 1 if piece.parent is None else piece.parent
            else:
                parent = _parent(piece)
            if parent != at:
                current = _branch(saved, parent, piece)
            if isinstance(piece, CheckpointRow):
                document = add_row(current, piece)
                row = piece
                if told is not None and parent in chosen:
                    told(row, document, current)
            else:
                row = _add_segment(current, piece)
            rows[row.seq] = row
            at = row.seq
            if at in branched or at in chosen:
                saved[at] = current.snapshot()
            if at in chosen:
                kept[at] = Standing(row, rows.get(parent), saved[at])
        return kept

    def _branched(self) -> set[int]:
        """What is extended by something that does not stand right behind it.

        What stands behind the page does not count: of that only what extends a chosen one is
        folded, and a segment that the others extend may have come without its detail.
        """
        rows, segments, last = self.page.rows, self.page.segments, self.page.last
        found = {row.parent for row in rows if row.parent and row.seq <= last}
        return found | {s.parent for s in segments if s.parent and s.seq_from <= last}

    def _pieces(
        self, points: Sequence[int], chosen: Collection[int]
    ) -> Iterator[CheckpointRow | SegmentRow]:
        """What is to be folded, by seq: segments whole where no single row of them is asked for.

        Behind the page only what extends a chosen one is looked at.
        """
        last = self.page.last
        pieces: list[CheckpointRow | SegmentRow] = [*self.page.rows, *self.page.segments]
        pieces.sort(key=_first)
        goes_on = {_parent(piece) for piece in pieces}
        for piece in pieces:
            first = _first(piece)
            if first > last:
                if _parent(piece) in chosen:
                    yield from (
                        [piece]
                        if isinstance(piece, CheckpointRow)
                        else self._inside(piece).rows(first, first)
                    )
            elif isinstance(piece, CheckpointRow):
                yield piece
            else:
                asked = points[bisect_left(points, first) : bisect_right(points, piece.seq_to)]
                if asked == [piece.seq_to] and piece.seq_to not in chosen:
                    asked = []
                told = {seq + 1 for seq in asked if seq in chosen and seq < piece.seq_to}
                if _parent(piece) in chosen:
                    told.add(first)
                if not asked and not told:
                    yield piece
                    continue
                wanted = sorted({*asked, *told})
                upto = piece.seq_to if piece.seq_to in goes_on else wanted[-1]
                yield from self._inside(piece).parts(wanted, upto)

    def _inside(self, segment: SegmentRow) -> Inside:
        known = self._opened.get(segment.seq_from)
        if known is None:
            known = self._opened[segment.seq_from] = Inside(segment)
        return known


async def runs_of(
    journal: Journal, key: ThreadKey, sheet: Sheet, rows: Iterable[CheckpointRow]
) -> Mapping[int, RunRow]:
    """The runs of rows of a page, by number: those of rows that were folded do not come with it.

    Of a run that is asked for later than the page nothing is used but what never changes.
    """
    known = sheet.page.runs
    missing = sorted({row.run for row in rows} - known.keys() - {0})
    if not missing:
        return known
    found = await journal.runs_numbered([(key, number) for number in missing])
    return {**known, **{run.run: run for run in found if run is not None}}


def _first(piece: CheckpointRow | SegmentRow) -> int:
    return piece.seq if isinstance(piece, CheckpointRow) else piece.seq_from


def _parent(piece: CheckpointRow | SegmentRow) -> int:
    """What a row, or the first row of a segment, extends."""
    if isinstance(piece, CheckpointRow):
        return parent_of(piece)
    return piece.seq_from - 1 if piece.parent is None else piece.parent


def _add_segment(folded: Folded, segment: SegmentRow) -> CheckpointRow:
    """Fold a whole segment; returns the header of its last row."""
    document = segment_body(segment)
    try:
        folded.add_segment(document)
        return row_at_end(segment, document)
    except MISSHAPEN as exc:
        raise damaged(segment, "Its body does not have the shape of one") from exc


def _branch(saved: Mapping[int, Folded], parent: int, piece: CheckpointRow | SegmentRow) -> Folded:
    """The state that something extends which does not extend what was folded before it."""
    if not parent:
        return Folded()
    if parent not in saved:
        seq = _first(piece)
        msg = f"Checkpoint {seq} continues checkpoint {parent}, which is not there."
        raise CorruptRecordError(msg, seq=seq)
    return saved[parent].snapshot()


__all__ = ["Sheet", "Standing", "page_sizes", "runs_of"]
