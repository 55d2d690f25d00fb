"""Several segments become one, column by column: no row is taken apart.

What appends in one body goes behind what appends in the one before; where a row's detail refers to
bytes of a body that stand elsewhere now, the reference moves, and where they are gone (a later
segment overwrote the value) the bytes go back into the row's own text.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson

from stepwell._codec.compress import inflate
from stepwell._journal.folded import Folded
from stepwell._journal.record import FORMAT_JSON
from stepwell._journal.segments import Body, Column, damaged, segment_body, write_body
from stepwell._journal.unusual import plain
from stepwell.checkpoint.driver import SegmentRow
from stepwell.errors import CorruptRecordError


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
        format=FORMAT_JSON, crc=zlib.crc32(whole), body=whole, detail=_detail(segments, body),
        run_from=min(s.run_from for s in segments), run_to=max(s.run_to for s in segments),
    )  # fmt: skip


def _detail(segments: Sequence[SegmentRow], body: Body) -> bytes:
    headers: list[Any] = []
    texts: list[str] = []
    cuts: list[list[list[int]]] = []
    for segment, parts in zip(segments, body.parts, strict=True):
        try:
            document = orjson.loads(inflate(segment.detail))
            moved = _Moved(segment.body, parts)
            headers += document["h"]
            for text, own in zip(document["b"], document["x"], strict=True):
                if own:
                    text, own = moved.follow(text, own)  # noqa: PLW2901  # both are new
                texts.append(text)
                cuts.append(own)
        except (CorruptRecordError, ValueError, KeyError, TypeError) as exc:
            raise damaged(segment, "Its detail cannot be read") from exc
    return zlib.compress(orjson.dumps({"h": headers, "b": texts, "x": cuts}), 1)


class _Moved:
    """Where the bytes of an old body are in the new one."""

    __slots__ = ("_old", "_places", "_starts")

    def __init__(self, old: bytes, parts: Sequence[tuple[int, bytes]]) -> None:
        self._old = old
        places = [(old.find(part), len(part), start) for start, part in parts]
        self._places = sorted(place for place in places if place[0] >= 0)
        self._starts = [place[0] for place in self._places]

    def follow(self, text: str, cuts: list[list[int]]) -> tuple[str, list[list[int]]]:
        """A row's text and references for the new body."""
        kept: list[list[int]] = []
        lost: list[tuple[int, bytes]] = []
        grown = 0
        for at, start, length in cuts:
            place = bisect_right(self._starts, start) - 1
            if place >= 0:
                old, size, new = self._places[place]
                if start + length <= old + size:
                    kept.append([at + grown, new + start - old, length])
                    continue
            lost.append((at, self._old[start : start + length]))
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
