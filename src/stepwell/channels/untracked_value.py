"""A channel that never reaches the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import MISSING, BaseChannel, Value
from stepwell.errors import EmptyChannelError, InvalidUpdateError


class UntrackedValue(BaseChannel[Value, Value, Value]):
    """Holds the value written last for as long as the run lives, and is never stored."""

    __slots__ = ("guard", "value")

    persisted = False

    def __init__(self, typ: Any, guard: bool = True, key: str = "") -> None:
        super().__init__(typ, key)
        self.guard = guard
        self.value: Any = MISSING

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntrackedValue) and other.guard == self.guard

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> UntrackedValue[Value]:  # noqa: ARG002
        return self.__class__(self.typ, self.guard, self.key)

    def copy(self) -> UntrackedValue[Value]:
        fresh = self.__class__(self.typ, self.guard, self.key)
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

    def get(self) -> Value:
        if self.value is MISSING:
            raise EmptyChannelError(f"Channel {self.key!r} holds no value", channel=self.key)
        return self.value  # type: ignore[no-any-return]

    def is_available(self) -> bool:
        return self.value is not MISSING

    def checkpoint(self) -> Any:
        return MISSING


__all__ = ["UntrackedValue"]
