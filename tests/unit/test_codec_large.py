"""Large values: told by a look at few of their parts, encoded slice by slice to the same bytes."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell._codec import Codec
from stepwell._codec import large as module
from stepwell._codec.large import LARGE_BYTES, encode_in_slices, is_large, weight
from stepwell.errors import UnsupportedTypeError

MESSAGE = {"role": "user", "content": "river " * 80}
COUNT = LARGE_BYTES // 400

LARGE = {
    "text": "x" * (LARGE_BYTES + 1),
    "bytes": b"x" * (LARGE_BYTES + 1),
    "list": [MESSAGE] * COUNT,
    "tuple": (MESSAGE,) * COUNT,
    "dict": {str(i): MESSAGE for i in range(COUNT)},
    "deep": {"a": {"b": [{"c": "x" * (LARGE_BYTES + 1)}]}},
    "numbers": list(range(LARGE_BYTES)),
    "set": frozenset(str(i) * 40 for i in range(LARGE_BYTES // 40)),
}
SMALL = {
    "none": None, "int": 1 << 4000, "float": math.pi, "text": "x" * 1000, "list": [MESSAGE] * 10,
    "empty": [], "nested": {"a": [[]], "b": {}}, "time": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
}  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_seen(name):
    assert is_large(LARGE[name])


@pytest.mark.parametrize("name", SMALL)
def test_what_is_small_is_left_alone(name):
    assert not is_large(SMALL[name])


class Counted(list):
    """A list that counts how many of its items were looked at."""

    looked = 0

    def __getitem__(self, index):
        self.looked += 1
        return super().__getitem__(index)

    def __iter__(self):
        raise AssertionError("all items are looked at")


def test_the_look_does_not_grow_with_the_value():
    found = Counted([MESSAGE] * 100_000)
    assert weight(found) > LARGE_BYTES
    assert found.looked <= 8


@given(value=st.lists(VALUES, max_size=12) | VALUES)
def test_slices_make_the_same_document(value):
    codec = Codec()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SLICE_BYTES", 10)
        assert encode_in_slices(codec, value) == codec.encode(value)


def test_a_long_list_is_encoded_in_many_calls(monkeypatch):
    codec, sizes = Codec(), []
    encode = Codec.encode

    def noted(self, value, **options):
        sizes.append(len(value))
        return encode(self, value, **options)

    monkeypatch.setattr(Codec, "encode", noted)
    encoded = encode_in_slices(codec, LARGE["list"])
    assert codec.decode(*encoded) == LARGE["list"]
    assert sum(sizes) == COUNT
    assert len(sizes) >= 2


def test_what_cannot_be_stored_is_refused():
    with pytest.raises(UnsupportedTypeError, match="object"):
        encode_in_slices(Codec(), [1, 2, object()])


@pytest.mark.parametrize(
    "change", [list.clear, lambda items: items.extend(["late"] * COUNT)], ids=["less", "more"]
)
def test_a_list_that_changes_meanwhile_is_what_it_was_at_first(monkeypatch, change):
    """Another thread may change it between two slices: the document is whole all the same."""
    codec, value = Codec(), list(LARGE["list"])
    before = list(value)
    encode = Codec.encode

    def changed(self, part, **options):
        encoded = encode(self, part, **options)
        change(value)
        return encoded

    monkeypatch.setattr(Codec, "encode", changed)
    assert codec.decode(*encode_in_slices(codec, value)) == before
