"""Error handlers and graphs inside graphs."""

import asyncio
from typing import Any

from tests.compat.cases.handlers import failing, handling, text
from tests.compat.engines import Api
from tests.compat.shapes import Log, both, brief, chain, logger


def around(api: Api, inner: Any, /, handler: Any = None, **options: Any) -> Any:
    """START -> inner -> z, where inner is a graph."""
    graph = api.StateGraph(Log)
    graph.add_node("inner", inner, error_handler=handler)
    graph.add_node("z", logger(api, "z"))
    graph.add_edge(api.START, "inner")
    graph.add_edge("inner", "z")
    return graph.compile(**options)


def guarded(api: Api, node: Any, handler: Any, **options: Any) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", node, error_handler=handler)
    graph.add_edge(api.START, "f")
    return graph.compile(**options)


@both
async def case_handler_of_a_subgraph(api: Api) -> Any:
    inner = chain(api, Log, {"a": logger(api, "a"), "f": failing(api)})
    graph = around(api, inner, handling(api), checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])}
    return out | {"end": brief(await api.state(graph, api.thread()))}


@both
async def case_handler_of_a_subgraph_with_its_stream(api: Api) -> Any:
    inner = chain(api, Log, {"a": logger(api, "a"), "f": failing(api)})
    graph = around(api, inner, handling(api))
    return await api.stream(graph, {"log": []}, None, ["updates"], subgraphs=True)


@both
async def case_handler_inside_a_subgraph(api: Api) -> Any:
    inner = guarded(api, failing(api), handling(api))
    graph = around(api, inner, checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])}
    out["inside"] = await api.stream(
        graph, {"log": []}, api.thread("u"), ["updates"], subgraphs=True
    )
    return out


@both
async def case_handler_inside_a_subgraph_fails(api: Api) -> Any:
    """Then the graph inside has failed; the handler around it is asked."""
    runs: list[str] = []
    inner = guarded(api, failing(api, None, runs), handling(api, runs, 1))
    graph = around(api, inner, handling(api), checkpointer=api.saver())
    return await api.invoke(graph, {"log": []}, api.thread()), runs


@both
async def case_handler_inside_a_subgraph_goes_on(api: Api) -> Any:
    runs: list[str] = []
    inner = guarded(api, failing(api, None, runs), handling(api, runs, 1))
    graph = around(api, inner, checkpointer=api.saver())
    out: dict[str, Any] = {"1": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["next"] = (await api.state(graph, api.thread())).next
    out["2"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs}


@both
async def case_handler_that_is_a_graph(api: Api) -> Any:
    stand_in = chain(api, Log, {"s": logger(api, "stand-in")})
    graph = guarded(api, failing(api), stand_in, checkpointer=api.saver())
    return await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])


@both
async def case_handler_that_runs_a_graph(api: Api) -> Any:
    helper = chain(api, Log, {"s": logger(api, "stand-in")})

    if api.sync:

        def handle(state: Any, error: api.NodeError) -> Any:
            return {"log": [text(error.error), *helper.invoke({"log": []})["log"]]}
    else:

        async def handle(state: Any, error: api.NodeError) -> Any:
            return {"log": [text(error.error), *(await helper.ainvoke({"log": []}))["log"]]}

    graph = guarded(api, failing(api), handle, checkpointer=api.saver())
    return await api.invoke(graph, {"log": []}, api.thread())


@both
async def case_question_of_a_guarded_subgraph(api: Api) -> Any:
    runs: list[str] = []

    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    inner = chain(api, Log, {"ask": api.node(ask)})
    graph = around(api, inner, handling(api, runs), checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    return out, runs


@both
async def case_question_then_failure_of_a_guarded_subgraph(api: Api) -> Any:
    def ask(state: Any) -> Any:
        raise ValueError(api.interrupt("q"))

    inner = chain(api, Log, {"ask": api.node(ask)})
    graph = around(api, inner, handling(api), checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return await api.invoke(graph, api.Command(resume="r"), api.thread())


@both
async def case_command_to_the_parent_is_not_handled(api: Api) -> Any:
    runs: list[str] = []

    def leave(state: Any) -> Any:
        return api.Command(graph=api.Command.PARENT, update={"log": ["left"]}, goto="z")

    inner = guarded(api, api.node(leave), handling(api, runs))
    graph = around(api, inner, handling(api, runs))
    return await api.invoke(graph, {"log": []}), runs


@both
async def case_handler_commands_the_parent(api: Api) -> Any:
    def leave(state: Any, error: api.NodeError) -> Any:
        return api.Command(graph=api.Command.PARENT, update={"log": [error.node]}, goto="z")

    inner = guarded(api, failing(api), api.node(leave))
    try:
        return await api.invoke(around(api, inner), {"log": []})
    except Exception as error:
        return type(error).__name__


@both
async def case_default_handler_and_subgraphs(api: Api) -> Any:
    """Defaults of a graph are not those of the graphs inside; the graph as a node has them."""
    inner = chain(api, Log, {"a": logger(api, "a"), "f": failing(api)})
    graph = api.StateGraph(Log)
    graph.set_node_defaults(error_handler=handling(api))
    graph.add_node("inner", inner)
    graph.add_edge(api.START, "inner")
    return await api.stream(graph.compile(), {"log": []}, None, ["updates"], subgraphs=True)


@both
async def case_retry_of_a_subgraph(api: Api) -> Any:
    """Its nodes that finished do not run again, if it is kept."""
    out = {}
    for label, options in {"kept": {"checkpointer": api.saver()}, "not kept": {}}.items():
        runs: list[str] = []

        def first(state: Any, runs: list[str] = runs) -> Any:
            runs.append("first")
            return {"log": ["first"]}

        def second(state: Any, runs: list[str] = runs) -> Any:
            runs.append("second")
            if runs.count("second") < 3:
                raise ConnectionError("down")
            return {"log": ["second"]}

        inner = chain(api, Log, {"first": api.node(first), "second": api.node(second)})
        graph = api.StateGraph(Log)
        policy = api.RetryPolicy(initial_interval=0.0001, jitter=False)
        graph.add_node("inner", inner, retry_policy=policy)
        graph.add_edge(api.START, "inner")
        compiled = graph.compile(**options)
        out[label] = [await api.invoke(compiled, {"log": []}, api.thread()), runs]
    return out


async def case_timeout_of_a_subgraph(api: Api) -> Any:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(30)

    inner = chain(api, Log, {"a": logger(api, "a"), "slow": slow})
    graph = api.StateGraph(Log)
    graph.add_node("inner", inner, timeout=0.05)
    graph.add_edge(api.START, "inner")
    raised = await api.raised(api.invoke(graph.compile(), {"log": []}))
    return [raised, raised.error.node, raised.error.kind]


@both
async def case_drawing_of_handlers(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.set_node_defaults(error_handler=handling(api))
    graph.add_node("f", failing(api), error_handler=handling(api))
    graph.add_node("g", logger(api, "g"))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "g")
    drawn = graph.compile().get_graph()
    return sorted(drawn.nodes), sorted((e.source, e.target, e.conditional) for e in drawn.edges)


@both
async def case_nodes_of_a_compiled_graph_with_handlers(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", failing(api), error_handler=handling(api))
    graph.add_edge(api.START, "f")
    return sorted(graph.compile().nodes), sorted(graph.nodes)
