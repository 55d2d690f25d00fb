# ruff: noqa: E501  # tables of one value a line
"""Schemas of state, input, output, nodes and context: reducers in every spelling, validation,
defaults, coercion, private keys."""

import collections
import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    Optional,
    Required,
    TypeVar,
)

import pydantic
from typing_extensions import ReadOnly, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, both, build, chain, record

T = TypeVar("T")


def biggest(left: int, right: int) -> int:
    return max(left, right)


class Reducers:
    def __call__(self, left: list, right: list) -> list:
        return [*left, *right, "object"]

    def method(self, left: list, right: list) -> list:
        return [*left, *right, "method"]

    @staticmethod
    def static(left: list, right: list) -> list:
        return [*left, *right, "static"]


def weighed(weight: int, left: int, right: int) -> int:
    return left + weight * right


class Spelled(TypedDict, total=False):
    plain: list
    add: Annotated[list, operator.add]
    function: Annotated[int, biggest]
    lambda_: Annotated[list, lambda a, b: [*a, *b]]
    object_: Annotated[list, Reducers()]
    method: Annotated[list, Reducers().method]
    static: Annotated[list, Reducers.static]
    partial: Annotated[int, functools.partial(weighed, 2)]
    union: Annotated[dict, operator.or_]
    noted: Annotated[list, "a note", operator.add]
    note_last: Annotated[list, operator.add, "a note"]
    twice: Annotated[Annotated[list, "inner"], operator.add]
    required: Required[Annotated[list, operator.add]]
    not_required: NotRequired[Annotated[list, operator.add]]
    inside: Annotated[NotRequired[list], operator.add]
    optional: Optional[Annotated[list, operator.add]]  # noqa: UP045
    maybe: Annotated[list | None, lambda a, b: (a or []) + (b or [])]
    sequence: Annotated[Sequence[int], operator.add]
    mapping: Annotated[Mapping[str, int], lambda a, b: {**a, **b}]
    typed: Annotated[list[int], operator.add]
    deque: Annotated[collections.deque, lambda a, b: a + b]
    literal: Annotated[Literal["a", "b"], lambda a, b: b]
    anything: Annotated[Any, lambda a, b: (a, b)]
    read_only: ReadOnly[list]
    read_only_add: ReadOnly[Annotated[list, operator.add]]


async def case_reducers_as_declared(api: Api) -> Any:
    graph = api.StateGraph(Spelled)
    return {k: [type(c).__name__, c.key] for k, c in graph.channels.items()}


@both
async def case_reducers_in_every_spelling(api: Api) -> Any:
    lists = [
        "plain", "add", "lambda_", "object_", "method", "static", "noted", "note_last", "twice",
        "required", "not_required", "inside", "optional", "maybe", "sequence", "typed", "read_only",
        "read_only_add",
    ]  # fmt: skip
    one: dict[str, Any] = {k: [1] for k in lists}
    two: dict[str, Any] = {k: [2] for k in lists}
    numbers = ["function", "partial"]
    graph = chain(
        api, Spelled,
        {
            "a": api.node(lambda s: {**one, **dict.fromkeys(numbers, 5), "union": {"a": 1}, "mapping": {"a": 1}, "literal": "a", "anything": 1}),
            "b": api.node(lambda s: {**two, **dict.fromkeys(numbers, 3), "union": {"b": 2}, "mapping": {"a": 2}, "literal": "b", "anything": 2}),
        },
    )  # fmt: skip
    return {
        "from nothing": await api.invoke(graph, {}),
        "from something": await api.invoke(
            graph, {"add": [0], "function": 9, "partial": 1, "anything": 0}
        ),
        "steps": await api.stream(graph, {"plain": []}, None, ["values"]),
    }


async def case_channels_in_annotations(api: Api) -> Any:
    class State(TypedDict):
        a: Annotated[int, api.EphemeralValue]
        b: Annotated[int, api.EphemeralValue(int)]
        c: Annotated[list[str], api.Topic(str, True)]  # as LangGraph's users write it
        d: Annotated[int, api.UntrackedValue]
        e: Annotated[int, api.AnyValue, "note"]
        f: NotRequired[Annotated[int, api.LastValue]]
        g: Annotated[int, api.BinaryOperatorAggregate(int, operator.add)]
        h: Annotated[int, "note", api.EphemeralValue]

    graph = chain(
        api, State,
        {
            "x": lambda s: {"a": 1, "b": 1, "c": "x", "d": 1, "e": 1, "f": 1, "g": 1, "h": 1},
            "y": lambda s: {"c": ["y", "z"], "g": 2},
        },
        checkpointer=api.saver(),
    )  # fmt: skip
    return {
        "channels": {k: type(c).__name__ for k, c in graph.builder.channels.items()},
        "stream": await api.stream(graph, {"g": 1}, api.thread(), ["values", "updates"]),
        "record": await record(api, graph, api.thread()),
    }


