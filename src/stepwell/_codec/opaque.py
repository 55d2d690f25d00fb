"""Values of classes that this process does not know."""

from __future__ import annotations

from typing import Any

import orjson

from stepwell._dataclass import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Opaque:
    """A stored value whose class is not registered in the process that read it.

    It is written back byte for byte. Two are equal when their type ids and bytes are.

    Attributes:
        type_id: The id under which the class was registered by the writer.
        value: The stored state as parsed JSON, inner tags included. Not to be changed.
    """

    type_id: str
    value: Any

    def _identity(self) -> tuple[str, bytes]:
        return self.type_id, orjson.dumps(self.value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Opaque:
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


def is_document(value: Any, levels: int) -> bool:
    """Whether `value` is made of JSON's own types only, and at most `levels` deep."""
    kind = type(value)
    if kind in (str, int, float, bool, type(None)):
        return True
    if levels <= 0:
        return False
    if kind is list:
        return all(is_document(item, levels - 1) for item in value)
    return kind is dict and all(
        type(key) is str and is_document(item, levels - 1) for key, item in value.items()
    )
