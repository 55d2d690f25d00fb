"""Names that users give: of threads and of scopes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from stepwell.errors import InvalidIdError, UsageError

BYTES_MAX = 512
_NUMBERS = (int, uuid.UUID)  # `int | uuid.UUID` would be made anew at each look


def thread_id_of(value: Any) -> str:
    """A thread id as text.

    Raises:
        InvalidIdError: It is not a str, int or UUID, or not 1-512 bytes of plain UTF-8.
    """
    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidIdError(
            f"thread_id must be a str (int and UUID are accepted), not {type(value).__name__}."
        )
    if not value:
        raise InvalidIdError("thread_id is empty; give at least one character.")
    return _storable(value, "thread_id")


def idempotency_key_of(value: Any) -> str:
    """An idempotency key.

    Raises:
        InvalidIdError: It is not a str of 1-512 bytes of plain UTF-8.
    """
    if not isinstance(value, str):
        raise InvalidIdError(f"idempotency_key must be a str, not {type(value).__name__}.")
    if not value:
        raise InvalidIdError("idempotency_key is empty; give at least one character.")
    return _storable(value, "idempotency_key")


def scope_of(value: Any) -> str:
    """A scope's name; "" is the scope of the plain saver.

    Raises:
        InvalidIdError: It is not a str of at most 512 bytes of plain UTF-8.
    """
    if not isinstance(value, str):
        raise InvalidIdError(f"A scope must be a str, not {type(value).__name__}.")
    return _storable(value, "scope")


def _storable(text: str, what: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidIdError(
            f"{what} contains a lone surrogate, which no database can store; use plain text."
        ) from None
    if "\0" in text:
        raise InvalidIdError(
            f"{what} {text!r:.100} contains NUL ('\\x00') at position {text.index(chr(0))}, which "
            "databases do not store; leave it out."
        )
    if size > BYTES_MAX:
        raise InvalidIdError(
            f"{what} must be at most {BYTES_MAX} bytes of UTF-8; this one has {size} bytes."
        )
    return text


def rule_of(rule: Any) -> Callable[[str], None] | None:
    """A `thread_id_rule` as a function that refuses what the rule does not allow.

    Raises:
        UsageError: The rule is no pattern and cannot be called.
    """
    if rule is None:
        return None
    if isinstance(rule, str):
        try:
            rule = re.compile(rule)
        except re.error as error:
            raise UsageError(
                f"thread_id_rule {rule!r} is no regular expression: {error}."
            ) from error
    if isinstance(rule, re.Pattern):
        allows: Callable[[str], object] = rule.fullmatch
        shown = f"the pattern {rule.pattern!r}"
    elif callable(rule):
        allows, shown = rule, "the saver's thread_id_rule"
    else:
        raise UsageError(
            f"thread_id_rule must be a pattern or a predicate, not {type(rule).__name__}."
        )

    def check(thread_id: str) -> None:
        if not allows(thread_id):
            raise InvalidIdError(
                f"thread_id {thread_id!r} is not allowed by {shown}.", thread_id=thread_id
            )

    return check
