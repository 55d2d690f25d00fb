"""Segments say exactly what their rows said: states, and every byte of every row."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell._codec.splice import make_splice
from stepwell._journal import details
from stepwell._journal.details import Inside, joined, unpack_segment
from stepwell._journal.load import Folded, add_row, chain, fold, parent_in, trail
from stepwell._journal.merging import merge_segments, mergeable
from stepwell._journal.record import KIND_COMMAND, KIND_PULL
from stepwell._journal.segments import (
    header_after,
    last_row,
    pack_segment,
    segment_body,
    stretches,
)
from stepwell.checkpoint.driver import CheckpointRow, Loaded, SegmentRow
from stepwell.errors import CorruptRecordError

LISTS, VALUES = ("log", "messages"), ("n", "text", "doc")
ITEM = st.one_of(st.integers(-9, 9), st.text(max_size=40), st.just({"$tuple": [1, 2]}), st.none())
NAMES = st.sampled_from(["a", "b", "ö"])


def plain(folded: Folded) -> tuple[Any, ...]:
    """Everything that a state says."""
    return (
        orjson.dumps(folded.values, option=orjson.OPT_SORT_KEYS), sorted(folded.tagged),
        folded.version, folded.versions, folded.seen, folded.interrupt_seen, folded.parents,
        folded.state_version,
    )  # fmt: skip


def of_list(draw: Any, known: Any) -> tuple[list[Any], list[Any]]:
    """An operation on a channel that holds a list, and the writes it refers to."""
    kind = draw(st.sampled_from("sSaAxwWeE"))
    items = draw(st.lists(ITEM, max_size=4))
    if kind in "wW":
        made = [[i] if kind == "w" else i for i in items]
        writes = [["log", made[k], 1] if k == 0 else ["log", made[k]] for k in range(len(made))]
        return [kind, [[0, k] for k in range(len(made))]], writes
    if kind in "eE":
        size = len(known or [])
        start = draw(st.none() | st.integers(0, size))
        cut = 0 if start is None else draw(st.integers(0, size - start))
        return [kind, [[start, cut, items]]], []
    return ([kind] if kind == "x" else [kind, items]), []


def of_value(draw: Any, known: Any) -> list[Any]:
    """An operation on a channel that was written as a whole."""
    kind = draw(st.sampled_from("sSxp"))
    text = draw(st.text(max_size=20))
    if kind == "p" and known is not None:
        old = orjson.dumps(known)
        new = orjson.dumps((known if isinstance(known, str) else "") + text)
        splice = make_splice(old, new)
        if splice is not None:
            keep, cut, middle, crc = splice
            return [draw(st.sampled_from("pP")), keep, cut, middle.decode(), crc]
    if kind == "x":
        return ["x"]
    value = draw(st.one_of(ITEM, st.just("é" * 200 + text), st.just({"k": [text]})))
    return ["S" if kind == "S" else "s", value]


@st.composite
def linear_rows(draw: Any, first: int = 1, parent: int | None = None) -> list[CheckpointRow]:
    """A stretch of rows as a run makes them; bodies are applied to a state on the way."""
    folded, rows = Folded(), []
    for index in range(draw(st.integers(1, 14))):
        ops: dict[str, Any] = {}
        entries: list[Any] = [["a", KIND_PULL, draw(st.none() | st.just(["n"])), []]]
        for channel in draw(st.sets(st.sampled_from([*LISTS, *VALUES]), max_size=3)):
            known = folded.values.get(channel)
            if channel in LISTS:
                op, writes = of_list(draw, known)
                if op[0] in "wW":
                    if entries[0][3]:
                        continue
                    entries[0][3] = writes
                elif op[0] in "eE" and known is None:
                    op = ["a", []]
            else:
                op = of_value(draw, known)
            ops[channel] = op
        if draw(st.booleans()):
            entries.insert(1, ["cmd", KIND_COMMAND, None, [["n", 1]]])
        document: dict[str, Any] = {"t": entries, "c": ops}
        if draw(st.integers(0, 5)) == 0:
            document["i"] = index
        if draw(st.integers(0, 5)) == 0:
            document["p"] = {draw(NAMES): "id"}
        if draw(st.integers(0, 8)) == 0:
            document["z"] = [index * 10, {"n": index}, {"a": {"n": 1}}]
        if draw(st.integers(0, 8)) == 0:
            document["m"] = {"v": index, "k": draw(st.just(["n"]) | st.just([]))}
        body = orjson.dumps(document)
        rows.append(
            CheckpointRow(
                ns=0, seq=first + index, parent=parent if index == 0 else None, step=index,
                source=1, run=1 + index // 5, epoch=3, record_no=100 + 2 * index, format=1,
                crc=zlib.crc32(body), body=body,
                metadata=draw(st.none() | st.just(b'{"v":{"a":"\xc3\xa9"}}')),
                checkpoint_id=draw(st.none() | st.just(bytes(16))), created_at=1.5 + index / 3,
            )
        )  # fmt: skip
        add_row(folded, rows[-1])
    return rows


@given(rows=linear_rows(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_segment_is_its_rows(rows: list[CheckpointRow], data: Any) -> None:
    """Bytes, and the state behind it, wherever it is cut, and if it is folded once more."""
    cut = data.draw(st.integers(0, len(rows)))
    before = fold(rows[:cut])
    if rows[cut:]:
        segment = pack_segment(rows[cut:], before)
        assert unpack_segment(segment) == rows[cut:]
        before.add_segment(segment_body(segment))
        assert plain(before) == plain(fold(rows))
        assert (segment.run_from, segment.run_to) == (rows[cut].run, rows[-1].run)
    if rows[:cut]:
        first = pack_segment(rows[:cut], Folded())
        merged = pack_segment([*unpack_segment(first), *rows[cut:]], Folded())
        assert merged == pack_segment(rows, Folded())


@given(rows=linear_rows(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_segments_become_one(rows: list[CheckpointRow], data: Any) -> None:
    """Wherever they were cut, and merged again: the same rows, the same state behind it."""
    places = [*sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=4))), len(rows)]
    segments, start = [], 0
    for place in places:
        if place > start:
            segments.append(pack_segment(rows[start:place], fold(rows[:start])))
            start = place
    assert mergeable(segments) == len(segments)
    middle = data.draw(st.integers(1, len(segments)))
    first = merge_segments(segments[:middle])
    for merged in (merge_segments(segments), merge_segments([first, *segments[middle:]])):
        assert unpack_segment(merged) == rows
        folded = Folded()
        folded.add_segment(segment_body(merged))
        assert plain(folded) == plain(fold(rows))
        assert (merged.parent, merged.run_from, merged.run_to) == (None, rows[0].run, rows[-1].run)
    if len(rows) > 1:
        rest = merge_segments([pack_segment(rows[1:], fold(rows[:1]))])
        folded = fold(rows[:1])
        folded.add_segment(segment_body(rest))
        assert plain(folded) == plain(fold(rows))


def as_before(segment: SegmentRow) -> SegmentRow:
    """A segment as it was written before its rows were kept in columns, and in pieces."""
    headers, texts, cuts = [], [], []
    for piece, _ in Inside(segment).pieces():
        headers += piece.headers
        texts += piece.texts
        cuts += piece.cuts
    document = {"h": headers, "b": texts, "x": cuts}
    return segment._replace(detail=zlib.compress(orjson.dumps(document), 1))


@given(rows=linear_rows(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_pieces_of_a_segment_tell_of_its_middle(rows: list[CheckpointRow], data: Any) -> None:
    """Whatever rows are wanted of a segment that was merged, and merged again: those come as they
    are, and what comes in the place of others leads to the same states."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(details, "PIECE_ROWS", data.draw(st.integers(1, 4)))
        segments = [
            pack_segment(rows[at : at + 2], fold(rows[:at])) for at in range(0, len(rows), 2)
        ]
        old = data.draw(st.sets(st.sampled_from(range(len(segments)))))
        segments = [as_before(s) if i in old else s for i, s in enumerate(segments)]
        middle = data.draw(st.integers(1, len(segments)))
        first = merge_segments(segments[:middle])
        if data.draw(st.booleans()):
            first = as_before(first)
        whole = merge_segments([first, *segments[middle:]])
    assert unpack_segment(whole) == rows
    inside = Inside(whole)
    for cut in inside.cuts():
        assert plain(fold([cut])) == plain(fold(rows[: cut.seq_to]))
        assert last_row(cut)._replace(body=rows[cut.seq_to - 1].body) == rows[cut.seq_to - 1]
    wanted = sorted(data.draw(st.sets(st.integers(1, len(rows)), min_size=1)))
    upto = data.draw(st.sampled_from([wanted[-1], len(rows)]))
    for _ in range(2):  # what was folded once is not changed by it
        folded, seq, seen = Folded(), 0, []
        for part in inside.parts(wanted, upto):
            if isinstance(part, CheckpointRow):
                assert part == rows[seq]
                add_row(folded, part)
                seq = part.seq
                seen.append(seq)
            else:
                assert part.seq_from == seq + 1
                folded.add_segment(segment_body(part))
                seq = part.seq_to
            assert plain(folded) == plain(fold(rows[:seq]))
        assert seq == upto
        assert set(wanted) <= set(seen)
    low, high = wanted[0], wanted[-1]
    assert Inside(whole).rows(low, high) == rows[low - 1 : high]


