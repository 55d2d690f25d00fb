"""A channel that never reaches the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import MISSING, OneValue, Value
from stepwell.errors import InvalidUpdateError


class UntrackedValue(OneValue[Value]):
    """Holds the value written last for as long as the run lives, and is never stored."""

    __slots__ = ("guard",)

    persisted = False

    def __init__(self, typ: Any, guard: bool = True, key: str = "") -> None:
        super().__init__(typ, key)
        self.guard = guard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntrackedValue) and other.guard == self.guard

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> UntrackedValue[Value]:  # noqa: ARG002
        return self.__class__(self.typ, self.guard, self.key)

    def copy(self) -> UntrackedValue[Value]:
        fresh = self.from_checkpoint(MISSING)
        fresh.value = self.value
        return fresh

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        if self.guard and len(values) != 1:
            msg = (
                f"At key '{self.key}': UntrackedValue(guard=True) can receive only one value per "
                f"step, got {len(values)}. Use guard=False if you want to store any one of them."
            )
            raise InvalidUpdateError(msg, channel=self.key)
        self.value = values[-1]
        return True

    def checkpoint(self) -> Any:
        return MISSING


__all__ = ["UntrackedValue"]
