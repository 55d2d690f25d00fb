"""Classes whose instances are their attributes: dataclasses, attrs classes, pydantic models.

A revived instance is made by `object.__new__` and gets its attributes directly: no
`__init__`, `__post_init__`, `__setattr__` or validator of the class runs, so a stored value
comes back even when today's constructor would not accept it. Classes change while threads
live: a stored attribute that the class dropped is kept in the instance's `__dict__` if it has
one; a field that the class gained takes its default; a gained field without one makes the
state a `Misfit`, and the value stays opaque.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from types import MemberDescriptorType
from typing import Any, Final, NamedTuple

from stepwell._codec.builtin import expect
from stepwell._codec.entry import Entry, Misfit
from stepwell._codec.refusal import Refusal, at_field, at_section

HEAP_TYPE: Final = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: set on classes made by a `class` statement."""
_COMPLETE = "Set the field, or give it a default."


class Field(NamedTuple):
    """A declared attribute. `default` is called with the instance under revival."""

    name: str
    required: bool
    default: Callable[[Any], Any] | None


class Attributes:
    """Reads and writes the attributes of a class's instances past any code of the class."""

    def __init__(self, cls: type) -> None:
        self.has_dict = bool(cls.__dictoffset__)
        self.slots: dict[str, Any] = {}
        # typing notes Generic[...] calls on the instance; caches are computed again.
        skip = {"__orig_class__"}
        for base in cls.__mro__:
            for name, attribute in vars(base).items():
                if isinstance(attribute, cached_property):
                    skip.add(name)
                elif type(attribute) is MemberDescriptorType and base.__flags__ & HEAP_TYPE:
                    self.slots.setdefault(name, attribute)
        self.skip = frozenset(skip)

    def read(self, instance: Any) -> dict[str, Any]:
        """Attributes that are set. May be the instance's own `__dict__`: not to be changed."""
        plain: dict[str, Any] = instance.__dict__ if self.has_dict else {}
        if not self.slots:
            if self.skip.isdisjoint(plain):
                return plain
            return {k: v for k, v in plain.items() if k not in self.skip}
        state = {}
        for name, slot in self.slots.items():
            try:
                state[name] = slot.__get__(instance)
            except AttributeError:  # never set
                continue
        state.update((k, v) for k, v in plain.items() if k not in self.skip)
        return state

    def write(self, instance: Any, state: dict[str, Any]) -> None:
        """Set what the instance has room for."""
        if self.slots:
            state = dict(state)
            for name, slot in self.slots.items():
                if name in state:
                    slot.__set__(instance, state.pop(name))
        if self.has_dict and state:
            instance.__dict__.update(state)


def record(cls: type, key: str, fields: list[Field]) -> Entry:
    """A class whose instances are their attributes. State: a dict of them."""
    attributes = Attributes(cls)
    required = [field.name for field in fields if field.required]

    def take(instance: Any) -> dict[str, Any]:
        state = attributes.read(instance)
        for name in required:
            if name not in state:
                problem = f"an instance of {cls.__qualname__} whose field {name!r} is not set"
                raise Refusal(cls, problem, _COMPLETE)
        return state

    def make(state: Any) -> Any:
        given = expect(dict, state)
        instance: Any = object.__new__(cls)
        attributes.write(instance, given)
        for name, needed, default in fields:
            if name not in given:
                if default is not None:
                    attributes.write(instance, {name: default(instance)})
                elif needed:
                    raise Misfit(name)
        return instance

    return Entry(key, cls, take, make, locate=at_field)


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda _instance: value


def _calling(factory: Callable[[], Any]) -> Callable[[Any], Any]:
    return lambda _instance: factory()


def dataclass_fields(cls: type) -> list[Field]:
    """Declared fields of a dataclass, as far as instances keep them under their name."""
    attributes = Attributes(cls)
    found = []
    for field in dataclasses.fields(cls):
        if field.name not in attributes.slots and hasattr(
            type(_static(cls, field.name)), "__set__"
        ):
            continue  # a property: what it keeps, it keeps under another name
        default = None
        if field.default_factory is not dataclasses.MISSING:
            default = _calling(field.default_factory)
        elif field.default is not dataclasses.MISSING and (
            field.init or field.name in attributes.slots
        ):
            default = _constant(field.default)
        found.append(Field(field.name, field.init and default is None, default))
    return found


def _static(cls: type, name: str) -> Any:
    """The attribute as it stands in the class or a base, no descriptor asked."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def attrs_fields(attributes: tuple[Any, ...]) -> list[Field]:
    """Declared fields of an attrs class, from its `__attrs_attrs__`."""
    found = []
    for attribute in attributes:
        default: Callable[[Any], Any] | None
        if hasattr(attribute.default, "takes_self"):
            factory = attribute.default.factory
            default = factory if attribute.default.takes_self else _calling(factory)
        elif repr(attribute.default) == "NOTHING":
            default = None
        else:
            default = _constant(attribute.default)
        found.append(Field(attribute.name, attribute.init and default is None, default))
    return found


def pydantic_model(cls: Any, key: str) -> Entry:
    """A pydantic v2 model. State: `fields`, and `set`, `extra`, `private` if they say something.

    pydantic itself is never imported: it is there if a class of its kind is.
    """

    def take(instance: Any) -> dict[str, Any]:
        declared = cls.model_fields
        plain = instance.__dict__
        for name in declared:
            if name not in plain:
                problem = f"an instance of {cls.__qualname__} whose field {name!r} is not set"
                raise Refusal(cls, problem, _COMPLETE)
        fields = {name: value for name, value in plain.items() if name in declared}
        state: dict[str, Any] = {"fields": fields}
        given = instance.__pydantic_fields_set__
        if given != fields.keys():
            state["set"] = sorted(given)
        extra = instance.__pydantic_extra__
        if extra is not None:
            state["extra"] = extra
        private = instance.__pydantic_private__
        if private is not None:
            state["private"] = {k: v for k, v in private.items() if not _is_undefined(v)}
        return state

    def make(state: Any) -> Any:
        stored = expect(dict, expect(dict, state)["fields"])
        extra = state.get("extra")
        declared = cls.model_fields
        given = {expect(str, name) for name in state.get("set", stored)}
        fields = {name: value for name, value in stored.items() if name in declared}
        for name, info in declared.items():
            if name in fields:
                continue
            if info.is_required():
                raise Misfit(name)
            fields[name] = _pydantic_default(info, fields)
        instance: Any = object.__new__(cls)
        for name, value in (
            ("__dict__", fields),
            ("__pydantic_fields_set__", given),
            ("__pydantic_extra__", None if extra is None else dict(expect(dict, extra))),
            ("__pydantic_private__", _pydantic_private(cls, state.get("private"))),
        ):
            object.__setattr__(instance, name, value)
        return instance

    return Entry(key, cls, take, make, locate=at_section)


def _is_undefined(value: Any) -> bool:
    return type(value).__name__ == "PydanticUndefinedType"


def _pydantic_private(cls: Any, stored: Any) -> dict[str, Any] | None:
    """Private attributes as stored; those the class gained take their defaults."""
    if stored is None and not cls.__private_attributes__:
        return None
    private = dict(expect(dict, {} if stored is None else stored))
    for name, attribute in cls.__private_attributes__.items():
        if name not in private and not _is_undefined(default := attribute.get_default()):
            private[name] = default
    return private


def _pydantic_default(info: Any, fields: dict[str, Any]) -> Any:
    if getattr(info, "default_factory_takes_validated_data", False):
        return info.get_default(call_default_factory=True, validated_data=fields)
    return info.get_default(call_default_factory=True)
