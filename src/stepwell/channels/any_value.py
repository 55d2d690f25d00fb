"""A channel for writers that agree."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.channels.base import MISSING, OneValue, Value


class AnyValue(OneValue[Value]):
    """Holds one of the values written in a superstep, taken to be equal; empty otherwise."""

    __slots__ = ()

    steps = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyValue)

    __hash__ = None  # type: ignore[assignment]

    def update(self, values: Sequence[Value]) -> bool:
        if not values:
            if self.value is MISSING:
                return False
            self.value = MISSING
            return True
        self.value = values[-1]
        return True


__all__ = ["AnyValue"]
