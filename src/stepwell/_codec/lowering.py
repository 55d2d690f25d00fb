"""The walk before orjson: whatever JSON cannot say exactly becomes a tag.

Written for speed: scalars are dealt with inside the loop over their container, and a
container in which nothing has to change is returned as the object it is.
"""

from __future__ import annotations

from itertools import chain
from math import isfinite
from typing import Any, Final

import orjson

from stepwell._codec.builtin import BIG_INT, ODD_FLOAT, PAIRS, TEXT
from stepwell._codec.entry import CLASS_MARK, Entry
from stepwell._codec.late import builtin_of_class
from stepwell._codec.opaque import Opaque, is_document
from stepwell._codec.refusal import Refusal, too_deep, unregistered
from stepwell._codec.registry import Registry
from stepwell._messages.shape import Message

LEVELS_MAX: Final = 200
"""Deepest document written. A list or dict is one level, anything tagged two or three. orjson
writes up to 254: the rest is for what a document is embedded in."""
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 64) - 1
_FLOAT_MAX: Final = 1e16
"""From here on releases of orjson spell floats differently (1e16, 1e+16). A stored document
must be the one that any release writes, or a splice made by one does not fit in another."""
_RUN_MIN: Final = 16
"""From this length on, a list is first tried as a run of one scalar type, or of flat dicts, without
a loop."""
_DICTS: Final[frozenset[type]] = frozenset((dict, Message))
_LIMITED: Final = frozenset({str, int, float})
"""Scalars of which JSON says most, and not all, exactly."""
_SCALARS: Final = _LIMITED | {bool, type(None)}
# Objects that only orjson would know: never there after the walk, unless the value was
# changed meanwhile. Then it must refuse, not guess.
OPTIONS: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)


def document(lowered: Any) -> bytes:
    """The bytes of a lowered tree.

    Raises:
        TypeError: It holds something else than JSON.
    """
    return orjson.dumps(lowered, default, OPTIONS)


def default(value: Any) -> Any:
    """The one subclass that is written as what it derives from."""
    if type(value) is Message:
        return dict(value)
    raise TypeError(type(value).__name__)


