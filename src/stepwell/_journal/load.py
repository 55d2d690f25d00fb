"""From rows and segments to state: fold a chain, then revive the values.

Folding works on parsed JSON and needs neither the graph nor its classes; reviving turns
tagged documents into Python values through the codec.

A chain is a *trail* of pieces: rows, and whole segments where no single row of them is asked
for. The newest state of a long thread is a few segments' bodies and a short tail of rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import orjson

from stepwell._codec import Codec
from stepwell._journal.details import Inside, damaged, unpack_segment
from stepwell._journal.folded import Folded, parse
from stepwell._journal.segments import last_row, segment_body
from stepwell._journal.track import Stored, encoding
from stepwell.checkpoint.driver import CheckpointRow, HistoryPage, Loaded, SegmentRow, WriteRow
from stepwell.errors import CorruptRecordError

MISSHAPEN: Final = (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)
"""What reading a document raises that is JSON, and not what it should be."""

Piece: TypeAlias = CheckpointRow | SegmentRow
"""A part of a chain; a segment stands for all of its rows."""


def add_row(folded: Folded, row: CheckpointRow) -> dict[str, Any]:
    """Fold one row; returns its parsed body.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    document = parse(row)
    try:
        folded.add(document)
    except MISSHAPEN as exc:
        raise _no_checkpoint(row) from exc
    return document


def _no_checkpoint(row: CheckpointRow) -> CorruptRecordError:
    msg = f"Record {row.record_no} (seq {row.seq}) does not have the shape of a checkpoint"
    return CorruptRecordError(msg, seq=row.seq)


def fold(pieces: Iterable[Piece]) -> Folded:
    """The state after the last of `pieces`, which are a chain from the oldest on.

    Raises:
        CorruptRecordError: A body is damaged.
    """
    folded = Folded()
    add = folded.add
    for piece in pieces:
        if isinstance(piece, CheckpointRow):
            document = parse(piece)
            try:
                add(document)
            except MISSHAPEN as exc:
                raise _no_checkpoint(piece) from exc
        else:
            document = segment_body(piece)
            try:
                folded.add_segment(document)
            except MISSHAPEN as exc:
                raise damaged(piece, "Its body does not have the shape of one") from exc
    return folded


def trail(loaded: Loaded | HistoryPage, seq: int | None = None) -> list[Piece]:
    """The chain that ends at checkpoint `seq` (None: the newest there), oldest first.

    Its last piece is the row of that checkpoint. Empty if that is not there.

    Raises:
        CorruptRecordError: A segment is damaged, or a row continues one that is not there.
    """
    rows, segments = loaded.rows, loaded.segments
    if not segments and _is_line(rows):
        upto = rows if seq is None else [row for row in rows if row.seq <= seq]
        return list(upto) if seq is None or (upto and upto[-1].seq == seq) else []
    if seq is None:
        seq = max([0, *(row.seq for row in rows[-1:]), *(s.seq_to for s in segments[-1:])])
    by_seq = {row.seq: row for row in rows}
    starts = [segment.seq_from for segment in segments]
    found: list[Piece] = []
    while seq:
        row = by_seq.get(seq)
        if row is not None:
            found.append(row)
            seq = parent_of(row)
            continue
        place = bisect_right(starts, seq) - 1
        segment = segments[place] if place >= 0 else None
        if segment is None or segment.seq_to < seq:
            if not found:
                return []
            msg = f"Checkpoint {seq}, which others build on, is not there; restore the thread."
            raise CorruptRecordError(msg, seq=seq)
        if found and segment.seq_to == seq:
            found.append(segment)
        else:
            found += reversed([*Inside(segment).parts([seq], seq)])
        seq = segment.seq_from - 1 if segment.parent is None else segment.parent
    found.reverse()
    return found


def _is_line(rows: Sequence[CheckpointRow]) -> bool:
    """Whether rows are one unbroken chain from nothing on."""
    if not rows:
        return True
    whole = rows[-1].seq - rows[0].seq + 1 == len(rows) and parent_of(rows[0]) == 0
    return whole and all(row.parent is None for row in rows[1:])


def parent_of(row: CheckpointRow) -> int:
    """Seq of the row this one extends; 0 = nothing."""
    return row.seq - 1 if row.parent is None else row.parent


def parent_in(pieces: Sequence[Piece]) -> CheckpointRow | None:
    """The row before the last of a trail: whole, or at least its header. None: there is none."""
    if len(pieces) < 2:
        return None
    piece = pieces[-2]
    return piece if isinstance(piece, CheckpointRow) else last_row(piece)


