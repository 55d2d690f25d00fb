"""What `StateGraph.compile` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell._engine.program import Program
from stepwell.errors import UsageError
from stepwell.graph._schema import mapper_of
from stepwell.pregel._chunks import Mappers
from stepwell.pregel.main import Pregel

if TYPE_CHECKING:
    from stepwell.graph.state import StateGraph


class CompiledStateGraph(Pregel):
    """A compiled `StateGraph`; `builder` is what it was compiled from."""

    def __init__(self, builder: StateGraph, program: Program, checkpointer: Any) -> None:
        self.builder = builder
        self.stream_mode = "updates"
        spec = program.spec
        mappers = Mappers(
            mapper_of(builder.output_schema, list(spec.output_keys)),
            mapper_of(builder.state_schema, list(spec.state_keys)),
        )
        self._adopt(program, checkpointer, mappers=mappers)


def without(transformers: Any) -> None:
    """Refuse what belongs to LangGraph's v3 event streams.

    Raises:
        UsageError: There are some.
    """
    if transformers:
        msg = (
            "compile(transformers=...) belongs to LangGraph's v3 event streams, which Stepwell "
            "does not have; stream with astream(version='v2') instead."
        )
        raise UsageError(msg)


__all__ = ["CompiledStateGraph", "without"]
