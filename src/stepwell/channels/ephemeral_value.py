"""A channel that lives for one superstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import MISSING, OneValue, Value
from stepwell.errors import InvalidUpdateError


class EphemeralValue(OneValue[Value]):
    """Holds the value written in the superstep before, and nothing after the next one.

    With `guard=True` a second write in one superstep is an error; else the last one counts.
    """

    __slots__ = ("guard",)

    steps = True

    def __init__(self, typ: Any, guard: bool = True, key: str = "") -> None:
        super().__init__(typ, key)
        self.guard = guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EphemeralValue) and other.guard == self.guard

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> EphemeralValue[Value]:
        kind = self.__class__
        if kind.__init__ is not EphemeralValue.__init__:  # it has more to set up
            fresh = kind(self.typ, self.guard, self.key)
            fresh.value = checkpoint
            return fresh
        fresh = kind.__new__(kind)
        fresh.typ = self.typ
        fresh.key = self.key
        fresh.value = checkpoint
        fresh.guard = self.guard
        return fresh

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            if self.value is MISSING:
                return False
            self.value = MISSING
            return True
        if self.guard and len(values) != 1:
            msg = (
                f"At key '{self.key}': EphemeralValue(guard=True) can receive only one value per "
                f"step, got {len(values)}. Use guard=False if you want to store any one of them."
            )
            raise InvalidUpdateError(msg, channel=self.key)
        self.value = values[-1]
        return True


__all__ = ["EphemeralValue"]
