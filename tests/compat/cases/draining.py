"""Runs that are asked to stop at their next barrier."""

from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, brief, chain, logger, record


def draining(api: Api, control: Any, runs: list[Any] | None = None) -> Any:
    """A node that asks its run to stop."""

    def run(state: Any) -> Any:
        if runs is not None:
            runs.append("drain")
        control.request_drain("maintenance")
        return {"log": ["drain"]}

    return api.node(run)


@both
async def case_drain(api: Api) -> Any:
    control = api.RunControl()
    nodes = {"a": None, "drain": draining(api, control), "z": None}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"log": []}, api.thread(), control=control))
    out = {"raised": [raised.family, str(raised.error), raised.error.reason]}
    out |= await record(api, graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out


@both
async def case_drain_in_the_stream(api: Api) -> Any:
    control = api.RunControl()
    nodes = {"drain": draining(api, control), "z": None}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    return await api.stream(graph, {"log": []}, api.thread(), ALL_MODES, control=control)


@both
async def case_drain_before_the_first_superstep(api: Api) -> Any:
    control = api.RunControl()
    control.request_drain()
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    out = {
        "raised": await api.raised(api.invoke(graph, {"log": []}, api.thread(), control=control))
    }
    return out | {"state": brief(await api.state(graph, api.thread()))}


@both
async def case_drain_in_the_last_superstep(api: Api) -> Any:
    """Nothing is left to stop: the run ends as it would have."""
    control = api.RunControl()
    graph = chain(api, Log, {"drain": draining(api, control)}, checkpointer=api.saver())
    out = {"run": await api.invoke(graph, {"log": []}, api.thread(), control=control)}
    return out | {"drained": control.drain_requested, "why": control.drain_reason}


@both
async def case_drain_at_a_breakpoint(api: Api) -> Any:
    """The breakpoint comes first, so that resuming does not skip it."""
    out = {}
    for kind in ("interrupt_before", "interrupt_after"):
        control = api.RunControl()
        nodes = {"drain": draining(api, control), "z": None}
        names = ["z"] if kind == "interrupt_before" else ["drain"]
        graph = chain(api, Log, nodes, checkpointer=api.saver(), **{kind: names})
        seen = await api.stream(graph, {"log": []}, api.thread(), ["updates"], control=control)
        out[kind] = [seen, brief(await api.state(graph, api.thread()))["next"]]
        out[f"{kind} on"] = await api.invoke(graph, None, api.thread())
    return out


@both
async def case_drain_and_a_question(api: Api) -> Any:
    control = api.RunControl()

    def ask(state: Any) -> Any:
        control.request_drain()
        return {"log": [api.interrupt("q")]}

    graph = chain(api, Log, {"ask": api.node(ask), "z": None}, checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": []}, api.thread(), control=control)]
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    return out


@both
async def case_drain_without_a_checkpointer(api: Api) -> Any:
    control = api.RunControl()
    graph = chain(api, Log, {"drain": draining(api, control), "z": None})
    return await api.raised(api.invoke(graph, {"log": []}, control=control))


@both
async def case_drain_with_exit_durability(api: Api) -> Any:
    control = api.RunControl()
    nodes = {"drain": draining(api, control), "z": None}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    out = {
        "raised": await api.raised(
            api.invoke(graph, {"log": []}, api.thread(), control=control, durability="exit")
        )
    }
    out["state"] = brief(await api.state(graph, api.thread()))
    out["on"] = await api.invoke(graph, None, api.thread(), durability="exit")
    return out


@both
async def case_nodes_see_that_a_drain_was_requested(api: Api) -> Any:
    control = api.RunControl()

    def look(state: Any, runtime: api.Runtime) -> Any:
        seen = [runtime.drain_requested, runtime.drain_reason]
        control.request_drain("why")
        seen += [runtime.drain_requested, runtime.drain_reason]
        runtime.control.request_drain("again")
        return {"log": [*seen, runtime.drain_reason, runtime.control is control]}

    return await api.invoke(chain(api, Log, {"a": api.node(look)}), {"log": []}, control=control)


@both
async def case_drain_from_a_node_inside_a_subgraph(api: Api) -> Any:
    control = api.RunControl()
    runs: list[Any] = []
    inner = chain(api, Log, {"drain": draining(api, control, runs), "after": None})
    outer = api.StateGraph(Log)
    outer.add_node("inner", inner)
    outer.add_node("z", logger(api, "z"))
    outer.add_edge(api.START, "inner")
    outer.add_edge("inner", "z")
    graph = outer.compile(checkpointer=api.saver())
    out = {
        "raised": await api.raised(api.invoke(graph, {"log": []}, api.thread(), control=control))
    }
    out["state"] = brief(await api.state(graph, api.thread()))["next"]
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs}