async def case_managed_values_in_annotations(api: Api) -> Any:
    class State(TypedDict):
        n: int
        last: api.IsLastStep
        left: api.RemainingSteps
        maybe: NotRequired[api.RemainingSteps]
        required: Required[api.IsLastStep]

    seen: list[Any] = []

    def look(state: State) -> Any:
        seen.append({k: state[k] for k in sorted(state)})
        return {"n": len(seen)}

    graph = chain(api, State, {"a": look, "b": look}, checkpointer=api.saver())
    out = await api.invoke(graph, {"n": 0}, api.thread(recursion_limit=4))
    return [sorted(graph.builder.managed), [*graph.builder.channels], out, seen]


@both
async def case_states_that_inherit(api: Api) -> Any:
    class Base(TypedDict):
        log: Annotated[list, operator.add]

    class Middle(Base, total=False):
        n: int

    class Whole(Middle):
        m: Annotated[int, operator.add]

    class Overrides(Base):
        log: list

    out = {}
    for schema in (Middle, Whole, Overrides):
        graph = chain(api, schema, {"a": api.node(lambda s: {"log": ["a"], "n": 1, "m": 2})})
        out[schema.__name__] = [
            [*graph.builder.channels], await api.invoke(graph, {"log": ["in"], "m": 1, "n": 0})
        ]  # fmt: skip
    return out


@both
async def case_generic_state(api: Api) -> Any:
    class Box(TypedDict, Generic[T]):
        value: T
        log: Annotated[list[T], operator.add]

    class Boxed(pydantic.BaseModel, Generic[T]):
        value: T
        log: Annotated[list[T], operator.add] = []

    def step(state: Any) -> Any:
        value = state["value"] if isinstance(state, dict) else state.value
        return {"log": [value]}

    out = {}
    for label, schema in {"open": Box, "model": Boxed[int]}.items():
        graph = chain(api, schema, {"a": api.node(step)})
        out[label] = await api.invoke(graph, {"value": "7", "log": []})
    return out


@both
async def case_states_of_other_kinds(api: Api) -> Any:
    """Everything with annotations is a schema; other types are the type of one bare value."""

    class Plain:
        n: int
        log: Annotated[list, operator.add]

    class Pair(NamedTuple):
        n: int
        log: list

    out = {}
    for schema in (Plain, Pair):

        def look(state: Any) -> Any:
            return {"log": [type(state).__name__, sorted(state)]}

        graph = chain(api, schema, {"a": api.node(look)})
        out[schema.__name__] = await api.invoke(graph, {"n": 1, "log": []})
    for label, schema in {
        "list": Annotated[list, operator.add], "int": int, "dict": dict,
        "union": Annotated[dict, operator.or_],
    }.items():  # fmt: skip
        graph = chain(api, schema, {"a": api.node(lambda value: value)})
        given = {"list": [1], "int": 1}.get(label, {"a": 1})
        out[label] = [
            await api.invoke(graph, given),
            await api.stream(graph, given, None, "updates"),
        ]
    return out


# --- input, output, private keys ----------------------------------------------------------------


class Question(TypedDict):
    question: str


class Answer(TypedDict):
    answer: str


class Whole(TypedDict):
    question: str
    answer: str
    notes: Annotated[list, operator.add]


class Private(TypedDict):
    secret: str


@both
async def case_private_keys_of_node_schemas(api: Api) -> Any:
    """Keys of a node's input schema are state that callers do not see."""

    def hide(state: Question) -> Private:
        return {"secret": f"{state['question']}?", "notes": [sorted(state)]}

    def find(state: Private) -> Any:
        return {"answer": state.get("secret", "none"), "notes": [sorted(state)]}

    def end(state: Whole) -> Any:
        return {"notes": [sorted(state)]}

    graph = api.StateGraph(Whole, input_schema=Question, output_schema=Answer)
    graph.add_sequence([("hide", api.node(hide)), ("find", api.node(find)), ("end", api.node(end))])
    graph.add_edge(api.START, "hide")
    compiled = graph.compile(checkpointer=api.saver())
    given = {
        "question": "why",
        "answer": "not taken",
        "notes": ["not taken"],
        "secret": "not taken",
    }
    out = {
        "result": await api.invoke(compiled, given, api.thread()),
        "all": await api.stream(compiled, given, api.thread("u"), ALL_MODES),
        "channels": [*compiled.builder.channels],
    }
    await api.update(compiled, api.thread(), {"secret": "updated", "notes": ["by hand"]}, "hide")
    out["updated"] = await api.state(compiled, api.thread())
    out["on"] = await api.invoke(compiled, None, api.thread())
    return out | await record(api, compiled, api.thread())


