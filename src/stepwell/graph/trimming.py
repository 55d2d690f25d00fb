"""Reducers that keep a state small: of a list, or of a conversation, only the end stays.

    class State(TypedDict):
        messages: Annotated[list, last_messages(40)]
        seen: Annotated[list[str], keep_last(100)]

What is cut off is gone from the state, not from the history: earlier checkpoints still have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stepwell.errors import GraphDefinitionError
from stepwell.graph._message_reducer import add_messages

_SYSTEM: Final = ("system", "developer")
_ANSWERS: Final = ("tool", "function")


def keep_last(count: int) -> Callable[[list[Any], list[Any]], list[Any]]:
    """A reducer that appends lists, and keeps the last `count` items.

    Raises:
        GraphDefinitionError: `count` is no whole number from 1 on.
    """
    _check(count)

    def reduce(left: list[Any], right: list[Any]) -> list[Any]:
        return [*left, *right][-count:]

    return reduce


def last_messages(count: int) -> Callable[[Any, Any], Any]:
    """A reducer that merges messages as `add_messages` does, and keeps the last `count`.

    System messages that a conversation begins with stay, and do not count. An answer of a tool
    whose call was cut off goes with it, since models refuse it alone: so there may be fewer.

    Raises:
        GraphDefinitionError: `count` is no whole number from 1 on.
    """
    _check(count)

    def reduce(left: Any, right: Any) -> Any:
        merged: list[Any] = list(add_messages(left, right))
        head = 0
        while head < len(merged) and _role(merged[head]) in _SYSTEM:
            head += 1
        first = max(head, len(merged) - count)
        if first == head:
            return merged
        while first < len(merged) and _role(merged[first]) in _ANSWERS:
            first += 1
        return merged[:head] + merged[first:]

    return reduce


def _role(message: Any) -> Any:
    if isinstance(message, dict):
        return message.get("role")
    return getattr(message, "type", None)


def _check(count: Any) -> None:
    if type(count) is not int or count < 1:
        msg = f"Of a list at least one item must be kept, not {count!r:.80}."
        raise GraphDefinitionError(msg)


__all__ = ["keep_last", "last_messages"]
