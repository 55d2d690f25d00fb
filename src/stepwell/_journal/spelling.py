"""JSON that is kept: names, spelled once, and documents, in no more memory than they need."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import orjson

_NAMES_MAX: Final = 4096


class Spelled(dict[str, bytes]):
    """Names as they are spelled, each made when it is first looked up."""

    __slots__ = ("_spell",)

    def __init__(self, spell: Callable[[str], bytes]) -> None:
        self._spell = spell

    def __missing__(self, name: str) -> bytes:
        if len(self) >= _NAMES_MAX:
            self.clear()
        spelled = self[name] = self._spell(name)
        return spelled


quoted: Final = Spelled(orjson.dumps)
"""The JSON of a name."""

cleared: Final = Spelled(lambda channel: orjson.dumps({channel: ["x"]})[1:-1])
"""The JSON of the op of a channel that holds nothing any more, with its name."""

signalled: Final = Spelled(lambda channel: orjson.dumps({channel: ["s", None]})[1:-1])
"""The JSON of the op of a channel that was set to None, as signals are, with its name."""


@lru_cache(maxsize=_NAMES_MAX)
def opening(name: str, kind: int, triggers: tuple[str, ...]) -> bytes:
    """How the body of a superstep of one task begins, up to the task's writes."""
    own = None if triggers == (f"branch:to:{name}",) else triggers
    return b'{"t":[%b,[' % orjson.dumps([name, kind, own])[:-1]


@lru_cache(maxsize=_NAMES_MAX)
def contributed(
    name: str, kind: int, triggers: tuple[str, ...], channels: tuple[str, ...]
) -> bytes:
    """The same, up to the ops of the channels, of a task that wrote each of these once: what it
    wrote is the operand of the channel's op."""
    writes = b",".join([orjson.dumps([channel]) for channel in channels])
    return b'%b%b]]],"c":{' % (opening(name, kind, triggers), writes)


def exact(document: Any) -> bytes:
    """The JSON of a document, in memory of its own size.

    What `orjson.dumps` returns holds the buffer it was written in, 4 KiB for a few bytes. That is
    no matter for what is written and forgotten, but rows wait in queues, and those of the memory
    saver stay.
    """
    return b"%b" % orjson.dumps(document)


__all__ = ["cleared", "contributed", "exact", "opening", "quoted", "signalled"]
