# ruff: noqa: E501  # tables of one refusal a line
"""How graphs are described: names, kinds of nodes, edges, sequences, warnings, messages."""

import functools
import logging
import operator
import warnings
from typing import Annotated, Any, Literal, TypedDict

from tests.compat.engines import Api, load
from tests.compat.shapes import Log, LogCount, both, build, chain, warns


def fresh(api: Api, *nodes: str) -> Any:
    graph = api.StateGraph(LogCount)
    for node in nodes:
        graph.add_node(node, quiet)
    return graph


def quiet(_: Any) -> Any:
    return {}


def says(make: Any, *parts: str) -> Any:
    """How a step is refused: by ValueError, TypeError or RuntimeError, and in what words."""
    try:
        make()
    except (ValueError, TypeError, RuntimeError) as error:
        families = [t.__name__ for t in (TypeError, RuntimeError) if isinstance(error, t)]
        return [families or ["ValueError"], [p for p in parts if p in str(error)]]
    return "fine"


async def case_messages_of_refusals(api: Api) -> Any:
    def compiled(*edges: Any, branch: Any = None, **options: Any) -> Any:
        graph = fresh(api, "a")
        for edge in [(api.START, "a"), *edges]:
            graph.add_edge(*edge)
        if branch:
            graph.add_conditional_edges(*branch)
        return graph.compile(**options)

    def twice() -> None:
        graph = fresh(api, "a")
        graph.add_conditional_edges("a", quiet)
        graph.add_conditional_edges("a", quiet)

    unknown = "Interrupt node `x` not found"
    unique = "Node names must be unique: node with the name 'quiet' already exists"
    reserved = "is a reserved character and is not allowed in the node names"
    return {
        "twice": says(lambda: fresh(api, "a").add_node("a", quiet), "Node `a` already present"),
        "START": says(lambda: fresh(api).add_node("__start__", quiet), "Node `__start__` is reserved"),
        "END": says(lambda: fresh(api).add_node("__end__", quiet), "Node `__end__` is reserved"),
        "|": says(lambda: fresh(api).add_node("a|b", quiet), f"'|' {reserved}"),
        ":": says(lambda: fresh(api).add_node("a:b", quiet), f"':' {reserved}"),
        "no action": says(lambda: fresh(api).add_node("a")),
        "a number": says(lambda: fresh(api).add_node("a", 5)),
        "only a number": says(lambda: fresh(api).add_node(5)),
        "edge from END": says(lambda: fresh(api, "a").add_edge(api.END, "a"), "END cannot be a start node"),
        "edge to START": says(lambda: fresh(api, "a").add_edge("a", api.START), "START cannot be an end node"),
        "join": says(lambda: fresh(api, "a").add_edge(["a", "x"], "a"), "Need to add_node `x` first"),
        "join to": says(lambda: fresh(api, "a").add_edge(["a"], "x"), "Need to add_node `x` first"),
        "join END": says(lambda: fresh(api, "a").add_edge([api.END], "a"), "END cannot be a start node"),
        "join to START": says(lambda: fresh(api, "a").add_edge(["a"], api.START), "START cannot be an end node"),
        "no entry": says(
            lambda: fresh(api, "a").compile(),
            "Graph must have an entrypoint: add at least one edge from START to another node",
        ),
        "source": says(lambda: compiled(("x", "a")), "Found edge starting at unknown node 'x'"),
        "target": says(lambda: compiled(("a", "x")), "Found edge ending at unknown node `x`"),
        "branch source": says(lambda: compiled(branch=("x", quiet)), "Found edge starting at unknown node 'x'"),
        "branch END": says(lambda: compiled(branch=(api.END, quiet)), "Found edge starting at unknown node"),
        "branch target": says(
            lambda: compiled(branch=("a", quiet, {"k": "x"})),
            "At 'a' node, 'quiet' branch found unknown target 'x'",
        ),
        "branch": says(lambda: compiled(branch=("a", 3))),
        "branch twice": says(twice, "Branch with name `quiet` already exists for node `a`"),
        "before": says(lambda: compiled(interrupt_before=["x"]), unknown),
        "after": says(lambda: compiled(interrupt_after=["x"]), unknown),
        "before all, after": says(lambda: compiled(interrupt_before="*", interrupt_after=["x"]), unknown),
        "checkpointer": says(lambda: compiled(checkpointer="x"), "Invalid checkpointer provided"),
        "validate": says(lambda: fresh(api, "a").add_edge(api.START, "a").validate(["x"]), unknown),
        "destinations": says(
            lambda: fresh(api).add_node("a", quiet, destinations=("x",)).add_edge(api.START, "a").compile(),
            "Found edge ending at unknown node `x`",
        ),
        "sequence": says(lambda: fresh(api).add_sequence([]), "Sequence requires at least one node."),
        "sequence twice": says(lambda: fresh(api).add_sequence([quiet, quiet]), unique),
        "sequence known": says(lambda: fresh(api).add_node(quiet).add_sequence([quiet]), unique),
        "sequence of triples": says(lambda: fresh(api).add_sequence([("a", quiet, 1)])),
        "sequence of numbers": says(lambda: fresh(api).add_sequence([5])),
    }  # fmt: skip