@both
async def case_input_without_its_keys(api: Api) -> Any:
    def step(state: Whole) -> Any:
        return {"notes": [sorted(state)]}

    graph = api.StateGraph(Whole, input_schema=Question)
    graph.add_node("a", api.node(step))
    graph.add_edge(api.START, "a")
    compiled = graph.compile()
    return {
        "empty": await api.invoke(compiled, {}),
        "other keys": await api.invoke(compiled, {"notes": ["x"]}),
        "unknown keys": await api.invoke(compiled, {"nowhere": 1}),
        "none": await api.raised(api.invoke(compiled, None)),
        "text": await api.raised(api.invoke(compiled, "text")),
        "number": await api.raised(api.invoke(compiled, 5)),
    }


@both
async def case_output_keys_of_another_schema(api: Api) -> Any:
    """The output may have keys the state does not name; unwritten ones are missing."""

    class Out(TypedDict):
        answer: str
        extra: int
        never: int

    graph = api.StateGraph(Whole, output_schema=Out)
    graph.add_node("a", api.node(lambda s: {"answer": "x", "extra": 1}))
    graph.add_edge(api.START, "a")
    compiled = graph.compile()
    given = {"question": "q", "notes": []}
    return [
        await api.invoke(compiled, given),
        await api.stream(compiled, given, None, ["values", "updates"]),
    ]


@both
async def case_objects_as_input(api: Api) -> Any:
    @dataclasses.dataclass
    class Ask:
        question: str
        notes: list = dataclasses.field(default_factory=lambda: ["default"])

    class AskModel(pydantic.BaseModel):
        question: str = "default"
        answer: str | None = None
        notes: list = []

    def step(state: Whole) -> Any:
        return {"notes": [sorted(state)]}

    out = {}
    for label, schema, values in (
        ("dataclass", Ask, [Ask("q"), {"question": "q"}]),
        ("model", AskModel, [AskModel(), AskModel(answer=None), AskModel(question="x", answer="y"), {"answer": "z"}]),
    ):  # fmt: skip
        graph = api.StateGraph(Whole, input_schema=schema)
        graph.add_node("a", api.node(step))
        graph.add_edge(api.START, "a")
        compiled = graph.compile()
        out[label] = [await api.invoke(compiled, value) for value in values]
    return out


# --- pydantic -----------------------------------------------------------------------------------


class Part(pydantic.BaseModel):
    x: int = 1
    tags: list[str] = pydantic.Field(default_factory=list)


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    part: Part = pydantic.Field(default_factory=Part)
    parts: list[Part] = []
    table: dict[str, Part] = {}
    either: int | str = 0
    small: int = pydantic.Field(default=1, lt=10)
    log: Annotated[list, operator.add] = []

    @pydantic.field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return name.upper()


@both
async def case_pydantic_nested(api: Api) -> Any:
    def look(state: Strict) -> Any:
        return {"log": [[
            state.name, type(state.part).__name__, state.part.x, [type(p).__name__ for p in state.parts],
            {k: v.x for k, v in state.table.items()}, repr(state.either),
        ]]}  # fmt: skip

    graph = chain(api, Strict, {"a": api.node(look), "b": api.node(look)}, checkpointer=api.saver())
    given = {
        "name": "n", "part": {"x": "5"}, "parts": [{"x": 2}, Part(x=3)], "table": {"k": {"x": 4}},
        "either": "7",
    }  # fmt: skip
    return {
        "dict": await api.stream(graph, given, api.thread(), ["values", "updates"]),
        "object": await api.invoke(graph, Strict(**given), api.thread("u")),
        "least": await api.invoke(graph, {"name": "m"}, api.thread("v")),
        "record": await record(api, graph, api.thread()),
    }


@both
async def case_pydantic_refuses(api: Api) -> Any:
    def look(state: Strict) -> Any:
        return {"log": [state.name]}

    graph = chain(api, Strict, {"a": api.node(look)})
    out = {}
    for label, given in {
        "missing": {},
        "type": {"name": 5},
        "nested": {"name": "n", "part": {"x": "no number"}},
        "in a list": {"name": "n", "parts": [{"x": []}]},
        "bound": {"name": "n", "small": 11},
        "unknown": {"name": "n", "unknown": 1},
    }.items():
        try:
            out[label] = await api.invoke(graph, given)
        except pydantic.ValidationError as error:
            out[label] = [(e["loc"], e["type"]) for e in error.errors()]
    return out


