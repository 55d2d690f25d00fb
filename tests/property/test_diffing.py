"""The difference of two JSON trees: applied by another library, it makes one of the other."""

from __future__ import annotations

import json

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.checkpoint._looking import diffing as _diffing
from stepwell.checkpoint._looking.diffing import difference

NAMES = st.text(st.sampled_from('a~/0é- \\"\0'), max_size=3)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, 0.0, 1.0, -0.0, "", "0", "1", [], {}])
    | st.floats(allow_nan=False, allow_infinity=False)
    | NAMES
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=25,
)


@st.composite
def edited(draw):
    """Two lists, or the trees around them, that share most of what they hold."""
    items = draw(st.lists(TREES, max_size=8))
    other = list(items)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(other)))
        match draw(st.sampled_from(["add", "drop", "swap", "edit"])):
            case "add":
                other.insert(place, draw(TREES))
            case "drop" if place < len(other):
                del other[place]
            case "swap" if other:
                other.append(other.pop(place % len(other)))
            case "edit" if place < len(other):
                other[place] = draw(TREES)
    name = draw(NAMES)
    return draw(st.sampled_from([(items, other), ({name: items}, {name: other})]))


def written(tree):
    """A tree as JSON, in which 1, 1.0 and true are three things."""
    return json.dumps(tree, sort_keys=True)


def check(old, new):
    before = written(old)
    patch = difference(old, new)
    assert written(old) == before
    assert all(set(each) <= {"op", "path", "value"} for each in patch)
    applied = jsonpatch.apply_patch(json.loads(before), json.loads(written(patch)))
    assert written(applied) == written(new)
    assert (patch == []) == (before == written(new))
    return patch


@settings(max_examples=60)
@given(TREES, TREES)
def test_a_patch_makes_one_tree_of_another(old, new):
    check(old, new)


@settings(max_examples=60)
@given(edited())
def test_so_it_does_of_trees_that_resemble_each_other(pair):
    check(*pair)
    check(*reversed(pair))


@settings(max_examples=60)
@given(edited())
def test_lists_that_are_too_long_to_be_aligned_are_compared_by_place(pair):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_diffing, "_ALIGNED_MAX", 2)
        check(*pair)


@settings(max_examples=60)
@given(TREES)
def test_a_tree_does_not_differ_from_itself(tree):
    assert difference(tree, json.loads(written(tree))) == []


def added(path, value):
    return {"op": "add", "path": path, "value": value}


def replaced(path, value):
    return {"op": "replace", "path": path, "value": value}


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ([1, 2], [1, 2, 3], [added("/2", 3)]),
        ([1, 2, 3], [1, 3], [{"op": "remove", "path": "/1"}]),
        ([1, 2, 3], [9, 1, 2, 3], [added("/0", 9)]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, [replaced("/a~1b/~0", 2)]),
        ({"a": 1}, {"b": 1}, [{"op": "remove", "path": "/a"}, added("/b", 1)]),
        ({"a": 1}, {"a": True}, [replaced("/a", True)]),
        ([{"id": 1, "t": "x"}, 5], [{"id": 1, "t": "y"}, 5], [replaced("/0/t", "y")]),
        (1, [1], [replaced("", [1])]),
    ],
)
def test_a_small_change_is_a_small_patch(old, new, patch):
    assert written(check(old, new)) == written(patch)