async def case_messages_about_schemas(api: Api) -> Any:
    class State(TypedDict):
        n: int
        log: Annotated[list, operator.add]
        last: api.IsLastStep

    def schema(**keys: Any) -> Any:
        return TypedDict("Other", keys)

    managed = "Managed channels are not permitted in Input/Output schema."
    clash = "already exists with a different type"
    return {
        "managed in": says(
            lambda: api.StateGraph(State, input_schema=schema(s=api.IsLastStep)),
            "Invalid managed channels detected in Other: s.", managed,
        ),
        "managed out": says(
            lambda: api.StateGraph(State, output_schema=schema(s=api.RemainingSteps)), managed
        ),
        "managed state": says(lambda: api.StateGraph(State)),
        "managed input of a node": says(
            lambda: api.StateGraph(State).add_node("a", quiet, input_schema=schema(s=api.RemainingSteps))
        ),
        "managed clash": says(
            lambda: api.StateGraph(State).add_node("a", quiet, input_schema=schema(last=api.RemainingSteps)),
            f"Managed value 'last' {clash}",
        ),
        "other reducer": says(
            lambda: api.StateGraph(State, input_schema=schema(log=Annotated[list, operator.mul])),
            f"Channel 'log' {clash}",
        ),
        "reducer over a value": says(
            lambda: api.StateGraph(State, output_schema=schema(n=Annotated[int, operator.add])),
            f"Channel 'n' {clash}",
        ),
        "value over a reducer": says(lambda: api.StateGraph(State, input_schema=schema(log=list))),
        "other type": says(lambda: api.StateGraph(State, input_schema=schema(n=str))),
        "same reducer": says(
            lambda: api.StateGraph(State, input_schema=schema(log=Annotated[list, operator.add]))
        ),
        "lambdas": says(
            lambda: api.StateGraph(
                schema(x=Annotated[int, lambda a, b: a]),
                input_schema=schema(x=Annotated[int, lambda a, b: b]),
            )
        ),
        "one argument": says(
            lambda: api.StateGraph(schema(x=Annotated[int, lambda a: a])),
            "Invalid reducer signature. Expected (a, b) -> c. Got (a)",
        ),
        "three arguments": says(
            lambda: api.StateGraph(schema(x=Annotated[int, lambda a, b, c: a])),
            "Invalid reducer signature. Expected (a, b) -> c. Got (a, b, c)",
        ),
        "options": says(lambda: api.StateGraph(schema(x=Annotated[int, lambda a, b, *, c=1: a]))),
        "any number": says(lambda: api.StateGraph(schema(x=Annotated[int, lambda *a: a]))),
        "nothing": says(api.StateGraph),
    }  # fmt: skip


async def case_names_of_nodes(api: Api) -> Any:
    class Callable_:
        def __call__(self, state: Any) -> Any:
            return {}

        def method(self, state: Any) -> Any:
            return {}

    class Updates(dict):
        def __init__(self, state: Any) -> None:
            super().__init__(n=1)

    async def coroutine(state: Any) -> Any:
        return {}

    inner = chain(api, Log, ["a"], name="inner graph")
    nodes = [
        quiet, lambda state: {}, functools.partial(quiet), Callable_(), Callable_().method, Updates,
        coroutine, inner, functools.wraps(quiet)(lambda state: {}),
    ]  # fmt: skip
    return {
        "nodes": [[*fresh(api).add_node(node).nodes] for node in nodes],
        "sequence": [[*fresh(api).add_sequence([node]).nodes] for node in nodes],
        "given": [[*fresh(api).add_node("given", node).nodes] for node in nodes],
    }


