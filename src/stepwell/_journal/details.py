"""The detail of a segment: every row exactly as it was, in pieces of about a hundred rows.

A piece is one JSON document, compressed (zlib):

    {"k": [column, ...],             of the rows' headers; one value where all are the same
     "b": [text, ...],               their bodies, without the parts that stand in the segment's
     "x": [[at, from, length, ...]]} of every row: put these bytes of `body` in at that place

    header = [seq, step, source, run, epoch, record_no, format, crc, metadata, meta_index,
              checkpoint id (hex digits), created at]

Of seq, step and record number a column has the first, and then by how much each is more than the
one before; `from` counts from the end of the bytes that were put in last. (What was written before
there were columns has "h": [header, ...] and "x": [[[at, from, length], ...], ...], as they are.)

The detail of a segment that is made of rows is one piece. That of a merged one is more of them:

    1 byte: 1                        (a piece alone begins with another one)
    4 bytes: length of the head
    head, compressed: {"n": [[rows, length], ...], "s": [frame, ...]}    of every piece
    the pieces

A frame says what the rows of a piece did to the state, as the body of a segment does: in the
same form, but operands of some length are not in it. They are bytes of the segment's body:

    [from, length, kind, listed]     `listed`: they are the items of a list

So a state in the middle is the frames of the pieces before it, of which what was appended is one
stretch of the body, and the rows of one piece.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise, repeat
from typing import Any, Final, NamedTuple, cast

import orjson

from stepwell._codec.compress import inflate
from stepwell._journal.record import FORMAT_JSON
from stepwell._journal.unusual import usual
from stepwell.checkpoint.driver import CheckpointRow, SegmentRow
from stepwell.errors import CorruptRecordError

SHARED_BYTES_MIN: Final = 32
"""Parts of a row's body that are shorter than this are not worth a reference."""
PIECE_ROWS: Final = 100
"""Rows of a piece, at most, where pieces are put together."""
PIECE_BYTES: Final = 64 << 10
"""Bytes of a piece, before it is compressed, from which it stays as it is."""
_PIECES: Final = 1
"""The first byte of a detail with a head; that of a zlib stream is another one."""
_HEAD_AT: Final = 5
_RISING: Final = (0, 1, 5)
"""Columns that grow from row to row: seq, step, record number."""
MISSHAPEN: Final = (
    ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What comes of a document that is JSON, and not what it should be."""

Ops = list[Any]
"""What was done to one channel, one after the other; references have a number in front."""


def damaged(segment: SegmentRow, why: str) -> CorruptRecordError:
    place = f"Segment {segment.seq_from}-{segment.seq_to} of namespace {segment.ns}"
    msg = f"{place} is damaged: {why}; restore the thread from a backup."
    return CorruptRecordError(msg, seq=segment.seq_from)


def header_of(row: CheckpointRow) -> list[Any]:
    return [
        row.seq, row.step, row.source, row.run, row.epoch, row.record_no, row.format, row.crc,
        None if row.metadata is None else row.metadata.decode(), row.meta_index,
        None if row.checkpoint_id is None else row.checkpoint_id.hex(), row.created_at,
    ]  # fmt: skip


def row_of(segment: SegmentRow, header: Sequence[Any], body: bytes) -> CheckpointRow:
    (
        seq, step, source, run, epoch, record_no, fmt, crc, metadata, meta_index, name, created_at,
    ) = header  # fmt: skip
    return CheckpointRow(
        segment.ns, seq, segment.parent if seq == segment.seq_from else None,
        step, source, run, epoch, record_no, fmt, crc,
        body, None if metadata is None else metadata.encode(),
        meta_index, None if name is None else bytes.fromhex(name), None, created_at,
    )  # fmt: skip


class Piece(NamedTuple):
    """The rows of a piece, as columns: headers, texts, and what to put in where."""

    headers: Sequence[Sequence[Any]]
    texts: list[str]
    cuts: list[list[list[int]]]

    def packed(self) -> bytes:
        """The piece as it is stored."""
        columns = [_column(values) for values in zip(*self.headers, strict=True)]
        for index in _RISING:
            values = [header[index] for header in self.headers]
            columns[index] = [values[0], *(b - a for a, b in pairwise(values))]
        cuts: list[list[int]] = []
        end = 0
        for own in self.cuts:
            told: list[int] = []
            for at, start, length in own:
                told += (at, start - end, length)
                end = start + length
            cuts.append(told)
        return zlib.compress(orjson.dumps({"k": columns, "b": self.texts, "x": cuts}), 1)

    @classmethod
    def unpacked(cls, data: bytes) -> Piece:
        """What `packed` was made of. Raises whatever comes of bytes that are no such thing."""
        document = orjson.loads(inflate(data))
        if "h" in document:
            return cls(document["h"], document["b"], document["x"])
        columns, texts = document["k"], document["b"]
        for index in _RISING:
            columns[index] = list(accumulate(columns[index]))
        filled = [k if type(k) is list else repeat(k, len(texts)) for k in columns]
        cuts: list[list[list[int]]] = []
        end = 0
        for told in document["x"]:
            own: list[list[int]] = []
            for i in range(0, len(told), 3):
                at, more, length = told[i : i + 3]
                own.append([at, end + more, length])
                end += more + length
            cuts.append(own)
        return cls(list(zip(*filled, strict=True)), texts, cuts)

    def takes(self, other: Piece) -> bool:
        """Whether this and the one behind it are small enough to be one."""
        if len(self.headers) + len(other.headers) > PIECE_ROWS:
            return False
        return sum(map(len, self.texts)) + sum(map(len, other.texts)) <= PIECE_BYTES

    def join(self, other: Piece) -> Piece:
        """This piece and the one behind it."""
        headers = [*self.headers, *other.headers]
        return Piece(headers, self.texts + other.texts, self.cuts + other.cuts)


def _column(values: Sequence[Any]) -> Any:
    first = values[0]
    # To Python, 1 and True and 1.0 are the same.
    kind = type(first)
    same = all(value == first and type(value) is kind for value in values)
    return first if same else values


def piece_of(rows: Sequence[CheckpointRow], parts: Sequence[Sequence[tuple[int, bytes]]]) -> Piece:
    """`parts`: of each row, what of it stands in the segment's body, and where.

    What one row takes in, the next one often writes to the state: so that is looked for, too.
    """
    texts: list[str] = []
    cuts: list[list[list[int]]] = []
    for row, shared, later in zip(rows, parts, [*parts[1:], ()], strict=True):
        found = []
        for start, part in (*shared, *later):
            at = row.body.find(part)
            if at >= 0:
                found.append((at, start, len(part)))
        found.sort()
        kept: list[bytes] = []
        own: list[list[int]] = []
        done = size = 0
        for at, start, length in found:
            if at < done:
                continue  # it overlaps the part before: the same bytes twice
            kept.append(row.body[done:at])
            size += at - done
            own.append([size, start, length])
            done = at + length
        kept.append(row.body[done:])
        texts.append(b"".join(kept).decode())
        cuts.append(own)
    return Piece([header_of(row) for row in rows], texts, cuts)


# -- frames ----------------------------------------------------------------------------------


def frame_of(document: dict[str, Any], body: bytes) -> dict[str, Any]:
    """What a segment's parsed body says, without what can be read from it there."""
    ops = {
        channel: [_referring(op, body) for op in told] for channel, told in document["c"].items()
    }
    return {**document, "c": ops}


def _referring(op: list[Any], body: bytes) -> list[Any]:
    if len(op) != 2:
        return op
    kind, operand = op
    listed = isinstance(operand, list)
    data = orjson.dumps(operand)
    if listed:
        data = data[1:-1]
    at = body.find(data) if len(data) >= SHARED_BYTES_MIN else -1
    return op if at < 0 else [at, len(data), kind, int(listed)]


def joined(frames: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What several frames say, one after the other, as one; there is at least one.

    What was appended again and again to one list is one stretch of the body, wherever it stands
    there without a gap.
    """
    ops: dict[str, Ops] = {}
    first: dict[str, Any] | None = None
    last: dict[str, Any] = {}
    for frame in frames:
        if first is None:
            first = frame
        last = frame
        for channel, told in frame["c"].items():
            known = ops.get(channel)
            for op in told:
                known = [op] if known is None else _behind(known, op)
            if known is not None:
                ops[channel] = known
    renamed = None if first is None else first["m"][1]
    return {**last, "m": [last["m"][0], renamed], "c": ops}


def _behind(known: Ops, op: list[Any]) -> Ops:
    refers = type(op[0]) is int
    kind = op[2] if refers else op[0]
    if kind in ("s", "S", "x"):
        return [op]  # whatever it was before
    last = known[-1]
    if refers and kind in ("a", "A") and type(last[0]) is int and last[3] and last[2] in "sSaA":
        start, length, before, _ = last
        if start + length + 1 == op[0]:
            kind = before.upper() if kind == "A" else before
            return [*known[:-1], [start, length + 1 + op[1], kind, 1]]
    return [*known, op]


def resolved(frame: dict[str, Any], body: bytes) -> dict[str, Any]:
    """What a frame says, as the parsed body of a segment does: nothing in it that folding changes
    is the frame's own."""
    version, versions, seen = frame["z"]
    return {
        **frame,
        "z": [version, dict(versions), {k: dict(v) for k, v in seen.items()}],
        "c": {k: [_read(op, body) for op in ops] for k, ops in frame["c"].items()},
    }


def _read(op: list[Any], body: bytes) -> list[Any]:
    if type(op[0]) is not int:
        return cast("list[Any]", orjson.loads(orjson.dumps(op)))  # nodes may change what is in it
    start, length, kind, listed = op
    data = body[start : start + length]
    return [kind, orjson.loads(b"[%b]" % data if listed else data)]


def moved(frame: dict[str, Any], old: bytes, places: Places) -> dict[str, Any]:
    """A frame for another body: what is not there is put into the frame itself."""
    ops = {k: [_moved(op, old, places) for op in told] for k, told in frame["c"].items()}
    return {**frame, "c": ops}


def _moved(op: list[Any], old: bytes, places: Places) -> list[Any]:
    if type(op[0]) is not int:
        return op
    start, length, kind, listed = op
    new = places.of(start, length)
    return _read(op, old) if new is None else [new, length, kind, listed]


class Places:
    """Where bytes of an old body are in a new one."""

    __slots__ = ("_places", "_starts")

    def __init__(self, old: bytes, parts: Sequence[tuple[int, bytes]]) -> None:
        found = [(old.find(part), len(part), start) for start, part in parts]
        self._places = sorted(place for place in found if place[0] >= 0)
        self._starts = [place[0] for place in self._places]

    def of(self, start: int, length: int) -> int | None:
        """Where bytes of the old body begin in the new one; None: they are not there."""
        place = bisect_right(self._starts, start) - 1
        if place >= 0:
            old, size, new = self._places[place]
            if start + length <= old + size:
                return new + start - old
        return None


# -- reading and writing ---------------------------------------------------------------------


def write_detail(parts: Iterable[tuple[Piece, dict[str, Any]]]) -> bytes:
    """The detail of a segment made of pieces, with the frame of each; small neighbours become
    one."""
    whole: list[tuple[Piece, dict[str, Any]]] = []
    for piece, frame in parts:
        if whole and whole[-1][0].takes(piece):
            before, told = whole.pop()
            whole.append((before.join(piece), joined((told, frame))))
        else:
            whole.append((piece, frame))
    packed = [piece.packed() for piece, _ in whole]
    if len(whole) == 1:
        return packed[0]
    head = {
        "n": [
            [len(piece.headers), len(data)] for (piece, _), data in zip(whole, packed, strict=True)
        ],
        "s": [frame for _, frame in whole],
    }
    first = zlib.compress(orjson.dumps(head), 1)
    return b"".join((bytes((_PIECES,)), len(first).to_bytes(4), first, *packed))


class Inside:
    """What a segment holds, taken out piece by piece as it is asked for.

    Raises:
        CorruptRecordError: The segment is damaged, or was read without its detail.
    """

    __slots__ = ("_frames", "_places", "_rows", "_starts", "segment")

    def __init__(self, segment: SegmentRow) -> None:
        if segment.format != FORMAT_JSON or segment.key_id is not None:
            segment = usual(segment)
        if zlib.crc32(segment.body) != segment.crc:
            raise damaged(segment, "The checksum does not match")
        self.segment = segment
        self._frames: list[dict[str, Any]] = []
        detail, number = segment.detail, segment.seq_to - segment.seq_from + 1
        counts, lengths, at = [number], [len(detail)], 0
        if detail[:1] == bytes((_PIECES,)):
            at = _HEAD_AT + int.from_bytes(detail[1:_HEAD_AT])
            try:
                head = orjson.loads(inflate(detail[_HEAD_AT:at]))
                self._frames = head["s"]
                counts, lengths = [n for n, _ in head["n"]], [size for _, size in head["n"]]
                right = sum(counts) == number and at + sum(lengths) == len(detail)
                right = right and type(self._frames) is list and len(self._frames) == len(counts)
            except (CorruptRecordError, *MISSHAPEN) as exc:
                raise damaged(segment, "Its detail cannot be read") from exc
            if not right:
                raise damaged(segment, "Its detail does not hold the rows it names")
        self._starts: list[int] = []
        """The first seq of every piece."""
        self._places: list[tuple[int, int]] = []
        seq = segment.seq_from
        for count, length in zip(counts, lengths, strict=True):
            self._starts.append(seq)
            self._places.append((at, at + length))
            seq += count
            at += length
        self._rows: dict[int, list[CheckpointRow]] = {}

    def pieces(self) -> Iterator[tuple[Piece, dict[str, Any] | None]]:
        """Every piece, with its frame; None: there is one piece, of which the body is the frame."""
        for index in range(len(self._starts)):
            yield self._piece(index), (self._frames[index] if self._frames else None)

    def rows(self, first: int, last: int) -> list[CheckpointRow]:
        """The rows from one seq to another, byte for byte, of those that it holds."""
        found: list[CheckpointRow] = []
        for index in self._holding(first, last):
            start = self._starts[index]
            found += self._of(index, last)[max(first - start, 0) : last - start + 1]
        return found

    def parts(self, wanted: Sequence[int], upto: int) -> Iterator[CheckpointRow | SegmentRow]:
        """All that it holds up to a seq, with some of its rows as they are: the others come
        piece by piece, as segments whose body is told (`Cut`), where none of a piece is wanted.

        Args:
            wanted: Seqs of rows, in order.
            upto: The last row, which is one of them, or the last of the segment.
        """
        skipped: list[int] = []
        for index in self._holding(self.segment.seq_from, upto):
            low, high = self._starts[index], self._end(index)
            place = bisect_right(wanted, high) - 1
            asked = place >= 0 and wanted[place] >= low
            if self._frames and not asked and high <= upto:
                skipped.append(index)
                continue
            if skipped:
                yield self._cut(skipped[0], skipped[-1])
                skipped = []
            yield from self._of(index, upto)[: upto - low + 1]
        if skipped:
            yield self._cut(skipped[0], skipped[-1])

    def cuts(self) -> Iterator[Cut]:
        """The segment as it would be if it ended with one of its pieces, from the first on; not
        with the last, and none where it has only one."""
        return (self._cut(0, index) for index in range(len(self._frames) - 1))

    def _cut(self, first: int, last: int) -> Cut:
        segment = self.segment
        cut = Cut(
            segment.ns, self._starts[first], self._end(last),
            segment.parent if first == 0 else None, FORMAT_JSON, 0, b"", b"",
        )  # fmt: skip
        cut.inside, cut.frames = segment, self._frames[first : last + 1]
        return cut

    def _holding(self, first: int, last: int) -> range:
        starts = self._starts
        return range(max(bisect_right(starts, first) - 1, 0), bisect_right(starts, last))

    def _end(self, index: int) -> int:
        """The last seq of a piece."""
        last = index + 1 == len(self._starts)
        return self.segment.seq_to if last else self._starts[index + 1] - 1

    def _piece(self, index: int) -> Piece:
        start, end = self._places[index]
        try:
            return Piece.unpacked(self.segment.detail[start:end])
        except (CorruptRecordError, *MISSHAPEN) as exc:
            raise damaged(self.segment, "Its detail cannot be read") from exc

    def _of(self, index: int, last: int) -> list[CheckpointRow]:
        """The rows of a piece, at least as far as a seq."""
        known, end = self._rows.get(index, []), self._end(index)
        if not known or known[-1].seq < min(last, end):
            # One more: what extends a row is asked for next, for what the row's tasks did.
            known = self._rows[index] = self._taken_out(index, min(last + 1, end))
        return known

    def _taken_out(self, index: int, last: int) -> list[CheckpointRow]:
        segment, rows = self.segment, list[CheckpointRow]()
        whole, first = segment.body, self._starts[index]
        try:
            columns = zip(*self._piece(index), strict=True)
            for header, text, cuts in islice(columns, last - first + 1):
                body = text.encode()
                if cuts:
                    own, done = body, 0
                    pieces: list[bytes] = []
                    for at, start, length in cuts:
                        pieces += (own[done:at], whole[start : start + length])
                        done = at
                    pieces.append(own[done:])
                    body = b"".join(pieces)
                rows.append(row_of(segment, header, body))
        except MISSHAPEN as exc:
            raise damaged(segment, "Its detail cannot be read") from exc
        if [row.seq for row in rows] != list(range(first, last + 1)):
            raise damaged(segment, "It does not hold the rows it names")
        for row in rows:
            if zlib.crc32(row.body) != row.crc:
                raise damaged(segment, f"The checksum of its row {row.seq} does not match")
        return rows


class Cut(SegmentRow):
    """Some pieces of a segment as one that has no bytes: its body is told by their frames."""

    inside: SegmentRow
    frames: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """What its parsed body would be.

        Raises:
            CorruptRecordError: The frames are no such thing.
        """
        try:
            return resolved(joined(self.frames), self.inside.body)
        except (CorruptRecordError, *MISSHAPEN) as exc:
            raise damaged(self.inside, "Its detail cannot be read") from exc


def unpack_segment(segment: SegmentRow, upto: int | None = None) -> list[CheckpointRow]:
    """The rows that a segment holds, byte for byte; up to one of them, if that is given.

    Raises:
        CorruptRecordError: The segment is damaged, or was read without its detail.
    """
    last = segment.seq_to if upto is None else min(upto, segment.seq_to)
    return Inside(segment).rows(segment.seq_from, last)


__all__ = [
    "MISSHAPEN", "PIECE_ROWS", "SHARED_BYTES_MIN", "Cut", "Inside", "Piece", "Places", "damaged",
    "frame_of", "header_of", "joined", "moved", "piece_of", "row_of", "unpack_segment",
    "write_detail",
]  # fmt: skip
