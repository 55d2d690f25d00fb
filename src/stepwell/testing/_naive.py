"""A second, slow and simple reading of stored records: what the states should be.

It shares no code with the library's loader, so that a mistake there is not made here too.
Everything is parsed JSON, the form in which records are stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import orjson

from stepwell.testing._stored import StoredCheckpoint, StoredThread

State = dict[str, Any]
Rule = Callable[[Any, Any], Any]
"""How a write is combined with the value before it."""

MISSING = object()
OWN_KINDS = (-2, -3, -4)
"""Kinds of entries that a client wrote, not a task: update, input, command."""
TASKS = "__pregel_tasks"
_TRIGGER = "branch:to:"
_START = "__start__"


class UnreadableError(ValueError):
    """A record does not make sense on top of the state before it."""


def states_of(thread: StoredThread, ns: str) -> dict[int, State | UnreadableError]:
    """Seq -> the state that the recorded changes add up to, for every checkpoint of `ns`."""
    found: dict[int, State | UnreadableError] = {0: {}}
    for row in sorted((r for r in thread.checkpoints if r.ns == ns), key=lambda r: r.seq):
        before = found.get(row.parent, UnreadableError(f"there is no seq {row.parent}"))
        if isinstance(before, UnreadableError):
            found[row.seq] = before
            continue
        try:
            found[row.seq] = after(before, row.document)
        except (UnreadableError, LookupError, TypeError, ValueError) as error:
            found[row.seq] = UnreadableError(f"seq {row.seq}: {error!r}")
    return found


def after(state: Mapping[str, Any], document: Mapping[str, Any]) -> State:
    """The state after a record.

    Raises:
        UnreadableError: The record belongs on another state.
    """
    new = deepcopy(dict(state))
    for channel, (kind, *operands) in document["c"].items():
        if kind == "x":
            new.pop(channel, None)
        elif kind in ("s", "S"):
            new[channel] = deepcopy(operands[0])
        elif kind in ("a", "A"):
            new[channel] = [*new.get(channel, []), *deepcopy(operands[0])]
        elif kind in ("e", "E"):
            new[channel] = _edited(new.get(channel, []), operands[0])
        elif kind in ("p", "P"):
            new[channel] = _spliced(new.get(channel), operands)
        elif kind in ("w", "W"):
            values = [deepcopy(document["t"][i][3][j][1]) for i, j in operands[0]]
            new[channel] = (
                values if kind == "W" else [*new.get(channel, []), *(i for v in values for i in v)]
            )
        else:
            raise UnreadableError(f"no such operation: {kind!r}")
    return new


def _edited(items: list[Any], splices: Sequence[Any]) -> list[Any]:
    for start, cut, put in splices:
        at = len(items) if start is None else start
        items = [*items[:at], *deepcopy(put), *items[at + (0 if start is None else cut) :]]
    return items


def _spliced(value: Any, operands: Sequence[Any]) -> Any:
    first, last, middle, checksum = operands
    old = orjson.dumps(value)
    new = old[:first] + middle.encode() + old[len(old) - last :]
    if zlib.crc32(new) != checksum:
        raise UnreadableError("a splice was made for another value")
    return orjson.loads(new)


def written(document: Mapping[str, Any], channel: str) -> Iterator[Any]:
    """What tasks and clients wrote to a channel, in the order of the barrier.

    A write that refers to the channel's operation has that one's operand. One that was stored
    in a tagged form is `MISSING`: what a reducer makes of it cannot be said here.
    """
    operation = document["c"].get(channel, ["x"])
    for entry in document["t"]:
        for name, *value in entry[3]:
            if name != channel:
                continue
            if len(value) == 1:
                yield value[0]
            elif value or operation[0] not in ("s", "a"):
                yield MISSING
            else:
                yield operation[1]


def combined(before: Any, writes: Sequence[Any], rule: Rule | None) -> Any:
    """The value that writes lead to; `rule` None: the last one stays."""
    if any(write is MISSING for write in writes):
        return MISSING
    if rule is None:
        return writes[-1]
    value = before
    for write in writes:
        value = write if value is MISSING else rule(value, write)
    return value


def left_to_do(state: Mapping[str, Any]) -> set[str]:
    """Nodes (or marks of them) that a state says are due. There may be more."""
    due = {name.removeprefix(_TRIGGER) for name in state if name.startswith(_TRIGGER)}
    if _START in state:
        due.add(_START)
    if state.get(TASKS):
        due.add(TASKS)
    return due


def own_scalars(row: StoredCheckpoint) -> list[Any]:
    """Scalars in what clients (not tasks) wrote with this record, as often as they occur."""
    document = row.document
    found: list[Any] = []
    for entry in document.get("t", ()):
        if entry[1] in OWN_KINDS:
            for channel, *value in entry[3]:
                if value:
                    found += _scalars(value[0])
                elif channel in document["c"]:
                    found += _scalars(document["c"][channel][1:])
    return found


def all_scalars(row: StoredCheckpoint) -> set[Any]:
    """Scalars in everything that this record changed."""
    return set(_scalars([row.document.get("c", {}), row.document.get("t", [])]))


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from _scalars(item)
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        yield value


__all__ = [
    "MISSING", "Rule", "State", "UnreadableError", "after", "all_scalars", "combined", "left_to_do",
    "own_scalars", "states_of", "written",
]  # fmt: skip