async def case_names_of_branches(api: Api) -> Any:
    class Callable_:
        def __call__(self, state: Any) -> Any:
            return "a"

        def method(self, state: Any) -> Any:
            return "a"

    async def coroutine(state: Any) -> Any:
        return "a"

    paths = [
        quiet,
        lambda state: "a",
        functools.partial(quiet),
        Callable_(),
        Callable_().method,
        coroutine,
    ]
    out: list[Any] = []
    for path in paths:
        graph = fresh(api, "a")
        graph.add_conditional_edges("a", path)
        out.append([*graph.branches["a"]])
    graph = fresh(api, "a")
    graph.add_conditional_edges("a", lambda state: "a")
    out.append(says(lambda: graph.add_conditional_edges("a", functools.partial(quiet))))
    return out


async def case_path_maps_as_kept(api: Api) -> Any:
    def route(state: Any) -> Literal["a", "b"]:
        return "a"

    def union(state: Any) -> Literal["a"] | Literal["b"]:
        return "a"

    def text(state: Any) -> str:
        return "a"

    def later(state: Any) -> "Literal['a']":
        return "a"

    out = {}
    for label, args in {
        "map": (quiet, {1: "a"}),
        "list": (quiet, ["a", "b"]),
        "none": (quiet,),
        "literal": (route,),
        "map over literal": (route, {"x": "a"}),
        "empty map": (route, {}),
        "union": (union,),
        "text": (text,),
        "later": (later,),
        "partial": (functools.partial(route),),
    }.items():
        graph = fresh(api, "a", "b")
        graph.add_conditional_edges("a", *args)
        (branch,) = graph.branches["a"].values()
        out[label] = branch.ends
    return out


@both
async def case_kinds_of_nodes(api: Api) -> Any:
    """Whatever can be called is a node."""

    class Callable_:
        def __init__(self, n: int) -> None:
            self.n = n

        def __call__(self, state: Any) -> Any:
            return {"log": [f"object {self.n}"]}

        def method(self, state: Any) -> Any:
            return {"log": [f"method {self.n}"]}

        @classmethod
        def of_class(cls, state: Any) -> Any:
            return {"log": [cls.__name__]}

        @staticmethod
        def static(state: Any) -> Any:
            return {"log": ["static"]}

    class Updates(dict):
        def __init__(self, state: Any) -> None:
            super().__init__(log=[f"class of {sorted(state)}"])

    def several(state: Any, first: Any, *, second: Any = 2) -> Any:
        return {"log": [[first, second]]}

    def defaults(state: Any, n: int = 7, *args: Any, **kwargs: Any) -> Any:
        return {"log": [[n, args, kwargs]]}

    nodes = {
        "object": Callable_(1),
        "method": Callable_(2).method,
        "of class": Callable_.of_class,
        "static": Callable_.static,
        "class": Updates,
        "lambda": lambda state: {"log": ["lambda"]},
        "partial": functools.partial(several, first=1),
        "partial of partial": functools.partial(functools.partial(several, first=1), second=3),
        "partial method": functools.partial(Callable_(3).method),
        "defaults": defaults,
        "wrapped": functools.wraps(several)(lambda state: {"log": ["wrapped"]}),
        "cached": functools.cache(lambda state=None: {"log": ["cached"]}).__wrapped__,
        "graph": chain(api, Log, {"x": api.node(lambda state: {"log": ["inner"]})}),
    }
    return await api.invoke(chain(api, Log, nodes), {"log": []})


async def case_kinds_of_async_nodes(api: Api) -> Any:
    class Callable_:
        async def __call__(self, state: Any) -> Any:
            return {"log": ["object"]}

        async def method(self, state: Any) -> Any:
            return {"log": ["method"]}

    async def several(state: Any, first: Any) -> Any:
        return {"log": [first]}

    async def plain(state: Any) -> Any:
        return {"log": ["function"]}

    nodes = {
        "object": Callable_(),
        "method": Callable_().method,
        "function": plain,
        "partial": functools.partial(several, first="partial"),
    }
    return await api.invoke(chain(api, Log, nodes), {"log": []})


async def case_runnables_as_nodes(api: Api) -> Any:
    """Objects with `invoke` and `ainvoke`: LangChain's in LangGraph, of any class in Stepwell."""
    base = load("langchain_core.runnables").Runnable if api.package == "langgraph" else object

    class Step(base):
        name = "a step"

        def get_name(self, suffix: Any = None, *, name: Any = None) -> str:
            return "a step"

        def invoke(self, state: Any, config: Any = None, **kwargs: Any) -> Any:
            return {"log": ["sync"]}

        async def ainvoke(self, state: Any, config: Any = None, **kwargs: Any) -> Any:
            return {"log": [sorted(state), sorted(config["metadata"])[:1]]}

    graph = api.StateGraph(Log)
    graph.add_node(Step())
    graph.add_node("other", Step())
    graph.add_edge(api.START, "a step")
    graph.add_edge("a step", "other")
    return {"nodes": [*graph.nodes], "run": await api.invoke(graph.compile(), {"log": []})}


