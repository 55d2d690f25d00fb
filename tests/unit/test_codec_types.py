# ruff: noqa: DTZ001  # naive datetimes are values like others
"""The documents of built-in types, spelled out: they are a format, and stay readable."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest

from stepwell._codec import Codec, Registry
from stepwell.errors import CorruptRecordError, UnknownTypeError, UnsupportedTypeError
from stepwell.types import Command, GraphOutput, Interrupt, Overwrite, Send, TimeoutPolicy
from tests.property.strategies import same

CODEC = Codec(Registry())
BERLIN = ZoneInfo("Europe/Berlin")
PLUS_ONE = timezone(timedelta(hours=1))
CET = timezone(timedelta(hours=1), "CET")

PLAIN = [
    (None, b"null"),
    (True, b"true"),
    (0, b"0"),
    (2**64 - 1, b"18446744073709551615"),
    (-(2**63), b"-9223372036854775808"),
    (1.0, b"1.0"),
    (-0.0, b"-0.0"),
    (9999999999999998.0, b"9999999999999998.0"),
    (5e-324, b"5e-324"),
    (1e-7, b"1e-7"),
    ("", b'""'),
    ("NUL \0 in text", b'"NUL \\u0000 in text"'),
    ("é😀", '"é😀"'.encode()),
    ([], b"[]"),
    ({}, b"{}"),
    ({"a": [1, {"b": None}]}, b'{"a":[1,{"b":null}]}'),
    ({"$a": 1, "b": 2}, b'{"$a":1,"b":2}'),
]
TAGGED = [
    (2**64, b'{"$int":"10000000000000000"}'),
    (-(2**63) - 1, b'{"$int":"-8000000000000001"}'),
    (math.nan, b'{"$float":"nan"}'),
    (-math.nan, b'{"$float":"nan:fff8000000000000"}'),
    (1e16, b'{"$float":"1e+16"}'),
    (-1.7976931348623157e308, b'{"$float":"-1.7976931348623157e+308"}'),
    (1.23456789012e17, b'{"$float":"1.23456789012e+17"}'),
    (math.inf, b'{"$float":"inf"}'),
    (-math.inf, b'{"$float":"-inf"}'),
    (complex(-0.0, math.inf), b'{"$complex":[-0.0,{"$float":"inf"}]}'),
    ("\ud800", b'{"$str":"7aCA"}'),
    (b"\x00\xff", b'{"$bytes":"AP8="}'),
    (b"", b'{"$bytes":""}'),
    (bytearray(b"a"), b'{"$bytearray":"YQ=="}'),
    ((), b'{"$tuple":[]}'),
    ((1, (2,)), b'{"$tuple":[1,{"$tuple":[2]}]}'),
    ({2, 10, 1}, b'{"$set":[1,10,2]}'),
    (frozenset({"b", "a"}), b'{"$frozenset":["a","b"]}'),
    ({1: "int", True + 1: "two"}, b'{"$dict":[1,"int",2,"two"]}'),
    ({True: 1}, b'{"$dict":[true,1]}'),
    ({1.0: 1}, b'{"$dict":[1.0,1]}'),
    ({None: 1, "a": 2}, b'{"$dict":[null,1,"a",2]}'),
    ({(1, 2): 3}, b'{"$dict":[{"$tuple":[1,2]},3]}'),
    ({"\ud800": 1}, b'{"$dict":[{"$str":"7aCA"},1]}'),
    ({"$tuple": [1]}, b'{"$dict":["$tuple",[1]]}'),
    ({"$": 1}, b'{"$dict":["$",1]}'),
    (OrderedDict(b=1, a=2), b'{"$ordereddict":["b",1,"a",2]}'),
    (Counter("aab"), b'{"$counter":["a",2,"b",1]}'),
    (defaultdict(list, {1: [2]}), b'{"$defaultdict":[[1,[2]],"list"]}'),
    (defaultdict(None, a=1), b'{"$defaultdict":[["a",1],null]}'),
    (deque([1, 2], 5), b'{"$deque":[[1,2],5]}'),
    (deque(), b'{"$deque":[[],null]}'),
    (range(1, 10, 3), b'{"$range":[1,10,3]}'),
    (slice(None, 2), b'{"$slice":[null,2,null]}'),
    (date(1, 1, 1), b'{"$date":"0001-01-01"}'),
    (timedelta(-1, 2, 3), b'{"$timedelta":[-1,2,3]}'),
    (time(1, 2, 3, 4), b'{"$time":"01:02:03.000004"}'),
    (
        time(1, tzinfo=CET),
        b'{"$time":["01:00:00",{"$timezone":[{"$timedelta":[0,3600,0]},"CET"]},0]}',
    ),
    (datetime(2024, 1, 2, 3, 4, 5, 6), b'{"$datetime":"2024-01-02T03:04:05.000006"}'),
    (datetime(2024, 1, 2, tzinfo=UTC), b'{"$datetime":"2024-01-02T00:00:00+00:00"}'),
    (datetime(2024, 1, 2, tzinfo=PLUS_ONE), b'{"$datetime":"2024-01-02T00:00:00+01:00"}'),
    (datetime(2024, 1, 2, fold=1), b'{"$datetime":["2024-01-02T00:00:00",null,1]}'),
    (
        datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
        b'{"$datetime":["2024-10-27T02:30:00",{"$zoneinfo":"Europe/Berlin"},1]}',
    ),
    (datetime(2024, 1, 1, tzinfo=timezone(timedelta(microseconds=1))), None),
    (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1, seconds=1))), None),
    (UTC, b'{"$timezone":[{"$timedelta":[0,0,0]}]}'),
    (BERLIN, b'{"$zoneinfo":"Europe/Berlin"}'),
    (UUID(int=1), b'{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    (Decimal("1.10"), b'{"$decimal":"1.10"}'),
    (Decimal("1E+1000"), b'{"$decimal":"1E+1000"}'),
    (Decimal("-0"), b'{"$decimal":"-0"}'),
    (Decimal("sNaN12"), b'{"$decimal":"sNaN12"}'),
    (Decimal("-Infinity"), b'{"$decimal":"-Infinity"}'),
    (Decimal("1" * 60), None),
    (Fraction(-1, 3), b'{"$fraction":[-1,3]}'),
    (PurePosixPath("/a/b"), b'{"$purepath":["posix","/a/b"]}'),
    (PureWindowsPath("c:/a"), b'{"$purepath":["windows","c:\\\\a"]}'),
    (Path("a/\udc80"), b'{"$path":["posix",{"$str":"YS/tsoA="}]}'),
    (IPv4Address("10.0.0.1"), b'{"$ipaddress":["IPv4Address","10.0.0.1"]}'),
    (IPv6Network("::/8"), b'{"$ipaddress":["IPv6Network","::/8"]}'),
    (Send("n", (1,)), b'{"$:stepwell:Send":{"arg":{"$tuple":[1]},"node":"n","timeout":null}}'),
    (Send("n", None, timeout=2), None),
    (Command(goto="a"), None),
    (Command(goto=[Send("a", 1)], update={"k": (1,)}, resume={"id": 1}, graph="__parent__"), None),
    (
        Interrupt("q", "id"),
        b'{"$:stepwell:Interrupt":{"id":"id","response_schema":null,"value":"q"}}',
    ),
    (Overwrite([1]), b'{"$:stepwell:Overwrite":{"type":"__overwrite__","value":[1]}}'),
    (GraphOutput({"a": 1}, (Interrupt(1),)), None),
    (TimeoutPolicy(idle_timeout=timedelta(seconds=1)), None),
    (ValueError("x", 1), b'{"$:builtins:ValueError":{"args":["x",1]}}'),
    (KeyError((1, 2)), b'{"$:builtins:KeyError":{"args":[{"$tuple":[1,2]}]}}'),
]


@pytest.mark.parametrize(("value", "document"), PLAIN, ids=repr)
def test_plain_json_is_stored_as_it_is(value, document):
    data, tagged = CODEC.encode(value)
    assert tagged is False
    assert data == (document or orjson.dumps(value))
    assert same(CODEC.decode(data, tagged), value)


@pytest.mark.parametrize(
    ("value", "document"), TAGGED, ids=lambda v: repr(v) if type(v) is bytes else type(v).__name__
)
def test_everything_else_is_tagged_and_comes_back(value, document):
    data, tagged = CODEC.encode(value)
    assert tagged is True
    assert document in (None, data)
    assert same(CODEC.decode(data, tagged), value)
    assert orjson.dumps(orjson.loads(data)) == data


def test_integers_longer_than_python_spells_in_decimal_come_back():
    value = 10**5000
    assert CODEC.decode(*CODEC.encode(value)) == value


@pytest.mark.parametrize("item", [1, 1.5, "text", True, None], ids=repr)
@pytest.mark.parametrize("odd", [2**70, 1e16, math.nan, "\ud800", (1,), True, 2.5, None], ids=repr)
def test_one_odd_item_at_the_end_of_a_long_list_is_not_overlooked(item, odd):
    """Long runs of one scalar type take a short cut."""
    value = [item] * 40 + [odd]
    assert same(CODEC.decode(*CODEC.encode(value)), value)


class _Text(str):
    """Equal to a text, and none."""

    __slots__ = ()


_FLAT_VALUES = [
    2**70, 1e16, math.nan, "\ud800", (1,), True, 2.5, -0.0, None, [1], {}, b"", UUID(int=1),
]  # fmt: skip
_FLAT_DICTS = [
    {}, {"$a": 1}, {"$tuple": [1]}, {1: "a", "b": 2}, {"\ud800": 1, "b": 2}, {"only": 1},
]  # fmt: skip


@pytest.mark.parametrize(
    "odd", [*({"a": v, "id": 1} for v in _FLAT_VALUES), *_FLAT_DICTS], ids=repr
)
def test_one_odd_dict_in_a_list_of_flat_ones_is_encoded_as_by_itself(odd):
    flat = [{"author": "user", "id": n, "text": "é" * n, "x": None} for n in range(30)]
    flat.insert(17, odd)
    encoded = CODEC.encode(flat)
    assert encoded.data == b"[" + b",".join(CODEC.encode(one).data for one in flat) + b"]"
    assert encoded.tagged == CODEC.encode(odd).tagged
    assert same(CODEC.decode(*encoded), flat)


@pytest.mark.parametrize(
    "odd", [{_Text("a"): 1, "b": 2}, {"a": _Text("a"), "b": 2}], ids=["key", "value"]
)
def test_what_cannot_be_stored_is_found_in_a_list_of_flat_dicts(odd):
    flat = [{"a": "a", "b": 2}] * 30
    with pytest.raises(UnsupportedTypeError, match=r"\[30\]"):
        CODEC.encode([*flat, odd])


def test_a_list_of_flat_dicts_is_lowered_without_a_loop():
    """As many functions are called for 20 messages as for 2,000."""
    counts = []
    for size in (20, 2000):
        messages = [{"role": "user", "id": n, "content": "text"} for n in range(size)]
        calls = []
        sys.setprofile(lambda _frame, event, _arg, calls=calls: calls.append(event))
        CODEC.encode(messages)
        sys.setprofile(None)
        counts.append(calls.count("call"))
    assert counts[0] == counts[1]


def test_a_long_list_of_floats_is_plain_unless_one_is_large():
    value = [float(n) for n in range(40)]
    assert CODEC.encode(value) == (orjson.dumps(value), False)
    for large in (1.7e308, -1e16):
        for many in ([*value, large], [large] * 40):
            assert same(CODEC.decode(*CODEC.encode(many)), many)


def test_a_document_holds_no_float_that_releases_of_orjson_spell_differently():
    """3.10 writes 1e16, 3.13 writes 1e+16: a splice over such bytes would not survive."""
    value = [sign * 10.0**power for sign in (1, -1) for power in range(-320, 309)]
    document = CODEC.encode(value).data
    assert document.count(b'"$float"') == 2 * (309 - 16)
    assert b"e+" not in re.sub(rb'"\$float":"[^"]*"', b"", document)


def test_infinities_that_cancel_are_not_overlooked():
    value = [math.inf] * 20 + [-math.inf] * 20
    assert same(CODEC.decode(*CODEC.encode(value)), value)


def test_containers_without_tags_are_handed_on_uncopied():
    plain = {"list": [1, 2, {"deep": "é"}]}
    value = {"plain": plain, "odd": (1,)}
    lowered, tagged = CODEC.lower(value)
    assert tagged
    assert lowered["plain"] is plain
    assert CODEC.lower(plain) == (plain, False)
    assert CODEC.lower(plain)[0] is plain
    assert value["odd"] == (1,)


def test_members_of_a_set_are_written_in_one_order():
    words = [f"w{n}" for n in range(50)]
    assert CODEC.encode(set(words)).data == CODEC.encode({*words[25:], *words[:25]}).data


def test_the_order_of_a_dict_is_kept():
    value = {"b": 1, "a": (2,), "c": 3}
    assert list(CODEC.decode(*CODEC.encode(value))) == ["b", "a", "c"]


def test_decimals_do_not_depend_on_the_decimal_context():
    value = Decimal("1.23456789E+50")
    expected = CODEC.encode(value)
    with localcontext() as context:
        context.prec, context.capitals = 2, 0
        context.clear_traps()
        assert CODEC.encode(value) == expected
        assert CODEC.decode(*expected) == value
        with pytest.raises(CorruptRecordError):
            CODEC.decode(b'{"$decimal":"garbage"}', tagged=True)


def test_a_concrete_path_of_the_other_system_is_read_as_a_pure_one():
    assert CODEC.decode(b'{"$path":["windows","c:\\\\a"]}', tagged=True) == PureWindowsPath("c:/a")


def test_a_time_zone_this_machine_lacks_is_named():
    with pytest.raises(UnknownTypeError, match="Atlantis/Main"):
        CODEC.decode(b'{"$zoneinfo":"Atlantis/Main"}', tagged=True)


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "a.b/c", "", "..", "a//b"])
def test_a_time_zone_name_cannot_be_a_path_or_a_module(key):
    with pytest.raises(CorruptRecordError):
        CODEC.decode(orjson.dumps({"$zoneinfo": key}), tagged=True)


def test_exceptions_keep_what_their_class_makes_of_the_arguments():
    error = CODEC.decode(*CODEC.encode(OSError(2, "gone", "file", None, "other")))
    assert (type(error), error.errno, error.filename, error.filename2) == (
        FileNotFoundError, 2, "file", "other",
    )  # fmt: skip
    original = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
    decoded = CODEC.decode(*CODEC.encode(original))
    assert (decoded.start, decoded.reason, decoded.object) == (0, "bad", b"\xff")
    assert CODEC.decode(*CODEC.encode(StopIteration((1,)))).value == (1,)


def test_notes_of_an_exception_come_back_and_its_cause_does_not():
    error = ValueError("x")
    error.add_note("while saving")
    error.__cause__ = KeyError("y")
    revived = CODEC.decode(*CODEC.encode(error))
    assert revived.__notes__ == ["while saving"]
    assert revived.__cause__ is None


def test_arguments_of_a_built_in_exception_that_cannot_be_stored_become_their_repr():
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    error = ValueError("x", Odd(), (1,), Broken())
    error.seen = Odd()
    revived = CODEC.decode(*CODEC.encode(error))
    assert revived.args[:3] == ("x", "<odd>", (1,))
    assert "Broken object" in revived.args[3]
    assert revived.seen == "<odd>"