@both
async def case_pydantic_updates_that_do_not_fit(api: Api) -> Any:
    """An update is not validated when it is made, but when the next node is given the state."""
    out = {}
    for label, update in {
        "type": {"small": "x"},
        "bound": {"small": 50},
        "fits": {"small": "3"},
    }.items():

        def seen(state: Strict) -> Any:
            return {"log": [state.small]}

        graph = chain(
            api, Strict, {"a": api.node(lambda s, u=update: u), "b": api.node(seen)},
            checkpointer=api.saver(),
        )  # fmt: skip
        try:
            out[label] = await api.invoke(graph, {"name": "n"}, api.thread())
        except pydantic.ValidationError as error:
            out[label] = [(e["loc"], e["type"]) for e in error.errors()]
        last = chain(api, Strict, {"a": api.node(lambda s, u=update: u)})
        out[label, "last"] = await api.invoke(last, {"name": "n"})
    return out


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(populate_by_name=True)

    name: str = pydantic.Field(alias="Name")
    log: Annotated[list, operator.add] = []


class OnlyAlias(pydantic.BaseModel):
    name: str = pydantic.Field("default", alias="Name")
    log: Annotated[list, operator.add] = []


@both
async def case_pydantic_aliases(api: Api) -> Any:
    """The keys of the state are the names of fields, not their aliases."""

    def look(state: Any) -> Any:
        return {"log": [state.name]}

    out = {}
    for schema in (Aliased, OnlyAlias):
        graph = chain(api, schema, {"a": api.node(look)})
        for label, given in {
            "name": {"name": "n"},
            "alias": {"Name": "n"},
            "object": schema(Name="n"),
        }.items():
            try:
                out[schema.__name__, label] = await api.invoke(graph, given)
            except pydantic.ValidationError as error:
                out[schema.__name__, label] = [(e["loc"], e["type"]) for e in error.errors()]
    return out


class Computed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    n: int = 1
    maybe: int | None = None
    required: int | None
    made: list = pydantic.Field(default_factory=lambda: ["made"])
    log: Annotated[list, operator.add] = []
    _private: int = 5

    @pydantic.model_validator(mode="after")
    def check(self) -> "Computed":
        if self.n < 0:
            raise ValueError("n must not be negative")
        return self

    @pydantic.computed_field
    def double(self) -> int:
        return self.n * 2


@both
async def case_pydantic_objects_returned_by_nodes(api: Api) -> Any:
    """What was not set, and is None by default, is no update."""
    out = {}
    results = {
        "least": Computed(required=None),
        "set to the default": Computed(n=1, maybe=None, required=2),
        "all": Computed(n=4, maybe=5, required=6, made=[], log=["x"]),
        "copied": Computed(required=1).model_copy(update={"n": 9}),
    }
    for label, result in results.items():

        def look(state: Computed) -> Any:
            return {"log": [[state.n, state.maybe, state.required, state.made, state.double]]}

        graph = chain(api, Computed, {"a": api.node(lambda s, r=result: r), "b": api.node(look)})
        given = {"n": 7, "maybe": 8, "required": 9, "made": ["in"]}
        out[label] = await api.stream(graph, given, None, ["updates", "values"])
    return out


@both
async def case_pydantic_objects_that_were_never_checked(api: Api) -> Any:
    made = Computed.model_construct(n="unchecked")
    last = chain(api, Computed, {"a": api.node(lambda s: made)})
    more = chain(api, Computed, {"a": api.node(lambda s: made), "b": api.node(lambda s: {})})
    given = {"required": 1}
    return [await api.invoke(last, given), await api.raised(api.invoke(more, given))]


@both
async def case_pydantic_validators_of_the_whole(api: Api) -> Any:
    graph = chain(api, Computed, {"a": api.node(lambda s: {"n": -1}), "b": api.node(lambda s: {})})
    return [
        await api.raised(api.invoke(graph, {"n": -1, "required": 1})),
        await api.raised(api.invoke(graph, {"n": 1, "required": 1})),
    ]


@both
async def case_pydantic_dataclass(api: Api) -> Any:
    @pydantic.dataclasses.dataclass
    class State:
        n: int
        log: Annotated[list, operator.add] = dataclasses.field(default_factory=list)

    def look(state: State) -> Any:
        return {"log": [[type(state).__name__, state.n]]}

    graph = chain(api, State, {"a": api.node(look)})
    return [
        await api.invoke(graph, {"n": "3"}),
        await api.invoke(graph, State(n=4)),
        await api.raised(api.invoke(graph, {"n": "x"})),
    ]


