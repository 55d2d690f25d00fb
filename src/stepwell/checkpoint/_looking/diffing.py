"""The difference of two JSON trees as a patch (RFC 6902).

    old, new -> [{"op": "replace", "path": "/log/3", "value": "x"}, ...]

Applied in order to `old`, the patch gives `new`. It is told from JSON alone, so it can be made
of states whose classes are not known here. Numbers are equal if they are written alike: 1, 1.0
and true are three values.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any, Final

import orjson

Operation = dict[str, Any]

_ALIGNED_MAX: Final = 1 << 20
"""Pairs of items that are compared to find which of two lists' items are the same ones."""


def difference(old: Any, new: Any) -> list[Operation]:
    """The operations that make `new` of `old`. Values in them are parts of `new`."""
    return list(_node(old, new, ""))


def _node(old: Any, new: Any, path: str) -> Iterator[Operation]:
    if type(old) is dict and type(new) is dict:
        yield from _members(old, new, path)
    elif type(old) is list and type(new) is list:
        yield from _items(old, new, path)
    elif _written(old) != _written(new):
        yield {"op": "replace", "path": path, "value": new}


def _members(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[Operation]:
    for name in old:
        if name not in new:
            yield {"op": "remove", "path": f"{path}/{_escaped(name)}"}
    for name, value in new.items():
        below = f"{path}/{_escaped(name)}"
        if name in old:
            yield from _node(old[name], value, below)
        else:
            yield {"op": "add", "path": below, "value": value}


def _items(old: list[Any], new: list[Any], path: str) -> Iterator[Operation]:
    before, after = [_written(item) for item in old], [_written(item) for item in new]
    for kept_from, kept_to, now_from, now_to in _changed(before, after):
        # Everything to the left is as in `new` already, so its places are those of `new`.
        common = min(kept_to - kept_from, now_to - now_from)
        for n in range(common):
            yield from _node(old[kept_from + n], new[now_from + n], f"{path}/{now_from + n}")
        for _ in range(kept_from + common, kept_to):
            yield {"op": "remove", "path": f"{path}/{now_from + common}"}
        for place in range(now_from + common, now_to):
            yield {"op": "add", "path": f"{path}/{place}", "value": new[place]}


def _changed(before: list[bytes], after: list[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches that differ, from left to right: where they are before, and after."""
    most = min(len(before), len(after))
    head = next((n for n in range(most) if before[n] != after[n]), most)
    most -= head
    tail = next((n for n in range(most) if before[-1 - n] != after[-1 - n]), most)
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if not old and not new:
        return
    if len(old) * len(new) > _ALIGNED_MAX:
        yield head, head + len(old), head, head + len(new)
        return
    for kind, *places in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            i, j, k, m = (place + head for place in places)
            yield i, j, k, m


def _written(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


__all__ = ["Operation", "difference"]
