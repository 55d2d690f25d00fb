"""Conditional edges, loops and the recursion limit."""

import asyncio
from typing import Any, Literal

from tests.compat.engines import Api
from tests.compat.shapes import Count, Log, LogCount, both, build, chain, logger, record


def counter(api: Api) -> Any:
    return api.node(lambda state: {"n": state["n"] + 1})


@both
async def case_path_map_kinds(api: Api) -> Any:
    def annotated(state: Any) -> Literal["low", "high"]:
        return "high" if state["n"] > 5 else "low"

    def plain(state: Any) -> Any:
        return "high" if state["n"] > 5 else "low"

    def flag(state: Any) -> bool:
        return state["n"] > 5

    out = {}
    branches = {
        "dict": (flag, {True: "high", False: "low"}),
        "list": (plain, ["low", "high"]),
        "literal": (annotated,),
        "plain": (plain,),
    }
    for label, branch in branches.items():
        graph = build(
            api, LogCount, ["first", "low", "high"], [(api.START, "first")], [("first", *branch)],
            checkpointer=api.saver(),
        )  # fmt: skip
        out[label] = [
            await api.invoke(graph, {"log": [], "n": n}, api.thread(str(n))) for n in (1, 9)
        ]
    return out


@both
async def case_router_may_end(api: Api) -> Any:
    def route(state: Any) -> Any:
        return api.END if state["n"] > 5 else "more"

    graph = build(
        api, LogCount, ["first", "more"], [(api.START, "first")], [("first", route)],
        checkpointer=api.saver(),
    )  # fmt: skip
    return [
        await api.invoke(graph, {"log": [], "n": 9}, api.thread()),
        await api.invoke(graph, {"log": [], "n": 1}, api.thread()),
        await api.history(graph, api.thread()),
    ]


