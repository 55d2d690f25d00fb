"""Types of the standard library that the codec knows without registration.

Each is written as an object with one key, `{"$name": state}`. States:

    $str        base64 of UTF-8 that lets lone surrogates pass (only for such strings)
    $int        hexadecimal (only beyond 64 bits: decimal text would be slow and is limited)
    $float      "inf", "-inf", "nan", "nan:" and the hex digits of any other NaN; also floats
                of 1e16 and more, as Python spells them
    $complex    [real, imaginary]              $range      [start, stop, step]
    $bytes $bytearray   base64                 $slice      [start, stop, step]
    $tuple $set $frozenset   [items]; the items of sets ordered by their bytes
    $dict $ordereddict $counter   [key, value, key, value, ...]
    $defaultdict    [[key, value, ...], name of the factory or null]
    $deque      [[items], maxlen]
    $date $time $datetime   ISO 8601, or [ISO 8601, time zone, fold]
    $timedelta  [days, seconds, microseconds]  $timezone   [timedelta] or [timedelta, name]
    $uuid       text

and in `late`: $decimal $fraction $zoneinfo $path $purepath $ipaddress.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from itertools import chain
from math import isnan
from struct import pack, unpack
from typing import Any, TypeVar
from uuid import UUID

from stepwell._codec.entry import Entry
from stepwell._codec.refusal import (
    Refusal,
    at_content,
    at_element,
    at_pair,
    at_pair_content,
    at_tzinfo,
)

T = TypeVar("T")
_QUIET_NAN = "7ff8000000000000"


def expect(kind: type[T], state: Any) -> T:
    """`state`, if it is exactly of `kind`.

    Raises:
        ValueError: It is not.
    """
    if type(state) is not kind:
        msg = f"expected {kind.__name__}, found {type(state).__name__}"
        raise ValueError(msg)  # the bytes are wrong, not the call
    return state


def expect_list(state: Any, length: int) -> list[Any]:
    """`state`, if it is a list of that length (else ValueError)."""
    if len(items := expect(list, state)) != length:
        msg = f"expected {length} items, found {len(items)}"
        raise ValueError(msg)
    return items


def pairs(value: dict[Any, Any]) -> list[Any]:
    """Keys and values of a dict, alternating."""
    return list(chain.from_iterable(value.items()))


def unpair(state: Any) -> dict[Any, Any]:
    """Inverse of `pairs`."""
    flat = iter(expect(list, state))
    return dict(zip(flat, flat, strict=True))


def _take_str(value: str) -> str:
    return _take_bytes(value.encode("utf-8", "surrogatepass"))


def _make_str(state: Any) -> str:
    return _make_bytes(state).decode("utf-8", "surrogatepass")


def _take_bytes(value: bytes | bytearray) -> str:
    return b2a_base64(value, newline=False).decode("ascii")


def _make_bytes(state: Any) -> bytes:
    return a2b_base64(expect(str, state), strict_mode=True)


def _take_float(value: float) -> str:
    if isnan(value) and (bits := pack(">d", value).hex()) != _QUIET_NAN:
        return f"nan:{bits}"
    return repr(value)


def _make_float(state: Any) -> float:
    text = expect(str, state)
    if text.startswith("nan:"):
        return float(unpack(">d", bytes.fromhex(text[4:]))[0])
    return float(text)


def _make_complex(state: Any) -> complex:
    real, imag = expect_list(state, 2)
    return complex(expect(float, real), expect(float, imag))


def _make_range(state: Any) -> range:
    return range(*(expect(int, part) for part in expect_list(state, 3)))


def _make_slice(state: Any) -> slice:
    return slice(*expect_list(state, 3))


_FACTORIES: dict[str, Callable[[], Any]] = {
    "bool": bool, "bytes": bytes, "dict": dict, "float": float, "int": int, "list": list,
    "set": set, "str": str, "tuple": tuple,
}  # fmt: skip


def _take_defaultdict(value: defaultdict[Any, Any]) -> list[Any]:
    factory: Any = value.default_factory
    for name, known in _FACTORIES.items():
        if factory is known:
            return [pairs(value), name]
    if factory is not None:
        raise Refusal(
            type(value),
            "a defaultdict whose factory is code of its own",
            f"Use one of {', '.join(_FACTORIES)} as the factory, or convert with dict(value).",
        )
    return [pairs(value), None]


def _make_defaultdict(state: Any) -> defaultdict[Any, Any]:
    flat, name = expect_list(state, 2)
    return defaultdict(None if name is None else _FACTORIES[expect(str, name)], unpair(flat))


def _make_deque(state: Any) -> deque[Any]:
    items, maxlen = expect_list(state, 2)
    return deque(expect(list, items), None if maxlen is None else expect(int, maxlen))


def _needs_zone(zone: tzinfo | None) -> bool:
    """Whether ISO 8601 text alone would not bring this time zone back."""
    if zone is None:
        return False
    if type(zone) is not timezone:
        return True
    offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # what pickle asks
    # Python 3.11 writes fractions of a second of an offset, but may drop them when it reads.
    return bool(name or offset.microseconds)


def _take_moment(value: datetime | time) -> Any:
    if not _needs_zone(value.tzinfo):
        text = value.isoformat()
        return [text, None, 1] if value.fold else text
    return [value.replace(tzinfo=None).isoformat(), value.tzinfo, value.fold]


def _moment(cls: type[datetime | time]) -> Callable[[Any], Any]:
    def make(state: Any) -> datetime | time:
        if type(state) is not list:
            return cls.fromisoformat(expect(str, state))
        text, zone, fold = expect_list(state, 3)
        value = cls.fromisoformat(expect(str, text))
        return value.replace(tzinfo=value.tzinfo if zone is None else zone, fold=fold)

    return make


def _make_timezone(state: Any) -> timezone:
    return timezone(*expect(list, state))


def _make_timedelta(state: Any) -> timedelta:
    days, seconds, microseconds = (expect(int, part) for part in expect_list(state, 3))
    return timedelta(days, seconds, microseconds)


TEXT = Entry("$str", str, _take_str, _make_str, plain=True)
BIG_INT = Entry(
    "$int", int, lambda v: format(v, "x"), lambda s: int(expect(str, s), 16), plain=True
)
ODD_FLOAT = Entry("$float", float, _take_float, _make_float, plain=True)
PAIRS = Entry("$dict", dict, pairs, unpair, locate=at_pair)

_OTHERS = (
    Entry("$complex", complex, lambda v: [v.real, v.imag], _make_complex),
    Entry("$bytes", bytes, _take_bytes, _make_bytes, plain=True),
    Entry("$bytearray", bytearray, _take_bytes, lambda s: bytearray(_make_bytes(s)), plain=True),
    Entry("$range", range, lambda v: [v.start, v.stop, v.step], _make_range),
    Entry("$slice", slice, lambda v: [v.start, v.stop, v.step], _make_slice),
    Entry("$tuple", tuple, list, lambda s: tuple(expect(list, s))),
    Entry("$set", set, list, lambda s: set(expect(list, s)), unordered=True, locate=at_element),
    Entry(
        "$frozenset", frozenset, list, lambda s: frozenset(expect(list, s)),
        unordered=True, locate=at_element,
    ),
    Entry("$ordereddict", OrderedDict, pairs, lambda s: OrderedDict(unpair(s)), locate=at_pair),
    Entry("$counter", Counter, pairs, lambda s: Counter(unpair(s)), locate=at_pair),
    Entry(
        "$defaultdict", defaultdict, _take_defaultdict, _make_defaultdict,
        locate=at_pair_content,
    ),
    Entry("$deque", deque, lambda v: [list(v), v.maxlen], _make_deque, locate=at_content),
    Entry(
        "$date", date, date.isoformat, lambda s: date.fromisoformat(expect(str, s)), plain=True
    ),
    Entry("$time", time, _take_moment, _moment(time), locate=at_tzinfo),
    Entry("$datetime", datetime, _take_moment, _moment(datetime), locate=at_tzinfo),
    Entry(
        "$timedelta", timedelta, lambda v: [v.days, v.seconds, v.microseconds], _make_timedelta,
        plain=True,
    ),
    Entry("$timezone", timezone, lambda v: list(v.__getinitargs__()), _make_timezone),
    Entry("$uuid", UUID, str, lambda s: UUID(expect(str, s)), plain=True),
)  # fmt: skip

BY_CLASS: dict[type, Entry] = {
    entry.cls: entry for entry in (TEXT, BIG_INT, ODD_FLOAT, PAIRS, *_OTHERS)
}
BY_KEY: dict[str, Entry] = {entry.key: entry for entry in BY_CLASS.values()}
