"""Values the codec supports, and what it means for one to come back as it was."""

from __future__ import annotations

import math
import struct
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from functools import cache
from ipaddress import ip_address
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import attrs
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from stepwell._codec import Codec, Registry
from stepwell.types import Command, GraphOutput, Interrupt, Overwrite, Send, TimeoutPolicy


class Colour(Enum):
    RED = (1, 0, 0)
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Word(StrEnum):
    YES = "yes"
    NO = "no"


class Right(IntFlag):
    READ = 1
    WRITE = 2
    RUN = 4


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclass(frozen=True, slots=True)
class Key:
    """Hashable: may stand in sets and as a dict key."""

    name: Any
    rank: int = 0


@dataclass
class Note:
    text: Any
    tags: list[Any] = field(default_factory=list)
    size: int = field(init=False, default=-1)


@attrs.define
class Box:
    inside: Any
    label: str = ""


class Person(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: Any
    age: Any = 3
    _seen: Any = PrivateAttr(default=None)


class Name(str):
    __slots__ = ()


class Bag(dict[Any, Any]):
    """A dict that also has attributes."""


class Trouble(Exception):
    def __init__(self, code: Any) -> None:
        super().__init__(f"trouble {code}")
        self.code = code


CLASSES = (Colour, Level, Word, Right, Point, Key, Note, Box, Person, Name, Bag, Trouble)


def sample_registry() -> Registry:
    """A registry that knows the classes of this module."""
    registry = Registry()
    for cls in CLASSES:
        registry.register(cls)
    return registry


def sample_codec() -> Codec:
    """A codec that supports every value of `supported_values`."""
    return Codec(sample_registry())


def texts() -> st.SearchStrategy[str]:
    """Text with NUL, lone surrogates, and words that look like tags."""
    odd = st.sampled_from(["", "\0", "\ud800", "a\udfff", "$", "$tuple", "$:x", "é", "😀"])
    return st.text(st.characters(), max_size=12) | odd


def integers() -> st.SearchStrategy[int]:
    edges = [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40]
    return st.integers() | st.sampled_from(edges)


def floats() -> st.SearchStrategy[float]:
    odd = [-0.0, math.nan, -math.nan, math.inf, -math.inf, 5e-324, 1e16, 1.7976931348623157e308]
    payload = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]
    return st.floats() | st.sampled_from([*odd, payload])


def zones() -> st.SearchStrategy[Any]:
    offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
    return (
        st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")])
        | offsets.map(timezone)
        | st.builds(timezone, offsets, st.text(max_size=5))
    )


def moments() -> st.SearchStrategy[Any]:
    """Dates, times and datetimes; naive and aware; both folds."""
    zone = st.none() | zones()
    return st.one_of(
        st.dates(),
        st.timedeltas(),
        st.builds(
            lambda v, z, f: v.replace(tzinfo=z, fold=f),
            st.datetimes(),
            zone,
            st.sampled_from([0, 1]),
        ),
        st.builds(
            lambda v, z, f: v.replace(tzinfo=z, fold=f), st.times(), zone, st.sampled_from([0, 1])
        ),
    )


def paths() -> st.SearchStrategy[PurePath]:
    parts = st.lists(st.text(st.sampled_from("ab.é \udc80"), min_size=1, max_size=4), max_size=3)
    return st.builds(
        lambda cls, given: cls(*given),
        st.sampled_from([Path, PurePosixPath, PureWindowsPath]),
        parts,
    )


@st.composite
def hashable_leaves(draw: st.DrawFn) -> Any:
    return draw(_hashable_leaves())


@cache
def _hashable_leaves() -> st.SearchStrategy[Any]:
    return st.one_of(
        st.none(),
        st.booleans(),
        integers(),
        floats(),
        texts(),
        st.binary(max_size=12),
        moments(),
        zones(),
        st.uuids(),
        st.decimals(allow_nan=False),
        st.sampled_from([Decimal("-0"), Decimal("1E+5"), Decimal("1.00"), Decimal("NaN123")]),
        st.fractions(),
        st.complex_numbers(),
        st.builds(
            range, st.integers(-5, 5), st.integers(-(2**70), 2**70), st.sampled_from([1, -3])
        ),
        paths(),
        st.sampled_from([ip_address("10.0.0.1"), ip_address("::1")]),
        st.sampled_from([*Colour, *Level, *Word, *Right, Right.READ | Right.RUN, Right(0)]),
        texts().map(Name),
    )


