"""A channel for writers that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import MISSING, BaseChannel, Value
from stepwell.errors import EmptyChannelError


class AnyValue(BaseChannel[Value, Value, Value]):
    """Holds one of the values written in a superstep, taken to be equal; empty otherwise."""

    __slots__ = ("value",)

    steps = True

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value: Any = MISSING

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyValue)

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> AnyValue[Value]:
        fresh = self.__class__(self.typ, self.key)
        fresh.value = checkpoint
        return fresh

    def copy(self) -> AnyValue[Value]:
        return self.from_checkpoint(self.value)

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            if self.value is MISSING:
                return False
            self.value = MISSING
            return True
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


__all__ = ["AnyValue"]
