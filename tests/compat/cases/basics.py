"""Chains, fan-out, joins, node kinds and what nodes return."""

import functools
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import (
    ALL_MODES,
    Count,
    Log,
    LogCount,
    both,
    brief,
    build,
    chain,
    logger,
    record,
    warns,
)  # fmt: skip


@both
async def case_linear_chain(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_no_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"])
    return {
        "result": await api.invoke(graph, {"log": []}),
        "twice": await api.invoke(graph, {"log": ["again"]}),
        "stream": await api.stream(graph, {"log": []}, None, ["values", "updates"]),
        "state": await api.raised(api.state(graph, api.thread())),
    }


@both
async def case_fan_out_fan_in(api: Api) -> Any:
    s, e = api.START, api.END
    edges = [(s, "c"), (s, "a"), (s, "b"), ("a", "z"), ("b", "z"), ("c", "z"), ("z", e)]
    graph = build(api, Log, ["c", "a", "b", "z"], edges, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_fan_out_all_modes(api: Api) -> Any:
    s, e = api.START, api.END
    edges = [(s, "a"), (s, "b"), ("a", "z"), ("b", "z"), ("z", e)]
    graph = build(api, Log, ["b", "a", "z"], edges, checkpointer=api.saver())
    return await api.stream(graph, {"log": ["in"]}, api.thread(), ALL_MODES)


async def case_join_waits_for_the_slower_arm(api: Api) -> Any:
    s, e = api.START, api.END
    edges = [(s, "a"), (s, "b1"), ("b1", "b2"), (["a", "b2"], "z"), ("z", e)]
    graph = build(api, Log, ["a", "b1", "b2", "z"], edges, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_two_edges_fire_a_node_twice(api: Api) -> Any:
    s, e = api.START, api.END
    edges = [(s, "a"), (s, "b1"), ("b1", "b2"), ("a", "z"), ("b2", "z"), ("z", e)]
    graph = build(api, Log, ["a", "b1", "b2", "z"], edges, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_join_in_a_loop_fires_again(api: Api) -> Any:
    s = api.START

    def again(state: Any) -> Any:
        return ["a", "b"] if state["log"].count("z") < 3 else api.END

    graph = build(
        api, Log, ["a", "b", "z"], [(s, "a"), (s, "b"), (["a", "b"], "z")], [("z", again)],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_join_of_half_stays_open_over_turns(api: Api) -> Any:
    def route(state: Any) -> str:
        return "a" if state["n"] == 1 else "b"

    graph = build(
        api, LogCount, ["a", "b", "z"], [(["a", "b"], "z")], [(api.START, route, ["a", "b"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {}
    out["first"] = await api.invoke(graph, {"log": [], "n": 1}, api.thread())
    out["again"] = await api.invoke(graph, {"log": [], "n": 1}, api.thread())
    out["second"] = await api.invoke(graph, {"log": [], "n": 2}, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_overlapping_joins(api: Api) -> Any:
    s = api.START
    edges = [(s, "a"), (s, "b"), (s, "c"), (["a", "b"], "x"), (["b", "c"], "y"), (["x", "y"], "z")]
    graph = build(api, Log, ["a", "b", "c", "x", "y", "z"], edges, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_diamond_of_diamonds(api: Api) -> Any:
    s = api.START
    edges = [
        (s, "a"), ("a", "b"), ("a", "c"), (["b", "c"], "d"), ("d", "e"), ("d", "f"), ("d", "g"),
        (["e", "f", "g"], "h"), ("b", "h"),
    ]  # fmt: skip
    graph = build(api, Log, list("abcdefgh"), edges, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_sync_nodes_in_an_async_run(api: Api) -> Any:
    def a(state: Any) -> Any:
        return {"log": ["a"]}

    async def b(state: Any) -> Any:
        return {"log": ["b"]}

    graph = chain(api, Log, {"a": a, "b": b}, checkpointer=api.saver())
    return {"result": await api.invoke(graph, {"log": []}, api.thread())}


@both
async def case_lambda_partial_and_callable_object_nodes(api: Api) -> Any:
    def named(state: Any, suffix: str) -> Any:
        return {"log": [f"partial{suffix}"]}

    class Thing:
        def __call__(self, state: Any) -> Any:
            return {"log": ["thing"]}

    class Method:
        def go(self, state: Any) -> Any:
            return {"log": ["method"]}

    nodes = {
        "l": lambda state: {"log": ["lambda"]},
        "p": functools.partial(named, suffix="!"),
        "t": Thing(),
        "m": Method().go,
    }
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    return {
        "result": await api.invoke(graph, {"log": []}, api.thread()),
        "history": await api.history(graph, api.thread()),
    }


@both
async def case_names_inferred_from_functions(api: Api) -> Any:
    def first(state: Any) -> Any:
        return {"log": ["first"]}

    class Second:
        def __call__(self, state: Any) -> Any:
            return {"log": ["second"]}

    graph = api.StateGraph(Log)
    graph.add_node(first)
    graph.add_node(Second())
    graph.add_edge(api.START, "first")
    graph.add_edge("first", "Second")
    return {
        "nodes": sorted(graph.nodes),
        "stream": await api.stream(graph.compile(), {"log": []}, None, "updates"),
    }


@both
async def case_nodes_that_return_nothing(api: Api) -> Any:
    def none(state: Any) -> None:
        return None

    def empty(state: Any) -> Any:
        return {}

    nodes = {"none": api.node(none), "empty": api.node(empty), "a": logger(api, "a")}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": ["in"]}, api.thread(), ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
@warns
async def case_unknown_keys_are_dropped(api: Api) -> Any:
    def a(state: Any) -> Any:
        return {"log": ["a"], "nobody_knows": 1}

    graph = chain(api, Log, {"a": api.node(a)}, checkpointer=api.saver())
    return {
        "result": await api.invoke(graph, {"log": [], "neither": 2}, api.thread()),
        "stream": await api.stream(graph, {"log": []}, api.thread("u"), "updates"),
        "values": (await api.state(graph, api.thread())).values,
    }


@both
@warns
async def case_only_unknown_keys(api: Api) -> Any:
    def a(state: Any) -> Any:
        return {"nobody_knows": 1}

    graph = chain(api, Log, {"a": api.node(a), "b": logger(api, "b")}, checkpointer=api.saver())
    return await api.stream(graph, {"log": []}, api.thread(), ["updates", "values", "tasks"])


@both
async def case_wrong_return_types(api: Api) -> Any:
    out = {}
    for label, value in {"int": 1, "str": "x", "strings": ["a"], "set": {1}}.items():

        def a(state: Any, value: Any = value) -> Any:
            return value

        graph = chain(api, Log, {"a": api.node(a)})
        out[label] = await api.raised(api.invoke(graph, {"log": []}))
    return out


@both
async def case_two_writers_on_one_last_value(api: Api) -> Any:
    def one(state: Any) -> Any:
        return {"n": 1}

    def two(state: Any) -> Any:
        return {"n": 2}

    graph = build(
        api, Count, {"one": api.node(one), "two": api.node(two)},
        [(api.START, "one"), (api.START, "two")], checkpointer=api.saver(),
    )  # fmt: skip
    raised = await api.raised(api.invoke(graph, {"n": 0}, api.thread()))
    return {
        "raised": raised.says("n", "INVALID_CONCURRENT_GRAPH_UPDATE"),
        "history": await api.history(graph, api.thread()),
    }


@both
async def case_state_after_two_writers(api: Api) -> Any:
    graph = build(
        api, Count, {"one": api.node(lambda s: {"n": 1}), "two": api.node(lambda s: {"n": 2})},
        [(api.START, "one"), (api.START, "two")], checkpointer=api.saver(),
    )  # fmt: skip
    await api.raised(api.invoke(graph, {"n": 0}, api.thread()))
    try:
        return brief(await api.state(graph, api.thread()))
    except api.InvalidUpdateError:
        return "the thread cannot be read"


@both
async def case_going_on_after_two_writers(api: Api) -> Any:
    ran: list[str] = []

    def write(name: str, n: int) -> Any:
        def run(state: Any) -> Any:
            ran.append(name)
            return {"n": n}

        return api.node(run)

    graph = build(
        api, Count, {"one": write("one", 1), "two": write("two", 2)},
        [(api.START, "one"), (api.START, "two")], checkpointer=api.saver(),
    )  # fmt: skip
    await api.raised(api.invoke(graph, {"n": 0}, api.thread()))
    again = await api.raised(api.invoke(graph, None, api.thread()))
    await api.raised(api.invoke(graph, {"n": 5}, api.thread()))
    history = await api.history(graph, api.thread())
    return {"again": again, "ran": sorted(ran), "history": history}


@both
async def case_add_sequence_and_points(api: Api) -> Any:
    def a(state: Any) -> Any:
        return {"log": ["a"]}

    def b(state: Any) -> Any:
        return {"log": ["b"]}

    graph = api.StateGraph(Log)
    graph.add_sequence([api.node(a), ("bee", api.node(b)), ("c", logger(api, "c"))])
    graph.set_entry_point("a")
    graph.set_finish_point("c")
    compiled = graph.compile(checkpointer=api.saver())
    out = {"result": await api.invoke(compiled, {"log": []}, api.thread())}
    return out | await record(api, compiled, api.thread())


@both
async def case_conditional_entry_point(api: Api) -> Any:
    graph = api.StateGraph(LogCount)
    for name in ("low", "high"):
        graph.add_node(name, logger(api, name))
    graph.set_conditional_entry_point(lambda s: s["n"] > 5, {True: "high", False: "low"})
    compiled = graph.compile(checkpointer=api.saver())
    return {
        "low": await api.invoke(compiled, {"log": [], "n": 1}, api.thread()),
        "high": await api.invoke(compiled, {"log": [], "n": 9}, api.thread()),
        "history": await api.history(compiled, api.thread()),
    }


@both
async def case_deferred_node_waits_for_all(api: Api) -> Any:
    s = api.START
    edges = [(s, "a"), (s, "b1"), ("b1", "b2"), ("b2", "b3"), ("a", "z"), ("b3", "z")]
    graph = build(
        api, Log, ["a", "b1", "b2", "b3", "z"], edges, deferred=["z"], checkpointer=api.saver()
    )
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_deferred_join(api: Api) -> Any:
    s = api.START
    edges = [(s, "a"), (s, "b"), (s, "c1"), ("c1", "c2"), ("c2", "c3"), (["a", "b"], "z")]
    graph = build(
        api, Log, ["a", "b", "c1", "c2", "c3", "z"], edges, deferred=["z"], checkpointer=api.saver()
    )
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_two_deferred_nodes_in_a_row(api: Api) -> Any:
    s = api.START
    edges = [(s, "a"), (s, "b1"), ("b1", "b2"), ("a", "y"), ("y", "z"), ("a", "z")]
    graph = build(
        api, Log, ["a", "b1", "b2", "y", "z"], edges, deferred=["y", "z"], checkpointer=api.saver()
    )
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_private_keys_between_nodes(api: Api) -> Any:
    class Private(TypedDict):
        secret: str

    class Whole(TypedDict):
        log: Annotated[list, lambda a, b: a + b]

    def a(state: Whole) -> Any:
        return {"log": ["a"], "secret": "s"}

    def b(state: Private) -> Any:
        return {"log": [sorted(state), state["secret"]]}

    def c(state: Whole) -> Any:
        return {"log": [sorted(state)]}

    graph = chain(
        api, Whole, {"a": api.node(a), "b": api.node(b), "c": api.node(c)}, checkpointer=api.saver()
    )
    out = {
        "stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates", "tasks"])
    }
    return out | await record(api, graph, api.thread())


@both
async def case_many_nodes_apply_in_name_order(api: Api) -> Any:
    names = ["n10", "n2", "n1", "z", "a", "M"]
    graph = build(api, Log, names, [(api.START, n) for n in names], checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_slow_siblings_do_not_change_the_order(api: Api) -> Any:
    import asyncio

    def slow(name: str, wait: float) -> Any:
        async def run(state: Any) -> Any:
            await asyncio.sleep(wait)
            return {"log": [name]}

        return run

    nodes = {"a": slow("a", 0.03), "b": slow("b", 0.02), "c": slow("c", 0.01)}
    graph = build(api, Log, nodes, [(api.START, n) for n in nodes], checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])}
    return out | await record(api, graph, api.thread())
