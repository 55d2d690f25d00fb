"""Hostile bytes: a decoder that reads any of them raises a CodecError or gives a value.

It never imports, runs, opens or starts anything because of them.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell._codec import Codec, Registry, apply_splice, make_splice
from stepwell.errors import CodecError, CorruptRecordError, UnknownTypeError
from stepwell.types import Command, Interrupt, Send
from tests.property.strategies import (
    TAGS,
    Box,
    Colour,
    Key,
    Name,
    Note,
    Person,
    Point,
    Trouble,
    forgeries,
    sample_codec,
    supported_values,
    tag_keys,
)

CODEC = sample_codec()
EXAMPLES = 10_000

_FORBIDDEN = (
    "import", "exec", "compile", "marshal.", "pickle.", "os.", "subprocess.", "socket.", "shutil.",
    "ctypes.", "code.", "builtins.",
)  # fmt: skip


class Watch:
    """Notes what the interpreter reports while it is on. An audit hook cannot be removed."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[tuple[str, Any]] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event.startswith(_FORBIDDEN):
            self.seen.append((event, args))

    def __enter__(self) -> list[tuple[str, Any]]:
        self.seen = []
        self.on = True
        return self.seen

    def __exit__(self, *_: object) -> None:
        self.on = False


WATCH = Watch()


def _decoded(data: bytes) -> Any:
    """The value, or the CodecError. Anything else that happens fails the test."""
    with WATCH as seen:
        try:
            result = CODEC.decode(data, tagged=True)
        except CodecError as error:
            result = error
    assert seen == []
    return result


@pytest.fixture(autouse=True, scope="module")
def _rare_types_known():
    """Modules of rare types are imported when the first value of them is read, and dataclasses
    of the package get their methods when they are first used."""
    for module in [m for name, m in sys.modules.items() if name.startswith("stepwell")]:
        for made in [each for each in vars(module).values() if isinstance(each, type)]:
            for method in ("__init__", "__repr__", "__eq__", "__hash__", "__dataclass_fields__"):
                getattr(made, method, None)
    for document in (
        b'{"$decimal":"1"}', b'{"$fraction":[1,2]}', b'{"$path":["posix","a"]}',
        b'{"$ipaddress":["IPv4Address","1.1.1.1"]}', b'{"$zoneinfo":"UTC"}',
    ):  # fmt: skip
        CODEC.decode(document, tagged=True)
    with pytest.raises(UnknownTypeError):
        CODEC.decode(b'{"$zoneinfo":"No/No"}', tagged=True)


class Lever:
    """Registered with a hook that imports what the bytes say: what must never exist."""


def test_the_watch_sees_an_import():
    """Else the tests below would prove nothing."""
    registry = Registry()
    registry.register(Lever, "lever", encode=str, decode=__import__)
    with WATCH as seen, pytest.raises(CorruptRecordError):
        Codec(registry).decode(b'{"$:lever":"this_is_nowhere"}', tagged=True)
    assert ("import", "this_is_nowhere") in [(event, args[0]) for event, args in seen]


def _samples() -> list[bytes]:
    """Documents with every tag in them, to be damaged."""
    zone = timezone(timedelta(hours=1), "X")
    values: list[Any] = [
        [1, (2, {3}), frozenset({"a"}), b"bytes", bytearray(b"array"), 2**80, float("nan"), 1j],
        {1: 2, (1, 2): [{"$tuple": 1}], "a": OrderedDict(b=Counter("aab"))},
        [defaultdict(list, {1: []}), deque([1], 3), range(3), slice(1, 2), "\ud800"],
        [date(2024, 1, 1), time(1, 2, tzinfo=zone), timedelta(1), UUID(int=7)],
        [
            datetime(2024, 1, 1, tzinfo=zone),
            datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        ],
        [Decimal("1.5"), Fraction(1, 3), Path("a"), PureWindowsPath("b")],
        [Colour.RED, Key("k", 1), Note("n", ["t"]), Box(1, "b"), Person(name="p"), Point(1, 2)],
        [Send("node", {"a": (1,)}), Command(update={"a": 1}), Interrupt("q"), OSError(2, "x", "f")],
    ]
    return [CODEC.encode(value).data for value in values]


def _damaged(rng: random.Random, data: bytes) -> bytes:
    """One to four small changes: flip, cut, repeat, swap in something that matters."""
    words = [
        b'"$', b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"-", b"1e999", b"\xff",
        b"\\u0000", b'{"$tuple":', b'"$:os:system"', b'"$:builtins:eval"', b"9" * 30, b'""',
    ]  # fmt: skip
    for _ in range(rng.randint(1, 4)):
        at, other = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
        low, high = min(at, other), max(at, other)
        change = rng.randrange(5)
        if change == 0 and data:
            at %= len(data)
            data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
        elif change == 1:
            data = data[:low] + data[min(high, low + 8) :]
        elif change == 2:
            data = data[:high] + data[low:high][:64] + data[high:]
        elif change == 3:
            word = rng.choice(words)
            data = data[:at] + word + data[at + len(word) * rng.randrange(2) :]
        else:
            data = data[:at] + rng.randbytes(rng.randrange(6)) + data[at:]
    return data


