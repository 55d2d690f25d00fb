"""Graphs inside graphs that are run more than once: by policies, by packets, by themselves."""

import operator
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import both, chain


class Own(TypedDict, total=False):
    log: Annotated[list, operator.add]
    own: Annotated[list, operator.add]


class Told(TypedDict):
    log: Annotated[list, operator.add]


class Nothing(TypedDict, total=False):
    nothing: int


def inside(api: Api, ran: list[str], *names: str, **options: Any) -> Any:
    """A chain of nodes that takes nothing from the graph around it; "bad" fails the first time."""

    def node(name: str) -> Any:
        def run(state: Any) -> Any:
            ran.append(name)
            if name == "bad" and ran.count("bad") == 1:
                raise ConnectionError(name)
            return {"log": [name]}

        return api.node(run)

    graph = api.StateGraph(Own, input_schema=Nothing, output_schema=Told)
    for before, name in zip((api.START, *names), names, strict=False):
        graph.add_node(name, node(name))
        graph.add_edge(before, name)
    return graph.compile(**options)


@both
async def case_sub_retried(api: Api) -> Any:
    ran: list[str] = []
    policy = api.RetryPolicy(initial_interval=0.0, jitter=False)
    graph = api.StateGraph(Told)
    graph.add_node("sub", inside(api, ran, "x", "bad", "y"), retry_policy=policy)
    graph.add_edge(api.START, "sub")
    compiled = graph.compile(checkpointer=api.saver())
    result = await api.invoke(compiled, {"log": ["in"]}, api.thread())
    return {"result": result, "ran": ran}


@both
async def case_sub_retried_without_a_saver(api: Api) -> Any:
    ran: list[str] = []
    policy = api.RetryPolicy(initial_interval=0.0, jitter=False)
    graph = api.StateGraph(Told)
    graph.add_node("sub", inside(api, ran, "x", "bad", "y"), retry_policy=policy)
    graph.add_edge(api.START, "sub")
    result = await api.invoke(graph.compile(), {"log": ["in"]})
    return {"result": result, "ran": ran}


@both
async def case_sub_failed_and_resumed(api: Api) -> Any:
    ran: list[str] = []
    graph = chain(api, Told, {"sub": inside(api, ran, "x", "bad", "y")}, checkpointer=api.saver())
    out = [await api.raised(api.invoke(graph, {"log": ["in"]}, api.thread()))]
    return [*out, await api.invoke(graph, None, api.thread()), ran]


@both
async def case_sub_failed_and_given_new_input(api: Api) -> Any:
    ran: list[str] = []
    graph = chain(api, Told, {"sub": inside(api, ran, "x", "bad", "y")}, checkpointer=api.saver())
    out = [await api.raised(api.invoke(graph, {"log": ["in"]}, api.thread()))]
    return [*out, await api.invoke(graph, {"log": ["more"]}, api.thread()), ran]


@both
async def case_sub_with_one_history_in_parallel(api: Api) -> Any:
    def add(state: Any) -> Any:
        return {"log": [list(state["own"])]}

    sub = api.StateGraph(Own, output_schema=Told)
    sub.add_node("add", api.node(add))
    sub.add_edge(api.START, "add")
    graph = api.StateGraph(Own)
    graph.add_node("sub", sub.compile(checkpointer=True))
    graph.add_conditional_edges(
        api.START, lambda s: [api.Send("sub", {"own": [i]}) for i in range(3)], ["sub"]
    )
    compiled = graph.compile(checkpointer=api.saver())
    return (await api.invoke(compiled, {"log": []}, api.thread()))["log"]


@both
async def case_sub_that_calls_itself(api: Api) -> Any:
    def down(state: Any) -> Any:
        depth = len(state["own"])
        if depth == 5:
            return {"log": [api.interrupt("bottom")]}
        found = compiled.invoke({"own": [*state["own"], depth], "log": []})
        return {"log": [depth, *found["log"]]}

    async def adown(state: Any) -> Any:
        depth = len(state["own"])
        if depth == 5:
            return {"log": [api.interrupt("bottom")]}
        found = await compiled.ainvoke({"own": [*state["own"], depth], "log": []})
        return {"log": [depth, *found["log"]]}

    nodes = {"down": down if api.sync else adown}
    compiled = chain(api, Own, nodes, checkpointer=api.saver())
    asked = await api.invoke(compiled, {"own": [], "log": []}, api.thread())
    told = await api.invoke(compiled, api.Command(resume="rock"), api.thread())
    return [[i.value for i in asked["__interrupt__"]], told]


async def case_sub_as_two_nodes_that_ask(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    sub = chain(api, Told, {"ask": api.node(ask)})
    graph = api.StateGraph(Told)
    for name in ("left", "right"):
        graph.add_node(name, sub)
        graph.add_edge(api.START, name)
    compiled = graph.compile(checkpointer=api.saver())
    asked = await api.invoke(compiled, {"log": []}, api.thread())
    answers = {i.id: n for n, i in enumerate(asked["__interrupt__"])}
    return await api.invoke(compiled, api.Command(resume=answers), api.thread())


def asking_twice(api: Api, **options: Any) -> Any:
    """Two tasks of one superstep that are the same graph, which asks; the head is an update."""

    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = api.StateGraph(Told)
    graph.add_node("in", api.node(lambda state: {"log": ["in"]}))
    graph.add_node("sub", chain(api, Told, {"ask": api.node(ask)}, **options))
    graph.add_edge(api.START, "in")
    graph.add_conditional_edges("in", lambda s: [api.Send("sub", {"log": []})] * 2, ["sub"])
    return graph.compile(checkpointer=api.saver())


@both
async def case_sub_asked_twice_and_replayed_at_the_head(api: Api) -> Any:
    """Addressed at a head that is an update, a run replays it where it is: the graphs inside
    are begun again, all of them, not the first alone."""
    graph, modes = asking_twice(api), ["tasks", "values", "updates"]
    head = await api.update(graph, api.thread(), {"log": ["in"]}, "in")
    first = await api.stream(graph, None, api.thread(), modes, subgraphs=True)
    again = await api.stream(graph, None, head, modes, subgraphs=True)
    state = await api.state(graph, api.thread(), subgraphs=True)
    asked = [i.id for chunks in (first, again) for _, mode, chunk in chunks
             if mode == "updates" for i in chunk.get("__interrupt__", ())]  # fmt: skip
    answers = {i.id: n for n, i in enumerate(state.interrupts)}
    done = await api.invoke(graph, api.Command(resume=answers), api.thread())
    return [len(set(asked)), len(state.interrupts), done]
