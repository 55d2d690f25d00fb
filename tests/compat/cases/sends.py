"""`Send`: map-reduce, order, mixtures with edges."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, LogCount, both, build, logger, record


class MapReduce(TypedDict):
    items: list
    done: Annotated[list, operator.add]
    total: int


def map_reduce(api: Api, **options: Any) -> Any:
    def spread(state: Any) -> Any:
        return [api.Send("work", {"item": i}) for i in state["items"]]

    nodes = {
        "work": api.node(lambda state: {"done": [state["item"] * 2]}),
        "total": api.node(lambda state: {"total": sum(state["done"])}),
    }
    return build(
        api, MapReduce, nodes, [("work", "total")], [(api.START, spread, ["work"])], **options
    )


@both
async def case_map_reduce(api: Api) -> Any:
    graph = map_reduce(api, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"items": [3, 1, 2]}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_map_reduce_all_modes(api: Api) -> Any:
    graph = map_reduce(api, checkpointer=api.saver())
    return await api.stream(graph, {"items": [3, 1, 2]}, api.thread(), ALL_MODES)


@both
async def case_map_over_nothing(api: Api) -> Any:
    graph = map_reduce(api, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"items": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_twelve_sends_keep_their_order(api: Api) -> Any:
    graph = map_reduce(api, checkpointer=api.saver())
    return await api.invoke(graph, {"items": list(range(12))}, api.thread())


@both
async def case_sends_and_edges_in_one_superstep(api: Api) -> Any:
    def spread(state: Any) -> Any:
        return [api.Send("z", {"log": [f"arg{i}"]}) for i in range(3)]

    def zed(state: Any) -> Any:
        return {"log": [["z", *state["log"]]]}

    s = api.START
    graph = build(
        api, Log, {"c": None, "a": None, "z": api.node(zed)}, [(s, "c"), (s, "a"), (s, "z")],
        [(s, spread, ["z"])], checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_router_mixes_names_and_sends(api: Api) -> Any:
    def route(state: Any) -> Any:
        return ["b", api.Send("c", {"log": ["x"]}), api.Send("b", {"log": ["y"]})]

    graph = build(
        api, Log, {"a": None, "b": None, "c": None}, [(api.START, "a")], [("a", route)],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_sends_from_two_nodes(api: Api) -> Any:
    def spread(name: str) -> Any:
        def route(state: Any) -> Any:
            return [api.Send("w", {"who": f"{name}{i}"}) for i in range(2)]

        return route

    nodes = {"b": None, "a": None, "w": api.node(lambda s: {"log": [s["who"]]})}
    graph = build(
        api, Log, nodes, [(api.START, "b"), (api.START, "a")],
        [("b", spread("b")), ("a", spread("a"))], checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_send_chains(api: Api) -> Any:
    """A router after a Send reads the state, not the Send's argument."""

    def more(state: Any) -> Any:
        depth = len(state["log"])
        return [api.Send("w", {"depth": depth})] if depth < 4 else api.END

    graph = build(
        api, Log, {"w": api.node(lambda s: {"log": [s["depth"]]})}, [],
        [(api.START, more, ["w", api.END]), ("w", more, ["w", api.END])], checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_join_after_sends(api: Api) -> Any:
    def spread(state: Any) -> Any:
        return [api.Send("w", {"log": []}), api.Send("w", {"log": []}), "v"]

    graph = build(
        api, Log, ["w", "v", "z"], [(["w", "v"], "z")], [(api.START, spread, ["w", "v"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_send_to_a_deferred_node(api: Api) -> Any:
    s = api.START
    graph = build(
        api, Log, ["a", "b", "z"], [(s, "a"), ("a", "b"), ("b", "z")],
        [(s, lambda st: [api.Send("z", {"log": []})], ["z"])], deferred=["z"],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_send_arg_of_any_kind(api: Api) -> Any:
    def look(arg: Any) -> Any:
        return {"log": [repr(arg)]}

    args = [1, "x", None, [1, 2], {"k": [1, 2]}]
    graph = build(
        api, Log, {"w": api.node(look)}, [],
        [(api.START, lambda s: [api.Send("w", a) for a in args], ["w"])], checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_send_to_an_unknown_node(api: Api) -> Any:
    graph = build(
        api, Log, ["a"], [(api.START, "a")], [("a", lambda s: [api.Send("ghost", {})])],
        checkpointer=api.saver(),
    )  # fmt: skip
    try:
        out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    except Exception as error:
        out = {"raised": api.package and type(error).__name__}
    return out | await record(api, graph, api.thread())


@both
async def case_send_to_end_is_refused(api: Api) -> Any:
    graph = build(
        api, Log, ["a"], [(api.START, "a")], [("a", lambda s: [api.Send(api.END, {})])],
        checkpointer=api.saver(),
    )  # fmt: skip
    return await api.raised(api.invoke(graph, {"log": []}, api.thread()))


@both
async def case_send_with_the_node_also_on_an_edge_in_a_loop(api: Api) -> Any:
    def again(state: Any) -> Any:
        if len(state["log"]) > 8:
            return api.END
        return [api.Send("w", {"log": ["sent"]}), "w"]

    graph = build(
        api, Log, {"w": api.node(lambda s: {"log": [len(s["log"])]}), "m": None},
        [(api.START, "m"), ("w", "m")], [("m", again, ["w", api.END])], checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread(recursion_limit=20))}
    return out | await record(api, graph, api.thread())


async def case_sends_finish_in_another_order(api: Api) -> Any:
    async def work(arg: Any) -> Any:
        await asyncio.sleep(0.01 * (3 - arg["i"]))
        return {"log": [arg["i"]]}

    graph = build(
        api, Log, {"w": work}, [],
        [(api.START, lambda s: [api.Send("w", {"i": i}) for i in range(3)], ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ["updates", "values"])}
    return out | await record(api, graph, api.thread())


async def case_one_of_the_sends_fails_then_succeeds(api: Api) -> Any:
    tries: list[Any] = []

    def work(arg: Any) -> Any:
        tries.append(arg["i"])
        if arg["i"] == 1 and tries.count(1) == 1:
            raise ValueError("not yet")
        return {"log": [arg["i"]]}

    graph = build(
        api, Log, {"w": api.node(work), "z": logger(api, "z")}, [("w", "z")],
        [(api.START, lambda s: [api.Send("w", {"i": i}) for i in (0, 1)], ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["state"] = await api.state(graph, api.thread())
    out["result"] = await api.invoke(graph, None, api.thread())
    return out | {"tries": sorted(tries), "history": await api.history(graph, api.thread())}


@both
async def case_sends_pending_at_a_breakpoint(api: Api) -> Any:
    graph = map_reduce(api, checkpointer=api.saver(), interrupt_before=["work"])
    out = {"stop": await api.stream(graph, {"items": [1, 2]}, api.thread(), ["values", "updates"])}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_send_inside_a_turn_after_a_turn(api: Api) -> Any:
    def route(state: Any) -> Any:
        return [api.Send("w", {"i": state["n"]})]

    graph = build(
        api, LogCount, {"w": api.node(lambda s: {"log": [s["i"]]})}, [],
        [(api.START, route, ["w"])], checkpointer=api.saver(),
    )  # fmt: skip
    out = [await api.invoke(graph, {"log": [], "n": n}, api.thread()) for n in (1, 2)]
    return {"turns": out} | await record(api, graph, api.thread())


@both
async def case_sends_leave_out_what_is_untracked(api: Api) -> Any:
    """What must not reach the disk travels in a Send all the same, while the run lives."""

    class Resource:
        pass

    class State(TypedDict):
        log: Annotated[list, operator.add]
        tool: Annotated[Resource, api.UntrackedValue]

    def setup(state: Any) -> Any:
        return {"log": ["setup"], "tool": Resource()}

    def work(state: Any) -> Any:
        return {"log": [[type(state["tool"]).__name__, state.get("n")]]}

    def fan(state: Any) -> Any:
        wanted = 1 if len(state["log"]) < 2 else 2
        return [api.Send("work", {**state, "n": n}) for n in range(wanted)]

    graph = build(
        api, State, {"setup": api.node(setup), "work": api.node(work)},
        [(api.START, "setup")], [("setup", fan, ["work"])], checkpointer=api.saver(),
    )  # fmt: skip
    one = await api.invoke(graph, {"log": []}, api.thread())
    two = await api.invoke(graph, {"log": ["more"]}, api.thread())
    states = await api.history(graph, api.thread())
    return [one["log"], two["log"], [s.values for s in states], [s.next for s in states]]
