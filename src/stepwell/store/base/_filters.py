"""Whether a document is what a filter asks for. One meaning, for every store."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
OPERATORS: Final = ("$eq", "$ne", *_ORDER)


def check_filter(wanted: Any) -> None:
    """See that a filter can be asked, before anything is.

    Raises:
        ValueError: It names an operator that there is not.
        TypeError: It is no dict, or compares the size of something without one.
    """
    if wanted is None:
        return
    if not isinstance(wanted, dict):
        raise TypeError(f"filter must be a dict of keys and values, not {type(wanted).__name__}.")
    for value in wanted.values():
        _check(value)


def _check(value: Any) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif is_operators(value):
        for name, operand in value.items():
            if name not in OPERATORS:
                raise ValueError(f"Unsupported operator: {name}. There are {', '.join(OPERATORS)}.")
            if name in _ORDER and not isinstance(operand, str | int | float):
                raise TypeError(
                    f"{name} compares with a number or text, not {type(operand).__name__}."
                )
    elif isinstance(value, dict):
        for item in value.values():
            _check(item)


def is_operators(value: Any) -> bool:
    """Whether a filter's value is a dict of operators, not one to be found."""
    return isinstance(value, dict) and any(
        isinstance(name, str) and name.startswith("$") for name in value
    )


def matches(document: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether a document has every key with the value, or as the operators say.

    A key that is missing counts as None. A dict that is asked for must be contained, a list
    must agree item by item. Sizes: a number compares with numbers and with text that reads
    as one; text compares with text, by code points. What cannot be compared does not match.
    """
    if not wanted:
        return True
    return all(_agrees(document.get(key), value) for key, value in wanted.items())


def _agrees(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if is_operators(wanted):
            return all(_holds(value, name, operand) for name, operand in wanted.items())
        return isinstance(value, dict) and all(
            _agrees(value.get(key), inner) for key, inner in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(wanted)
            and all(map(_agrees, value, wanted))
        )
    return bool(value == wanted)


def _holds(value: Any, name: str, operand: Any) -> bool:
    if name == "$eq":
        return bool(value == operand)
    if name == "$ne":
        return bool(value != operand)
    if isinstance(value, str) and isinstance(operand, str):
        return _ORDER[name](value, operand)
    mine, other = _number(value), _number(operand)
    return mine is not None and other is not None and _ORDER[name](mine, other)


def _number(value: Any) -> float | int | None:
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
