"""Merging two lists of messages by id, and saying what changed in as few words as possible."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

Splice: TypeAlias = tuple[int | None, int, list[Any]]
"""At this position (None: at the end), take out so many items and put these in."""


class Merged(NamedTuple):
    """A list, and the splices that made it of the list before; None: it is a new list."""

    items: list[Any]
    splices: list[Splice] | None


def merge_by_id(
    left: Sequence[Any],
    right: Sequence[Any],
    *,
    id_of: Callable[[Any], Hashable],
    removes: Callable[[Any], bool],
    combine: Callable[[Any, Any], Any] | None = None,
    unknown: str,
    left_ids: Sequence[Any] | None = None,
) -> Merged:
    """`left` with every item of `right` put in the place of the one with its id, or at the end.

    Args:
        removes: Whether an item stands for the removal of the one with its id.
        combine: (item there, item given) -> the item to put there; the one given by default.
        unknown: What to say of a removal whose id nobody has; `{id}` stands for it.
        left_ids: The ids of `left`, where they are known already.

    Raises:
        ValueError: There is nothing to remove under an id.

    Invariant: applying `splices` one after the other to `left` gives `items`.
    Semantics: LangGraph's `add_messages` and `ui_message_reducer`.
    """
    # A later item with an id that an earlier one has already hides it.
    ids = [id_of(item) for item in left] if left_ids is None else left_ids
    place: dict[Any, int] = dict(zip(ids, range(len(ids)), strict=True))
    merged = list(left)
    gone: set[Hashable] = set()
    replaced: set[int] = set()
    for item in right:
        name = id_of(item)
        position = place.get(name)
        if position is not None:
            if removes(item):
                gone.add(name)
                continue
            gone.discard(name)
            merged[position] = item if combine is None else combine(merged[position], item)
            replaced.add(position)
        elif removes(item):
            raise ValueError(unknown.format(id=name))
        else:
            place[name] = len(merged)
            merged.append(item)
    size = len(left)
    dropped: set[int] = set()
    if gone:
        dropped = {i for i, item in enumerate(merged) if id_of(item) in gone}
    splices = splices_of(merged, size, replaced, dropped)
    if dropped:
        merged = [item for i, item in enumerate(merged) if i not in dropped]
    return Merged(merged, splices)


def splices_of(merged: list[Any], size: int, replaced: set[int], dropped: set[int]) -> list[Splice]:
    """The changes to the first `size` items from the back to the front, then what was added."""
    splices: list[Splice] = []
    touched = sorted((i for i in replaced | dropped if i < size), reverse=True)
    start = 0
    while start < len(touched):
        end = start + 1
        while end < len(touched) and touched[end] == touched[end - 1] - 1:
            end += 1
        first, last = touched[end - 1], touched[start]
        kept = [merged[i] for i in range(first, last + 1) if i not in dropped]
        splices.append((first, last - first + 1, kept))
        start = end
    added = [merged[i] for i in range(size, len(merged)) if i not in dropped]
    if added or not splices:
        splices.append((None, 0, added))
    return splices


__all__ = ["Merged", "Splice", "merge_by_id", "splices_of"]
