"""Which namespaces there may be."""

from __future__ import annotations

from typing import Any

from stepwell.errors import InvalidIdError
from stepwell.store.base._ops import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp


class InvalidNamespaceError(InvalidIdError):
    """The namespace is none: empty, reserved, or with an element that cannot be one."""


def check_namespace(namespace: Any) -> None:
    """See that items may be put there.

    Raises:
        InvalidNamespaceError: It is empty, begins with "langgraph", or `check_labels` says so.
    """
    if not namespace:
        raise InvalidNamespaceError("Namespace cannot be empty: name at least one element.")
    check_labels(namespace)
    if namespace[0] == "langgraph":
        raise InvalidNamespaceError(
            f'Root label for namespace cannot be "langgraph", which is reserved. Got: {namespace}'
        )


def check_labels(namespace: Any) -> None:
    """See that every element of a namespace, or of a part of one, can be one.

    Raises:
        InvalidNamespaceError: It is text itself, or an element is no text, empty, or holds a
            period or NUL.
    """
    if isinstance(namespace, str):
        raise InvalidNamespaceError(
            f"A namespace is a tuple of elements, not text: write ({namespace!r},)."
        )
    for label in namespace:
        if not isinstance(label, str):
            raise InvalidNamespaceError(
                f"Invalid namespace label {label!r} found in {namespace}: labels must be strings, "
                f"but got {type(label).__name__}."
            )
        if not label:
            raise InvalidNamespaceError(f"Namespace labels cannot be empty strings: {namespace}.")
        if "." in label or "\0" in label:
            found = "periods ('.')" if "." in label else "NUL bytes ('\\x00')"
            raise InvalidNamespaceError(
                f"Invalid namespace label {label!r} found in {namespace}: labels cannot contain "
                f"{found}."
            )


def validate_op_namespace(op: Op) -> None:
    """See that an operation names only namespaces that there may be.

    Raises:
        InvalidNamespaceError: It does not.
    """
    if isinstance(op, GetOp | PutOp):
        check_labels(op.namespace)
    elif isinstance(op, SearchOp):
        check_labels(op.namespace_prefix)
    elif isinstance(op, ListNamespacesOp):
        for condition in op.match_conditions or ():
            check_labels(condition.path)


def does_match(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    """Whether a namespace begins or ends with a path, element by element.

    Raises:
        ValueError: It is neither "prefix" nor "suffix" that is asked for.
    """
    path = condition.path
    if condition.match_type not in ("prefix", "suffix"):
        raise ValueError(
            f"Unsupported match type: {condition.match_type!r}; there are 'prefix' and 'suffix'."
        )
    if len(namespace) < len(path):
        return False
    side = namespace[: len(path)] if condition.match_type == "prefix" else namespace[-len(path) :]
    return all(wanted in ("*", label) for label, wanted in zip(side, path, strict=False))
