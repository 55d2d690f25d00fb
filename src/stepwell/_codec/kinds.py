"""How instances of users' classes are taken apart and revived, by kind of class.

No code of the class runs when an instance is revived: an enum's member is looked up, and
everything else is made by the `__new__` of `object` or of the built-in base.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum, Flag
from typing import Any

from stepwell._codec.builtin import expect
from stepwell._codec.entry import Entry, Misfit
from stepwell._codec.records import (
    HEAP_TYPE,
    Attributes,
    attrs_fields,
    dataclass_fields,
    pydantic_model,
    record,
)
from stepwell._codec.refusal import at_field, at_section


def entry_for(cls: type, key: str) -> Entry | None:
    """The entry of a class whose kind is known, or None (it then needs encode and decode)."""
    native = {base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE} - {object}
    if issubclass(cls, Enum):
        return _enum(cls, key)
    if issubclass(cls, BaseException):
        return _exception(cls, key)
    if native:
        return _builtin_subclass(cls, key, native)
    if hasattr(cls, "__pydantic_fields_set__") and hasattr(cls, "model_fields"):
        return pydantic_model(cls, key)
    if dataclasses.is_dataclass(cls):
        return record(cls, key, dataclass_fields(cls))
    if isinstance(attributes := getattr(cls, "__attrs_attrs__", None), tuple):
        return record(cls, key, attrs_fields(attributes))
    return None


def _enum(cls: type[Enum], key: str) -> Entry:
    """State: the member's name; for flags, whose members combine, the number."""

    def make(state: Any) -> Enum:
        member = cls.__members__.get(expect(str, state))
        if member is None:
            raise Misfit(state)
        return member

    def make_flag(state: Any) -> Enum:
        try:
            member = cls(expect(int, state))
        except ValueError as exc:
            raise Misfit(state) from exc
        # A boundary may have dropped bits (so does STRICT in Python 3.11.2), or the class.
        if not isinstance(member, cls) or member._value_ != state:
            raise Misfit(state)
        return member

    if issubclass(cls, Flag):
        return Entry(key, cls, lambda member: member._value_, make_flag)
    return Entry(key, cls, lambda member: member._name_, make)


def _exception(cls: type[BaseException], key: str) -> Entry:
    """State: `args`, and `attributes` if any (notes are among them).

    Traceback, cause and context belong to the run that raised; they are not stored.
    """
    native: Any = next(base for base in cls.__mro__ if not base.__flags__ & HEAP_TYPE)
    attributes = Attributes(cls)

    def take(instance: BaseException) -> dict[str, Any]:
        args: tuple[Any, ...] = instance.args
        if isinstance(instance, OSError) and len(args) == 2 and instance.filename is not None:
            second = () if instance.filename2 is None else (None, instance.filename2)
            args = (*args, instance.filename, *second)
        state: dict[str, Any] = {"args": list(args)}
        if held := attributes.read(instance):
            state["attributes"] = held
        return state

    def make(state: Any) -> BaseException:
        args = expect(list, expect(dict, state)["args"])
        try:
            instance: BaseException = native.__new__(cls, *args)
            native.__init__(instance, *args)
        except TypeError as exc:  # a built-in base that wants other arguments
            raise Misfit(args) from exc
        attributes.write(instance, expect(dict, state.get("attributes", {})))
        return instance

    return Entry(key, cls, take, make, lenient=native is cls, locate=at_section)


_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
    (bytearray, lambda v: bytearray.__getitem__(v, slice(None))),
    (tuple, lambda v: tuple.__getitem__(v, slice(None))),
    (list, lambda v: list.__getitem__(v, slice(None))),
    (dict, dict.copy),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
)
_MUTABLE = {bytearray, list, dict, set}


def _builtin_subclass(cls: type, key: str, native: set[type]) -> Entry | None:
    """A NamedTuple, or a class that adds behaviour to one built-in type."""
    if native == {tuple} and isinstance(names := getattr(cls, "_fields", None), tuple):
        return _named_tuple(cls, key, names)
    for base, plain in _BASES:
        if native == {base}:
            return _value_with_attributes(cls, key, base, plain)
    return None


def _value_with_attributes(cls: Any, key: str, base: Any, plain: Callable[[Any], Any]) -> Entry:
    """State: `value` as the built-in type, and `attributes` if any."""
    attributes = Attributes(cls)

    def take(instance: Any) -> dict[str, Any]:
        state = {"value": plain(instance)}
        if held := attributes.read(instance):
            state["attributes"] = held
        return state

    def make(state: Any) -> Any:
        value = expect(base, expect(dict, state)["value"])
        if base in _MUTABLE:
            instance = base.__new__(cls)
            base.__init__(instance, value)
        else:
            instance = base.__new__(cls, value)
        attributes.write(instance, expect(dict, state.get("attributes", {})))
        return instance

    return Entry(key, cls, take, make, locate=at_section)


def _named_tuple(cls: Any, key: str, names: tuple[str, ...]) -> Entry:
    """State: a dict of its fields and of whatever attributes a subclass added."""
    attributes = Attributes(cls)
    defaults: dict[str, Any] = getattr(cls, "_field_defaults", {})

    def take(instance: Any) -> dict[str, Any]:
        state = dict(zip(names, tuple.__iter__(instance), strict=True))
        state.update(attributes.read(instance))
        return state

    def make(state: Any) -> Any:
        rest = dict(expect(dict, state))
        items = []
        for name in names:
            if name not in rest and name not in defaults:
                raise Misfit(name)
            items.append(rest.pop(name, defaults.get(name)))
        instance = tuple.__new__(cls, items)
        attributes.write(instance, rest)
        return instance

    return Entry(key, cls, take, make, locate=at_field)
