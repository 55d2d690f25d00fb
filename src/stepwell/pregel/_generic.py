"""`StateGraph[State]`, `CompiledStateGraph[State, Context]`: graphs as generic types.

As in LangGraph there are four parameters, and those left out have defaults. Defaults of type
variables came with Python 3.13, so before it only type checkers see them.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Generic

    from typing_extensions import TypeVar

    StateT = TypeVar("StateT", default=Any)
    ContextT = TypeVar("ContextT", default=Any)
    InputT = TypeVar("InputT", default=Any)
    OutputT = TypeVar("OutputT", default=Any)

    class Parametric(Generic[StateT, ContextT, InputT, OutputT]):
        """Base of what is generic over state, context, input and output."""
else:
    from stepwell.typing import ContextT, InputT, OutputT, StateT

    class Parametric:
        """Base of what is generic over state, context, input and output."""

        __class_getitem__ = classmethod(types.GenericAlias)


__all__ = ["ContextT", "InputT", "OutputT", "Parametric", "StateT"]
