"""Graphs that cannot be: by type of error, and which step refuses them."""

from typing import Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, chain, warns


def fresh(api: Api, *nodes: str) -> Any:
    graph = api.StateGraph(Log)
    for node in nodes:
        graph.add_node(node, lambda state: {"log": []})
    return graph


def tried(*steps: Any) -> str:
    """Which of the steps fails, and with what family of error."""
    for number, step in enumerate(steps):
        try:
            step()
        except ValueError:
            return f"step {number}: ValueError"
        except Exception as error:
            return f"step {number}: {type(error).__name__}"
    return "fine"


async def case_refused_names(api: Api) -> Any:
    out = {}
    for name in ("__start__", "__end__", "a", "b|c", "b:c", "log", "", "b c", "é"):
        graph = fresh(api, "a")
        out[name] = tried(lambda name=name, graph=graph: graph.add_node(name, lambda s: {}))
    return out


async def case_refused_edges(api: Api) -> Any:
    out = {}
    edges = {
        "END as a start": (api.END, "a"),
        "START as an end": ("a", api.START),
        "unknown target": ("a", "ghost"),
        "unknown source": ("ghost", "a"),
        "join of unknown": (["a", "ghost"], "a"),
        "join with END": (["a", api.END], "a"),
        "join to unknown": (["a"], "ghost"),
        "join of START": ([api.START], "a"),
    }
    for label, (start, end) in edges.items():
        graph = fresh(api, "a")
        graph.add_edge(api.START, "a")
        out[label] = tried(lambda g=graph, s=start, e=end: g.add_edge(s, e), graph.compile)
    return out


async def case_refused_graphs(api: Api) -> Any:
    out = {"no entry": tried(fresh(api, "a").compile), "empty": tried(fresh(api).compile)}
    only_sends = fresh(api, "a", "b")
    only_sends.add_edge(api.START, "a")
    out["unreachable node"] = tried(only_sends.compile)
    loop = fresh(api, "a", "b")
    loop.add_edge("a", "b")
    loop.add_edge("b", "a")
    out["loop without entry"] = tried(loop.compile)
    return out


async def case_refused_branches(api: Api) -> Any:
    def route(state: Any) -> str:
        return "a"

    def unknown(graph: Any) -> None:
        graph.add_conditional_edges("ghost", route)

    def twice(graph: Any) -> None:
        graph.add_conditional_edges("a", route)
        graph.add_conditional_edges("a", route)

    def bad_map(graph: Any) -> None:
        graph.add_conditional_edges("a", route, {"x": "ghost"})

    out = {}
    for label, change in {"unknown": unknown, "twice": twice, "map": bad_map}.items():
        graph = fresh(api, "a")
        graph.add_edge(api.START, "a")
        out[label] = tried(lambda c=change, g=graph: c(g), graph.compile)
    return out


async def case_refused_compile_options(api: Api) -> Any:
    out = {}
    options = {
        "before": {"interrupt_before": ["ghost"]},
        "after": {"interrupt_after": ["ghost"]},
        "known": {"interrupt_after": ["a"], "interrupt_before": "*"},
        "checkpointer": {"checkpointer": "no saver"},
    }
    for label, option in options.items():
        graph = fresh(api, "a")
        graph.add_edge(api.START, "a")
        out[label] = tried(lambda g=graph, o=option: g.compile(**o))
    return out


async def case_refused_nodes(api: Api) -> Any:
    out = {
        "no action": tried(lambda: fresh(api).add_node("a")),
        "not callable": tried(lambda: fresh(api).add_node("a", 5)),
        "lambda without name": tried(lambda: fresh(api).add_node(lambda s: {})),
    }
    graph = fresh(api)
    out["sequence of none"] = tried(lambda: graph.add_sequence([]))
    out["sequence twice"] = tried(lambda: fresh(api).add_sequence([("a", len), ("a", len)]))
    return out


async def case_edge_before_its_nodes(api: Api) -> Any:
    graph = api.StateGraph(Log)
    out = {
        "edge": tried(lambda: graph.add_edge("a", "b")),
        "start": tried(lambda: graph.add_edge(api.START, "a")),
    }
    for name in ("a", "b"):
        graph.add_node(name, lambda state, name=name: {"log": [name]})
    compiled = graph.compile()
    return out | {"run": await api.invoke(compiled, {"log": []})}


@warns
async def case_builder_used_after_compile(api: Api) -> Any:
    graph = fresh(api, "a")
    graph.add_edge(api.START, "a")
    compiled = graph.compile()
    late = tried(lambda: graph.add_node("b", lambda state: {"log": ["b"]}))
    graph.add_edge("a", "b")
    again = graph.compile()
    return {
        "late": late,
        "old": await api.stream(compiled, {"log": []}, None, "updates"),
        "new": await api.stream(again, {"log": []}, None, "updates"),
    }


async def case_schema_conflicts(api: Api) -> Any:
    import operator
    from typing import Annotated

    class One(TypedDict):
        log: Annotated[list, operator.add]

    class Other(TypedDict):
        log: list

    class Third(TypedDict):
        log: Annotated[list, lambda a, b: b]

    def other(state: Other) -> Any:
        return {"log": ["x"]}

    def third(state: Third) -> Any:
        return {"log": ["x"]}

    out = {}
    for label, node in {"last value": other, "other reducer": third}.items():
        graph = api.StateGraph(One)
        out[label] = tried(lambda g=graph, n=node: g.add_node("n", n))
    return out


@both
async def case_names_of_graphs(api: Api) -> Any:
    named = chain(api, Log, ["a"], name="mine")
    return [named.name, chain(api, Log, ["a"]).name]
