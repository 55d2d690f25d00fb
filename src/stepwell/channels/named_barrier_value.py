"""Channels that wait until every one of a set of names has been written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stepwell.channels.base import CLEARED, MISSING, BaseChannel, Op, OpKind, Value
from stepwell.errors import EmptyChannelError, InvalidUpdateError


class NamedBarrierValue(BaseChannel[None, Value, set[Value]]):
    """Becomes available when all of `names` have been written; reading it starts it anew."""

    __slots__ = ("names", "seen")

    steps = False
    finishes = False

    def __init__(self, typ: Any, names: Iterable[Any], key: str = "") -> None:
        super().__init__(typ, key)
        self.names = frozenset(names)
        self.seen: frozenset[Any] = frozenset()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.names == self.names

    __hash__ = None  # type: ignore[assignment]

    def from_checkpoint(self, checkpoint: Any) -> NamedBarrierValue[Value]:
        fresh = self.__class__(self.typ, self.names, self.key)
        if checkpoint is not MISSING:
            fresh.seen = frozenset(checkpoint)
        return fresh

    def copy(self) -> NamedBarrierValue[Value]:
        return self.from_checkpoint(self.seen)

    def update(self, values: Sequence[Value]) -> bool:
        if unknown := [v for v in values if v not in self.names]:
            msg = f"At key '{self.key}': Value {unknown[0]} not in {set(self.names)}"
            raise InvalidUpdateError(msg, channel=self.key)
        seen = self.seen.union(values)
        changed = seen != self.seen
        self.seen = seen
        return changed

    def get(self) -> None:
        if not self.is_available():
            raise EmptyChannelError(f"Channel {self.key!r} holds no value", channel=self.key)

    def is_available(self) -> bool:
        return self.seen == self.names

    def consume(self) -> bool:
        if self.seen == self.names:
            self.seen = frozenset()
            return True
        return False

    def checkpoint(self) -> Any:
        return sorted(self.seen)

    def delta(self) -> Op:
        return Op(OpKind.SET, self.checkpoint()) if self.seen else CLEARED


class NamedBarrierValueAfterFinish(NamedBarrierValue[Value]):
    """The same, but available only once nothing else is left to run."""

    __slots__ = ("finished",)

    finishes = True

    def __init__(self, typ: Any, names: Iterable[Any], key: str = "") -> None:
        super().__init__(typ, names, key)
        self.finished = False

    def from_checkpoint(self, checkpoint: Any) -> NamedBarrierValueAfterFinish[Value]:
        fresh = self.__class__(self.typ, self.names, self.key)
        if checkpoint is not MISSING:
            seen, fresh.finished = checkpoint
            fresh.seen = frozenset(seen)
        return fresh

    def copy(self) -> NamedBarrierValueAfterFinish[Value]:
        return self.from_checkpoint(self.checkpoint())

    def is_available(self) -> bool:
        return self.finished and self.seen == self.names

    def consume(self) -> bool:
        if self.finished and self.seen == self.names:
            self.finished, self.seen = False, frozenset()
            return True
        return False

    def finish(self) -> bool:
        if not self.finished and self.seen == self.names:
            self.finished = True
            return True
        return False

    def checkpoint(self) -> Any:
        return [sorted(self.seen), self.finished]


__all__ = ["NamedBarrierValue", "NamedBarrierValueAfterFinish"]