@both
async def case_parameters_of_nodes_that_cannot_be_filled(api: Api) -> Any:
    def none() -> Any:
        return {}

    def two(state: Any, other: Any) -> Any:
        return {}

    def keyword(*, state: Any) -> Any:
        return {}

    out = {}
    for node in (none, two, keyword):
        out[node.__name__] = await api.raised(
            api.invoke(chain(api, Log, {"a": api.node(node)}), {"log": []})
        )
    return out


async def case_verbs_return_the_builder(api: Api) -> Any:
    graph = fresh(api)
    return [
        graph.add_node("a", quiet) is graph,
        graph.add_sequence([("b", quiet), ("c", quiet)]) is graph,
        graph.add_edge("a", "b") is graph,
        graph.add_conditional_edges("c", quiet, ["a"]) is graph,
        graph.set_entry_point("a") is graph,
        graph.set_conditional_entry_point(quiet, ["a"]) is graph,
        graph.set_finish_point("b") is graph,
        graph.set_node_defaults() is graph,
        graph.validate() is graph,
        graph.compiled,
    ]


async def case_the_description_can_be_read(api: Api) -> Any:
    class In(TypedDict):
        n: int

    graph = api.StateGraph(LogCount, input_schema=In)
    graph.add_node("a", quiet, metadata={"m": 1}, defer=True)
    graph.add_node("b", quiet)
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    graph.add_edge(["a", "b"], api.END)
    graph.add_edge("a", "b")
    before = graph.compiled
    compiled = graph.compile()
    return {
        "nodes": [*graph.nodes],
        "edges": sorted(graph.edges),
        "waiting": sorted(graph.waiting_edges),
        "branches": [*graph.branches],
        "channels": [*graph.channels],
        "schemas": [s.__name__ for s in graph.schemas],
        "compiled": [before, graph.compiled],
        "state": graph.state_schema is LogCount,
        "in": graph.input_schema is In,
        "out": graph.output_schema is LogCount,
        "context": graph.context_schema,
        "builder": compiled.builder is graph,
        "name": compiled.name,
        "metadata": graph.nodes["a"].metadata,
        "defer": [graph.nodes["a"].defer, graph.nodes["b"].defer],
        "input": graph.nodes["a"].input_schema is LogCount,
    }


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelname, record.getMessage()))


@warns
async def case_changes_after_compile_are_logged(api: Api) -> Any:
    graph = fresh(api, "a")
    graph.add_edge(api.START, "a")
    graph.compile()
    heard = Heard()
    logger = logging.getLogger("stepwell" if api.package == "stepwell" else "langgraph")
    logger.addHandler(heard)
    try:
        graph.add_node("b", quiet)
        graph.add_edge("a", "b")
        graph.add_edge(["a", "b"], api.END)
        graph.add_conditional_edges("a", quiet)
    finally:
        logger.removeHandler(heard)
    return heard.messages


@warns
async def case_former_keywords(api: Api) -> Any:
    class In(TypedDict):
        n: int

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        graph = api.StateGraph(LogCount, config_schema=Log, input=In, output=In)
        new_wins = api.StateGraph(LogCount, context_schema=In, config_schema=Log)
        graph.add_node("a", quiet, input=In, retry=api.RetryPolicy(max_attempts=2))
    return {
        "warnings": [(w.category.__name__, str(w.message)) for w in seen],
        "schemas": [
            s.__name__ for s in (graph.input_schema, graph.output_schema, graph.context_schema)
        ],
        "new": new_wins.context_schema.__name__,
        "node": graph.nodes["a"].input_schema.__name__,
    }


@warns
async def case_schemas_that_are_no_types(api: Api) -> Any:
    out = []
    for schema in (
        "text",
        None,
        5,
        Annotated[list, operator.add],
        list[int],
        int | None,
        int,
        dict,
    ):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            graph = api.StateGraph(schema)
        about = [str(w.message).partition(".")[0] for w in seen]
        out.append([about, [*graph.channels]])
    return out


async def case_generic_graphs(api: Api) -> Any:
    graph_type = load(f"{api.package}.graph.state")
    graph = api.StateGraph[LogCount](LogCount)
    both_types = api.StateGraph[LogCount, Log, LogCount, LogCount](LogCount, Log)
    return [
        type(graph).__name__, isinstance(graph, api.StateGraph), both_types.context_schema is Log,
        graph_type.CompiledStateGraph[LogCount] is not None,
    ]  # fmt: skip


