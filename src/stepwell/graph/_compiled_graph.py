"""What `StateGraph.compile` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepwell._engine.program import Program
from stepwell._plan.spec import ROOT
from stepwell.errors import UsageError
from stepwell.graph._schema import mapper_of
from stepwell.pregel._chunks import Mappers
from stepwell.pregel._generic import ContextT, InputT, OutputT, StateT
from stepwell.pregel._models import (
    default_of,
    fields_model,
    is_model,
    root_model,
    schema_of_type,
)
from stepwell.pregel._schemas import is_typeddict
from stepwell.pregel.main import Pregel

if TYPE_CHECKING:
    from stepwell.graph.state import StateGraph


class CompiledStateGraph(Pregel[StateT, ContextT, InputT, OutputT]):
    """A compiled `StateGraph`; `builder` is what it was compiled from."""

    def __init__(
        self,
        builder: StateGraph[StateT, ContextT, InputT, OutputT],
        program: Program,
        checkpointer: Any,
    ) -> None:
        self.builder = builder
        self.context_schema = builder.context_schema
        self.stream_mode = "updates"
        spec = program.spec
        mappers = Mappers(
            mapper_of(builder.output_schema, list(spec.output_keys)),
            mapper_of(builder.state_schema, list(spec.state_keys)),
        )
        self._adopt(program, checkpointer, mappers=mappers)

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:  # noqa: ARG002
        """The JSON schema of the input; see `StateGraph(input_schema=...)`.

        Raises:
            UsageError: Pydantic is not installed, and the schema is no pydantic model.
        """
        return self._json_schema(self.builder.input_schema, "Input")

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:  # noqa: ARG002
        """The JSON schema of the output; see `StateGraph(output_schema=...)`.

        Raises:
            UsageError: Pydantic is not installed, and the schema is no pydantic model.
        """
        return self._json_schema(self.builder.output_schema, "Output")

    def _json_schema(self, schema: Any, suffix: str) -> dict[str, Any]:
        if is_model(schema) or is_typeddict(schema):
            return schema_of_type(schema, f"get_{suffix.lower()}_jsonschema")
        name, what = self.get_name(suffix), f"get_{suffix.lower()}_jsonschema"
        channels, keys = self.builder.channels, list(self.builder.schemas[schema])
        if keys == [ROOT]:
            hint = channels[ROOT].UpdateType
            return root_model(name, hint, what, default=None).model_json_schema()
        hints = {key: channels[key].UpdateType for key in keys}
        fields = {key: (hint, default_of(key, hint, schema)) for key, hint in hints.items()}
        return fields_model(name, fields, what).model_json_schema()


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
