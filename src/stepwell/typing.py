"""Type variables for code that is generic over a graph's schemas."""

from __future__ import annotations

from typing import Any, TypeVar

StateT = TypeVar("StateT", bound=Any)
"""A graph's state."""
StateT_co = TypeVar("StateT_co", bound=Any, covariant=True)
StateT_contra = TypeVar("StateT_contra", bound=Any, contravariant=True)
InputT = TypeVar("InputT", bound=Any)
"""What a graph is given."""
OutputT = TypeVar("OutputT", bound=Any)
"""What a graph gives back."""
ContextT = TypeVar("ContextT", bound=Any)
"""What a run's caller hands to its nodes as `runtime.context`."""
ContextT_contra = TypeVar("ContextT_contra", bound=Any, contravariant=True)
NodeInputT = TypeVar("NodeInputT", bound=Any)
"""What a node is given."""
NodeInputT_contra = TypeVar("NodeInputT_contra", bound=Any, contravariant=True)

__all__ = ["ContextT", "InputT", "OutputT", "StateT", "StateT_co", "StateT_contra"]
