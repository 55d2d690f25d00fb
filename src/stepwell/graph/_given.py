"""What callers give to a graph's description, in the form the description keeps."""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from stepwell._engine.binding import NotCallableError
from stepwell.constants import END, START
from stepwell.errors import GraphDefinitionError, of_langgraph
from stepwell.types import CachePolicy, RetryPolicy, TimeoutPolicy
from stepwell.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecationWarning


class MissingActionError(GraphDefinitionError, RuntimeError):
    """A node has a name and nothing to run; a RuntimeError, as in LangGraph."""


class WrongKindError(GraphDefinitionError, TypeError):
    """An option is of a kind that nothing could be done with."""


def _wrong(name: str, value: Any, wanted: str) -> WrongKindError:
    said = of_langgraph(value)
    msg = f"{name} must be {wanted}, not {value!r:.100} ({type(value).__name__})"
    return WrongKindError(f"{msg}: {said}." if said else f"{msg}.")


def name_and_action(
    node: str | Callable[..., Any], action: Callable[..., Any] | None
) -> tuple[str, Any]:
    """A node's name, its own or its function's, and what it runs.

    Raises:
        GraphDefinitionError: There is nothing to run.
    """
    graph = node if action is None else action
    if hasattr(graph, "aget_state") and (said := of_langgraph(graph)):
        warnings.warn(
            f"A graph of LangGraph as a node is called as a black box: {said}. Its questions "
            "(interrupt), streams and state do not reach this graph.",
            stacklevel=3,
        )
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


def no_more(left: Mapping[str, Any], call: str) -> None:
    """Refuse keywords that a call does not know.

    Raises:
        TypeError: There are some.
    """
    if left:
        msg = f"{call}() got an unexpected keyword argument {next(iter(left))!r}"
        raise TypeError(msg)


def check_name(name: str, taken: Collection[str]) -> None:
    """Refuse a name that a node cannot have.

    Raises:
        GraphDefinitionError: It is taken, reserved, or not usable.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        msg = f"Node {name!r} has a lone surrogate in its name, which cannot be stored."
        raise GraphDefinitionError(msg, node=name) from None
    if name in taken:
        msg = f"Node `{name}` already present: give every node a name of its own."
    elif name in (START, END):
        msg = f"Node `{name}` is reserved."
    elif reserved := [c for c in "|:" if c in name]:
        msg = (
            f"'{reserved[0]}' is a reserved character and is not allowed in the node names. "
            f"Got {name!r}."
        )
    else:
        return
    raise GraphDefinitionError(msg, node=name)


def policies(given: RetryPolicy | Sequence[RetryPolicy] | None) -> tuple[RetryPolicy, ...]:
    """Retry policies, given as one or as several.

    Raises:
        GraphDefinitionError: They are none.
    """
    if isinstance(given, RetryPolicy):
        return (given,)
    wanted = "a RetryPolicy or a list of them"
    if of_langgraph(given) or isinstance(given, str) or not isinstance(given or (), Iterable):
        raise _wrong("retry_policy", given, wanted)
    found = tuple(given or ())
    for policy in found:
        if not isinstance(policy, RetryPolicy):
            raise _wrong("retry_policy", policy, wanted)
    return found


def limits(given: Any) -> TimeoutPolicy | None:
    """A node's timeout, in seconds.

    Raises:
        GraphDefinitionError: It is none.
        ValueError: It is not positive.
    """
    try:
        return TimeoutPolicy.coerce(given)
    except (TypeError, ValueError) as error:
        if isinstance(given, (int, float, timedelta, TimeoutPolicy)):
            raise
        wanted = "seconds as a number or timedelta, or a TimeoutPolicy"
        raise _wrong("timeout", given, wanted) from error


def caching(given: Any) -> CachePolicy[Any] | None:
    """A node's cache policy.

    Raises:
        GraphDefinitionError: It is none.
    """
    if given and not isinstance(given, CachePolicy):
        raise _wrong("cache_policy", given, "a CachePolicy or None")
    return given or None


def flag(name: str, given: Any) -> bool:
    """An option that is on or off.

    Raises:
        GraphDefinitionError: It is something else, such as the name of another option.
    """
    if given is not None and not isinstance(given, int):
        raise _wrong(name, given, "True or False")
    return bool(given)


def labels(given: Any) -> Mapping[str, Any]:
    """A node's metadata.

    Raises:
        GraphDefinitionError: It is no mapping.
    """
    if given and not isinstance(given, Mapping):
        raise _wrong("metadata", given, "a mapping")
    return given or {}


def steps(given: Any) -> Any:
    """The members of `add_sequence`.

    Raises:
        GraphDefinitionError: They are not several.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise _wrong("add_sequence(nodes)", given, "a list of functions or (name, function) pairs")
    return given


_STORE_VERBS = ("abatch", "batch", "aget", "get", "asearch", "search")


def storing(given: Any) -> Any:
    """A store; one of another library's will do, as nodes are only handed it.

    Raises:
        GraphDefinitionError: It has nothing of a store.
    """
    if given is not None and not any(hasattr(given, verb) for verb in _STORE_VERBS):
        raise _wrong("store", given, "a store (stepwell.store) or None")
    return given


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
    "MissingActionError", "WrongKindError", "branch_name", "caching", "check_name", "check_schema",
    "flag", "former", "function_of", "labelled", "labels", "limits", "name_and_action", "name_of",
    "no_more",
    "policies", "step_of_sequence", "steps", "storing",
]  # fmt: skip
