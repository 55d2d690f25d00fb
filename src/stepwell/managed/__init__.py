"""Managed values: state keys that the engine computes instead of storing.

Declare a key as `left: RemainingSteps` or `last: IsLastStep`; nodes see it in their input, no
channel holds it, and it is part of no checkpoint. `stepwell.managed.base` has the base class
for values of your own.
"""

from __future__ import annotations

from stepwell.managed.base import ManagedValue
from stepwell.managed.is_last_step import IsLastStep, RemainingSteps

__all__ = ["IsLastStep", "ManagedValue", "RemainingSteps"]
