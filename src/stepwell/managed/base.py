"""What a managed value is: a state key that the engine computes for each task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from inspect import isclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeGuard, TypeVar

V = TypeVar("V")


class Scratchpad(NamedTuple):
    """What a managed value may know of the run.

    Attributes:
        step: The superstep that is about to run.
        stop: The superstep that the recursion limit does not allow any more.
    """

    step: int
    stop: int


class ManagedValue(ABC, Generic[V]):
    """Base of managed values. Annotate a key of the state with a subclass:
    `half: Annotated[int, HalfOfTheSteps]`."""

    @staticmethod
    @abstractmethod
    def get(scratchpad: Scratchpad) -> V:
        """The value for a task of the superstep that is about to run."""


ManagedValueSpec: TypeAlias = type[ManagedValue[Any]]
ManagedValueMapping: TypeAlias = dict[str, ManagedValueSpec]


def is_managed_value(value: Any) -> TypeGuard[ManagedValueSpec]:
    """Whether this is a class of managed values."""
    return isclass(value) and issubclass(value, ManagedValue)


__all__ = [
    "ManagedValue", "ManagedValueMapping", "ManagedValueSpec", "Scratchpad", "is_managed_value",
]  # fmt: skip
