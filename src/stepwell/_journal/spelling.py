"""The parts of plain bodies that are the same in every run: names, spelled as JSON once."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import orjson

_NAMES_MAX: Final = 4096

quoted = lru_cache(maxsize=_NAMES_MAX)(orjson.dumps)
"""The JSON of a name."""


@lru_cache(maxsize=_NAMES_MAX)
def named(channel: str) -> bytes:
    """The JSON of a write that is the operand of its channel's op."""
    return orjson.dumps([channel])


@lru_cache(maxsize=_NAMES_MAX)
def cleared(channel: str) -> bytes:
    """The JSON of the op of a channel that holds nothing any more, with its name."""
    return orjson.dumps({channel: ["x"]})[1:-1]


@lru_cache(maxsize=_NAMES_MAX)
def signalled(channel: str) -> bytes:
    """The JSON of the op of a channel that was set to None, as signals are, with its name."""
    return orjson.dumps({channel: ["s", None]})[1:-1]


@lru_cache(maxsize=_NAMES_MAX)
def opening(name: str, kind: int, triggers: tuple[str, ...]) -> bytes:
    """How the body of a superstep of one task begins, up to the task's writes."""
    own = None if triggers == (f"branch:to:{name}",) else triggers
    return b'{"t":[%b,[' % orjson.dumps([name, kind, own])[:-1]


__all__ = ["cleared", "named", "opening", "quoted", "signalled"]
