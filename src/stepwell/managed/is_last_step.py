"""How much of the recursion limit is left."""

from __future__ import annotations

from typing import Annotated

from stepwell.managed.base import ManagedValue, Scratchpad


class IsLastStepManager(ManagedValue[bool]):
    """Whether this superstep is the last one the recursion limit allows."""

    @staticmethod
    def get(scratchpad: Scratchpad) -> bool:
        return scratchpad.step == scratchpad.stop - 1


class RemainingStepsManager(ManagedValue[int]):
    """How many supersteps the recursion limit still allows, this one included."""

    @staticmethod
    def get(scratchpad: Scratchpad) -> int:
        return scratchpad.stop - scratchpad.step


IsLastStep = Annotated[bool, IsLastStepManager]
RemainingSteps = Annotated[int, RemainingStepsManager]

__all__ = ["IsLastStep", "IsLastStepManager", "RemainingSteps", "RemainingStepsManager"]