# --- dataclasses ----------------------------------------------------------------------------------


@dataclasses.dataclass(kw_only=True, frozen=True, slots=True)
class Base:
    n: int = 1


@dataclasses.dataclass(kw_only=True, frozen=True, slots=True)
class Child(Base):
    name: str
    part: Base = dataclasses.field(default_factory=Base)
    log: Annotated[list, operator.add] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("n must not be negative")


@both
async def case_dataclasses(api: Api) -> Any:
    def look(state: Child) -> Any:
        return {"log": [[type(state).__name__, state.n, state.name, type(state.part).__name__]]}

    graph = chain(
        api,
        Child,
        {"a": api.node(look), "b": api.node(lambda s: {"n": s.n - 5}), "c": api.node(look)},
    )
    return [
        await api.invoke(graph, {"name": "x", "n": 9}),
        await api.invoke(graph, Child(name="y", n=5, part=Base(n=2))),
        await api.invoke(graph, {"name": "x", "part": {"n": 2}, "n": 5}),
        await api.raised(api.invoke(graph, {"name": "x"})),
        await api.raised(api.invoke(graph, {"n": 1})),
    ]


@both
async def case_dataclasses_returned_by_nodes(api: Api) -> Any:
    @dataclasses.dataclass
    class Update:
        name: str | None = None
        log: list = dataclasses.field(default_factory=lambda: ["from update"])
        unknown: int = 1

    @dataclasses.dataclass
    class Other:
        nothing: int = 0

    out = []
    for result in (Child(name="r"), Update(), Update(name="u"), Other()):
        graph = chain(api, Child, {"a": api.node(lambda s, r=result: r)})
        out.append(await api.stream(graph, {"name": "x", "n": 3}, None, ["updates", "values"]))
    return out


# --- context --------------------------------------------------------------------------------------


@dataclasses.dataclass
class Ctx:
    user: str
    limit: int = 3


class CtxModel(pydantic.BaseModel):
    user: str
    limit: int = 3


class CtxDict(TypedDict):
    user: str


@both
async def case_contexts_are_coerced(api: Api) -> Any:
    def look(state: Any, runtime: api.Runtime[Any]) -> Any:
        return {"log": [[type(runtime.context).__name__, repr(runtime.context)]]}

    class Log(TypedDict):
        log: Annotated[list, operator.add]

    out: dict[Any, Any] = {}
    for schema in (Ctx, CtxModel, CtxDict, None):
        graph = api.StateGraph(Log, context_schema=schema)
        graph.add_node("a", api.node(look))
        graph.add_edge(api.START, "a")
        compiled = graph.compile()
        for label, context in {
            "dict": {"user": "ada"},
            "all": {"user": "ada", "limit": 5},
            "text number": {"user": "ada", "limit": "5"},
            "object": Ctx("ada"),
            "model": CtxModel(user="ada"),
            "none": None,
            "missing": {},
            "unknown": {"user": "ada", "more": 1},
            "text": "context",
        }.items():
            key = schema.__name__ if schema else None, label
            try:
                out[key] = await api.invoke(compiled, {"log": []}, None, context=context)
            except Exception as error:
                out[key] = [c.__name__ for c in type(error).__mro__ if c in (TypeError, ValueError)]
    return out


@both
async def case_node_schemas_of_several_kinds(api: Api) -> Any:
    """Each node is given the state in the form of its own schema."""

    class State(TypedDict):
        name: str
        n: int
        log: Annotated[list, operator.add]

    @dataclasses.dataclass
    class AsData:
        name: str
        n: int = 5

    class AsModel(pydantic.BaseModel):
        name: str
        n: int = 5

    def typed(state: State) -> Any:
        return {"log": [["typed", sorted(state)]]}

    def data(state: AsData) -> Any:
        return {"log": [["data", state.name, state.n]]}

    def model(state: AsModel) -> Any:
        return {"log": [["model", state.name, state.n]]}

    def route(state: AsModel) -> Any:
        return "last" if state.n else "never"

    nodes = {n.__name__: api.node(n) for n in (typed, data, model)}
    nodes["last"] = api.node(lambda s: {"log": ["last"]})
    graph = build(
        api, State, nodes, [(api.START, "typed"), ("typed", "data"), ("data", "model")],
        [("model", route)],
    )  # fmt: skip
    return [
        await api.invoke(graph, {"name": "x", "n": "3", "log": []}),
        await api.invoke(graph, {"name": "x", "log": []}),
        await api.raised(api.invoke(graph, {"log": []})),
    ]