class Lowering:
    """Lowers values for one allow-list. The result is `value` itself if it needs no tag."""

    __slots__ = ("_registry",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def lower(self, value: Any, depth: int = 0) -> Any:
        """The JSON tree that says the same as `value`, which is `depth` levels down.

        Raises:
            Refusal: Something in it cannot be stored.
        """
        kind = type(value)
        if kind is str:
            return value if value.isascii() or _is_sound(value) else _tagged(TEXT, value)
        if kind is dict or kind is Message:
            return self._lower_dict(value, depth)
        if kind is list:
            return self._lower_list(value, depth)
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if INT_MIN <= value <= INT_MAX else _tagged(BIG_INT, value)
        if kind is float:
            return value if -_FLOAT_MAX < value < _FLOAT_MAX else _tagged(ODD_FLOAT, value)
        return self._lower_other(value, kind, depth)

    def _lower_dict(self, value: dict[Any, Any], depth: int) -> Any:
        if depth >= LEVELS_MAX:
            raise too_deep(dict, LEVELS_MAX)
        # All keys are looked at before any value is lowered: a late odd key would lower the
        # values again, at every level, which is exponential in the depth.
        key = ""
        for key in value:
            if type(key) is not str or not (key.isascii() or _is_sound(key)):
                return self._lower_entry(PAIRS, value, depth)
        if len(value) == 1 and key[:1] == "$":
            return self._lower_entry(PAIRS, value, depth)
        out = value
        depth += 1
        try:
            for key, item in value.items():
                kind = type(item)
                if kind is str:
                    if item.isascii():
                        continue
                    low = self.lower(item, depth)
                elif kind is int:
                    if INT_MIN <= item <= INT_MAX:
                        continue
                    low = self.lower(item, depth)
                elif kind is bool or item is None:
                    continue
                elif kind is dict or kind is Message:
                    low = self._lower_dict(item, depth)
                elif kind is list:
                    low = self._lower_list(item, depth)
                else:
                    low = self.lower(item, depth)
                if low is not item:
                    if out is value:
                        out = value.copy()
                    out[key] = low
        except Refusal as refusal:
            refusal.leave(value, key)
            raise
        return out

    def _lower_list(self, value: list[Any], depth: int) -> Any:
        if depth >= LEVELS_MAX:
            raise too_deep(list, LEVELS_MAX)
        if len(value) >= _RUN_MIN and _is_plain_run(value, depth):
            return value
        out = value
        depth += 1
        index = 0
        try:
            for index, item in enumerate(value):
                kind = type(item)
                if kind is str:
                    if item.isascii():
                        continue
                    low = self.lower(item, depth)
                elif kind is dict or kind is Message:
                    low = self._lower_dict(item, depth)
                elif kind is list:
                    low = self._lower_list(item, depth)
                else:
                    low = self.lower(item, depth)
                if low is not item:
                    if out is value:
                        out = value.copy()
                    out[index] = low
        except Refusal as refusal:
            refusal.leave(value, index)
            raise
        return out

    def _lower_other(self, value: Any, kind: type, depth: int) -> Any:
        entry = builtin_of_class(kind) or self._registry.by_class(kind)
        if entry is not None:
            return self._lower_entry(entry, value, depth)
        if kind is Opaque:
            if not is_document(value.value, LEVELS_MAX - depth - 1):
                raise Refusal(kind, "an Opaque whose value is no JSON", "Keep it as it was read.")
            return {CLASS_MARK + value.type_id: value.value}
        raise unregistered(kind, self._storable_base(kind))

    def _lower_entry(self, entry: Entry, value: Any, depth: int) -> dict[str, Any]:
        if depth >= LEVELS_MAX:
            raise too_deep(entry.cls, LEVELS_MAX)
        state = entry.take(value)
        if entry.plain:
            return {entry.key: state}
        try:
            if entry.lenient:
                return {entry.key: self._lower_leniently(state, depth + 2)}
            low = self.lower(state, depth + 1)
        except Refusal as refusal:
            if entry.locate is not None:
                entry.locate(refusal.steps, state)
            refusal.chain.append((value, len(refusal.steps)))
            raise
        if entry.unordered:
            low = sorted(low, key=document)
        return {entry.key: low}

    def _lower_leniently(self, state: dict[str, Any], depth: int) -> dict[str, Any]:
        """An exception's state: what cannot be stored is replaced by its repr."""
        low: dict[str, Any] = {"args": [self._lower_or_repr(item, depth) for item in state["args"]]}
        if "attributes" in state:
            low["attributes"] = {
                name: self._lower_or_repr(item, depth)
                for name, item in state["attributes"].items()
                if type(name) is str and name.isidentifier()  # else it might read as a tag
            }
        return low

    def _lower_or_repr(self, value: Any, depth: int) -> Any:
        try:
            return self.lower(value, depth)
        except Refusal:
            try:
                text = repr(value)
            except Exception:  # noqa: BLE001  # a broken __repr__ must not lose the error
                text = object.__repr__(value)
            return self.lower(text, depth)

    def _storable_base(self, kind: type) -> type | None:
        for base in kind.__mro__[1:-1]:
            if builtin_of_class(base) is not None or self._registry.by_class(base) is not None:
                return base
        return None


def _is_sound(text: str) -> bool:
    """Whether the text has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _tagged(entry: Entry, value: Any) -> dict[str, Any]:
    return {entry.key: entry.take(value)}


def _is_plain_run(items: list[Any], depth: int) -> bool:
    """Whether all items are scalars of one type, or dicts of scalars, that JSON says exactly.
    `depth`: of the list."""
    kinds = set(map(type, items))
    if kinds <= _DICTS:
        return depth + 1 < LEVELS_MAX and _are_flat(items)
    return len(kinds) == 1 and _are_plain(items, kinds.pop())


def _are_flat(dicts: list[dict[Any, Any]]) -> bool:
    """Whether all keys are texts, no dict reads like a tag, and all values are scalars: a list
    of messages, say."""
    keys = list(chain.from_iterable(dicts))
    if min(map(len, dicts)) < 2 or set(map(type, keys)) != {str} or not _are_sound(keys):
        return False
    values = list(chain.from_iterable(map(dict.values, dicts)))
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return _are_plain(values, kinds.pop())
    return kinds <= _SCALARS and all(
        _are_plain([value for value in values if type(value) is kind], kind)
        for kind in kinds & _LIMITED
    )


def _are_plain(items: list[Any], kind: type) -> bool:
    """Whether values of one kind are scalars that JSON says exactly."""
    if kind is str:
        return _are_sound(items)
    if kind is float:
        # Where the sum is finite, no item is NaN: then min and max tell the truth.
        return isfinite(sum(items)) and min(items) > -_FLOAT_MAX and max(items) < _FLOAT_MAX
    if kind is int:
        return bool(min(items) >= INT_MIN and max(items) <= INT_MAX)
    return kind in _SCALARS


def _are_sound(texts: list[str]) -> bool:
    joined = "".join(texts)
    return joined.isascii() or _is_sound(joined)
