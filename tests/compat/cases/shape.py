"""Types, models and JSON schemas of what graphs take and give."""

import dataclasses
import operator
import warnings
from typing import Annotated, Any, NotRequired, Optional, Required

import pydantic
from typing_extensions import ReadOnly, TypedDict

from tests.compat.engines import Api, Raised
from tests.compat.shapes import warns


class Inner(pydantic.BaseModel):
    """A part."""

    x: int = 1
    y: list[str] = pydantic.Field(default_factory=list, description="names")


class Typed(TypedDict):
    """Documented."""

    log: Annotated[list[str], operator.add]
    n: int
    maybe: int | None
    inner: Inner


class Partial(TypedDict, total=False):
    a: Required[int]
    b: NotRequired[str]
    c: Annotated[list, operator.add]
    d: Annotated[NotRequired[int], "note"]
    e: ReadOnly[int]


@dataclasses.dataclass
class Data:
    name: str
    log: Annotated[list[str], operator.add] = dataclasses.field(default_factory=list)
    n: int = 7
    maybe: Optional[int] = None  # noqa: UP045  # both spellings
    other: int | None = 3


class Model(pydantic.BaseModel):
    """A model."""

    name: str = pydantic.Field(alias="Name", description="what it is called")
    log: Annotated[list, operator.add] = pydantic.Field(default_factory=list)
    n: int = 7
    inner: Inner | None = None


class Plain:
    """Annotations alone make a schema too."""

    model_name: str
    _hidden: int
    copy: int
    n: Annotated[int, operator.add] = 3
    maybe: str | None


SCHEMAS = {
    "typed dict": Typed,
    "partial": Partial,
    "dataclass": Data,
    "model": Model,
    "plain": Plain,
    "int": int,
    "list": Annotated[list[int], operator.add],
    "optional": dict | None,
}


def quiet(_: Any) -> Any:
    return {}


def graph_of(api: Api, schema: Any, /, name: str | None = None, **options: Any) -> Any:
    graph = api.StateGraph(schema, **options)
    graph.add_node("a", quiet)
    graph.add_edge(api.START, "a")
    return graph.compile(name=name)


def attempt(api: Api, make: Any) -> Any:
    try:
        return make()
    except Exception as error:
        return Raised(error).family


def schemas(api: Api, graph: Any) -> Any:
    return {
        "input": attempt(api, graph.get_input_jsonschema),
        "output": attempt(api, graph.get_output_jsonschema),
        "input model": attempt(api, lambda: graph.get_input_schema().model_json_schema()),
        "output model": attempt(api, lambda: graph.get_output_schema().model_json_schema()),
        "models": attempt(
            api, lambda: [graph.get_input_schema().__name__, graph.get_output_schema().__name__]
        ),
        "types": [repr(graph.InputType), repr(graph.OutputType)],
        "keys": [
            graph.stream_channels_list,
            graph.stream_channels_asis,
            graph.input_channels,
            graph.output_channels,
            graph.stream_channels,
        ],
        "context": attempt(api, graph.get_context_jsonschema),
        "specs": graph.config_specs,
    }


@warns
async def case_schemas_of_every_kind_of_state(api: Api) -> Any:
    return {k: schemas(api, graph_of(api, schema)) for k, schema in SCHEMAS.items()}


async def case_schemas_of_input_and_output(api: Api) -> Any:
    class In(TypedDict):
        question: str

    class Out(TypedDict, total=False):
        answer: str

    class Whole(In, Out):
        notes: Annotated[list, operator.add]

    @dataclasses.dataclass
    class InData:
        question: str = "why"

    return {
        "typed": schemas(api, graph_of(api, Whole, input_schema=In, output_schema=Out)),
        "data in": schemas(api, graph_of(api, Whole, input_schema=InData)),
        "data out": schemas(api, graph_of(api, Whole, output_schema=InData)),
        "named": schemas(api, graph_of(api, InData, name="mine")),
        "Named": schemas(api, graph_of(api, InData, name="Mine")),
    }


