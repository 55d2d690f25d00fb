"""What cannot be stored is refused when written; the error says what, where and what to do."""

from __future__ import annotations

import enum
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import TZPATH, ZoneInfo

import orjson
import pydantic
import pytest

from stepwell._codec import LEVELS_MAX, Codec, Registry
from stepwell.errors import CorruptRecordError, UnsupportedTypeError
from stepwell.types import Send

CODEC = Codec(Registry())


class Thing:
    pass


@dataclass
class Card:
    name: Any
    more: Any = None


class Form(pydantic.BaseModel):
    name: Any


class Pair(NamedTuple):
    left: Any
    right: Any


class Suit(enum.Enum):
    HEARTS = 1


class Kind(enum.StrEnum):
    GOOD = "good"


class Rank(enum.IntEnum):
    ACE = 1


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Real(float):
    pass


class Rows(list[Any]):
    pass


class Map(dict[str, Any]):
    pass


class Row(tuple[Any, ...]):
    __slots__ = ()


class Moon(tzinfo):
    def utcoffset(self, _moment: datetime | None) -> timedelta:
        return timedelta(0)


def refusal(value: Any, codec: Codec = CODEC, channel: str | None = None) -> UnsupportedTypeError:
    with pytest.raises(UnsupportedTypeError) as caught:
        codec.encode(value, channel=channel)
    with pytest.raises(UnsupportedTypeError):
        codec.lower(value, channel=channel)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [
        object(), Thing(), Thing, len, lambda: 0, (n for n in ()), threading.Lock(),
        memoryview(b""),
        NotImplemented, ..., enum, Card(1), Form(name=1), Pair(1, 2), Suit.HEARTS, Kind.GOOD,
        Rank.ACE, Text("t"), Number(1), Real(1.0), Rows(), Map(), Row(), Counter, type(None),
        ExceptionGroup("g", [ValueError()]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_of_unregistered_types_are_refused_never_widened(value):
    error = refusal({"k": value}, channel="state")
    assert (error.channel, error.path) == ("state", "$['k']")
    assert error.type_name == f"{type(value).__module__}.{type(value).__qualname__}"


def test_the_message_names_channel_path_class_and_remedy():
    error = refusal({"a": [0, 1, 2, {"b": Card(1)}]}, channel="docs")
    message = str(error)
    assert "Channel 'docs'" in message
    assert "$['a'][3]['b']" in message
    assert "Card" in message
    assert "stepwell.register(Card)" in message
    assert "stepwell.register(Thing, encode=..., decode=...)" in str(refusal(Thing()))
    assert "does not cover its subclasses" in str(refusal(Text("t")))
    assert "register" not in str(refusal(len)), "a function can only be converted"
    assert str(refusal(1j and Thing())).startswith("The value holds, at $, ")


def test_no_value_is_shown_in_a_message():
    """Messages end up in logs; states hold secrets."""
    error = refusal({"k": [Text("hunter2"), 1]})
    assert "hunter2" not in str(error)


def known(*classes: type) -> Codec:
    registry = Registry()
    for cls in classes:
        registry.register(cls)
    return Codec(registry)


BAD = Thing()
PLACES: list[tuple[Any, str]] = [
    (BAD, "$"),
    ([0, BAD], "$[1]"),
    ((0, (BAD,)), "$[1][0]"),
    ({"a'b": BAD}, '$["a\'b"]'),
    ({1: BAD}, "$[1]"),
    ({(1, 2): BAD}, "$[<tuple>]"),
    ({"x" * 99: BAD}, "$['" + "x" * 35 + "...]"),
    ({10**5000: BAD}, "$[<int>]"),
    ({BAD: 1}, "$.keys()[0]"),
    ({BAD}, "${*}"),
    (frozenset({(BAD,)}), "${*}[0]"),
    (deque([0, BAD]), "$[1]"),
    (OrderedDict(a=BAD), "$['a']"),
    (Counter({"a": BAD}), "$['a']"),
    (defaultdict(list, a=[BAD]), "$['a'][0]"),
    (Send("n", {"a": BAD}), "$.arg['a']"),
    (Card("n", [BAD]), "$.more[0]"),
    (Form(name={"x": BAD}), "$.name['x']"),
    (Pair(1, BAD), "$.right"),
    (Map(a=BAD), "$['a']"),
    (Rows([1, BAD]), "$[1]"),
    (datetime(2024, 1, 1, tzinfo=Moon()), "$.tzinfo"),
    ({"$tuple": BAD}, "$['$tuple']"),
]


@pytest.mark.parametrize(("value", "path"), PLACES, ids=[path for _, path in PLACES])
def test_the_path_leads_to_the_value(value, path):
    error = refusal(value, known(Card, Form, Pair, Map, Rows))
    assert error.path == path
    assert path in str(error)


def test_registered_exceptions_are_strict_and_say_where():
    class Failure(Exception):
        pass

    error = Failure("x", BAD)
    assert refusal(error, known(Failure)).path == "$.args[1]"
    error = Failure("x")
    error.detail = [BAD]
    assert refusal(error, known(Failure)).path == "$.detail[0]"


def test_an_instance_with_a_field_that_is_not_set_is_refused():
    card = object.__new__(Card)
    assert "'name' is not set" in str(refusal(card, known(Card)))
    form = Form.model_construct()
    assert "'name' is not set" in str(refusal([form], known(Form)))


def test_a_failing_encode_hook_is_named_and_chained():
    registry = Registry()
    registry.register(Thing, encode=lambda thing: thing.missing, decode=lambda _state: Thing())
    error = refusal({"a": Thing()}, Codec(registry))
    assert error.path == "$['a']"
    assert isinstance(error.__cause__, AttributeError)


def test_an_item_that_appears_behind_the_walk_is_refused_by_the_encoder():
    rows: list[Any] = [[], Thing()]
    registry = Registry()
    registry.register(
        Thing, encode=lambda _thing: rows[0].append(len), decode=lambda _state: Thing()
    )
    with pytest.raises(UnsupportedTypeError, match="changed while it was written"):
        Codec(registry).encode(rows)


def test_a_value_that_changes_while_it_is_written_is_refused():
    holder: dict[str, Any] = {"a": Thing()}
    registry = Registry()
    registry.register(
        Thing, encode=lambda _thing: holder.update(b=1), decode=lambda _state: Thing()
    )
    with pytest.raises(UnsupportedTypeError, match=r"'c'.*changed while it was written"):
        Codec(registry).encode(holder, channel="c")


def test_a_failing_decode_hook_is_a_codec_error_and_chained():
    registry = Registry()
    registry.register(Thing, "t", encode=lambda _thing: 1, decode=lambda state: state.missing)
    codec = Codec(registry)
    with pytest.raises(CorruptRecordError, match=r"'\$:t'.*AttributeError") as caught:
        codec.decode(*codec.encode(Thing()), channel="c")
    assert isinstance(caught.value.__cause__, AttributeError)
    assert caught.value.channel == "c"


def test_a_default_factory_of_ones_own_is_refused():
    assert "factory" in str(refusal(defaultdict(lambda: 0)))
    assert "factory" in str(refusal(defaultdict(Thing)))


def test_a_time_zone_without_a_name_is_refused():
    for root in TZPATH:
        try:
            with Path(root, "UTC").open("rb") as file:
                zone = ZoneInfo.from_file(file)
                break
        except FileNotFoundError:
            continue
    else:
        pytest.skip("no time zone files on this machine; only the package tzdata")
    assert "from a file" in str(refusal(zone))


# --- depth and circles -----------------------------------------------------------------------


def nested(levels: int, wrap: Any) -> Any:
    value: Any = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


SHAPES = [
    (lambda inner: [inner], 1),
    (lambda inner: {"a": inner}, 1),
    (lambda inner: (inner,), 2),
    (lambda inner: {1: inner}, 2),
    (lambda inner: deque([inner]), 3),
    (lambda inner: Send("n", inner), 2),
    (lambda inner: {"$": inner}, 2),
]


@pytest.mark.parametrize(("wrap", "levels"), SHAPES)
def test_documents_are_as_deep_as_allowed_and_no_deeper(wrap, levels):
    deepest = LEVELS_MAX // levels
    value = nested(deepest, wrap)
    assert CODEC.encode(CODEC.decode(*CODEC.encode(value))) == CODEC.encode(value)
    for more in (1, 50, 5_000):
        error = refusal(nested(deepest + more, wrap))
        assert "levels of nesting" in str(error)


def test_the_deepest_document_leaves_room_for_what_it_is_embedded_in():
    """orjson writes 254 levels; a record wraps values in about ten of its own."""
    inner = orjson.Fragment(CODEC.encode(nested(LEVELS_MAX, lambda inner: [inner])).data)
    tree = orjson.loads(orjson.dumps(nested(40, lambda value: [inner if value == 1 else value])))
    assert orjson.dumps(tree)


def test_a_late_odd_key_does_not_lower_a_dict_twice():
    """Counted, not timed: twice per level would be 2**60 calls here."""
    calls = []
    registry = Registry()
    registry.register(Thing, encode=lambda _thing: calls.append(1), decode=lambda _state: Thing())
    value: Any = Thing()
    for level in range(60):
        value = {"a": value, 1: 1} if level % 2 else {"$a": value}
    Codec(registry).encode(value)
    assert len(calls) == 1


def test_circular_references_are_refused_with_both_places():
    row: list[Any] = [1]
    row.append({"again": row})
    error = refusal({"rows": row}, channel="c")
    assert error.path == "$['rows'][1]['again']"
    assert "back to $['rows']" in str(error)
    table: dict[Any, Any] = {}
    table["self"] = table
    assert refusal(table).path == "$['self']"
    table = {}
    table[1] = (table,)
    assert refusal(table).path == "$[1][0]"
    card = Card("n")
    card.more = {"back": [card]}
    assert refusal(card, known(Card)).path == "$.more['back'][0]"
    send = Send("n", None)
    send.arg = [send]
    assert refusal(send).path == "$.arg[0]"


def test_a_shared_part_is_no_circle():
    shared = [1, (2,)]
    assert CODEC.decode(*CODEC.encode([shared, shared])) == [shared, shared]


def test_a_call_deep_down_the_stack_is_refused_not_crashed():
    value = nested(150, lambda inner: [inner])

    def descend(frames: int) -> Any:
        return descend(frames - 1) if frames else CODEC.encode(value)

    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    with pytest.raises(UnsupportedTypeError):
        descend(sys.getrecursionlimit() - depth - 60)
    stored = CODEC.encode([value, (1,)])

    def read(frames: int) -> Any:
        return read(frames - 1) if frames else CODEC.decode(*stored, channel="c")

    with pytest.raises(CorruptRecordError, match="'c' is nested too deep"):
        read(sys.getrecursionlimit() - depth - 60)


# --- broken documents ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"[1", b"nul", b"\xff", b'{"$nonsense":1}', b'{"$":1}', b'{"$tuple":1}',
        b'{"$tuple":{"a":1}}', b'{"$set":[[1]]}', b'{"$set":[{"$dict":[]}]}', b'{"$dict":[1]}',
        b'{"$dict":[[1],2]}', b'{"$bytes":"?"}', b'{"$bytes":1}', b'{"$int":"xyz"}', b'{"$int":5}',
        b'{"$float":"much"}', b'{"$float":"zzzzzzzzzzzzzzzz"}', b'{"$str":"/w=="}',
        b'{"$uuid":"1"}', b'{"$date":"today"}', b'{"$datetime":["2024-01-01T00:00:00",1,0]}',
        b'{"$datetime":["2024-01-01T00:00:00",null,7]}', b'{"$timedelta":[1,2]}',
        b'{"$timedelta":[999999999999,0,0]}', b'{"$timezone":[{"$timedelta":[9,0,0]}]}',
        b'{"$decimal":"x"}', b'{"$fraction":[1,0]}', b'{"$range":[0,1,0]}',
        b'{"$range":[0,true,1]}',
        b'{"$deque":[[1],-1]}', b'{"$defaultdict":[[],"eval"]}', b'{"$path":["amiga","a"]}',
        b'{"$ipaddress":["IPv4Address","x"]}', b'{"$ipaddress":["__class__","x"]}',
        b'{"$complex":[1,2]}', b'{"$slice":[1]}', b'{"$:stepwell:Send":1}',
        b'{"$:builtins:ValueError":{"args":1}}',
    ],
    ids=repr,
)  # fmt: skip
def test_broken_documents_are_corrupt_records(document):
    with pytest.raises(CorruptRecordError, match="channel 'c'") as caught:
        CODEC.decode(document, tagged=True, channel="c")
    assert caught.value.channel == "c"


def test_untagged_documents_are_read_without_a_walk():
    """So a tag in one is data; what is written untagged never holds one."""
    assert CODEC.decode(b'{"$tuple":[1]}', tagged=False) == {"$tuple": [1]}
