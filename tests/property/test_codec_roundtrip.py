"""Any supported value comes back equal and of the same type, and no data is taken for a tag."""

from __future__ import annotations

import copy

import orjson
from hypothesis import example, given, settings

from stepwell._codec import Codec, Opaque, Registry
from tests.property.strategies import (
    forgeries,
    json_values,
    same,
    sample_codec,
    supported_values,
)

CODEC = sample_codec()
STRANGER = Codec(Registry())
"""Knows no class of the samples."""


@settings(max_examples=400)
@given(supported_values())
def test_a_value_comes_back_equal_and_of_the_same_type(value):
    encoded = CODEC.encode(value)
    assert same(CODEC.decode(*encoded), value)


@settings(max_examples=200)
@given(supported_values())
def test_a_document_is_canonical(value):
    """The journal may parse and write a document again, and encode a value twice."""
    data, tagged = CODEC.encode(value)
    assert orjson.dumps(orjson.loads(data)) == data
    assert CODEC.encode(CODEC.decode(data, tagged)) == (data, tagged)


@settings(max_examples=200)
@given(supported_values())
def test_a_process_without_the_classes_writes_the_same_bytes_back(value):
    data, tagged = CODEC.encode(value)
    assert STRANGER.encode(STRANGER.decode(data, tagged)) == (data, tagged)


@settings(max_examples=200)
@given(supported_values())
def test_reviving_does_not_change_the_tree_it_reads(value):
    """A tree revived twice must give the same value twice."""
    lowered = orjson.loads(CODEC.encode(value).data)
    before = copy.deepcopy(lowered)
    first = CODEC.revive(lowered)
    assert lowered == before
    assert same(CODEC.revive(lowered), first)


@settings(max_examples=300)
@given(forgeries())
@example({"$tuple": [1, 2]})
@example({"$": 1})
@example([{"$dict": ["$tuple", [1]]}])
@example({"a": {"$:stepwell:Send": {"node": "x", "arg": 1, "timeout": None}}})
@example({"$int": "ff", "b": 1})
@example([{"$tuple": [1, 2]}, (1,)])  # beside a real tag: only then is the document walked
def test_a_dict_that_reads_like_a_tag_stays_data(value):
    assert same(CODEC.decode(*CODEC.encode(value)), value)


@settings(max_examples=200)
@given(supported_values())
def test_a_document_stored_as_a_value_stays_a_document(value):
    """The hardest forgery is a real document: its parsed tree, stored, is that tree again."""
    tree = orjson.loads(CODEC.encode(value).data)
    assert same(CODEC.decode(*CODEC.encode(tree)), tree)


@settings(max_examples=200)
@given(json_values())
def test_plain_json_is_not_copied_nor_tagged_unless_a_key_begins_with_a_dollar(value):
    lowered, tagged = CODEC.lower(value)
    assert tagged is (lowered is not value)
    assert tagged is (b'{"$dict":' in orjson.dumps(lowered))
    if not tagged:
        assert CODEC.encode(value).data == orjson.dumps(value)


@settings(max_examples=200)
@given(supported_values())
def test_lowering_does_not_change_the_value(value):
    """Containers are handed on as they are: a tag written into one would reach the user."""
    first = CODEC.encode(value)
    assert CODEC.encode(value) == first


@given(forgeries())
def test_an_opaque_keeps_its_state_verbatim(state):
    data, tagged = CODEC.encode({"a": [Opaque("gone:Class", state)]})
    assert orjson.loads(data) == {"a": [{"$:gone:Class": state}]}
    revived = CODEC.decode(data, tagged)["a"][0]
    assert revived == Opaque("gone:Class", state)
    assert hash(revived) == hash(Opaque("gone:Class", state))