_JUNK = (
    None, True, -1, 0, 1, 17, 2**63, 1.5, 1e308, "", "x", "ff", "-1", "nan", "posix", "2024-01-01",
    "\0", [], {}, [1], [1, 2], [[], None], {"a": 1}, {"args": []}, {"fields": {}}, {"$tuple": []},
)  # fmt: skip


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if type(node) is dict else range(len(node)) if type(node) is list else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


def _grafted(rng: random.Random, samples: list[bytes]) -> bytes:
    """A document with one to three parts replaced, dropped or filed under another tag."""
    tree = [orjson.loads(rng.choice(samples))]
    for _ in range(rng.randint(1, 3)):
        container, key = rng.choice(_places(tree))
        change = rng.randrange(4)
        if change == 0 and type(container) is dict:
            container[rng.choice(TAGS)] = container.pop(key)
        elif change == 1 and type(container) is dict:
            del container[key]
        elif change == 2:
            giver, taken = rng.choice(_places([orjson.loads(rng.choice(samples))]))
            container[key] = giver[taken]
        else:
            container[key] = copy.deepcopy(rng.choice(_JUNK))
    return orjson.dumps(tree)


def test_damaged_bytes_raise_codec_errors_only(seed):
    rng = random.Random(seed)
    samples = _samples()
    for _ in range(EXAMPLES):
        _decoded(_damaged(rng, rng.choice(samples)))


def test_damaged_trees_raise_codec_errors_only(seed):
    """Valid JSON, wrong states: behind the JSON parser, where reviving begins."""
    rng = random.Random(seed)
    samples = _samples()
    refused = sum(isinstance(_decoded(_grafted(rng, samples)), CodecError) for _ in range(EXAMPLES))
    assert EXAMPLES // 10 < refused < EXAMPLES - EXAMPLES // 10


def test_random_bytes_raise_codec_errors_only(seed):
    rng = random.Random(seed)
    for _ in range(EXAMPLES):
        _decoded(rng.randbytes(rng.randrange(40)))


def test_every_byte_of_a_document_changed_to_a_few_others():
    for data in _samples():
        for at in range(len(data)):
            for byte in b'"$[{}],:0a\xff':
                _decoded(data[:at] + bytes([byte]) + data[at + 1 :])


@settings(max_examples=300)
@given(forgeries())
def test_any_tree_of_tags_is_revived_or_refused(tree):
    """Well-formed JSON with wrong states under real tags: what byte damage rarely reaches."""
    result = _decoded(orjson.dumps(tree))
    if not isinstance(result, CodecError):
        assert CODEC.encode(result)


@given(supported_values(), st.data())
def test_a_state_under_another_tag_is_revived_or_refused(value, data):
    """Type confusion: real states under tags they were not made for."""
    tree = orjson.loads(CODEC.encode(value).data)
    state = next(iter(tree.values())) if type(tree) is dict and len(tree) == 1 else tree
    _decoded(orjson.dumps({data.draw(tag_keys()): state}))


@pytest.mark.parametrize(
    ("open_", "close"), [(b"[", b"]"), (b'{"a":', b"}"), (b'{"$tuple":[', b"]}")]
)
@pytest.mark.parametrize("levels", [300, 900, 1_100, 200_000])
def test_deep_nesting_is_refused_without_a_crash(open_, close, levels):
    data = open_ * levels + b"1" + close * levels
    assert isinstance(_decoded(data), CodecError)


def test_no_sample_class_is_made_by_its_constructor(monkeypatch):
    """Revival sets attributes; a constructor written by a user never runs on stored bytes."""
    values = (Key("k"), Note("n"), Box(1), Person(name="p"), Point(1), Trouble(1), Name("n"))
    documents = [CODEC.encode(value).data for value in values]
    ran: list[type] = []
    for cls in map(type, values):
        for method in ("__init__", "__post_init__", "__setattr__"):
            monkeypatch.setattr(cls, method, lambda self, *_, **__: ran.append(type(self)), False)
    for document in documents:
        assert not isinstance(_decoded(document), CodecError)
    assert ran == []


@settings(max_examples=200)
@given(st.binary(max_size=600), st.binary(max_size=600), st.binary(max_size=600))
def test_a_splice_gives_the_new_bytes_back(start, middle, end):
    old, new = start + end, start + middle + end
    splice = make_splice(old, new)
    if splice is not None:
        prefix, suffix, repeated, _ = splice
        assert apply_splice(old, splice) == new
        assert prefix + suffix + len(repeated) == len(new)
        assert len(repeated) * 2 <= len(new)


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_a_splice_of_text_never_cuts_a_character(start, middle, end):
    """So the bytes between may be stored as text."""
    pad = "é" * 200
    splice = make_splice((start + pad + end).encode(), (start + pad + middle + end).encode())
    if splice is not None:
        splice[2].decode()


@given(st.tuples(st.integers(), st.integers(), st.binary(max_size=9), st.integers()), st.binary())
def test_a_forged_splice_is_refused_or_right(splice, old):
    try:
        new = apply_splice(old, splice)
    except CodecError:
        return
    assert new.startswith(old[: splice[0]])


def test_codecs_without_a_registry_refuse_nothing_when_reading():
    """Every class of the samples is opaque to a process that knows none of them."""
    stranger = Codec()
    for data in _samples():
        assert stranger.encode(stranger.decode(data, tagged=True)).data == data
