"""From a state schema to channels."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from stepwell._plan.spec import ROOT
from stepwell.channels.base import BaseChannel
from stepwell.channels.binop import BinaryOperatorAggregate
from stepwell.channels.delta import DeltaChannel
from stepwell.channels.last_value import LastValue
from stepwell.errors import GraphDefinitionError, of_langgraph
from stepwell.graph._message_delta import known_channel
from stepwell.graph._message_reducer import known_reducer
from stepwell.managed.base import ManagedValueMapping, ManagedValueSpec, is_managed_value
from stepwell.types import Command

Channels = dict[str, BaseChannel[Any, Any, Any]]
Managed = ManagedValueMapping


def channels_of(schema: Any) -> tuple[Channels, Managed]:
    """One channel per annotated key, or a managed value where the annotation names one.

    A schema without annotations is one bare value.

    Raises:
        GraphDefinitionError: A reducer does not take two arguments.
    """
    if not hasattr(schema, "__annotations__"):
        return {ROOT: _channel(ROOT, schema)}, {}
    hints = get_type_hints(schema, include_extras=True)
    hints.pop("__slots__", None)
    managed = {name: kind for name, hint in hints.items() if (kind := _managed(hint)) is not None}
    channels = {name: _channel(name, hint) for name, hint in hints.items() if name not in managed}
    return channels, managed


def _managed(annotation: Any) -> ManagedValueSpec | None:
    if get_origin(annotation) in (Required, NotRequired):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is not Annotated:
        return None
    kind = annotation.__metadata__[-1]
    return kind if is_managed_value(kind) else None


def _channel(name: str, annotation: Any) -> BaseChannel[Any, Any, Any]:
    if get_origin(annotation) in (Required, NotRequired):
        annotation = get_args(annotation)[0]
    try:
        name.encode()
    except UnicodeEncodeError:
        msg = f"State key {name!r} has a lone surrogate in its name, which cannot be stored."
        raise GraphDefinitionError(msg) from None
    channel = _declared(name, annotation) or _reduced(name, annotation) or LastValue(annotation)
    channel.key = name
    return channel


def _declared(name: str, annotation: Any) -> BaseChannel[Any, Any, Any] | None:
    """The channel named in an `Annotated[...]`, as an instance or as a class.

    Raises:
        GraphDefinitionError: It is LangGraph's, or a managed value of LangGraph.
    """
    if get_origin(annotation) is not Annotated:
        return None
    for item in annotation.__metadata__:
        if isinstance(item, DeltaChannel):
            return known_channel(item).of_type(annotation.__origin__)
        if isinstance(item, BaseChannel):
            return item.copy()
        if inspect.isclass(item) and issubclass(item, BaseChannel):
            return item(annotation.__origin__)
        said = of_langgraph(item)
        if said.endswith(("from stepwell.channels", "from stepwell.managed")):
            msg = f"State key {name!r} is annotated with {item!r:.100}: {said}."
            raise GraphDefinitionError(msg)
    return None


def _reduced(name: str, annotation: Any) -> BaseChannel[Any, Any, Any] | None:
    """The reducer that stands last in an `Annotated[...]`."""
    if get_origin(annotation) is not Annotated or not callable(annotation.__metadata__[-1]):
        return None
    reducer: Callable[[Any, Any], Any] = known_reducer(annotation.__metadata__[-1], annotation)
    if inspect.iscoroutinefunction(reducer):
        msg = (
            f"The reducer of key {name!r} is async; reducers run at the barrier and must not wait."
        )
        raise GraphDefinitionError(msg)
    try:
        parameters = inspect.signature(reducer).parameters.values()
    except ValueError as unknown:
        if not inspect.isclass(reducer):
            return BinaryOperatorAggregate(annotation, reducer)  # a builtin, such as max
        msg = (
            f"Invalid reducer signature. Expected (a, b) -> c. Key {name!r} has the type "
            f"{reducer.__name__} in the place of its reducer."
        )
        raise GraphDefinitionError(msg) from unknown
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) == 2:
        return BinaryOperatorAggregate(annotation, reducer)
    msg = (
        f"Invalid reducer signature. Expected (a, b) -> c. Got {inspect.signature(reducer)}, for "
        f"key {name!r}."
    )
    raise GraphDefinitionError(msg)


def mapper_of(schema: Any, keys: list[str]) -> Callable[[dict[str, Any]], Any] | None:
    """How a dict of keys becomes an object of the schema; None where it stays a dict."""
    if keys == [ROOT] or not inspect.isclass(schema):
        return None
    if is_dataclass(schema) or hasattr(schema, "__pydantic_validator__"):

        def build(values: dict[str, Any]) -> Any:
            return schema(**values)

        return build
    return None


def input_schema_of(action: Any) -> Any:
    """The annotation of a callable's first parameter, if that is a schema; else None."""
    hints, first = _hints(action)
    hint = hints.get(first) if first else None
    if isinstance(hint, type):
        try:
            return hint if get_type_hints(hint) else None
        except (NameError, TypeError):
            return None
    return None


def _hints(action: Any) -> tuple[dict[str, Any], str | None]:
    target = action
    if not (inspect.isfunction(action) or inspect.ismethod(action)):
        call = getattr(action, "__call__", None)  # noqa: B004  # the method, not callability
        if not inspect.ismethod(call):
            return {}, None
        target = call
    try:
        hints = get_type_hints(target)
        first = next(iter(inspect.signature(target).parameters), None)
    except (NameError, TypeError, ValueError):
        return {}, None  # annotations that do not resolve say nothing about the input
    return hints, first


def command_targets(action: Any) -> tuple[str, ...]:
    """Nodes named by a `-> Command[Literal[...]]` annotation."""
    hints, _ = _hints(action)
    returned = hints.get("return")
    options = get_args(returned) if get_origin(returned) is Union else (returned,)
    for option in options:
        args = get_args(option)
        if get_origin(option) is Command and args and get_origin(args[0]) is Literal:
            return get_args(args[0])
    return ()


def literal_targets(router: Any) -> dict[Any, str] | None:
    """Destinations named by a router's `-> Literal[...]` annotation."""
    if not inspect.isroutine(router):
        return None  # as in LangGraph, where the annotations of callable objects do not count
    hints, _ = _hints(router)
    returned = hints.get("return")
    if get_origin(returned) is Literal:
        return {name: name for name in get_args(returned)}
    return None


__all__ = [
    "Channels", "Managed", "channels_of", "command_targets", "input_schema_of", "literal_targets",
    "mapper_of",
]  # fmt: skip
