"""What a channel is: a cell of state with an update rule and a delta rule.

The update rule says what a superstep's writes do to the value. The delta rule says what
is recorded of it: an operation on data that any tool can apply without the user's code.
"""

from __future__ import annotations

import copy as _copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar

from stepwell.errors import EmptyChannelError

Value = TypeVar("Value")
Update = TypeVar("Update")
Stored = TypeVar("Stored")


class _Missing(Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""The stored form of a channel that holds nothing."""


class OpKind(Enum):
    """How a recorded operation changes the stored value of a channel."""

    SET = "s"
    """Replace the value by the operand."""
    APPEND = "a"
    """The value is a list; the operand is the list of items that were added at its end."""
    EDIT = "e"
    """The value is a list; the operand is an `Edit` of it."""
    CLEAR = "x"
    """The channel holds nothing any more."""


class Op(NamedTuple):
    """One recorded change of one channel."""

    kind: OpKind
    operand: Any = None


class Edit(NamedTuple):
    """Items of a list taken out and put in.

    Attributes:
        splices: To be done one after the other: (position, how many to take out, what to put
            there); position None is the end.
        before: The list before. It is not recorded: it tells whether somebody changed an item
            of it in place.
    """

    splices: Sequence[tuple[int | None, int, list[Any]]]
    before: list[Any]

    def as_op(self) -> Op:
        """The operation to record: appending, where nothing else happened."""
        if all(position is None for position, _, _ in self.splices):
            return Op(OpKind.APPEND, [item for _, _, items in self.splices for item in items])
        return Op(OpKind.EDIT, self)


CLEARED: Final = Op(OpKind.CLEAR)


class BaseChannel(ABC, Generic[Value, Update, Stored]):
    """Base of all channels; LangGraph's protocol plus `delta`.

    A channel is updated only by the engine, at the barrier, with all writes of a superstep
    in the order of the tasks that made them.
    """

    __slots__ = ("key", "typ")

    persisted: bool = True
    """Whether the value is part of checkpoints."""
    steps: bool = True
    """Whether `update([])` can change the channel (it is then called every superstep)."""
    finishes: bool = True
    """Whether `finish` can change the channel."""
    consumes: bool = True
    """Whether `consume` can change the channel."""

    @property
    def prepare(self) -> Callable[[Any], Any] | None:
        """What is done to a write as soon as it is made, before it is stored; None: nothing."""
        return None

    def __init__(self, typ: Any, key: str = "") -> None:
        self.typ = typ
        self.key = key

    @property
    def ValueType(self) -> Any:  # noqa: N802  # LangGraph's name
        """The type of the value."""
        return self.typ

    @property
    def UpdateType(self) -> Any:  # noqa: N802  # LangGraph's name
        """The type of a write."""
        return self.typ

    def copy(self) -> BaseChannel[Value, Update, Stored]:
        """A channel with the same value that can be updated on its own."""
        return self.from_checkpoint(_copy.copy(self.checkpoint()))

    def checkpoint(self) -> Stored | Any:
        """The stored form of the value, `MISSING` if there is none."""
        try:
            return self.get()
        except EmptyChannelError:
            return MISSING

    @abstractmethod
    def from_checkpoint(self, checkpoint: Stored | Any) -> BaseChannel[Value, Update, Stored]:
        """A channel of the same kind that holds `checkpoint` (`MISSING`: nothing)."""

    @abstractmethod
    def get(self) -> Value:
        """The value.

        Raises:
            EmptyChannelError: There is none.
        """

    def is_available(self) -> bool:
        """Whether `get` would return."""
        try:
            self.get()
        except EmptyChannelError:
            return False
        return True

    @abstractmethod
    def update(self, values: Sequence[Update]) -> bool:
        """Apply the writes of one superstep; True if anything changed.

        Raises:
            InvalidUpdateError: The writes break the channel's rule.
        """

    def preview(self, values: Sequence[Update]) -> Value | Any:
        """What `get` would return after `update(values)`, `MISSING` if nothing.

        Raises:
            InvalidUpdateError: The writes break the channel's rule.
        """
        tried = self.copy()
        tried.update(values)
        return tried.get() if tried.is_available() else MISSING

    def consume(self) -> bool:
        """A task that was triggered by this channel has run; True if that changed it."""
        return False

    def finish(self) -> bool:
        """Nothing else is left to run; True if that changed the channel."""
        return False

    def delta(self) -> Op:
        """What to record of the change that the last call reported.

        Invariant: applied to the value recorded before, it gives `checkpoint()`.
        """
        stored = self.checkpoint()
        return CLEARED if stored is MISSING else Op(OpKind.SET, stored)


class OneValue(BaseChannel[Value, Value, Value]):
    """Base of channels that hold one value, or nothing."""

    __slots__ = ("value",)

    steps = False
    finishes = False
    consumes = False

    def __init__(self, typ: Any, key: str = "") -> None:
        super().__init__(typ, key)
        self.value: Any = MISSING

    def from_checkpoint(self, checkpoint: Any) -> OneValue[Value]:
        kind = self.__class__
        if kind.__init__ is not OneValue.__init__:  # it has more to set up
            fresh = kind(self.typ, self.key)
            fresh.value = checkpoint
            return fresh
        # Every run makes all channels of its state anew: `__init__` would cost more than this.
        fresh = kind.__new__(kind)
        fresh.typ = self.typ
        fresh.key = self.key
        fresh.value = checkpoint
        return fresh

    def copy(self) -> OneValue[Value]:
        return self.from_checkpoint(self.value)

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


__all__ = [
    "CLEARED",
    "MISSING",
    "BaseChannel",
    "Edit",
    "OneValue",
    "Op",
    "OpKind",
    "Stored",
    "Update",
    "Value",
]
