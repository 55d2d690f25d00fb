"""Managed values: state keys that the engine computes instead of storing.

Declare a key as `left: RemainingSteps` or `last: IsLastStep`; nodes see it in their input, no
channel holds it, and it is part of no checkpoint.
"""

from __future__ import annotations

from typing import Annotated, Any


class ManagedValue:
    """Base of managed values: `get` computes the value for a task."""

    @staticmethod
    def get(remaining: int) -> Any:
        """The value, given how many supersteps the run may still take, this one included."""
        raise NotImplementedError


class IsLastStepManager(ManagedValue):
    """Whether this superstep is the last one the recursion limit allows."""

    @staticmethod
    def get(remaining: int) -> bool:
        return remaining == 1


class RemainingStepsManager(ManagedValue):
    """How many supersteps the recursion limit still allows."""

    @staticmethod
    def get(remaining: int) -> int:
        return remaining


IsLastStep = Annotated[bool, IsLastStepManager]
RemainingSteps = Annotated[int, RemainingStepsManager]

__all__ = ["IsLastStep", "ManagedValue", "RemainingSteps"]
