"""Error handlers beside siblings, sends, updates, breakpoints and replays."""

import asyncio
from typing import Any, TypedDict

from tests.compat.cases.handlers import MODES, failing, guarded, handling, text
from tests.compat.engines import Api
from tests.compat.shapes import Log, both, brief, logger, record


async def case_cancelled_error_of_a_node_is_handled(api: Api) -> Any:
    graph = guarded(api, failing(api, asyncio.CancelledError("mine")), handling(api))
    return await api.stream(graph, {"log": []}, None, MODES)


async def case_timed_out_node_is_handled(api: Api) -> Any:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(30)

    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [type(error.error).__name__, error.error.kind, error.error.timeout]}

    graph = api.StateGraph(Log)
    graph.add_node("f", slow, timeout=0.02, error_handler=api.node(handle))
    graph.add_edge(api.START, "f")
    return await api.stream(graph.compile(), {"log": []}, None, ["values", "updates"])


@both
async def case_handler_of_sends(api: Api) -> Any:
    def fail(state: Any) -> Any:
        if state["i"] % 2:
            raise ValueError(state["i"])
        return {"log": [state["i"]]}

    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [["handled", state, text(error.error)]]}

    graph = api.StateGraph(Log)
    graph.add_node("f", api.node(fail), error_handler=api.node(handle))
    graph.add_conditional_edges(
        api.START, lambda state: [api.Send("f", {"i": i}) for i in range(12)], ["f"]
    )
    compiled = graph.compile(checkpointer=api.saver())
    out = {"run": await api.invoke(compiled, {"log": []}, api.thread())}
    return out | await record(api, compiled, api.thread())


@both
async def case_writes_of_handlers_take_the_place_of_their_nodes(api: Api) -> Any:
    graph = api.StateGraph(Log)
    for name in ("c", "a", "d", "b"):
        if name in "ad":
            graph.add_node(name, failing(api), error_handler=logger(api, f"handler of {name}"))
        else:
            graph.add_node(name, logger(api, name))
        graph.add_edge(api.START, name)
    return await api.invoke(graph.compile(), {"log": []})


async def once_handled(runs: list[str], rest: float = 0) -> None:
    """Wait until the handler has been called, and then, so that it ends first, `rest` seconds."""
    while "handler" not in runs:  # noqa: ASYNC110  # its graph may be a sync one
        await asyncio.sleep(0.005)
    await asyncio.sleep(rest)


async def case_sibling_goes_on_beside_a_handler(api: Api) -> Any:
    seen: list[str] = []

    async def slow(state: Any) -> Any:
        await asyncio.sleep(0.02)
        seen.append("slow")
        return {"log": ["slow"]}

    graph = guarded(
        api, failing(api), handling(api, seen), ("slow", slow), checkpointer=api.saver()
    )
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), MODES), "seen": seen}
    return out | await record(api, graph, api.thread())


async def case_sibling_fails_while_a_handler_runs(api: Api) -> Any:
    runs: list[str] = []

    async def handle(state: Any, error: api.NodeError) -> Any:
        runs.append("handler")
        await asyncio.sleep(30 if runs.count("handler") < 2 else 0)
        return {"log": ["handled", text(error.error)]}

    async def other(state: Any) -> Any:
        runs.append("other")
        await once_handled(runs)
        if runs.count("other") < 2:
            raise KeyError("other")
        return {"log": ["other"]}

    graph = guarded(
        api, failing(api, None, runs), handle, ("other", other), checkpointer=api.saver()
    )
    out: dict[str, Any] = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["next"] = (await api.state(graph, api.thread())).next
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": sorted(runs)}


async def case_finished_handler_and_a_failed_sibling(api: Api) -> Any:
    """On LangGraph the handler runs again; what has finished need not."""
    runs: list[str] = []

    async def other(state: Any) -> Any:
        await once_handled(runs, 0.3)
        runs.append("other")
        if runs.count("other") < 2:
            raise KeyError("other")
        return {"log": ["other"]}

    graph = guarded(
        api, failing(api, None, runs), handling(api, runs), ("other", other),
        checkpointer=api.saver(),
    )  # fmt: skip
    out: dict[str, Any] = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    state = await api.state(graph, api.thread())
    out |= {"next": state.next, "values": state.values}
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs}


@both
async def case_error_given_to_a_handler_that_goes_on(api: Api) -> Any:
    """After a reload LangGraph hands out the repr of the error; Stepwell the error."""
    runs: list[str] = []

    def handle(state: Any, error: api.NodeError) -> Any:
        runs.append(f"{type(error.error).__name__}: {error.error}")
        if len(runs) < 2:
            raise RuntimeError("again")
        return None

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    await api.invoke(graph, None, api.thread())
    return runs


@both
async def case_new_input_after_a_handler_failed(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs, 1), checkpointer=api.saver())
    await api.raised(api.invoke(graph, {"log": ["one"]}, api.thread()))
    out = {"two": await api.invoke(graph, {"log": ["two"]}, api.thread())}
    return out | {"runs": runs} | await record(api, graph, api.thread())