def chain(
    rows: Sequence[CheckpointRow], segments: Sequence[SegmentRow] = ()
) -> list[CheckpointRow]:
    """All rows that were read, those inside segments included, by seq.

    Raises:
        CorruptRecordError: A segment is damaged.
    """
    if not segments:
        return list(rows)
    found = [row for segment in segments for row in unpack_segment(segment)]
    found += rows
    found.sort(key=lambda row: row.seq)
    return found


class Revived:
    """Channel values of a folded state as Python values, and the encodings to track."""

    __slots__ = ("stored", "values")

    def __init__(
        self,
        folded: Folded,
        codec: Codec,
        *,
        track: bool = False,
        again: Callable[[], Folded] | None = None,
    ) -> None:
        """`again`: folds the same state once more; encodings of long lists are made of that, and
        only when they are asked for."""
        values = folded.values
        # Encodings are taken before anybody is handed the values and may change them.
        self.stored: dict[str, Stored] = {}
        if track:
            for name, value in values.items():
                if isinstance(value, (list, dict, str)):
                    made = orjson.dumps(value) if again is None else encoding(value)
                    if made is None and again is not None:
                        self.stored[name] = partial(_encoding_in, again, name)
                    elif made is not None:
                        self.stored[name] = made
        self.values: dict[str, Any] = {
            k: codec.revive(v, channel=k) if k in folded.tagged else v for k, v in values.items()
        }


def _encoding_in(again: Callable[[], Folded], name: str) -> bytes:
    return orjson.dumps(again().values[name])


class Contribution:
    """What one task contributed to a checkpoint, revived."""

    __slots__ = ("control", "kind", "name", "writes")

    def __init__(
        self, name: str, kind: int, writes: list[tuple[str, Any]], control: dict[int, Any]
    ) -> None:
        self.name = name
        self.kind = kind
        self.writes = writes
        self.control = control


def contributions(document: dict[str, Any], after: Folded, codec: Codec) -> list[Contribution]:
    """The tasks of a checkpoint's body; `after` is the state that the body leads to.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    if "z" in document:
        return []  # one record of many supersteps: it does not say what each task did
    found = []
    try:
        ops = document["c"]
        for entry in document["t"]:
            writes = [(w[0], _write_value(w, ops, after, codec)) for w in entry[3]]
            control = (
                {int(slot): _value(v, codec) for slot, v in entry[4].items()}
                if len(entry) > 4
                else {}
            )
            found.append(Contribution(entry[0], entry[1], writes, control))
    except MISSHAPEN as exc:
        msg = "What the tasks of a checkpoint did is not told as it should be."
        raise CorruptRecordError(msg) from exc
    return found


def _value(pair: list[Any], codec: Codec) -> Any:
    return codec.revive(pair[0]) if len(pair) > 1 else pair[0]


def _write_value(write: list[Any], ops: dict[str, Any], after: Folded, codec: Codec) -> Any:
    channel = write[0]
    if len(write) > 1:
        return codec.revive(write[1]) if len(write) > 2 else write[1]
    op = ops[channel]
    if op[0] in "saSA":
        tagged, value = op[0] in "SA", op[1]
    else:
        tagged, value = channel in after.tagged, after.values[channel]
    value = codec.revive(value, channel=channel) if tagged else value
    # A list may be the state's own, which is extended in place by what is folded next.
    return list(value) if type(value) is list else value


def pending_writes(row: WriteRow, codec: Codec) -> tuple[list[tuple[str, Any]], int]:
    """The writes that a finished task left behind, and the state version they are of.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    document = parse(row)
    try:
        return [(w[0], _value(w[1:], codec)) for w in document["w"]], document.get("m", 0)
    except MISSHAPEN as exc:
        raise _misshapen(row) from exc


def pending_value(row: WriteRow, codec: Codec) -> Any:
    """The value in a control slot.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    document = parse(row)
    try:
        return codec.revive(document["v"]) if document.get("t") else document["v"]
    except MISSHAPEN as exc:
        raise _misshapen(row) from exc


def _misshapen(row: WriteRow) -> CorruptRecordError:
    msg = f"Record {row.record_no} (seq {row.seq}) does not have the shape of a pending write"
    return CorruptRecordError(msg, seq=row.seq)


__all__ = [
    "Contribution", "Folded", "Piece", "Revived", "add_row", "chain", "contributions", "fold",
    "parent_in", "parent_of", "parse", "pending_value", "pending_writes", "trail",
]  # fmt: skip
