"""The functional API and graphs: calls in nodes, graphs in workflows."""

import operator
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.flows import Tasks, body, flow, got, path, recorded, task
from tests.compat.shapes import ALL_MODES, both


class Logged(TypedDict):
    n: int
    log: Annotated[list[Any], operator.add]


def graph_of(api: Api, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    graph = api.StateGraph(Logged)
    for name, function in nodes.items():
        graph.add_node(name, body(api, function))
    for start, end in edges:
        graph.add_edge(start, end)
    return graph.compile(checkpointer=api.saver())


@both
async def case_calls_in_a_node(api: Api) -> Any:
    t = Tasks(api)

    async def node(state: Logged) -> Any:
        return {"log": [await got(api, t.double(state["n"])), await got(api, t.double(10))]}

    async def after(state: Logged) -> Any:
        return {"n": await got(api, t.double(state["n"]))}

    graph = graph_of(api, {"node": node, "after": after}, [(api.START, "node"), ("node", "after")])
    out = {"chunks": await api.stream(graph, {"n": 1}, api.thread(), ALL_MODES)}
    return out | await recorded(api, graph, api.thread())


@both
async def case_questions_of_calls_in_nodes(api: Api) -> Any:
    t = Tasks(api)

    async def node(state: Logged) -> Any:
        return {"log": [await got(api, t.double(state["n"]))]}

    async def asks(state: Logged) -> Any:
        return {"log": [await got(api, t.double(5)), await got(api, t.ask("q"))]}

    graph = graph_of(api, {"a": node, "b": asks}, [(api.START, "a"), (api.START, "b")])
    out = {"stop": await api.invoke(graph, {"n": 1}, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out | {"seen": sorted(t.seen, key=str)} | await recorded(api, graph, api.thread())


@both
async def case_calls_in_sends(api: Api) -> Any:
    t = Tasks(api)

    async def work(n: int) -> Any:
        return {"log": [await got(api, t.double(n)), path(api)[0]]}

    graph = api.StateGraph(Logged)
    graph.add_node("work", body(api, work))
    graph.add_conditional_edges(
        api.START, lambda state: [api.Send("work", i) for i in range(3)], ["work"]
    )
    graph = graph.compile(checkpointer=api.saver())
    out = {"run": await api.invoke(graph, {"n": 1}, api.thread())}
    return out | {"seen": sorted(t.seen)} | await recorded(api, graph, api.thread())


@both
async def case_graphs_inside_workflows(api: Api) -> Any:
    t = Tasks(api)

    async def node(state: Logged) -> Any:
        return {"n": await got(api, t.double(state["n"])), "log": [api.interrupt("inside")]}

    graph = api.StateGraph(Logged).add_node("node", body(api, node))
    inner = graph.add_edge(api.START, "node").compile()

    async def call(n: int) -> Any:
        return (await api.invoke(inner, {"n": n}))["n"]

    called = task(api, call)

    async def wf(n: int) -> Any:
        first = await api.invoke(inner, {"n": n})
        return [first, await got(api, called(first["n"]))]

    outer, out = flow(api, wf), []
    out.append(await api.invoke(outer, 1, api.thread()))
    out.append(await api.state(outer, api.thread()))
    out.append(await api.invoke(outer, api.Command(resume="one"), api.thread()))
    out.append(await api.invoke(outer, api.Command(resume="two"), api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, outer, api.thread())


@both
async def case_workflows_inside_workflows(api: Api) -> Any:
    t = Tasks(api)

    async def inner(n: int, *, previous: Any = "nothing") -> Any:
        return [await got(api, t.double(n)), api.interrupt("inner"), previous]

    nested = flow(api, inner, saved=False)

    async def wf(n: int) -> Any:
        return {"r": await api.invoke(nested, n)}

    outer = flow(api, wf)
    out = [await api.invoke(outer, 1, api.thread())]
    out.append(await api.invoke(outer, api.Command(resume="R"), api.thread()))
    out.append(await api.invoke(outer, 2, api.thread()))
    out.append(await api.invoke(outer, api.Command(resume="S"), api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, outer, api.thread())


@both
async def case_a_workflow_as_a_node(api: Api) -> Any:
    t = Tasks(api)

    async def inner(state: Logged) -> Any:
        return {"log": [await got(api, t.double(state["n"]))]}

    async def after(state: Logged) -> Any:
        return {"n": state["n"] + 1}

    graph = api.StateGraph(Logged).add_node("inner", flow(api, inner, saved=False))
    graph.add_node("after", body(api, after))
    graph.add_edge(api.START, "inner").add_edge("inner", "after")
    compiled = graph.compile(checkpointer=api.saver())
    chunks = await api.stream(compiled, {"n": 3}, api.thread(), ["updates"], subgraphs=True)
    return {"chunks": chunks} | await recorded(api, compiled, api.thread())
