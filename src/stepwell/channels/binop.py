"""A channel that folds writes into its value with a reducer."""

from __future__ import annotations

import collections.abc
import operator as _operator
from collections.abc import Callable, Sequence
from copy import copy
from typing import Annotated, Any, NotRequired, Required, get_args, get_origin

from stepwell.channels.base import MISSING, BaseChannel, Edit, OneValue, Op, OpKind, Value
from stepwell.errors import (
    ErrorCode,
    InvalidUpdateError,
    create_error_message,
)
from stepwell.types import Overwrite

_CONCRETE: dict[Any, type] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}

_CONCATENATES = (_operator.add, _operator.concat)
_MUTABLE = (list, dict, set)


def bare_type(typ: Any) -> Any:
    """The type behind an annotation; of the abstract containers, the usual one."""
    while (origin := get_origin(typ)) is not None:
        typ = get_args(typ)[0] if origin in (Annotated, Required, NotRequired) else origin
    return _CONCRETE.get(typ, typ)


def same_reducer(one: Any, other: Any) -> bool:
    """Whether two reducers count as the same: any lambda is taken for any other reducer."""
    names = (getattr(one, "__name__", ""), getattr(other, "__name__", ""))
    return "<lambda>" in names or bool(one == other)


def _initial(typ: Any) -> Any:
    """`typ()` of the bare type behind the annotation, `MISSING` if that cannot be made."""
    try:
        return bare_type(typ)()
    except Exception:  # noqa: BLE001  # any constructor that needs arguments, or refuses
        return MISSING


def unwrap_overwrite(value: Any) -> tuple[bool, Any]:
    """(True, replacement) if the write asks to replace the value, in any of its three forms."""
    if isinstance(value, Overwrite):
        return True, value.value
    if isinstance(value, dict):
        if len(value) == 1 and "__overwrite__" in value:
            return True, value["__overwrite__"]
        if value.get("type") == "__overwrite__" and "value" in value:
            return True, value["value"]
    return False, None


class BinaryOperatorAggregate(OneValue[Value]):
    """Folds the writes of a superstep into the value: `value = operator(value, write)`.

    Starts from `typ()`; where that cannot be made the first write becomes the value as it
    is. One `Overwrite` a superstep replaces the value and voids the other writes.

    Concatenating lists with `operator.add` is recorded as the items that were added. So is what
    a reducer does that has a method `merge_splices(left, right)`: it returns the merged list and
    how it differs from `left` (`Edit.splices`; None: it is another list). Such a reducer may
    also have a method `prepare(write)`, which is applied before a write is stored, and one
    `revive(value)`, which is applied to a value that was read.
    """

    __slots__ = ("_added", "_edit", "operator")

    def __init__(self, typ: Any, operator: Callable[[Any, Any], Any], key: str = "") -> None:
        super().__init__(typ, key)
        self.operator = operator
        self.value: Any = _initial(typ)
        self._added: list[Any] | None = None
        self._edit: Edit | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BinaryOperatorAggregate) and same_reducer(
            self.operator, other.operator
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def prepare(self) -> Callable[[Any], Any] | None:
        return getattr(self.operator, "prepare", None)

    def from_checkpoint(self, checkpoint: Any) -> BinaryOperatorAggregate[Value]:
        fresh = self.__class__.__new__(self.__class__)
        BaseChannel.__init__(fresh, self.typ, self.key)
        fresh.operator = self.operator
        fresh.value = _initial(self.typ) if checkpoint is MISSING else checkpoint
        if (revive := getattr(self.operator, "revive", None)) is not None:
            fresh.value = revive(fresh.value)
        fresh._added = fresh._edit = None  # noqa: SLF001  # an object of this very class
        return fresh

    def copy(self) -> BinaryOperatorAggregate[Value]:
        value = self.value
        if type(value) in _MUTABLE and self.operator not in _CONCATENATES:
            # A reducer that works in place must not reach the value this copy was made from.
            value = copy(value)
        return self.from_checkpoint(value)

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        old, rest = self.value, values
        self._edit = None
        if old is MISSING:
            old, rest = rest[0], rest[1:]
            self._added = None
        elif (
            type(old) is list
            and self.operator in _CONCATENATES
            and all(type(v) is list for v in rest)
        ):
            self._added = [item for v in rest for item in v]  # type: ignore[attr-defined]
            self.value = old + self._added
            return True
        else:
            self._added = None
        merge = getattr(self.operator, "merge_splices", None)
        self.value = self._fold(old, rest) if merge is None else self._merge(old, rest, merge)
        return True

    def _merge(self, old: Any, writes: Sequence[Any], merge: Callable[[Any, Any], Any]) -> Any:
        """Fold with a reducer that says what it changes."""
        value, splices = old, []
        known = type(old) is list
        for write in writes:
            if unwrap_overwrite(write)[0]:
                return self._fold(old, writes)
            value, done = merge(value, write)
            if done is None:
                known = False
            else:
                splices.extend(done)
        if known:
            self._edit = Edit(splices, old)
        return value

    def _fold(self, value: Any, writes: Sequence[Any]) -> Any:
        replaced = False
        for write in writes:
            is_overwrite, replacement = unwrap_overwrite(write)
            if is_overwrite:
                if replaced:
                    msg = create_error_message(
                        message=(
                            f"At key '{self.key}': Can receive only one Overwrite value per "
                            "super-step."
                        ),
                        error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
                    )
                    raise InvalidUpdateError(msg, channel=self.key)
                value, replaced = replacement, True
            elif not replaced:
                value = self.operator(value, write)
        return value

    def delta(self) -> Op:
        if self._added is not None:
            added, self._added = self._added, None
            return Op(OpKind.APPEND, added)
        if self._edit is not None:
            edit, self._edit = self._edit, None
            return edit.as_op()
        return Op(OpKind.SET, self.value)


__all__ = ["BinaryOperatorAggregate", "bare_type", "same_reducer", "unwrap_overwrite"]
