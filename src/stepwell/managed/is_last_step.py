"""Managed values that tell how many supersteps are left."""

from __future__ import annotations

from typing import Annotated

from stepwell.managed.base import ManagedValue


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

__all__ = ["IsLastStep", "IsLastStepManager", "RemainingSteps", "RemainingStepsManager"]