@both
async def case_sequences_run_in_order(api: Api) -> Any:
    def first(state: Any) -> Any:
        return {"log": ["first"]}

    second = api.node(lambda state: {"log": ["second"]})
    graph = api.StateGraph(Log)
    graph.add_sequence([api.node(first), ("second", second), ("third", chain(api, Log, ["x"]))])
    graph.add_edge(api.START, "first")
    graph.set_finish_point("third")
    return [
        sorted(graph.edges), [*graph.nodes], await api.invoke(graph.compile(), {"log": []})
    ]  # fmt: skip


@both
async def case_entry_and_finish_points(api: Api) -> Any:
    def route(state: Any) -> Any:
        return "left" if state["n"] else "right"

    graph = api.StateGraph(LogCount)
    for name in ("left", "right", "end"):
        graph.add_node(name, api.node(lambda state, name=name: {"log": [name]}))
    graph.set_conditional_entry_point(route, {"left": "left", "right": "right"})
    graph.add_edge("left", "end")
    graph.set_finish_point("end")
    compiled = graph.compile()
    return [
        await api.invoke(compiled, {"n": 1, "log": []}),
        await api.invoke(compiled, {"n": 0, "log": []}),
    ]


@both
async def case_input_schema_of_a_node_is_inferred(api: Api) -> Any:
    class Narrow(TypedDict):
        n: int

    class Holder:
        def method(self, state: Narrow) -> Any:
            return {"log": [sorted(state)]}

        def __call__(self, state: Narrow) -> Any:
            return {"log": [sorted(state)]}

    def annotated(state: Narrow) -> Any:
        return {"log": [sorted(state)]}

    def second(other: Any, state: Narrow = None) -> Any:
        return {"log": [sorted(other)]}

    def later(state: "Unknown") -> Any:  # noqa: F821
        return {"log": [sorted(state)]}

    def builtin(state: dict) -> Any:
        return {"log": [sorted(state)]}

    def optional(state: Narrow | None) -> Any:
        return {"log": [sorted(state)]}

    def nothing(state) -> Any:
        return {"log": [sorted(state)]}

    nodes = {
        "annotated": annotated, "method": Holder().method, "object": Holder(), "second": second,
        "later": later, "builtin": builtin, "optional": optional, "nothing": nothing,
        "partial": functools.partial(annotated),
    }  # fmt: skip
    graph = chain(api, LogCount, nodes)
    return {
        "run": await api.invoke(graph, {"log": [], "n": 1}),
        "schemas": [n.input_schema.__name__ for n in graph.builder.nodes.values()],
    }


@both
async def case_langchain_runnables(api: Api) -> Any:
    """LangChain's runnables as nodes and routers; what they are drawn and named as."""
    lc = load("langchain_core.runnables")

    def step(state: Any) -> Any:
        return {"log": ["step"]}

    async def astep(state: Any) -> Any:
        return {"log": ["step"]}

    def route(state: Any) -> Literal["z", "__end__"]:
        return "z"

    step_ = lc.RunnableLambda(step, astep)
    routers = {
        "lambda": lc.RunnableLambda(route),
        "sequence": lc.RunnableLambda(lambda state: state) | lc.RunnableLambda(route),
        "bound": lc.RunnableLambda(route).with_config(run_name="named"),
    }
    nodes = {
        "plain": step_,
        "sequence": step_ | lc.RunnableLambda(lambda update: {"log": [*update["log"], "more"]}),
        "parallel": lc.RunnableParallel(log=lc.RunnableLambda(lambda state: ["parallel"])),
        "passed": lc.RunnablePassthrough(),
        "bound": step_.with_config(tags=["t"]),
        "retried": step_.with_retry(),
    }
    out: dict[Any, Any] = {}
    for label, node in nodes.items():
        graph = chain(api, Log, {"n": node, "z": step_})
        out[label] = [
            [*api.StateGraph(Log).add_node(node).nodes], await api.invoke(graph, {"log": [0]}),
            graph.get_graph().draw_mermaid(),
        ]  # fmt: skip
    for label, router in routers.items():
        graph = build(api, Log, {"n": step_, "z": step_}, [(api.START, "n")], [("n", router)])
        out["route", label] = [
            [*graph.builder.branches["n"]], await api.invoke(graph, {"log": []}),
            graph.get_graph().draw_mermaid(),
        ]  # fmt: skip
    inner = chain(api, Log, ["a"])
    graph = chain(api, Log, {"n": lc.RunnableLambda(lambda state: inner.invoke({**state}))})
    return out | {"inside": [name for name, _ in graph.get_subgraphs()]}