def test_a_state_in_the_middle_needs_one_piece() -> None:
    """Of a thousand rows one piece is taken out; what was appended before is read in one go."""
    rows = []
    for index in range(1000):
        text = f"{index:04d}" + "xyz" * 100
        ops: dict[str, Any] = {"log": ["a", [text]], "n": ["s", index]}
        body = orjson.dumps({"t": [["a", -1, None, [["log"], ["n"]]]], "c": ops})
        rows.append(
            CheckpointRow(
                ns=0, seq=index + 1, parent=None, step=index, source=1, run=1, epoch=1,
                record_no=index + 1, format=1, crc=zlib.crc32(body), body=body,
            )
        )  # fmt: skip
    segments, before = [], Folded()
    for at in range(0, 1000, 100):
        segments.append(pack_segment(rows[at : at + 100], before))
        before = header_after(segments[-1])
    whole = merge_segments([merge_segments(segments[:6]), *segments[6:]])
    assert len(whole.detail) < sum(len(row.body) for row in rows) / 20
    cut, *rest = Inside(whole).parts([750], 750)
    assert (cut.seq_to, len(rest)) == (700, 50)  # type: ignore[union-attr]
    assert [len(ops) for ops in joined(cut.frames)["c"].values()] == [1, 1]  # type: ignore[union-attr]
    assert plain(fold([cut, *rest])) == plain(fold(rows[:750]))


