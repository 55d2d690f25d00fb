"""What tasks contribute to a barrier, and how a record's document tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import orjson

from stepwell._codec import Encoded
from stepwell._journal.spelling import opening, quoted


class Entry(NamedTuple):
    """What one task contributed to a barrier, before encoding."""

    name: str
    kind: int
    triggers: Sequence[str]
    writes: Sequence[tuple[str, Any]]
    encoded: Sequence[Encoded | None] | None = None
    """Encodings of `writes` where they are known already; None for writes not persisted."""
    control: Mapping[int, Any] | None = None


def spell_out(document: dict[str, Any], name: str) -> None:
    """Give the write that refers to a channel's op the op's operand as its own value."""
    op = document["c"].get(name)
    for entry in document["t"]:
        for write in entry[3]:
            if op is not None and write[0] == name and len(write) == 1:
                write.append(op[1])
                if op[0] in "SA":
                    write.append(1)


def spelled_write(channel: str, encoded: Encoded) -> list[Any]:
    fragment = orjson.Fragment(encoded.data)
    return [channel, fragment, 1] if encoded.tagged else [channel, fragment]


def told(
    name: str,
    kind: int,
    triggers: tuple[str, ...],
    channels: Sequence[str],
    values: Mapping[str, tuple[Any, Encoded]],
) -> bytes:
    """How the body of a superstep of one task begins, up to the ops of the channels, where the task
    wrote `channels`: those in `values` have a value of their own, the others their op's."""
    writes: list[bytes] = []
    for channel in channels:
        if channel in values:
            data, tagged = values[channel][1]
            writes.append(b"[%b,%b%b]" % (quoted[channel], data, b",1" if tagged else b""))
        else:
            writes.append(b"[%b]" % quoted[channel])
    return b'%b%b]]],"c":{' % (opening(name, kind, triggers), b",".join(writes))


def writers_of(
    entries: Sequence[Entry], encodings: Sequence[Sequence[Encoded | None]]
) -> dict[str, list[tuple[int, int]]]:
    """Channel -> places of the writes made to it, in order."""
    writers: dict[str, list[tuple[int, int]]] = {}
    for i, entry in enumerate(entries):
        encoded = encodings[i]
        for j, (channel, _) in enumerate(entry.writes):
            if encoded[j] is not None:
                writers.setdefault(channel, []).append((i, j))
    return writers


def shown_places(
    encodings: Sequence[Sequence[Encoded | None]], sources: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """The places of writes, each among those of its entry that are stored."""
    found: list[list[int]] = []
    before: dict[int, list[int]] = {}
    for i, j in sources:
        if not j:
            found.append([i, 0])  # nearly every task of a large superstep writes once
            continue
        if i not in before:
            before[i] = list(accumulate((e is not None for e in encodings[i]), initial=0))
        found.append([i, before[i][j]])
    return found


__all__ = ["Entry", "shown_places", "spell_out", "spelled_write", "told", "writers_of"]
