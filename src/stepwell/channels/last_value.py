"""Channels that hold the last value written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import MISSING, BaseChannel, OneValue, Value
from stepwell.errors import (
    EmptyChannelError,
    ErrorCode,
    InvalidUpdateError,
    create_error_message,
)


class LastValue(OneValue[Value]):
    """Holds the value written last; at most one write a superstep."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastValue)

    __hash__ = None  # type: ignore[assignment]

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        if len(values) != 1:
            msg = create_error_message(
                message=(
                    f"At key '{self.key}': Can receive only one value per step, got "
                    f"{len(values)}. Use an Annotated key with a reducer to combine them."
                ),
                error_code=ErrorCode.INVALID_CONCURRENT_GRAPH_UPDATE,
            )
            raise InvalidUpdateError(msg, channel=self.key)
        self.value = values[0]
        return True

    def preview(self, values: Sequence[Value]) -> Any:
        if len(values) == 1 and self.__class__.update is LastValue.update:
            return values[0]
        return super().preview(values)


class LastValueAfterFinish(BaseChannel[Value, Value, Any]):
    """Holds the value written last, but shows it only once nothing else is left to run."""

    __slots__ = ("finished", "value")

    steps = False

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value: Any = MISSING
        self.finished = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LastValueAfterFinish)

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> LastValueAfterFinish[Value]:
        fresh = self.__class__(self.typ, self.key)
        if checkpoint is not MISSING:
            fresh.value, fresh.finished = checkpoint
        return fresh

    def copy(self) -> LastValueAfterFinish[Value]:
        return self.from_checkpoint(self.checkpoint())

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            return False
        self.finished = False
        self.value = values[-1]
        return True

    def consume(self) -> bool:
        if self.finished:
            self.finished = False
            self.value = MISSING
            return True
        return False

    def finish(self) -> bool:
        if not self.finished and self.value is not MISSING:
            self.finished = True
            return True
        return False

    def get(self) -> Value:
        if self.value is MISSING or not self.finished:
            raise EmptyChannelError(f"Channel {self.key!r} holds no value", channel=self.key)
        return self.value  # type: ignore[no-any-return]

    def is_available(self) -> bool:
        return self.finished and self.value is not MISSING

    def checkpoint(self) -> Any:
        return MISSING if self.value is MISSING else (self.value, self.finished)


__all__ = ["LastValue", "LastValueAfterFinish"]