@given(rows=linear_rows(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_trail_ends_at_any_checkpoint(rows: list[CheckpointRow], data: Any) -> None:
    """Through whole segments, into the middle of one, and into the tail behind them."""
    size = len(rows)
    places = sorted(data.draw(st.sets(st.integers(1, size), max_size=3)))
    segments, start = [], 0
    for place in places:
        segments.append(pack_segment(rows[start:place], fold(rows[:start])))
        start = place
    seq = data.draw(st.integers(1, size))
    held = [s for s in segments if s.seq_from <= seq]
    bare = [s if s.seq_to >= seq else s._replace(detail=b"") for s in held]
    tail = [row for row in rows[start:] if row.seq <= seq]
    pieces = trail(Loaded(thread=None, rows=tail, segments=bare), seq)
    assert pieces[-1] == rows[seq - 1]
    assert plain(fold(pieces)) == plain(fold(rows[:seq]))
    before = parent_in(pieces)
    if seq == 1:
        assert before is None
    else:
        assert before is not None
        assert before._replace(body=b"") == rows[seq - 2]._replace(body=b"")
    assert chain(rows[start:], segments) == rows


@given(rows=linear_rows(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_damage_is_noticed(rows: list[CheckpointRow], data: Any) -> None:
    """One changed byte of body or detail never gives another row or state."""
    segment = pack_segment(rows, Folded())
    for name in ("body", "detail"):
        blob = bytearray(getattr(segment, name))
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        broken = segment._replace(**{name: bytes(blob)})
        try:
            found = unpack_segment(broken)
        except CorruptRecordError:
            continue
        # The end of compressed data has a few bits that say nothing.
        assert (name, found) == ("detail", rows)
    with pytest.raises(CorruptRecordError, match="damaged"):
        unpack_segment(segment._replace(detail=b""))


def test_what_was_appended_is_stored_once() -> None:
    """The body holds the items; the detail refers to them."""
    rows = []
    for index in range(100):
        text = f"{index:03d}" + "xyz" * 100
        body = orjson.dumps({"t": [["a", -1, None, [["log"]]]], "c": {"log": ["a", [text]]}})
        rows.append(
            CheckpointRow(
                ns=0, seq=index + 1, parent=None, step=index, source=1, run=1, epoch=1,
                record_no=index + 1, format=1, crc=zlib.crc32(body), body=body,
            )
        )  # fmt: skip
    segment = pack_segment(rows, Folded())
    payload = sum(len(row.body) for row in rows)
    assert len(segment.body) < payload
    assert len(segment.detail) < payload / 10
    assert unpack_segment(segment) == rows


@given(rows=linear_rows(first=4, parent=2))
@settings(max_examples=20, deadline=None)
def test_stretches_are_linear(rows: list[CheckpointRow]) -> None:
    """A fork, a gap and a row of another form end a stretch."""
    assert list(stretches(rows)) == [rows]
    more = [*rows, rows[-1]._replace(seq=90, parent=7), rows[-1]._replace(seq=91, parent=None)]
    assert [len(s) for s in stretches(more)] == [len(rows), 2]
    more += [more[-1]._replace(seq=92, format=9), more[-1]._replace(seq=93)]
    assert [s[-1].seq for s in stretches(more)] == [rows[-1].seq, 91, 93]


def test_nodes_that_got_other_names_begin_a_segment() -> None:
    """What a state says of them by name, it says by the new one."""
    told = [
        {"t": [["old", -1, None, []]], "c": {"branch:to:old": ["s", None]}},
        {"t": [], "c": {}, "m": {"v": 1, "r": {"old": "new"}}},
        {"t": [["new", -1, None, []]], "c": {"branch:to:new": ["x"]}},
    ]
    rows = []
    for seq, document in enumerate(told, 1):
        body = orjson.dumps(document)
        rows.append(
            CheckpointRow(
                ns=0, seq=seq, parent=None, step=seq, source=1, run=1, epoch=1, record_no=seq,
                format=1, crc=zlib.crc32(body), body=body,
            )
        )  # fmt: skip
    parts = list(stretches(rows))
    assert [len(part) for part in parts] == [1, 2]
    folded = Folded()
    for part in parts:
        folded.add_segment(segment_body(pack_segment(part, folded)))
    assert plain(folded) == plain(fold(rows))
    assert (folded.state_version, set(folded.seen)) == (1, {"new"})
    segments = [pack_segment(part, fold(rows[: part[0].seq - 1])) for part in parts]
    assert mergeable(segments) == 1
    assert mergeable([segments[1], segments[1]]) == 1


def test_a_missing_row_is_noticed() -> None:
    """A chain with a hole, or without its beginning, gives no state at all."""
    rows = []
    for seq in range(1, 6):
        body = orjson.dumps({"t": [], "c": {"log": ["a", [seq]]}})
        rows.append(
            CheckpointRow(
                ns=0, seq=seq, parent=None, step=seq, source=1, run=1, epoch=1, record_no=seq,
                format=1, crc=zlib.crc32(body), body=body,
            )
        )  # fmt: skip
    for hole in (1, 2, 4):
        left = [row for row in rows if row.seq != hole]
        with pytest.raises(CorruptRecordError, match="is not there"):
            trail(Loaded(thread=None, rows=left), 5)
    assert trail(Loaded(thread=None, rows=[row for row in rows if row.seq != 5]), 5) == []
