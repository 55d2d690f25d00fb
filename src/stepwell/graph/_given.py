"""What callers give to a graph's description, in the form the description keeps."""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepwell._engine.binding import NotCallableError
from stepwell.errors import GraphDefinitionError
from stepwell.types import RetryPolicy
from stepwell.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecationWarning


class MissingActionError(GraphDefinitionError, RuntimeError):
    """A node has a name and nothing to run; a RuntimeError, as in LangGraph."""


def name_and_action(
    node: str | Callable[..., Any], action: Callable[..., Any] | None
) -> tuple[str, Any]:
    """A node's name, its own or its function's, and what it runs.

    Raises:
        GraphDefinitionError: There is nothing to run.
    """
    if not isinstance(node, str):
        return name_of(node), node
    if action is None:
        msg = f"Node {node!r} needs a function: add_node({node!r}, function)."
        raise MissingActionError(msg, node=node)
    return node, action


def name_of(action: Any) -> str:
    """The name of a node that is given none: of the function, or of the object's class."""
    if not callable(action) and hasattr(action, "get_name"):
        return str(action.get_name())
    return str(getattr(action, "__name__", type(action).__name__))


def branch_name(path: Any) -> str:
    """The name of a branch: of the function, where it has one that says something."""
    if not callable(path):
        return str(getattr(path, "name", None) or "condition")
    name = getattr(path, "__name__", None)
    known = isinstance(name, str) and name != "<lambda>"
    return str(name) if known or inspect.iscoroutinefunction(path) else "condition"


def function_of(path: Any) -> Any:
    """The function behind a runnable that wraps one; anything else is itself."""
    if callable(path):
        return path
    own = getattr(path, "__dict__", {})  # not what it passes on from another one
    return own.get("func") or own.get("afunc") or path


def step_of_sequence(node: Any, known: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and function of one member of `add_sequence`.

    Raises:
        GraphDefinitionError: The name is taken, or it is no function.
    """
    if isinstance(node, tuple) and len(node) == 2:
        name, action = node
    else:  # of a graph or runnable LangGraph takes the name of the class here
        name, action = getattr(node, "__name__", type(node).__name__), node
    if isinstance(action, tuple):
        msg = f"A step is a function or a pair (name, function), not {node!r:.100}"
        raise NotCallableError(msg)
    if name in known:
        msg = (
            f"Node names must be unique: node with the name {name!r} already exists. Give a pair "
            "(name, function) to use two functions with the same name, such as lambdas."
        )
        raise GraphDefinitionError(msg, node=name)
    return name, action


def policies(given: RetryPolicy | Sequence[RetryPolicy] | None) -> tuple[RetryPolicy, ...]:
    """Retry policies, given as one or as several."""
    return (given,) if isinstance(given, RetryPolicy) else tuple(given or ())


def labelled(destinations: Mapping[str, str] | Sequence[str]) -> Mapping[str, str | None]:
    """Destinations, with the labels of their edges where they have some."""
    if isinstance(destinations, Mapping):
        return dict(destinations)
    return dict.fromkeys(destinations)


def former(
    given: dict[str, Any],
    old: str,
    new: str,
    value: Any,
    *,
    since: type[LangGraphDeprecationWarning] = LangGraphDeprecatedSinceV05,
) -> Any:
    """An option given under the name that LangGraph once had for it; taken out of `given`."""
    if old not in given:
        return value
    msg = f"`{old}` is deprecated and will be removed. Please use `{new}` instead."
    warnings.warn(msg, since, stacklevel=3)
    found = given.pop(old)
    return found if value is None else value


def check_schema(schema: Any) -> None:
    """Warn of a schema that is no type, which is taken for the type of a bare value."""
    if not isinstance(schema, type) and not typing.get_args(schema):
        warnings.warn(
            f"Invalid state_schema: {schema}. Expected a type or Annotated[type, reducer]. Please "
            "provide a valid schema to ensure correct updates.",
            stacklevel=4,
        )


__all__ = [
    "MissingActionError", "branch_name", "check_schema", "former", "function_of", "labelled",
    "name_and_action", "name_of", "policies", "step_of_sequence",
]  # fmt: skip
