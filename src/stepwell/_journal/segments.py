"""Segments: a stretch of a namespace's rows in one row.

A stretch is linear: every row in it extends the one before. What it is made of is never
decoded into values and no reducer is run; parts of the rows' JSON are put together anew.

`body` is what all of the rows did, as one JSON document. It is all that a state behind the
stretch needs:

    {"h": header,                    the last row, without its body
     "z": [n, {...}, {...}],         version, versions and seen after the last row
     "i": n, "p": {...},             breakpoints passed, checkpoints around, after the last row
     "m": [n, {old: new} | null],    version of the state after it; nodes that got other names
                                     before the first row
     "c": {channel: [op, ...]}}      operations as in a row's body, as few as give the same:
                                     what was appended is one "a", what was overwritten is the
                                     last "s"; only a "p" or "e" whose base lies before the
                                     stretch stands by itself

`detail` is every row exactly as it was (see `_journal.details`).

So an item that was appended is stored once, and every row can be given back byte for byte: each
is compared with the checksum it always had.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from stepwell._codec.splice import apply_splice
from stepwell._journal.details import (
    SHARED_BYTES_MIN,
    Cut,
    damaged,
    header_of,
    piece_of,
    row_of,
)
from stepwell._journal.folded import Folded, parse
from stepwell._journal.record import FORMAT_JSON
from stepwell._journal.unusual import plain, usual
from stepwell.checkpoint.driver import CheckpointRow, SegmentRow
from stepwell.errors import CorruptRecordError

_NULL: Final = b"null"


def pack_segment(rows: Sequence[CheckpointRow], before: Folded) -> SegmentRow:
    """One segment that holds a linear stretch of rows, losslessly.

    Args:
        rows: At least one; one of the `stretches` of a namespace, or a part of one.
        before: The state that the first row extends; its values are not looked at.

    Raises:
        CorruptRecordError: A row is damaged.
    """
    counted = before.header()
    renamed: dict[str, str] | None = None
    columns: dict[str, Column] = {}
    for index, row in enumerate(rows):
        document = parse(row)
        try:
            if index == 0:
                renamed = document.get("m", {}).get("r")
            counted.count(document)
            for channel, op in document["c"].items():
                columns.setdefault(channel, Column()).add(op, document["t"], index)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as exc:
            msg = f"Record {row.record_no} (seq {row.seq}) does not have the shape of a checkpoint"
            raise CorruptRecordError(msg, seq=row.seq) from exc
    body = write_body(header_of(rows[-1]), counted, renamed, columns, len(rows))
    whole = b"".join(body.pieces)
    first, runs = rows[0], [row.run for row in rows]
    return SegmentRow(
        ns=first.ns, seq_from=first.seq, seq_to=rows[-1].seq, parent=first.parent,
        format=FORMAT_JSON, crc=zlib.crc32(whole), body=whole,
        detail=piece_of(rows, body.parts).packed(), run_from=min(runs), run_to=max(runs),
    )  # fmt: skip


def write_body(
    last: list[Any],
    counted: Folded,
    renamed: dict[str, str] | None,
    columns: Mapping[str, Column],
    sources: int,
) -> Body:
    """The body of a segment. `last`: the header of its last row; `counted`: the state behind it,
    without values; `sources`: how many rows or segments the parts of `columns` come from."""
    body = Body(sources)
    start = {
        "h": last,
        "z": [counted.version, counted.versions, counted.seen],
        "i": counted.interrupt_seen,
        "p": counted.parents,
        "m": [counted.state_version, renamed],
    }
    body.write(orjson.dumps(start)[:-1])
    body.write(b',"c":{')
    for place, (channel, column) in enumerate(columns.items()):
        body.write((b"," if place else b"") + orjson.dumps(channel) + b":[")
        for number, op in enumerate(column.ops):
            if number:
                body.write(b",")
            op.write(body)
        body.write(b"]")
    body.write(b"}}")
    return body


def segment_body(segment: SegmentRow) -> dict[str, Any]:
    """The parsed body of a segment.

    Raises:
        CorruptRecordError: It is damaged.
    """
    if isinstance(segment, Cut):
        return segment.document()
    if segment.format != FORMAT_JSON or segment.key_id is not None:
        segment = usual(segment)
    if zlib.crc32(segment.body) != segment.crc:
        raise damaged(segment, "The checksum does not match")
    try:
        document = orjson.loads(segment.body)
        for part in ("h", "z", "i", "p", "m", "c"):
            document[part]
    except (ValueError, KeyError, TypeError) as exc:
        raise damaged(segment, "Its body is no such document") from exc
    return document  # type: ignore[no-any-return]


def header_after(segment: SegmentRow) -> Folded:
    """The state behind a segment without its values: what packing the next rows needs.

    Raises:
        CorruptRecordError: The segment is damaged.
    """
    return Folded.of_header(segment_body(segment))


def last_row(segment: SegmentRow) -> CheckpointRow:
    """The last row of a segment without its body.

    Raises:
        CorruptRecordError: The segment is damaged.
    """
    document = segment.frames[-1] if isinstance(segment, Cut) else segment_body(segment)
    return row_at_end(segment, document)


def row_at_end(segment: SegmentRow, document: dict[str, Any]) -> CheckpointRow:
    """The same, given the parsed body."""
    try:
        return row_of(segment, document["h"], b"")
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise damaged(segment, "It does not tell of its last row") from exc


class Body:
    """A segment's body while it is written, and which part of it came from which row."""

    __slots__ = ("parts", "pieces", "size")

    def __init__(self, rows: int) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.parts: list[list[tuple[int, bytes]]] = [[] for _ in range(rows)]

    def write(self, piece: bytes, row: int | None = None) -> None:
        if row is not None and len(piece) >= SHARED_BYTES_MIN:
            self.parts[row].append((self.size, piece))
        self.pieces.append(piece)
        self.size += len(piece)


