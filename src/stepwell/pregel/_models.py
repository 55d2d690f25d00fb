"""Pydantic models and JSON schemas of what a graph takes and gives; made when asked for.

Pydantic is an extra: it is imported here, and only when one of these functions is called. The
models are those that LangGraph makes (langgraph 1.2), so their JSON schemas agree.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, NotRequired, Required, TypeAlias

from stepwell.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    Model: TypeAlias = type[BaseModel]
else:
    Model = type

REQUIRED: Final = ...
"""Pydantic's word for a field without a default."""


def load_pydantic(what: str) -> Any:
    """The package pydantic.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import pydantic
    except ModuleNotFoundError as missing:
        msg = f"{what} needs pydantic, which is not installed: install stepwell[pydantic]."
        raise UsageError(msg) from missing
    return pydantic


def is_model(schema: Any) -> bool:
    """Whether a schema is a pydantic model."""
    return inspect.isclass(schema) and hasattr(schema, "model_json_schema")


def schema_of_type(schema: Any, what: str) -> dict[str, Any]:
    """The JSON schema of a model, TypedDict or dataclass."""
    if is_model(schema):
        return schema.model_json_schema()  # type: ignore[no-any-return]
    adapter = load_pydantic(what).TypeAdapter(schema)
    return adapter.json_schema()  # type: ignore[no-any-return]


def root_model(name: str, kind: Any, what: str, default: Any = REQUIRED) -> Model:
    """A model of a bare value."""
    pydantic = load_pydantic(what)
    if is_model(kind) and default is REQUIRED:
        return kind  # type: ignore[no-any-return]
    body: dict[str, Any] = {
        "__annotations__": {"root": kind},
        "__module__": __name__,
        "model_config": pydantic.ConfigDict(arbitrary_types_allowed=True),
    }
    if default is not REQUIRED:
        body["root"] = default
    model: Any = type(name, (pydantic.RootModel,), body)
    plain = model.model_json_schema

    def model_json_schema(*args: Any, **kwargs: Any) -> dict[str, Any]:
        """The JSON schema under the graph's name, whatever that of the type is."""
        return {**plain(*args, **kwargs), "title": name}

    model.model_json_schema = model_json_schema
    return model  # type: ignore[no-any-return]


def fields_model(name: str, fields: Mapping[str, tuple[Any, Any]], what: str) -> Model:
    """A model with the given fields: name -> (type, default)."""
    pydantic = load_pydantic(what)
    taken = {key for key in dir(pydantic.BaseModel) if not key.startswith("_")}
    definitions: dict[str, Any] = {}
    for key, (kind, default) in fields.items():
        if key in taken or key.startswith("_"):
            # Pydantic uses such names itself, so the field has another one inside.
            title = key.lstrip("_").replace("_", " ").title()
            field = pydantic.Field(default=default, alias=key, serialization_alias=key, title=title)
            definitions[f"private_{key}"] = (kind, field)
        else:
            definitions[key] = (kind, default)
    config = pydantic.ConfigDict(arbitrary_types_allowed=True, frozen=True, protected_namespaces=())
    with warnings.catch_warnings():
        if any(key.startswith("model") for key in fields):
            warnings.simplefilter("ignore")
        return pydantic.create_model(name, __config__=config, **definitions)  # type: ignore[no-any-return]


# -- defaults ----------------------------------------------------------------------------------


def default_of(key: str, hint: Any, schema: Any) -> Any:
    """The default of a state key: from its schema, or None where it may be left out.

    Returns:
        `REQUIRED` if there is none.
    """
    wanted = _required(hint)
    if key in getattr(schema, "__optional_keys__", ()):
        return REQUIRED if wanted else None
    if wanted is not None:
        return REQUIRED if wanted else None
    if dataclasses.is_dataclass(schema):
        for field in dataclasses.fields(schema):
            if field.name != key:
                continue
            if field.default is not dataclasses.MISSING:
                return field.default
            if field.default_factory is not dataclasses.MISSING:
                return field.default_factory()
    return None if _optional(hint) else REQUIRED


def _required(hint: Any) -> bool | None:
    """What `Required` or `NotRequired` in an annotation says; None if neither is there."""
    origin = typing.get_origin(hint)
    if origin is Required:
        return True
    if origin is NotRequired:
        return False
    return _required(typing.get_args(hint)[0]) if origin is Annotated else None


def _optional(hint: Any) -> bool:
    """Whether None is among the values of a type."""
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        return any(arg is types.NoneType or _optional(arg) for arg in typing.get_args(hint))
    if origin is Annotated:
        return _optional(typing.get_args(hint)[0])
    bound = getattr(hint, "__bound__", None)
    return hint is None if bound is None else _optional(bound)


__all__ = [
    "REQUIRED", "Model", "default_of", "fields_model", "is_model", "load_pydantic", "root_model",
    "schema_of_type",
]  # fmt: skip
