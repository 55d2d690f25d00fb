"""Finds the classes a state schema names, so that their instances may be stored."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from dataclasses import InitVar, is_dataclass
from inspect import get_annotations
from types import SimpleNamespace
from typing import Any

from stepwell._codec.entry import CLASS_MARK
from stepwell._codec.kinds import entry_for
from stepwell._codec.late import builtin_of_class
from stepwell._codec.registry import Registry, default_id


def register_schema(registry: Registry, schema: Any) -> None:
    """Register every class that can be reached from a schema's annotations.

    Goes through fields of TypedDicts, dataclasses, NamedTuples, attrs classes and pydantic
    models, and through `Annotated`, unions, containers, `NewType`, type variables and type
    aliases. The schema itself is registered too if it is a class whose instances can be
    stored. Classes of no known kind are passed over: they are refused when written. So are
    names that cannot be resolved, such as classes local to a function; register those.

    Args:
        registry: Receives the classes that neither it nor its parents know.
        schema: A class, or any other annotation.

    Raises:
        UsageError: Two different classes have the same type id.
    """
    seen: set[Any] = set()
    waiting = [schema]
    while waiting:
        annotation = waiting.pop()
        try:
            if annotation in seen:
                continue
            seen.add(annotation)
        except TypeError:  # an unhashable piece, such as a list of Callable's parameters
            pass
        waiting.extend(_inside(annotation))
        if isinstance(annotation, type) and typing.get_origin(annotation) is None:
            _allow(registry, annotation)
            waiting.extend(_fields(annotation))


def _inside(annotation: Any) -> Iterator[Any]:
    """What an annotation that is no plain class is made of."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        yield from map(type, typing.get_args(annotation))
    elif origin is typing.Annotated:
        yield typing.get_args(annotation)[0]
    elif origin is not None:
        yield origin
        yield from typing.get_args(annotation)
    elif isinstance(annotation, list | tuple):
        yield from annotation
    elif isinstance(annotation, typing.TypeVar):
        yield from (annotation.__bound__, *annotation.__constraints__)
    elif isinstance(annotation, typing.NewType):
        yield annotation.__supertype__
    elif isinstance(annotation, InitVar):
        yield annotation.type
    elif type(annotation).__name__ == "TypeAliasType":
        yield from _aliased(annotation)


def _aliased(alias: Any) -> Iterator[Any]:
    try:
        value = alias.__value__
    except Exception:  # noqa: BLE001  # evaluated only now, so anything may be missing
        return
    yield from _resolved({"alias": value}, sys.modules.get(alias.__module__))


def _allow(registry: Registry, cls: type) -> None:
    """Register `cls` if instances of it can exist and be stored."""
    if (
        builtin_of_class(cls) is not None
        or registry.by_class(cls) is not None
        or hasattr(cls, "__required_keys__")  # a TypedDict: its instances are dicts
        or cls.__module__ in {"builtins", "typing", "abc", "enum", "pydantic.main"}
        or entry_for(cls, CLASS_MARK + default_id(cls)) is None
    ):
        return
    registry.register(cls)


def _fields(cls: type) -> Iterator[Any]:
    """Annotations of a class and its bases, and the parameters of generic bases."""
    if not _has_fields(cls):
        return
    for base in cls.__mro__:
        yield from _resolved(_annotations(base), sys.modules.get(base.__module__), vars(base))
        yield from getattr(base, "__orig_bases__", ())
    model_fields = getattr(cls, "model_fields", None)
    if isinstance(model_fields, dict):  # pydantic resolves more than a module's names
        yield from (field.annotation for field in model_fields.values())


def _has_fields(cls: type) -> bool:
    """Whether the annotations of a class speak of what its instances hold."""
    return (
        is_dataclass(cls)
        or hasattr(cls, "__required_keys__")
        or hasattr(cls, "__attrs_attrs__")
        or hasattr(cls, "__pydantic_fields_set__")
        or issubclass(cls, tuple | BaseException)
        or bool(_annotations(cls))
    )


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return get_annotations(cls, format=Format.FORWARDREF)
    return get_annotations(cls)


def _resolved(annotations: dict[str, Any], module: Any, names: Any = None) -> Iterator[Any]:
    """Each annotation with its forward references resolved where the module knows them."""
    known = vars(module) if module is not None else {}
    for name, annotation in annotations.items():
        one = SimpleNamespace(__annotations__={name: annotation})
        try:
            hints = typing.get_type_hints(one, known, dict(names or {}), include_extras=True)
        except Exception:  # noqa: BLE001  # whatever an unresolvable annotation raises
            yield annotation  # its resolved parts may still name classes
        else:
            yield hints[name]
