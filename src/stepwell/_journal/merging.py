"""Several segments become one, column by column: no row is taken apart.

What appends in one body goes behind what appends in the one before; where a row's detail refers to
bytes of a body that stand elsewhere now, the reference moves, and where they are gone (a later
segment overwrote the value) the bytes go back into the row's own text.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from stepwell._journal.details import (
    MISSHAPEN,
    Inside,
    Piece,
    Places,
    damaged,
    frame_of,
    moved,
    write_detail,
)
from stepwell._journal.folded import Folded
from stepwell._journal.record import FORMAT_JSON
from stepwell._journal.segments import Body, Column, segment_body, write_body
from stepwell._journal.unusual import plain
from stepwell.checkpoint.driver import SegmentRow


def mergeable(segments: Sequence[SegmentRow]) -> int:
    """How many of these, from the first on, can become one: each goes on where the one before
    ended, and no node got another name in between."""
    count = 1
    for before, segment in pairwise(segments):
        follows = segment.parent is None and segment.seq_from == before.seq_to + 1
        if not (follows and plain(before) and plain(segment)) or segment_body(segment)["m"][1]:
            break
        count += 1
    return count


def merge_segments(segments: Sequence[SegmentRow]) -> SegmentRow:
    """One segment that holds what all of these hold, the same to the byte.

    Args:
        segments: `mergeable`, oldest first.

    Raises:
        CorruptRecordError: One is damaged.
    """
    documents = [segment_body(segment) for segment in segments]
    columns: dict[str, Column] = {}
    for number, document in enumerate(documents):
        for channel, ops in document["c"].items():
            column = columns.setdefault(channel, Column())
            for op in ops:
                column.add(op, (), number)
    last = documents[-1]
    body = write_body(
        last["h"], Folded.of_header({**last, "m": [last["m"][0], None]}), documents[0]["m"][1],
        columns, len(segments),
    )  # fmt: skip
    whole = b"".join(body.pieces)
    first, final = segments[0], segments[-1]
    return SegmentRow(
        ns=first.ns, seq_from=first.seq_from, seq_to=final.seq_to, parent=first.parent,
        format=FORMAT_JSON, crc=zlib.crc32(whole), body=whole,
        detail=_detail(segments, documents, body),
        run_from=min(s.run_from for s in segments), run_to=max(s.run_to for s in segments),
    )  # fmt: skip


def _detail(
    segments: Sequence[SegmentRow], documents: Sequence[dict[str, Any]], body: Body
) -> bytes:
    try:
        return write_detail(_parts(segments, documents, body))
    except MISSHAPEN as exc:
        whole = segments[0]._replace(seq_to=segments[-1].seq_to)
        raise damaged(whole, "Its detail cannot be read") from exc


def _parts(
    segments: Sequence[SegmentRow], documents: Sequence[dict[str, Any]], body: Body
) -> Iterator[tuple[Piece, dict[str, Any]]]:
    """The pieces of all segments with their frames, for the new body."""
    for segment, document, parts in zip(segments, documents, body.parts, strict=True):
        places = Places(segment.body, parts)
        for piece, frame in Inside(segment).pieces():
            told = frame_of(document, segment.body) if frame is None else frame
            yield _moved(piece, segment.body, places), moved(told, segment.body, places)


def _moved(piece: Piece, old: bytes, places: Places) -> Piece:
    """A piece with references for the new body."""
    texts: list[str] = []
    cuts: list[list[list[int]]] = []
    for text, own in zip(piece.texts, piece.cuts, strict=True):
        if own:
            text, own = _follow(text, own, old, places)  # noqa: PLW2901  # both are new
        texts.append(text)
        cuts.append(own)
    return Piece(piece.headers, texts, cuts)


def _follow(
    text: str, cuts: list[list[int]], body: bytes, places: Places
) -> tuple[str, list[list[int]]]:
    """A row's text and references for the new body."""
    kept: list[list[int]] = []
    lost: list[tuple[int, bytes]] = []
    grown = 0
    for at, start, length in cuts:
        new = places.of(start, length)
        if new is not None:
            kept.append([at + grown, new, length])
            continue
        lost.append((at, body[start : start + length]))
        grown += length
    return (_with(text, lost), kept) if lost else (text, kept)


def _with(text: str, lost: Sequence[tuple[int, bytes]]) -> str:
    """A text with bytes put back in at their places in it."""
    own, pieces, done = text.encode(), list[bytes](), 0
    for at, data in lost:
        pieces += (own[done:at], data)
        done = at
    pieces.append(own[done:])
    return b"".join(pieces).decode()


__all__ = ["merge_segments", "mergeable"]
