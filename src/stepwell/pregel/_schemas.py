"""What a compiled graph takes and gives, as types, pydantic models and JSON schemas."""

from __future__ import annotations

import dataclasses
import typing
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from stepwell._plan.output import output_selector, state_selector
from stepwell.config import RunnableConfig
from stepwell.pregel._base import Compiled
from stepwell.pregel._models import Model, fields_model, is_model, root_model, schema_of_type
from stepwell.warnings import LangGraphDeprecatedSinceV10


class Schemas(Compiled):
    """The part of a compiled graph that says what fits into it, and what comes out."""

    context_schema: Any = None
    """Type of the context that runs are given."""

    # -- keys ------------------------------------------------------------------------------------

    @property
    def input_channels(self) -> str | list[str]:
        """The channel that input is written to, or those that its keys are."""
        return _listed(self._program.spec.input_view)

    @property
    def output_channels(self) -> str | list[str]:
        """The keys that make up the output, or the one that is it."""
        return _listed(output_selector(self._program.spec))

    @property
    def stream_channels(self) -> str | list[str]:
        """The keys that make up the state, or the one that is it."""
        return _listed(state_selector(self._program.spec))

    @property
    def stream_channels_asis(self) -> str | list[str]:
        """`stream_channels`."""
        return self.stream_channels

    @property
    def stream_channels_list(self) -> list[str]:
        """The keys that make up the state."""
        keys = self.stream_channels
        return [keys] if isinstance(keys, str) else keys

    # -- types -----------------------------------------------------------------------------------

    @property
    def InputType(self) -> Any:  # noqa: N802  # LangGraph's name
        """The type of the input, None where it is a dict of several channels."""
        key = self.input_channels
        return self._program.spec.channels[key].UpdateType if isinstance(key, str) else None

    @property
    def OutputType(self) -> Any:  # noqa: N802  # LangGraph's name
        """The type of the output, None where it is a dict of several keys."""
        key = self.output_channels
        return self._program.spec.channels[key].ValueType if isinstance(key, str) else None

    # -- models ----------------------------------------------------------------------------------

    def get_input_schema(self, config: Mapping[str, Any] | None = None) -> Model:  # noqa: ARG002
        """A pydantic model of the input.

        Raises:
            UsageError: Pydantic is not installed.
        """
        name, keys = self.get_name("Input"), self.input_channels
        if isinstance(keys, str):
            return root_model(name, self.InputType, "get_input_schema")
        channels = self._program.spec.channels
        fields = {key: (channels[key].UpdateType, None) for key in keys}
        return fields_model(name, fields, "get_input_schema")

    def get_output_schema(self, config: Mapping[str, Any] | None = None) -> Model:  # noqa: ARG002
        """A pydantic model of the output, in which every key may be missing.

        Raises:
            UsageError: Pydantic is not installed.
        """
        name, keys = self.get_name("Output"), self.output_channels
        if isinstance(keys, str):
            return root_model(name, self.OutputType, "get_output_schema")
        channels = self._program.spec.channels
        fields = {key: (channels[key].ValueType, None) for key in keys}
        return fields_model(name, fields, "get_output_schema")

    @property
    def input_schema(self) -> Model:
        """`get_input_schema()`."""
        return self.get_input_schema()

    @property
    def output_schema(self) -> Model:
        """`get_output_schema()`."""
        return self.get_output_schema()

    # -- JSON ------------------------------------------------------------------------------------

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON schema of the input.

        Raises:
            UsageError: Pydantic is not installed, and the input is no pydantic model.
        """
        return self.get_input_schema(config).model_json_schema()

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON schema of the output.

        Raises:
            UsageError: Pydantic is not installed, and the output is no pydantic model.
        """
        return self.get_output_schema(config).model_json_schema()

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """The JSON schema of the context; None if the graph was given no schema of it.

        Raises:
            UsageError: Pydantic is not installed, and the context is no pydantic model.
            ValueError: The schema is no pydantic model, TypedDict or dataclass.
        """
        schema = self.context_schema
        if schema is None:
            return None
        if not (is_model(schema) or is_typeddict(schema) or dataclasses.is_dataclass(schema)):
            msg = (
                f"Invalid context schema type: {schema}. Must be a BaseModel, TypedDict or "
                "dataclass."
            )
            raise ValueError(msg)
        return schema_of_type(schema, "get_context_jsonschema")

    # -- the config: LangGraph's former names ------------------------------------------------------

    @property
    def config_specs(self) -> list[Any]:
        """Empty: a graph of Stepwell has no configurable fields; it has a context."""
        return []

    def config_schema(self, *, include: Sequence[str] | None = None) -> Model:
        """A pydantic model of the config, with the context under `configurable`.

        Deprecated, as in LangGraph: see `get_context_jsonschema`.

        Args:
            include: Which other keys of a config the model has.
        """
        _deprecated("config_schema")
        return self._config_schema(include)

    def get_config_jsonschema(self, *, include: Sequence[str] | None = None) -> dict[str, Any]:
        """The JSON schema of `config_schema`.

        Deprecated, as in LangGraph: see `get_context_jsonschema`.
        """
        _deprecated("get_config_jsonschema")
        return self._config_schema(include).model_json_schema()

    def _config_schema(self, include: Sequence[str] | None) -> Model:
        fields: dict[str, tuple[Any, Any]] = {}
        if self.context_schema:
            fields["configurable"] = (self.context_schema, None)
        for key, hint in typing.get_type_hints(RunnableConfig).items():
            if key in (include or ()) and key != "configurable":
                fields[key] = (hint, None)
        return fields_model(self.get_name("Config"), fields, "config_schema")


def is_typeddict(schema: Any) -> bool:
    """Whether a schema is a TypedDict, of `typing` or of `typing_extensions`."""
    return hasattr(schema, "__required_keys__") and hasattr(schema, "__total__")


def _listed(keys: str | Sequence[str]) -> str | list[str]:
    return keys if isinstance(keys, str) else list(keys)


def _deprecated(name: str) -> None:
    hint = " for the relevant schema" if name == "config_schema" else ""
    warnings.warn(
        f"`{name}` is deprecated. Use `get_context_jsonschema`{hint} instead.",
        LangGraphDeprecatedSinceV10,
        stacklevel=3,
    )


__all__ = ["Schemas", "is_typeddict"]
