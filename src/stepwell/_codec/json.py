"""Values to JSON and back, with their types.

orjson alone turns tuples into lists, NaN into null, enums and UUIDs into plain values, and
says nothing. So a walk *lowers* a value first: whatever JSON cannot say exactly becomes a tag,
an object with one key that begins with "$" (`{"$tuple":[1,2]}`, `{"$:app:Invoice":{...}}`; the
tags are listed in `builtin`). A user's dict that would read like one is written through the
tag `$dict`, so data can never pass for a tag. Containers in which nothing has to change are
handed to orjson as they are: no copy, and the document is marked untagged, so reading it
needs no walk.

The document is canonical: `orjson.dumps(orjson.loads(document)) == document`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import orjson
from orjson import dumps

from stepwell._codec.lowering import INT_MAX, INT_MIN, LEVELS_MAX, OPTIONS, Lowering, default
from stepwell._codec.refusal import Refusal, too_deep, unsupported
from stepwell._codec.registry import GLOBAL, Registry
from stepwell._codec.reviving import Reviving
from stepwell.errors import CodecError, CorruptRecordError


class Encoded(NamedTuple):
    """A document. `tagged`: it holds tags; else it is plain JSON and is read without a walk."""

    data: bytes
    tagged: bool


NULL = Encoded(b"null", tagged=False)
"""The document of None."""
_new = tuple.__new__


class Codec:
    """Turns values into documents and back, for one allow-list of classes.

    Args:
        registry: Which classes may be stored and revived; default: those registered with
            `stepwell.register`.
        keep_unknown: What to do with a stored value whose class is not registered: keep it
            as `Opaque`, or (False) raise `UnknownTypeError`.
    """

    __slots__ = ("_lower", "_revive")

    def __init__(self, registry: Registry | None = None, *, keep_unknown: bool = True) -> None:
        allowed = GLOBAL if registry is None else registry
        self._lower = Lowering(allowed).lower
        self._revive = Reviving(allowed, keep_unknown=keep_unknown).revive

    def encode(self, value: Any, *, channel: str | None = None, node: str | None = None) -> Encoded:
        """The document of a value. `node`: who asks it or is answered by it, for errors.

        Raises:
            UnsupportedTypeError: Something in it cannot be stored faithfully; `channel`,
                `path` and `type_name` say where and what.
        """
        if value is None:
            return NULL
        kind = type(value)
        if (kind is str and value.isascii()) or (kind is int and INT_MIN <= value <= INT_MAX):
            return _new(Encoded, (dumps(value), False))  # without a walk
        try:
            lowered = self._lower(value)
        except (Refusal, RuntimeError) as exc:
            _refuse(exc, value, channel, node)
        try:
            return _new(Encoded, (dumps(lowered, default, OPTIONS), lowered is not value))
        except TypeError as exc:
            raise unsupported(_changed(value), channel, node) from exc

    def decode(self, data: bytes, tagged: bool, *, channel: str | None = None) -> Any:
        """The value of a document. Classes that are not registered come back as `Opaque`.

        Raises:
            CorruptRecordError: The bytes are no document of this format.
            UnknownTypeError: A class is not registered and `keep_unknown` is False, or a
                time zone is not known on this machine.
        """
        try:
            node = orjson.loads(data)
        except ValueError as exc:
            raise CorruptRecordError(
                f"{_whose(channel)} is not readable: {exc}", channel=channel
            ) from exc
        return self.revive(node, channel=channel) if tagged else node

    def lower(
        self, value: Any, *, channel: str | None = None, node: str | None = None
    ) -> tuple[Any, bool]:
        """A JSON tree that says the same, and whether it holds tags.

        Parts that need no tag are the very objects of `value`: write the tree out before
        anything can change them.

        Raises:
            UnsupportedTypeError: As in `encode`.
        """
        try:
            lowered = self._lower(value)
        except (Refusal, RuntimeError) as exc:
            _refuse(exc, value, channel, node)
        return lowered, lowered is not value

    def revive(self, lowered: Any, *, channel: str | None = None) -> Any:
        """The value of a parsed JSON tree that holds tags.

        The tree is not changed; parts without tags are shared with the value.

        Raises:
            CorruptRecordError: A tag does not hold what its type needs.
            UnknownTypeError: As in `decode`.
        """
        try:
            return self._revive(lowered)
        except CodecError as exc:
            raise type(exc)(
                f"{_whose(channel)}: {exc}", channel=channel, type_name=exc.type_name
            ) from exc.__cause__
        except RecursionError as exc:
            raise CorruptRecordError(
                f"{_whose(channel)} is nested too deep.", channel=channel
            ) from exc


def _refuse(
    error: Refusal | RuntimeError, value: Any, channel: str | None, node: str | None
) -> NoReturn:
    """Say what the walk over a value came upon."""
    if isinstance(error, Refusal):
        raise unsupported(error, channel, node) from error.__cause__
    if isinstance(error, RecursionError):
        raise unsupported(too_deep(type(value), LEVELS_MAX), channel, node) from error
    # a dict or set that changed its size
    raise unsupported(_changed(value), channel, node) from error


def _changed(value: Any) -> Refusal:
    return Refusal(
        type(value),
        "something that changed while it was written",
        "Do not change a value from another thread while its superstep ends.",
    )


def _whose(channel: str | None) -> str:
    return "The stored value" if channel is None else f"The stored value of channel {channel!r}"
