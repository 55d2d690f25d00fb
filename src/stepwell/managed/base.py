"""What a managed value is."""

from __future__ import annotations

import inspect
from typing import Any


class ManagedValue:
    """Base of managed values: `get` computes the value for a task."""

    @staticmethod
    def get(remaining: int) -> Any:
        """The value, given how many supersteps the run may still take, this one included."""
        raise NotImplementedError


ManagedValueSpec = type[ManagedValue]
"""How a schema names a managed value."""
ManagedValueMapping = dict[str, ManagedValueSpec]
"""Managed values by key."""


def is_managed_value(value: Any) -> bool:
    """Whether an annotation's item names a managed value."""
    return inspect.isclass(value) and issubclass(value, ManagedValue)


__all__ = ["ManagedValue", "ManagedValueMapping", "ManagedValueSpec", "is_managed_value"]
