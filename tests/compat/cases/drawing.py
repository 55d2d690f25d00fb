"""What graphs look like: nodes, edges, Mermaid text, ASCII, JSON, for graphs of every kind."""

import operator
from typing import Annotated, Any, Literal

from tests.compat.engines import Api, load
from tests.compat.shapes import Log, build, chain


def shape(graph: Any, **options: Any) -> Any:
    """All there is to see of a graph, except where the code of its nodes stands."""
    drawn = graph.get_graph(**options)
    json = drawn.to_json()
    for node in json["nodes"]:
        if "data" in node:
            node["data"] = node["data"]["name"]
    first, last = drawn.first_node(), drawn.last_node()
    return {
        "nodes": [(k, n.id, n.name, n.metadata) for k, n in drawn.nodes.items()],
        "edges": [tuple(e) for e in drawn.edges],
        "mermaid": drawn.draw_mermaid(),
        "bare": drawn.draw_mermaid(with_styles=False),
        "json": json,
        "ends": [first and first.id, last and last.id],
    }


def quiet(_: Any) -> Any:
    return {}


async def case_draw_chain(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"])
    return {"shape": shape(graph), "async": (await graph.aget_graph()).draw_mermaid()}


async def case_draw_without_finish(api: Api) -> Any:
    """A node that nothing follows leads to the end."""
    return shape(build(api, Log, ["a", "b", "c"], [(api.START, "a"), ("a", "b"), ("a", "c")]))


async def case_draw_fan_out_and_join(api: Api) -> Any:
    edges = [(api.START, "s"), ("s", "z"), ("s", "a"), (["z", "a"], "j"), ("j", api.END)]
    return shape(build(api, Log, ["s", "z", "a", "j"], edges))


async def case_draw_join_of_branches_of_different_length(api: Api) -> Any:
    edges = [
        (api.START, "a"), (api.START, "b"), ("b", "c"), (["a", "c"], "j"), ("a", "j"),
    ]  # fmt: skip
    return shape(build(api, Log, ["a", "b", "c", "j"], edges))


async def case_draw_loop(api: Api) -> Any:
    edges = [(api.START, "a"), ("a", "b"), ("b", "a")]
    return shape(build(api, Log, ["a", "b"], edges))


async def case_draw_self_loop(api: Api) -> Any:
    return {
        "static": shape(build(api, Log, ["a"], [(api.START, "a"), ("a", "a")])),
        "conditional": shape(
            build(api, Log, ["a"], [(api.START, "a")], [("a", lambda s: "a", ["a", api.END])])
        ),
    }


async def case_draw_unreachable_nodes(api: Api) -> Any:
    return shape(build(api, Log, ["a", "b", "c"], [(api.START, "a"), ("b", "c")]))


MAPS = {
    "list": ["b", "c"],
    "list with end": ["b", "__end__"],
    "only end": ["__end__"],
    "same names": {"b": "b", "c": "c"},
    "labels": {"left": "b", "right": "c", "stop": "__end__"},
    "two labels, one place": {True: "b", False: "b"},
    "two labels, one of them the name": {"a": "b", "b": "b"},
    "label of another node": {"c": "b", "b": "c"},
    "numbers": {1: "b", 2: "c"},
    "nothing": None,
    "empty": {},
}


async def case_draw_path_maps(api: Api) -> Any:
    out = {}
    for label, path_map in MAPS.items():
        branch = ("a", lambda state: "b", path_map)
        out[label] = shape(build(api, Log, ["a", "b", "c"], [(api.START, "a")], [branch]))
    return out


async def case_draw_conditional_entry(api: Api) -> Any:
    out = {}
    for label, path_map in MAPS.items():
        branch = (api.START, lambda state: "b", path_map)
        out[label] = shape(build(api, Log, ["a", "b", "c"], [("b", "a")], [branch]))
    return out


async def case_draw_literal_annotations(api: Api) -> Any:
    def route(state: Any) -> Literal["b", "c", "__end__"]:
        return "b"

    async def aroute(state: Any) -> Literal["b", "c"]:
        return "b"

    class Router:
        def __call__(self, state: Any) -> Literal["b", "c"]:
            return "b"

    out = {}
    for label, router in {"sync": route, "async": aroute, "object": Router()}.items():
        graph = build(api, Log, ["a", "b", "c"], [(api.START, "a")], [("a", router)])
        out[label] = shape(graph)
    return out


async def case_draw_edge_and_branch_to_the_same_node(api: Api) -> Any:
    edges = [(api.START, "a"), ("a", "b"), ("b", "c")]
    branch = ("a", lambda s: "b", {"yes": "b", "no": "c"})
    return {
        "once": shape(build(api, Log, ["a", "b", "c"], edges, [branch])),
        "in a loop": shape(build(api, Log, ["a", "b", "c"], [*edges, ("c", "a")], [branch])),
    }


async def case_draw_two_branches_of_one_node(api: Api) -> Any:
    def first(state: Any) -> Any:
        return "b"

    def second(state: Any) -> Any:
        return "c"

    branches = [("a", first, {"x": "b", "y": "c"}), ("a", second, {"z": "c", "w": "d"})]
    return shape(build(api, Log, ["a", "b", "c", "d"], [(api.START, "a")], branches))


async def case_draw_long_labels(api: Api) -> Any:
    label = "a label of an edge that is made of quite a lot of words, more than nine of them"
    graph = build(
        api, Log, ["a", "b"], [(api.START, "a")], [("a", lambda s: label, {label: "b", "x": "b"})]
    )
    drawn = graph.get_graph()
    return [drawn.draw_mermaid(wrap_label_n_words=n) for n in (1, 3, 9, 100)]


async def case_draw_commands(api: Api) -> Any:
    def a(state: Any) -> api.Command[Literal["b", "__end__"]]:
        return api.Command(goto="b")

    def b(state: Any) -> api.Command[Literal["c"]] | None:
        return None

    graph = api.StateGraph(Log)
    graph.add_node("a", a)
    graph.add_node("b", b)
    graph.add_node("c", quiet)
    graph.add_edge(api.START, "a")
    return shape(graph.compile())


async def case_draw_destinations(api: Api) -> Any:
    out = {}
    given = {
        "tuple": ("b", "c"),
        "with end": ("b", "__end__"),
        "labels": {"b": "to b", "c": "to c", "__end__": "stop"},
        "label is the name": {"b": "b"},
        "empty": (),
        "over an edge": {"b": "sometimes", "d": "never"},
    }
    for label, destinations in given.items():
        graph = api.StateGraph(Log)
        graph.add_node("a", quiet, destinations=destinations)
        for name in ("b", "c", "d"):
            graph.add_node(name, quiet)
        graph.add_edge(api.START, "a")
        if label == "over an edge":
            graph.add_edge("a", "b")
        out[label] = shape(graph.compile())
    return out


async def case_draw_destinations_win_over_the_annotation(api: Api) -> Any:
    def a(state: Any) -> api.Command[Literal["b"]]:
        return api.Command(goto="b")

    graph = api.StateGraph(Log)
    graph.add_node("a", a, destinations=("c",))
    graph.add_node("b", quiet)
    graph.add_node("c", quiet)
    graph.add_edge(api.START, "a")
    return shape(graph.compile())


async def case_draw_deferred(api: Api) -> Any:
    edges = [(api.START, "a"), (api.START, "b"), ("b", "c"), ("a", "d"), ("c", "d")]
    nodes = ["a", "b", "c", "d"]
    return {
        "edges": shape(build(api, Log, nodes, edges, deferred=["d"])),
        "join": shape(
            build(
                api, Log, nodes,
                [(api.START, "a"), (api.START, "b"), ("b", "c"), (["a", "c"], "d")],
                deferred=["d"],
            )
        ),
        "in the middle": shape(
            build(api, Log, [*nodes, "e"], [*edges, ("d", "e")], deferred=["d", "e"])
        ),
        "conditional": shape(
            build(
                api, Log, nodes, [(api.START, "a"), ("b", "d"), ("c", "d")],
                [("a", lambda s: "b", ["b", "c", "d"])], deferred=["d"],
            )
        ),
    }  # fmt: skip


async def case_draw_interrupts(api: Api) -> Any:
    out = {}
    for label, options in {
        "before": {"interrupt_before": ["a"]},
        "after": {"interrupt_after": ["b"]},
        "both": {"interrupt_before": ["a", "b"], "interrupt_after": ["a"]},
        "all": {"interrupt_before": "*", "interrupt_after": "*"},
    }.items():
        out[label] = shape(chain(api, Log, ["a", "b"], **options))
    return out


async def case_draw_metadata(api: Api) -> Any:
    given = {
        "text": {"owner": "ada"},
        "marks": {"why": '#[x](y){z}"<b>|'},
        "numbers": {"n": 1, "f": 1.5, "on": True, "none": None},
        "collections": {"l": [1, "two"], "t": (3,), "s": {"b", "a"}, "d": {"x": 1}, "m": [{}]},
        "empty": {},
        "reserved": {"defer": "mine", "__interrupt": "mine"},
    }
    out = {}
    for label, metadata in given.items():
        graph = api.StateGraph(Log)
        graph.add_node("a", quiet, metadata=metadata, defer=True)
        graph.add_edge(api.START, "a")
        out[label] = shape(graph.compile(interrupt_before=["a"]))
    return out


def runnable_base(api: Api) -> Any:
    """What an object with `invoke` has to be to be a node: LangChain's class, or anything."""
    return load("langchain_core.runnables").Runnable if api.package == "langgraph" else object


async def case_draw_tools(api: Api) -> Any:
    class Tools(runnable_base(api)):
        tools_by_name = {"search": 1, "read": 2}

        def invoke(self, state: Any, config: Any = None, **_: Any) -> Any:
            return {}

        async def ainvoke(self, state: Any, config: Any = None, **_: Any) -> Any:
            return {}

    graph = api.StateGraph(Log)
    graph.add_node("tools", Tools())
    graph.add_edge(api.START, "tools")
    return shape(graph.compile())


async def case_draw_odd_names(api: Api) -> Any:
    names = ["with space", "é", "*bold*", "`x`", "_u_", "a.b", 'q"', "default", "end", "(p)", "1"]
    return shape(chain(api, Log, names))


async def case_draw_bare_values(api: Api) -> Any:
    out = {}
    for label, schema in {
        "list": Annotated[list, operator.add], "int": int, "dict": dict, "str": str,
    }.items():  # fmt: skip
        graph = api.StateGraph(schema)
        graph.add_node("a", lambda value: value)
        graph.add_node("b", lambda value: value)
        graph.add_edge(api.START, "a")
        graph.add_conditional_edges("a", lambda value: "b", ["b", api.END])
        out[label] = shape(graph.compile())
    return out


async def case_draw_styles(api: Api) -> Any:
    drawn = chain(api, Log, ["a"]).get_graph()
    front = {
        "config": {
            "theme": "neutral", "look": "handDrawn", "themeVariables": {"primaryColor": "#e2e2e2"},
            "flowchart": {"htmlLabels": False, "curve": "overwritten", "padding": 15},
            "list": ["a", 1, {"x": "yes"}],
        },
        "title": "A title: with a colon",
    }  # fmt: skip
    styles = api.NodeStyles(default="fill:red", first="fill:blue", last="fill:green")
    return {
        "curves": [drawn.draw_mermaid(curve_style=curve) for curve in api.CurveStyle],
        "colors": drawn.draw_mermaid(node_colors=styles),
        "some colors": drawn.draw_mermaid(node_colors=api.NodeStyles(first="fill:#fff")),
        "front matter": drawn.draw_mermaid(frontmatter_config=front),
        "no styles": drawn.draw_mermaid(
            frontmatter_config=front, with_styles=False, node_colors=styles
        ),
    }


# --- subgraphs ------------------------------------------------------------------------------


def inner(api: Api, *names: str, **options: Any) -> Any:
    return chain(api, Log, list(names), **options)


def xrayed(graph: Any) -> Any:
    return {repr(x): shape(graph, xray=x) for x in (False, 0, 1, 2, 3, True)}


async def case_draw_subgraphs(api: Api) -> Any:
    deep = build(
        api, Log, {"x": None, "low": inner(api, "p", "q")}, [(api.START, "x"), ("x", "low")]
    )
    graph = build(
        api, Log, {"before": None, "mid": deep, "after": None},
        [(api.START, "before"), ("before", "mid"), ("mid", "after"), ("after", api.END)],
    )  # fmt: skip
    return {
        "drawn": xrayed(graph),
        "found": [name for name, _ in graph.get_subgraphs()],
        "all": [name for name, _ in graph.get_subgraphs(recurse=True)],
    }


async def case_draw_subgraph_with_branches(api: Api) -> Any:
    sub = build(
        api, Log, ["one", "two", "three"], [(api.START, "one"), ("two", "three")],
        [("one", lambda s: "two", {"go": "two", "skip": "three"})],
    )  # fmt: skip
    graph = build(
        api, Log, {"pick": None, "sub": sub, "other": None}, [(api.START, "pick")],
        [("pick", lambda s: "sub", ["sub", "other"]), ("sub", lambda s: "pick", ["pick", api.END])],
    )  # fmt: skip
    return xrayed(graph)


async def case_draw_subgraph_with_several_ends(api: Api) -> Any:
    """A subgraph whose ends are not clear keeps its own start and end."""
    sub = build(api, Log, ["one", "two"], [(api.START, "one"), (api.START, "two")])
    ends = build(api, Log, ["one"], [], [(api.START, lambda s: "one", ["one", api.END])])
    lone = build(api, Log, ["one", "two"], [(api.START, "one")])
    graph = build(
        api, Log, {"s": sub, "e": ends, "l": lone}, [(api.START, "s"), ("s", "e"), ("e", "l")]
    )
    return xrayed(graph)


async def case_draw_subgraph_of_one_node(api: Api) -> Any:
    graph = build(
        api, Log, {"sub": inner(api, "only"), "b": None}, [(api.START, "sub"), ("sub", "b")]
    )
    return xrayed(graph)


async def case_draw_only_a_subgraph(api: Api) -> Any:
    return xrayed(build(api, Log, {"sub": inner(api, "a", "b")}, [(api.START, "sub")]))


async def case_draw_two_subgraphs(api: Api) -> Any:
    graph = build(
        api, Log, {"s1": inner(api, "a", "b"), "s2": inner(api, "a", "b"), "j": None},
        [(api.START, "s1"), (api.START, "s2"), (["s1", "s2"], "j")],
    )  # fmt: skip
    return xrayed(graph)


async def case_draw_subgraphs_with_the_same_name(api: Api) -> Any:
    def holder() -> Any:
        return build(
            api,
            Log,
            {"pre": None, "same": inner(api, "a", "b")},
            [(api.START, "pre"), ("pre", "same")],
        )

    graph = build(api, Log, {"l": holder(), "r": holder()}, [(api.START, "l"), (api.START, "r")])
    drawn = graph.get_graph(xray=True)
    return {
        "edges": [tuple(e) for e in drawn.edges],
        "mermaid": api.refused(drawn.draw_mermaid).says("duplicate subgraph", "same"),
    }


async def case_draw_subgraphs_called_in_functions(api: Api) -> Any:
    sub = inner(api, "a", "b")
    unused = inner(api, "c", "d")

    def calls(state: Any) -> Any:
        return sub.invoke(state)

    async def awaits(state: Any) -> Any:
        return await sub.ainvoke(state)

    def nested(state: Any) -> Any:
        def deeper() -> Any:
            return unused.invoke(state)

        return deeper()

    method = sub.invoke

    def bound(state: Any) -> Any:
        return method(state)

    nodes = {"calls": calls, "awaits": awaits, "nested": nested, "bound": bound, "plain": quiet}
    graph = chain(api, Log, nodes)
    return {
        "found": [name for name, _ in graph.get_subgraphs()],
        "drawn": shape(graph, xray=True),
        "is": [found is sub for _, found in graph.get_subgraphs()],
    }


async def case_find_subgraphs(api: Api) -> Any:
    low = inner(api, "p", "q")
    mid = build(
        api,
        Log,
        {"x": None, "low": low, "low2": low},
        [(api.START, "x"), ("x", "low"), ("low", "low2")],
    )
    graph = build(
        api,
        Log,
        {"mid": mid, "mid2": low, "n": None},
        [(api.START, "mid"), ("mid", "mid2"), ("mid2", "n")],
    )
    names = {"mid": mid, "low": low}

    async def found(**options: Any) -> Any:
        pairs = list(graph.get_subgraphs(**options))
        also = [(n, g) async for n, g in graph.aget_subgraphs(**options)]
        assert pairs == also
        return [(n, next(k for k, v in names.items() if v is g)) for n, g in pairs]

    out = {}
    for recurse in (False, True):
        for namespace in (
            None,
            "mid",
            "mid2",
            "mi",
            "mid|low",
            "mid|low2",
            "mid|x",
            "n",
            "",
            "mid|lo",
        ):
            out[namespace, recurse] = await found(namespace=namespace, recurse=recurse)
    return out


async def case_subgraph_without_checkpoints_is_not_found(api: Api) -> Any:
    sub = inner(api, "a", "b", checkpointer=False)
    graph = build(api, Log, {"s": sub}, [(api.START, "s")])
    return {"found": list(graph.get_subgraphs()), "drawn": shape(graph, xray=True)}


async def case_draw_error_handlers(api: Api) -> Any:
    """Handlers are nodes that no edge leads to."""

    def handle(state: Any, error: Any) -> Any:
        return {}

    def leave(state: Any) -> api.Command[Literal["b"]]:
        return api.Command(goto="b")

    own = api.StateGraph(Log)
    own.add_node("a", quiet, error_handler=handle)
    own.add_node("b", quiet, error_handler=leave)
    own.add_edge(api.START, "a")
    own.add_edge("a", "b")
    shared = api.StateGraph(Log)
    shared.set_node_defaults(error_handler=handle)
    shared.add_node("a", quiet)
    shared.add_node("b", quiet)
    shared.add_edge(api.START, "a")
    shared.add_edge("a", "b")
    outer = build(api, Log, {"sub": own.compile()}, [(api.START, "sub")])
    return {
        "own": shape(own.compile()),
        "shared": shape(shared.compile()),
        "inside": shape(outer, xray=True),
    }


async def case_a_graph_named_by_its_own_node(api: Api) -> Any:
    """A function that names the graph it is part of does not put the graph into itself."""

    def looks(state: Any) -> Any:
        return {"log": [graph.name, helper is None]}

    helper = None
    graph = chain(api, Log, {"looks": looks, "b": None}, checkpointer=api.saver())
    return {
        "found": [n for n, _ in graph.get_subgraphs(recurse=True)],
        "drawn": shape(graph, xray=True),
        "run": await api.invoke(graph, {"log": []}, api.thread()),
    }


# --- the object -----------------------------------------------------------------------------


async def case_graph_object_by_hand(api: Api) -> Any:
    graph = api.Graph()
    out: dict[str, Any] = {"empty": bool(graph)}
    a = graph.add_node(None, "a")
    b = graph.add_node(None, "b", metadata={"x": 1})
    c = graph.add_node(None, "c")
    out["edge"] = tuple(graph.add_edge(a, b, "label"))
    out["conditional"] = tuple(graph.add_edge(b, c, conditional=True))
    out["twice"] = api.refused(lambda: graph.add_node(None, "a"))
    out["unknown"] = api.refused(lambda: graph.add_edge(a, api.Node("z", "z", None, None)))
    out["unknown source"] = api.refused(lambda: graph.add_edge(api.Node("z", "z", None, None), a))
    other = api.Graph()
    d, e = other.add_node(None, "d"), other.add_node(None, "e")
    other.add_edge(d, e)
    out["extended"] = [tuple(n) for n in graph.extend(other, prefix="p")]
    out["unprefixed"] = [tuple(n) for n in graph.extend(other)]
    out["all"] = ([tuple(n) for n in graph.nodes.values()], [tuple(x) for x in graph.edges])
    out["ends"] = [graph.first_node(), graph.last_node()]
    graph.remove_node(b)
    out["removed"] = ([*graph.nodes], [tuple(x) for x in graph.edges])
    out["copies"] = [
        tuple(a.copy(id="i")),
        tuple(a.copy(name="n")),
        tuple(graph.edges[0].copy(source="s")),
    ]
    out["bool"] = bool(graph)
    return out


async def case_graph_object_with_ids(api: Api) -> Any:
    """Nodes without an id of their own are shown by number and name."""
    graph = api.Graph()
    nodes = [graph.add_node(quiet), graph.add_node(quiet), graph.add_node(shape)]
    graph.add_edge(nodes[0], nodes[1])
    graph.add_edge(nodes[1], nodes[2])
    json = graph.to_json()
    return {
        "names": [n.name for n in nodes],
        "distinct": len({n.id for n in nodes}),
        "reid": [*graph.reid().nodes],
        "mermaid": graph.draw_mermaid(),
        "ids": [n["id"] for n in json["nodes"]],
        "edges": json["edges"],
    }


async def case_graph_object_trimmed(api: Api) -> Any:
    out = {}
    for label, edges in {
        "chain": ["ab", "bc"],
        "fan": ["ab", "ac", "bd", "cd"],
        "two starts": ["ac", "bc", "cd"],
        "two ends": ["ab", "bc", "bd"],
        "loop": ["ab", "ba"],
        "one": ["ab"],
    }.items():
        graph = api.Graph()
        nodes = {n: graph.add_node(None, n) for n in sorted({c for e in edges for c in e})}
        for source, target in edges:
            graph.add_edge(nodes[source], nodes[target])
        graph.trim_first_node()
        first = [*graph.nodes]
        graph.trim_last_node()
        out[label] = [first, [*graph.nodes], [tuple(e) for e in graph.edges]]
    return out


async def case_draw_ascii(api: Api) -> Any:
    """Of graphs where grandalf does not let chance (sets of objects) decide."""
    graphs = {
        "chain": chain(api, Log, ["a", "second"]),
        "fan": build(
            api, Log, ["s", "left", "right", "j"],
            [(api.START, "s"), ("s", "left"), ("s", "right"), (["left", "right"], "j")],
        ),
        "branches": build(
            api, Log, ["a", "b", "c"], [(api.START, "a")], [("a", lambda s: "b", ["b", "c"])]
        ),
        "loop": build(api, Log, ["a", "b"], [(api.START, "a"), ("a", "b"), ("b", "a")]),
        "unreachable": build(api, Log, ["a", "b"], [(api.START, "a")]),
    }  # fmt: skip
    return {label: graph.get_graph().draw_ascii().split("\n") for label, graph in graphs.items()}