_Part = tuple[int | None, bytes]
"""The row that some bytes came from (None: from several), and the bytes."""


class _Op:
    """One operation of a column. `listed`: the parts are the items of a list, in order."""

    __slots__ = ("kind", "listed", "parts")

    def __init__(self, kind: str, parts: list[_Part], *, listed: bool) -> None:
        self.kind = kind
        self.parts = parts
        self.listed = listed

    def value(self) -> bytes:
        """The encoded operand."""
        inner = b",".join(piece for _, piece in self.parts)
        return b"[" + inner + b"]" if self.listed else inner

    def write(self, body: Body) -> None:
        body.write(b'["' + self.kind.encode() + b'"')
        if self.kind != "x":
            body.write(b",[" if self.listed else b",")
            for place, (row, piece) in enumerate(self.parts):
                if place:
                    body.write(b",")
                body.write(piece, row)
            if self.listed:
                body.write(b"]")
        body.write(b"]")


def _whole(kind: str, value: bytes, row: int | None) -> _Op:
    """An operation whose operand is one value: a list is kept as its items."""
    if value[:1] == b"[":
        inner = value[1:-1]
        return _Op(kind, [(row, inner)] if inner else [], listed=True)
    return _Op(kind, [(row, value)], listed=False)


class Column:
    """What a stretch does to one channel: the shortest list of operations that says it."""

    __slots__ = ("ops",)

    def __init__(self) -> None:
        self.ops: list[_Op] = []

    def add(self, op: list[Any], entries: Sequence[Any], row: int) -> None:
        """One more operation, of row number `row`."""
        kind = op[0]
        if kind in ("s", "S"):
            self.ops = [_whole(kind, orjson.dumps(op[1]), row)]
        elif kind == "x":
            self.ops = [_Op("x", [], listed=False)]
        elif kind in ("a", "A"):
            self._append([orjson.dumps(op[1])[1:-1]], row, tagged=kind == "A")
        elif kind in ("w", "W"):
            self._refer(kind, [entries[i][3][j] for i, j in op[1]], row)
        elif kind in ("p", "P", "e", "E"):
            base = self._base()
            if base is None:
                self.ops.append(_Op(kind, [(row, orjson.dumps(op[1:])[1:-1])], listed=False))
            else:
                self.ops = [_changed(base, op)]
        else:
            msg = f"Operation {kind!r} is not one this release knows"
            raise CorruptRecordError(msg)

    def _refer(self, kind: str, writes: list[list[Any]], row: int) -> None:
        """`W`: the list of these writes; `w`: the items of these writes, appended."""
        tagged = any(len(write) > 2 for write in writes)
        if kind == "w":
            if not writes:
                return  # not even an empty list
            self._append([orjson.dumps(w[1])[1:-1] for w in writes], row, tagged=tagged)
            return
        parts: list[_Part] = [(row, orjson.dumps(w[1])) for w in writes]
        self.ops = [_Op("S" if tagged else "s", parts, listed=True)]

    def _base(self) -> _Op | None:
        """The operation that says the whole value, if there is one."""
        return self.ops[0] if len(self.ops) == 1 and self.ops[0].kind in ("s", "S", "x") else None

    def _append(self, items: list[bytes], row: int, *, tagged: bool) -> None:
        parts: list[_Part] = [(row, piece) for piece in items if piece]
        last = self.ops[-1] if self.ops else None
        if last is not None and last.kind in ("a", "A"):
            last.parts += parts
            last.kind = "A" if tagged else last.kind
            return
        base = self._base()
        if base is not None and base.listed:
            base.parts += parts
            base.kind = "S" if tagged else base.kind
        elif base is not None and (base.kind == "x" or base.value() == _NULL):
            # Nothing, or null, is extended to a list.
            kept = "S" if tagged or base.kind == "S" else "s"
            self.ops = [_Op(kept, parts, listed=True)]
        else:
            self.ops.append(_Op("A" if tagged else "a", parts, listed=True))


def _changed(base: _Op, op: list[Any]) -> _Op:
    """A value that is wholly known, with a splice or an edit applied to it."""
    kind = op[0]
    if kind in ("p", "P"):
        old = _NULL if base.kind == "x" else base.value()
        new = apply_splice(old, (op[1], op[2], op[3].encode(), op[4]))
        return _whole("S" if kind == "P" else "s", new, None)
    folded = Folded()
    if base.kind != "x":
        folded.values[""] = orjson.loads(base.value())
    folded.apply("", op)
    tagged = kind == "E" or base.kind == "S"
    return _whole("S" if tagged else "s", orjson.dumps(folded.values[""]), None)


def stretches(rows: Sequence[CheckpointRow]) -> Iterator[list[CheckpointRow]]:
    """Rows that stand by seq, as linear stretches: cut at gaps, at forks, where nodes got other
    names, and around rows that cannot be folded, which are left out."""
    current: list[CheckpointRow] = []
    for row in rows:
        follows = current and row.parent is None and row.seq == current[-1].seq + 1
        if current and not (follows and plain(row) and not _renames(row)):
            yield current
            current = []
        if plain(row):
            current.append(row)
    if current:
        yield current


def _renames(row: CheckpointRow) -> bool:
    return b'"m":{' in row.body and bool(parse(row).get("m", {}).get("r"))


__all__ = [
    "Body", "Column", "header_after", "last_row", "pack_segment", "row_at_end", "segment_body",
    "stretches", "write_body",
]  # fmt: skip
