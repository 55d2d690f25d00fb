"""A channel that lives for one superstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import CLEARED, MISSING, BaseChannel, Op, OpKind, Value
from stepwell.errors import EmptyChannelError, InvalidUpdateError


class EphemeralValue(BaseChannel[Value, Value, Value]):
    """Holds the value written in the superstep before, and nothing after the next one.

    With `guard=True` a second write in one superstep is an error; else the last one counts.
    """

    __slots__ = ("guard", "value")

    steps = True

    def __init__(self, typ: Any, guard: bool = True, key: str = "") -> None:
        super().__init__(typ, key)
        self.guard = guard
        self.value: Any = MISSING

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EphemeralValue) and other.guard == self.guard

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> EphemeralValue[Value]:
        fresh = self.__class__(self.typ, self.guard, self.key)
        fresh.value = checkpoint
        return fresh

    def copy(self) -> EphemeralValue[Value]:
        return self.from_checkpoint(self.value)

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

    def get(self) -> Value:
        if self.value is MISSING:
            raise EmptyChannelError(f"Channel {self.key!r} holds no value", channel=self.key)
        return self.value  # type: ignore[no-any-return]

    def is_available(self) -> bool:
        return self.value is not MISSING

    def checkpoint(self) -> Any:
        return self.value

    def delta(self) -> Op:
        return CLEARED if self.value is MISSING else Op(OpKind.SET, self.value)


__all__ = ["EphemeralValue"]