@both
async def case_update_after_a_handler_failed(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs, 1), checkpointer=api.saver())
    await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    await api.update(graph, api.thread(), {"log": ["by hand"]}, "f")
    out = {"on": await api.invoke(graph, None, api.thread())}
    return out | {"runs": runs} | await record(api, graph, api.thread())


@both
async def case_update_after_a_handler_finds_its_node(api: Api) -> Any:
    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": ["handled"]}

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    await api.update(graph, api.thread(), {"log": ["by hand"]})
    out = {"next": (await api.state(graph, api.thread())).next}
    out["on"] = await api.invoke(graph, None, api.thread())
    return out


@both
async def case_update_as_a_handler(api: Api) -> Any:
    graph = guarded(api, failing(api), handling(api), checkpointer=api.saver())
    await api.update(graph, api.thread(), {"log": ["by hand"]}, "__error_handler__f")
    return brief(await api.state(graph, api.thread()))


@both
async def case_replay_of_a_handled_superstep(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs), checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    past = [s for s in await api.history(graph, api.thread()) if s.next == ("f",)]
    out = {"again": await api.invoke(graph, None, past[0].config), "runs": runs}
    return out | await record(api, graph, api.thread())


@both
async def case_breakpoints_and_handlers(api: Api) -> Any:
    out = {}
    for kind in ("interrupt_before", "interrupt_after"):
        for names in (["f"], ["__error_handler__f"], "*", ["z"]):

            def handle(state: Any, error: api.NodeError) -> Any:
                return api.Command(update={"log": ["handled"]}, goto="z")

            graph = guarded(
                api, failing(api), api.node(handle), checkpointer=api.saver(), **{kind: names}
            )
            seen: list[Any] = [await api.stream(graph, {"log": []}, api.thread(), ["updates"])]
            while (state := await api.state(graph, api.thread())).next and len(seen) < 5:
                seen.append(state.next)
                seen.append(await api.stream(graph, None, api.thread(), ["updates"]))
            out[f"{kind} {names}"] = seen
    return out


@both
async def case_edge_from_a_handler(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", failing(api), error_handler=logger(api, "handled"))
    graph.add_node("after", logger(api, "after"))
    graph.add_edge(api.START, "f")
    graph.add_edge("__error_handler__f", "after")
    return await api.stream(graph.compile(), {"log": []}, None, ["updates"])


@both
async def case_handler_of_a_node_with_an_input_schema(api: Api) -> Any:
    class Part(TypedDict):
        n: int

    class Whole(TypedDict):
        n: int
        m: int
        seen: list

    def fail(state: Part) -> Any:
        raise ValueError(sorted(state))

    def handle(state: Any, error: api.NodeError) -> Any:
        return {"seen": [sorted(state), text(error.error)]}

    graph = api.StateGraph(Whole)
    graph.add_node("f", api.node(fail), error_handler=api.node(handle))
    graph.add_edge(api.START, "f")
    return await api.invoke(graph.compile(), {"n": 1, "m": 2})


@both
async def case_config_of_a_handler(api: Api) -> Any:
    def handle(state: Any, config: api.RunnableConfig, runtime: api.Runtime) -> Any:
        given = config["metadata"]
        shown = [given["langgraph_node"], given["langgraph_triggers"], given["langgraph_path"]]
        shown.append(given["langgraph_step"])
        shown.append(runtime.context)
        shown.append(runtime.execution_info.node_attempt)
        return {"log": shown}

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    return await api.invoke(graph, {"log": []}, api.thread(), context={"c": 1})


async def case_two_handlers_and_one_fails(api: Api) -> Any:
    """Both are asked, whatever the timing; on LangGraph the second may be dropped."""
    runs: list[str] = []

    def handler(name: str, fails: int) -> Any:
        async def handle(state: Any, error: api.NodeError) -> Any:
            runs.append(name)
            await asyncio.sleep(0.02)
            if runs.count(name) <= fails:
                raise RuntimeError(name)
            return {"log": [name]}

        return handle

    graph = api.StateGraph(Log)
    graph.add_node("a", failing(api), error_handler=handler("ha", 1))
    graph.add_node("b", failing(api), error_handler=handler("hb", 0))
    graph.add_edge(api.START, "a")
    graph.add_edge(api.START, "b")
    compiled = graph.compile(checkpointer=api.saver())
    await api.raised(api.invoke(compiled, {"log": []}, api.thread()))
    return {"asked": sorted(set(runs)), "on": await api.invoke(compiled, None, api.thread())}


@both
async def case_router_of_a_guarded_node_fails(api: Api) -> Any:
    def route(state: Any) -> str:
        raise KeyError("router")

    graph = api.StateGraph(Log)
    graph.add_node("f", logger(api, "f"), error_handler=handling(api))
    graph.add_edge(api.START, "f")
    graph.add_conditional_edges("f", route)
    return await api.invoke(graph.compile(), {"log": []})
