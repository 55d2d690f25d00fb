"""What `StateGraph.compile` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell._engine.program import Program
from stepwell.pregel.main import Pregel

if TYPE_CHECKING:
    from stepwell.graph.state import StateGraph


class CompiledStateGraph(Pregel):
    """A compiled `StateGraph`; `builder` is what it was compiled from."""

    def __init__(self, builder: StateGraph, program: Program, checkpointer: Any) -> None:
        self.builder = builder
        self._adopt(program, checkpointer)


__all__ = ["CompiledStateGraph"]