@st.composite
def hashables(draw: st.DrawFn) -> Any:
    """Supported values that may be keys and members of sets."""
    return draw(_hashables())


@cache
def _hashables() -> st.SearchStrategy[Any]:
    return st.recursive(
        hashable_leaves(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(tuple),
            st.frozensets(inner, max_size=3),
            st.builds(Key, inner, st.integers(0, 9)),
            st.builds(Point, inner, inner),
        ),
        max_leaves=4,
    )


def _note(text: Any, tags: list[Any], size: int | None) -> Note:
    note = Note(text, tags)
    if size is not None:
        note.size = size
    return note


def _person(name: Any, extra: dict[str, Any], private: Any) -> Person:
    person = Person(name=name, **{f"x_{key}": value for key, value in extra.items()})
    person._seen = private
    return person


def _bag(items: dict[Any, Any], attribute: Any) -> Bag:
    bag = Bag(items)
    bag.note = attribute
    return bag


def _failure(error: BaseException, note: str) -> BaseException:
    error.add_note(note)
    return error


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = st.lists(inner, max_size=4)
    table = st.dictionaries(hashables(), inner, max_size=3)
    named = st.dictionaries(texts(), inner, max_size=4)
    extra = st.dictionaries(st.text("ab", max_size=3), inner, max_size=2)
    return st.one_of(
        few,
        few.map(tuple),
        named,
        table,
        table.map(OrderedDict),
        table.map(lambda items: defaultdict(list, items)),
        table.map(lambda items: defaultdict(None, items)),
        st.builds(deque, few, st.none() | st.integers(4, 9)),
        st.builds(_note, inner, few, st.none() | st.integers(0, 9)),
        st.builds(Box, inner, st.text(max_size=3)),
        st.builds(_person, inner, extra, inner),
        st.builds(Point, inner, inner),
        st.builds(_bag, table, inner),
        st.builds(Trouble, inner),
        st.builds(_failure, st.builds(ValueError, inner, inner), st.text(max_size=5)),
        st.builds(Send, st.text(max_size=5), inner, timeout=st.none() | st.just(2.5)),
        st.builds(Command, update=named, resume=inner, goto=st.text(max_size=3)),
        st.builds(Interrupt, inner, st.text(max_size=5), response_schema=st.none() | named),
        st.builds(Overwrite, inner),
        st.builds(GraphOutput, inner, st.lists(st.builds(Interrupt, inner), max_size=2).map(tuple)),
    )


@st.composite
def supported_values(draw: st.DrawFn, max_leaves: int = 12) -> Any:
    """Any value the codec promises to bring back (with the classes of `sample_registry`)."""
    return draw(_supported_values(max_leaves))


@cache  # and `composite` above: the repr of a strategy this deep would fill pages
def _supported_values(max_leaves: int) -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        hashables(),
        st.binary(max_size=8).map(bytearray),
        st.sets(hashables(), max_size=4),
        st.frozensets(hashables(), max_size=4),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=3).map(Counter),
        st.sampled_from(
            [Decimal("sNaN7"), slice(1, None, (2,)), TimeoutPolicy(run_timeout=timedelta(1))]
        ),
    )
    return st.recursive(leaves, _containers, max_leaves=max_leaves)