async def case_schemas_validate(api: Api) -> Any:
    """The models are models: they take what fits and refuse what does not."""
    out = {}
    for label, given in {
        "typed dict": {"log": [], "n": "3", "maybe": None, "inner": {"x": 2}},
        "dataclass": {"name": "n"},
        "int": 3,
    }.items():
        graph = graph_of(api, SCHEMAS[label])
        model = graph.get_input_schema()
        out[label] = attempt(api, lambda m=model, v=given: m.model_validate(v).model_dump())
        out[label, "bad"] = attempt(api, lambda m=model: m.model_validate("bad"))
        out[label, "attribute"] = graph.input_schema.model_json_schema() == (
            graph.get_input_schema().model_json_schema()
        )
        out[label, "output"] = graph.output_schema.model_json_schema() == (
            graph.get_output_schema().model_json_schema()
        )
    return out


async def case_schemas_of_managed_and_private_keys(api: Api) -> Any:
    class Whole(TypedDict):
        n: int
        last: api.IsLastStep
        steps: api.RemainingSteps

    class Private(TypedDict):
        secret: str

    def a(state: Whole) -> Any:
        return {"secret": "x"}

    def b(state: Private) -> Any:
        return {}

    graph = api.StateGraph(Whole)
    graph.add_node("a", a)
    graph.add_node("b", b)
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    compiled = graph.compile()
    out = schemas(api, compiled)
    out.pop("input"), out.pop("output"), out.pop("input model")
    return out


CONTEXTS = {
    "model": Inner,
    "typed dict": Typed,
    "dataclass": Data,
    "none": None,
}


@warns
async def case_schemas_of_contexts(api: Api) -> Any:
    out = {}
    for label, schema in CONTEXTS.items():
        graph = graph_of(api, Typed, context_schema=schema)
        out[label] = {
            "context": graph.get_context_jsonschema(),
            "config": graph.get_config_jsonschema(),
            "more": graph.get_config_jsonschema(
                include=["tags", "configurable", "recursion_limit", "run_name", "nonsense"]
            ),
            "model": graph.config_schema().__name__,
        }
    graph = graph_of(api, Typed, context_schema=int)
    out["not a schema"] = attempt(api, graph.get_context_jsonschema)
    return out


async def case_schemas_of_configs_are_deprecated(api: Api) -> Any:
    graph = graph_of(api, Typed, context_schema=Data)
    out = []
    for verb in (graph.config_schema, graph.get_config_jsonschema):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            verb()
        out.append([(w.category.__name__, str(w.message)) for w in seen])
    return out


async def case_schemas_under_names(api: Api) -> Any:
    graph = graph_of(api, int, name="my graph")
    return [
        graph.get_name(), graph.get_name("Input"), graph.get_name(name="Other"),
        graph.get_name("deep suffix", name="Other"), graph_of(api, int).get_name("x"),
        graph.get_input_jsonschema(),
    ]  # fmt: skip


@warns
async def case_verbs_of_shape_with_arguments(api: Api) -> Any:
    """The config does not change the shape; it is accepted."""
    config = {"configurable": {"thread_id": "t"}, "tags": ["x"]}
    graph = graph_of(api, Data, context_schema=Inner)
    outer = api.StateGraph(Data).add_node("sub", graph).add_edge(api.START, "sub").compile()
    return {
        "schemas": [
            graph.get_input_schema(config).model_json_schema(),
            graph.get_input_schema(config=config).__name__,
            graph.get_output_schema(config).model_json_schema(),
            graph.get_input_jsonschema(config),
            graph.get_output_jsonschema(config=config),
            graph.config_schema(include=["tags"]).model_json_schema(),
            graph.get_config_jsonschema(include=["metadata", "run_name"]),
        ],
        "drawn": [
            outer.get_graph(config, xray=1).draw_mermaid(),
            (await outer.aget_graph(config, xray=True)).draw_mermaid(),
            (await outer.aget_graph(config=config)).draw_mermaid(),
        ],
        "validated": outer.validate() is outer,
        "found": [[n async for n, _ in outer.aget_subgraphs(namespace="sub", recurse=True)]],
    }
