"""What is remembered of a stored value: the same whether its encoding was made at once or late."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from stepwell._journal import track
from stepwell._journal.track import REPAIR_BYTES_MAX, LateTrack, Track, encoding

ITEMS = st.lists(st.one_of(st.integers(0, 9), st.text(max_size=4), st.just({"a": [1]})), max_size=5)
STEPS = st.lists(
    st.tuples(st.sampled_from(["extend", "reset", "matches", "mismatches", "whole"]), ITEMS),
    max_size=8,
)


@given(ITEMS, STEPS)
def test_a_late_track_is_a_track(first: list[Any], steps: list[tuple[str, list[Any]]]) -> None:
    """Whatever is done with it; and what it is asked to compare is the value as it was stored."""
    asked = []

    def source() -> bytes:
        asked.append(1)
        return orjson.dumps(first)

    late, known = LateTrack(source), Track(orjson.dumps(first))
    value = list(first)
    for what, items in steps:
        data = orjson.dumps(items)
        if what == "extend":
            value += items
            for each in (late, known):
                each.extend(data)
        elif what == "reset":
            value = list(items)
            for each in (late, known):
                each.reset(data)
        elif what == "matches":
            assert late.matches(orjson.dumps(value))
            assert known.matches(orjson.dumps(value))
        elif what == "mismatches":
            changed = orjson.dumps([*value, "else"])
            assert not late.matches(changed)
            assert not known.matches(changed)
        else:
            assert late.whole() == known.whole()
    assert late.matches(orjson.dumps(value)) == known.matches(orjson.dumps(value)) is True
    assert (late.size, late.crc) == (known.size, known.crc)
    assert len(asked) <= 1


def test_a_late_track_is_too_large_to_be_looked_at_until_it_is_asked() -> None:
    late = LateTrack(lambda: b"[1,2]")
    late.extend(b"[3]")
    assert late.size > REPAIR_BYTES_MAX
    assert late.matches(b"[1,2,3]")
    assert late.size == len("1,2,3")


def test_a_late_track_keeps_a_bounded_part_for_later() -> None:
    late = LateTrack(lambda: b"[0]")
    items = orjson.dumps(["x" * 1000] * 100)
    for _ in range(100):
        late.extend(items)
        assert sum(map(len, late._more)) <= REPAIR_BYTES_MAX + len(items)
    assert late.matches(orjson.dumps([0] + ["x" * 1000] * 10_000))


@given(st.lists(st.one_of(st.integers(), st.text(max_size=300)), max_size=20), st.integers(1, 7))
def test_a_list_is_encoded_in_parts_or_given_up(items: list[Any], chunk: int) -> None:
    value = [v for v in items if not isinstance(v, int) or abs(v) < 1 << 53]
    value = [v for v in value if not isinstance(v, str) or v.isascii()]
    before = track._CHUNK, track.REPAIR_BYTES_MAX
    track._CHUNK, track.REPAIR_BYTES_MAX = chunk, 500  # type: ignore[misc]
    try:
        made = encoding(value)
    finally:
        track._CHUNK, track.REPAIR_BYTES_MAX = before  # type: ignore[misc]
    whole = orjson.dumps(value)
    assert made == (None if len(value) > chunk and len(whole) - 1 > 500 else whole)