def json_values(max_leaves: int = 12) -> st.SearchStrategy[Any]:
    """What JSON can say by itself."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(-1e15, 1e15),
        st.text(max_size=8),
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        ),
        max_leaves=max_leaves,
    )


TAGS = (
    "$", "$$", "$:", "$str", "$int", "$float", "$complex", "$bytes", "$bytearray", "$tuple", "$set",
    "$frozenset", "$dict", "$ordereddict", "$counter", "$defaultdict", "$deque", "$date", "$time",
    "$datetime", "$timedelta", "$timezone", "$uuid", "$decimal", "$fraction", "$zoneinfo", "$path",
    "$purepath", "$ipaddress", "$range", "$slice", "$:stepwell:Send", "$:stepwell:Command",
    "$:builtins:ValueError", "$:builtins:OSError", "$:builtins:UnicodeDecodeError", "$:os:system",
    *(f"$:{cls.__module__}:{cls.__qualname__}" for cls in CLASSES),
)  # fmt: skip
"""Keys that mean something to the codec, or nearly."""


def tag_keys() -> st.SearchStrategy[str]:
    return st.sampled_from(TAGS)


def forgeries(max_leaves: int = 12) -> st.SearchStrategy[Any]:
    """JSON with dicts in it that read like tags."""
    return st.recursive(
        json_values(4),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(tag_keys(), inner, min_size=1, max_size=1),
            st.dictionaries(tag_keys() | st.text(max_size=3), inner, max_size=3),
        ),
        max_leaves=max_leaves,
    )


def same(a: Any, b: Any) -> bool:
    """Equal in value and in exact type, all the way down; NaN is NaN, 1 is not True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Enum) or a is None:
        return a is b
    compare = _COMPARE.get(type(a))
    if compare is not None:
        return compare(a, b)
    if isinstance(a, BaseException):
        return same(list(a.args), list(b.args)) and same(vars(a), vars(b))
    if isinstance(a, BaseModel):
        names = (
            "__dict__",
            "__pydantic_fields_set__",
            "__pydantic_extra__",
            "__pydantic_private__",
        )
        return all(same(getattr(a, name), getattr(b, name)) for name in names)
    if is_dataclass(a):
        return _same_attributes(a, b, [f.name for f in fields(a)])
    if attrs.has(type(a)):
        return _same_attributes(a, b, [f.name for f in attrs.fields(type(a))])
    if isinstance(a, tuple):
        return same(tuple(a), tuple(b))
    if isinstance(a, Bag):
        return same(dict(a), dict(b)) and same(vars(a), vars(b))
    return bool(a == b)


def _same_attributes(a: Any, b: Any, names: list[str]) -> bool:
    held = [name for name in names if hasattr(a, name)]
    return held == [n for n in names if hasattr(b, n)] and all(
        same(getattr(a, name), getattr(b, name)) for name in held
    )


def _same_items(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


def _same_pairs(a: Any, b: Any) -> bool:
    return _same_items(list(a), list(b)) and _same_items(list(a.values()), list(b.values()))


def _same_members(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)


def _same_moment(a: Any, b: Any) -> bool:
    return (
        a.replace(tzinfo=None) == b.replace(tzinfo=None)
        and a.fold == b.fold
        and same(a.tzinfo, b.tzinfo)
    )


_COMPARE: dict[type, Any] = {
    float: lambda a, b: struct.pack(">d", a) == struct.pack(">d", b),
    complex: lambda a, b: same(a.real, b.real) and same(a.imag, b.imag),
    Decimal: lambda a, b: a.as_tuple() == b.as_tuple(),
    list: _same_items,
    tuple: _same_items,
    deque: lambda a, b: a.maxlen == b.maxlen and _same_items(a, b),
    dict: _same_pairs,
    OrderedDict: _same_pairs,
    Counter: _same_pairs,
    defaultdict: lambda a, b: a.default_factory is b.default_factory and _same_pairs(a, b),
    set: _same_members,
    frozenset: _same_members,
    datetime: _same_moment,
    time: _same_moment,
    timezone: lambda a, b: a.__getinitargs__() == b.__getinitargs__(),
    ZoneInfo: lambda a, b: a.key == b.key,
    range: lambda a, b: (a.start, a.stop, a.step) == (b.start, b.stop, b.step),
    slice: lambda a, b: same([a.start, a.stop, a.step], [b.start, b.stop, b.step]),
    Send: lambda a, b: same([a.node, a.arg, a.timeout], [b.node, b.arg, b.timeout]),
}
"""Types whose own == forgives something, or looks into containers."""
