"""A channel that collects many values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell.channels.base import CLEARED, MISSING, BaseChannel, Op, OpKind, Value
from stepwell.errors import EmptyChannelError


class Topic(BaseChannel[Sequence[Value], Any, list[Value]]):
    """Collects every value written; a list write counts as its items.

    With `accumulate=False` the channel is emptied at every superstep.
    """

    __slots__ = ("_added", "accumulate", "steps", "values")

    finishes = False
    consumes = False

    def __init__(self, typ: Any, accumulate: bool = False, key: str = "") -> None:
        super().__init__(typ, key)
        self.accumulate = accumulate
        self.steps = not accumulate
        self.values: list[Any] = []
        self._added: list[Any] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Topic) and other.accumulate == self.accumulate

    __hash__ = None  # type: ignore[assignment]

    @property
    def ValueType(self) -> Any:  # noqa: N802  # LangGraph's name
        typ: Any = self.typ
        return Sequence[typ]

    @property
    def UpdateType(self) -> Any:  # noqa: N802  # LangGraph's name
        typ: Any = self.typ
        return typ | list[typ]

    def from_checkpoint(self, checkpoint: Any) -> Topic[Value]:
        fresh = self.__class__(self.typ, self.accumulate, self.key)
        if checkpoint is not MISSING:
            fresh.values = checkpoint
        return fresh

    def copy(self) -> Topic[Value]:
        return self.from_checkpoint(list(self.values))

    def update(self, values: Sequence[Any]) -> bool:
        added = [
            item for value in values for item in (value if isinstance(value, list) else (value,))
        ]
        if self.accumulate:
            # A new list: tasks of the step before may still hold the old one.
            self.values = self.values + added if added else self.values
            self._added = added
            return bool(added)
        changed = bool(self.values) or bool(added)
        self.values, self._added = added, None
        return changed

    def get(self) -> Sequence[Value]:
        if not self.values:
            raise EmptyChannelError(f"Channel {self.key!r} holds no value", channel=self.key)
        return list(self.values)

    def is_available(self) -> bool:
        return bool(self.values)

    def checkpoint(self) -> Any:
        return self.values

    def delta(self) -> Op:
        if self._added is not None and self.accumulate:
            added, self._added = self._added, None
            return Op(OpKind.APPEND, added)
        return Op(OpKind.SET, self.values) if self.values else CLEARED


__all__ = ["Topic"]