@both
async def case_router_names_several(api: Api) -> Any:
    def route(state: Any) -> Any:
        return ["c", "a", "a"]

    def entry(state: Any) -> Any:
        return ["first", api.END]

    graph = build(
        api, Log, ["first", "a", "b", "c"], [], [(api.START, entry), ("first", route)],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_async_router(api: Api) -> Any:
    async def route(state: Any) -> Any:
        await asyncio.sleep(0)
        return "b" if state["log"][-1] == "a" else api.END

    graph = build(api, Log, ["a", "b"], [(api.START, "a")], [("a", route, ["b", api.END])])
    return await api.invoke(graph, {"log": []})


@both
async def case_router_sees_own_writes_not_the_siblings(api: Api) -> Any:
    seen: dict[str, Any] = {}

    def watch(name: str) -> Any:
        def route(state: Any) -> Any:
            seen[name] = list(state["log"])
            return api.END

        route.__name__ = f"watch_{name}"
        return route

    graph = build(
        api, Log, ["a", "b"], [(api.START, "a"), (api.START, "b")],
        [("a", watch("a")), ("b", watch("b"))],
    )  # fmt: skip
    result = await api.invoke(graph, {"log": ["in"]})
    return {"result": result, "seen": dict(sorted(seen.items()))}


@both
async def case_two_branches_on_one_node(api: Api) -> Any:
    def one(state: Any) -> Any:
        return "x"

    def two(state: Any) -> Any:
        return ["y", "x"]

    graph = build(
        api, Log, ["a", "x", "y"], [(api.START, "a")], [("a", one), ("a", two)],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_branch_and_edge_from_one_node(api: Api) -> Any:
    graph = build(
        api, Log, ["a", "x", "y"], [(api.START, "a"), ("a", "x")], [("a", lambda s: "y", ["y"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_router_to_a_node_that_does_not_exist(api: Api) -> Any:
    graph = build(
        api, Log, ["a", "b"], [(api.START, "a"), ("a", "b")], [("a", lambda s: "ghost")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_router_value_missing_in_the_map(api: Api) -> Any:
    graph = build(
        api, Log, ["a", "b"], [(api.START, "a")], [("a", lambda s: "ghost", {"known": "b"})]
    )
    return await api.raised(api.invoke(graph, {"log": []}))


@both
async def case_router_that_raises(api: Api) -> Any:
    def route(state: Any) -> Any:
        raise KeyError("router")

    graph = build(api, Log, ["a"], [(api.START, "a")], [("a", route)], checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    return {"raised": raised} | await record(api, graph, api.thread())


@both
async def case_router_that_returns_none(api: Api) -> Any:
    graph = build(api, Log, ["a"], [(api.START, "a")], [("a", lambda s: None)])
    return await api.raised(api.invoke(graph, {"log": []}))


@both
async def case_loop_until_counter(api: Api) -> Any:
    def more(state: Any) -> Any:
        return "a" if state["n"] < 4 else api.END

    graph = build(
        api, Count, {"a": counter(api)}, [(api.START, "a")], [("a", more)], checkpointer=api.saver()
    )
    out = {"stream": await api.stream(graph, {"n": 0}, api.thread(), ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_recursion_limit_boundary(api: Api) -> Any:
    out = {}
    for limit in (1, 2, 3, 4, 5):
        graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
        config = api.thread(recursion_limit=limit)
        out[limit] = {
            "stream": await api.stream(graph, {"log": []}, config, ["values", "checkpoints"]),
            **await record(api, graph, api.thread()),
        }
    return out


@both
async def case_recursion_limit_in_a_loop(api: Api) -> Any:
    graph = build(
        api, Count, {"a": counter(api)}, [(api.START, "a"), ("a", "a")], checkpointer=api.saver()
    )
    config = api.thread(recursion_limit=5)
    raised = await api.raised(api.invoke(graph, {"n": 0}, config))
    out = {"raised": raised.says("5", "recursion")} | await record(api, graph, api.thread())
    out["go on"] = await api.raised(api.invoke(graph, None, config))
    out["after"] = await api.state(graph, api.thread())
    return out


@both
async def case_bad_recursion_limit(api: Api) -> Any:
    graph = chain(api, Log, ["a"])
    return await api.raised(api.invoke(graph, {"log": []}, {"recursion_limit": 0}))


@both
async def case_two_loops_at_different_pace(api: Api) -> Any:
    s = api.START

    def fast(state: Any) -> Any:
        return "f" if state["log"].count("f") < 4 else api.END

    def slow(state: Any) -> Any:
        return "s1" if state["log"].count("s2") < 2 else api.END

    graph = build(
        api, Log, ["f", "s1", "s2"], [(s, "f"), (s, "s1"), ("s1", "s2")],
        [("f", fast), ("s2", slow)], checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_branch_from_start_to_several(api: Api) -> Any:
    def entry(state: Any) -> Any:
        return ["a", "b"] if state["n"] else ["b"]

    graph = build(
        api, LogCount, ["a", "b", "z"], [("a", "z"), ("b", "z")], [(api.START, entry)],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = [await api.invoke(graph, {"log": [], "n": n}, api.thread()) for n in (1, 0)]
    return {"runs": out} | await record(api, graph, api.thread())


@both
async def case_managed_values(api: Api) -> Any:
    import operator
    from typing import Annotated, TypedDict

    class Steps(TypedDict):
        log: Annotated[list, operator.add]
        left: api.RemainingSteps
        last: api.IsLastStep

    def look(state: Any) -> Any:
        return {"log": [[state["left"], state["last"]]]}

    graph = chain(
        api, Steps, {n: api.node(look) for n in ("a", "b", "c")}, checkpointer=api.saver()
    )
    out = {"result": await api.invoke(graph, {"log": []}, api.thread(recursion_limit=6))}
    out["tight"] = await api.stream(
        graph, {"log": []}, api.thread("u", recursion_limit=3), "values"
    )
    return out | {"state": await api.state(graph, api.thread())}


@both
async def case_node_without_edges_ends(api: Api) -> Any:
    graph = build(
        api, Log, {"a": logger(api, "a"), "b": logger(api, "b")}, [(api.START, "a"), ("a", "b")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | {"none again": await api.invoke(graph, None, api.thread())}
