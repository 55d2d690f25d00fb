"""JSON that is kept: names, spelled once, and documents, in no more memory than they need."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

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


def exact(document: Any) -> bytes:
    """The JSON of a document, in memory of its own size.

    What `orjson.dumps` returns holds the buffer it was written in, 4 KiB for a few bytes. That is
    no matter for what is written and forgotten, but rows wait in queues, and those of the memory
    saver stay.
    """
    return b"%b" % orjson.dumps(document)


__all__ = ["cleared", "exact", "named", "opening", "quoted", "signalled"]
