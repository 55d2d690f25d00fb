"""Graphs inside graphs: state, namespaces, questions, streams, commands to the parent."""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Count, Log, LogCount, both, build, chain, logger, record


class Own(TypedDict):
    log: Annotated[list, operator.add]
    own: str


class Inner(TypedDict):
    question: str
    answer: str


def asker(api: Api, name: str, *questions: str) -> Callable[..., Any]:
    def ask(state: Any) -> Any:
        return {"log": [[name, *(api.interrupt(q) for q in questions)]]}

    return api.node(ask)


def inner(api: Api, *nodes: Any, schema: Any = Own, **options: Any) -> Any:
    """A chain of nodes to be put into another graph; strings are loggers."""
    named = {
        (n if isinstance(n, str) else f"s{i}"): (logger(api, n) if isinstance(n, str) else n)
        for i, n in enumerate(nodes)
    }
    return chain(api, schema, named, **options)


def outer(api: Api, sub: Any, /, *, saved: bool = True, **options: Any) -> Any:
    """first -> sub -> last."""
    nodes = {"first": logger(api, "first"), "sub": sub, "last": logger(api, "last")}
    if saved:
        options["checkpointer"] = api.saver()
    return chain(api, Log, nodes, **options)


async def watch(api: Api, graph: Any, given: Any, config: Any = None, **options: Any) -> list[Any]:
    return await api.stream(graph, given, config, ALL_MODES, subgraphs=True, **options)


# --- state --------------------------------------------------------------------------------------


@both
async def case_sub_shared_state(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b"))
    out = {"result": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_sub_without_a_saver(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b"), saved=False)
    return await api.invoke(graph, {"log": ["in"]})


@both
async def case_sub_of_a_sub(api: Api) -> Any:
    graph = outer(api, inner(api, "a", inner(api, "x", "y"), "b"))
    out = {"result": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_sub_called_in_a_function_with_other_state(api: Api) -> Any:
    def answer(state: Any) -> Any:
        return {"answer": state["question"].upper()}

    sub = chain(api, Inner, {"answer": api.node(answer)})

    def call(state: Any, config: api.RunnableConfig) -> Any:
        return {"log": [sub.invoke({"question": "why"}, config)["answer"]]}

    async def acall(state: Any, config: api.RunnableConfig) -> Any:
        return {"log": [(await sub.ainvoke({"question": "why"}, config))["answer"]]}

    graph = outer(api, call if api.sync else acall)
    out = {"result": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_sub_called_in_a_function_without_config(api: Api) -> Any:
    sub = chain(api, Count, {"n": api.node(lambda s: {"n": s["n"] + 1})})

    def call(state: Any) -> Any:
        return {"log": [sub.invoke({"n": 1})]}

    async def acall(state: Any) -> Any:
        return {"log": [await sub.ainvoke({"n": 1})]}

    graph = outer(api, call if api.sync else acall)
    return await watch(api, graph, {"log": ["in"]}, api.thread())


@both
async def case_sub_called_twice_in_one_function(api: Api) -> Any:
    sub = chain(api, Count, {"n": api.node(lambda s: {"n": s["n"] + 1})})

    def call(state: Any) -> Any:
        return {"log": [sub.invoke({"n": 1}), sub.invoke({"n": 5})]}

    async def acall(state: Any) -> Any:
        return {"log": [await sub.ainvoke({"n": 1}), await sub.ainvoke({"n": 5})]}

    graph = outer(api, call if api.sync else acall)
    return await watch(api, graph, {"log": ["in"]}, api.thread())


@both
async def case_sub_with_input_and_output_schemas(api: Api) -> Any:
    class In(TypedDict):
        n: int

    class Out(TypedDict):
        log: Annotated[list, operator.add]

    class All(TypedDict):
        n: int
        log: Annotated[list, operator.add]
        own: int

    graph = api.StateGraph(All, input_schema=In, output_schema=Out)
    graph.add_node("a", api.node(lambda s: {"own": s["n"] * 2, "log": [sorted(s)]}))
    graph.add_node("b", api.node(lambda s: {"log": [s["own"]], "n": 7}))
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    sub = graph.compile()
    whole = chain(api, LogCount, {"sub": sub, "z": logger(api, "z")}, checkpointer=api.saver())
    out = {"result": await api.invoke(whole, {"n": 3, "log": []}, api.thread())}
    return out | await record(api, whole, api.thread())


@both
async def case_sub_state_is_shown_while_it_asks(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    config = api.thread()
    out: dict[str, Any] = {"asked": await api.invoke(graph, {"log": ["in"]}, config)}
    out["plain"] = await api.state(graph, config)
    out["deep"] = await api.state(graph, config, subgraphs=True)
    out["told"] = await api.invoke(graph, api.Command(resume="r"), config)
    return out | await record(api, graph, config)


@both
async def case_sub_of_a_sub_state_is_shown(api: Api) -> Any:
    graph = outer(api, inner(api, "a", inner(api, "x", asker(api, "ask", "q")), "b"))
    config = api.thread()
    out: dict[str, Any] = {"asked": await api.invoke(graph, {"log": ["in"]}, config)}
    out["deep"] = await api.state(graph, config, subgraphs=True)
    out["told"] = await api.invoke(graph, api.Command(resume="r"), config)
    out["end"] = await api.state(graph, config, subgraphs=True)
    return out


@both
async def case_sub_state_and_history_by_namespace(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    config = api.thread()
    await api.invoke(graph, {"log": ["in"]}, config)
    inside = (await api.state(graph, config)).tasks[0].state
    out = {"asked": await record(api, graph, inside)}
    await api.invoke(graph, api.Command(resume="r"), config)
    out["told"] = await record(api, graph, inside)
    return out


@both
async def case_sub_history_names_graphs_inside(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b"))
    config = api.thread()
    await api.invoke(graph, {"log": ["in"]}, config)
    found = [s.tasks[0].state for s in await api.history(graph, config) if s.next == ("sub",)]
    return [await record(api, graph, place) for place in found]


# --- savers -------------------------------------------------------------------------------------


async def _three_runs(api: Api, saver: Any, **options: Any) -> Any:
    graph = outer(api, inner(api, "a", "b", checkpointer=saver), **options)
    config = api.thread()
    results = [await api.invoke(graph, {"log": [i]}, config) for i in range(3)]
    return {"results": results} | await record(api, graph, config)


@both
async def case_sub_three_runs_inherited(api: Api) -> Any:
    return await _three_runs(api, None)


@both
async def case_sub_three_runs_one_history(api: Api) -> Any:
    return await _three_runs(api, True)


@both
async def case_sub_three_runs_no_history(api: Api) -> Any:
    return await _three_runs(api, False)


@both
async def case_sub_one_history_needs_a_root(api: Api) -> Any:
    graph = inner(api, "a", checkpointer=True)
    return await api.raised(api.invoke(graph, {"log": []}, api.thread()))


@both
async def case_sub_one_history_is_shown(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), checkpointer=True))
    config = api.thread()
    out: dict[str, Any] = {"one": await api.invoke(graph, {"log": ["in"]}, config)}
    out["deep"] = await api.state(graph, config, subgraphs=True)
    out["two"] = await api.invoke(graph, api.Command(resume="r"), config)
    out["three"] = await api.invoke(graph, {"log": ["again"]}, config)
    out["four"] = await api.invoke(graph, api.Command(resume="s"), config)
    inside = {"configurable": {"thread_id": "t", "checkpoint_ns": "sub"}}
    return out | await record(api, graph, inside)


@both
async def case_sub_one_history_in_a_loop(api: Api) -> Any:
    sub = inner(api, "a", checkpointer=True)

    def again(state: Any) -> Any:
        return "sub" if len(state["log"]) < 9 else api.END

    graph = build(
        api, Log, {"sub": sub}, [(api.START, "sub")], [("sub", again)], checkpointer=api.saver()
    )
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    inside = {"configurable": {"thread_id": "t", "checkpoint_ns": "sub"}}
    return out | {"inside": await record(api, graph, inside)}


@both
async def case_sub_with_a_saver_of_its_own_under_one(api: Api) -> Any:
    return await _three_runs(api, api.saver())


@both
async def case_sub_with_a_saver_of_its_own_under_none(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b", checkpointer=api.saver()), saved=False)
    return [await api.invoke(graph, {"log": [i]}, api.thread()) for i in range(3)]


@both
async def case_sub_run_on_another_thread(api: Api) -> Any:
    sub = inner(api, "a", checkpointer=api.saver())
    other = api.thread("other")

    def call(state: Any) -> Any:
        return {"log": [sub.invoke({"log": ["x"]}, other)["log"]]}

    async def acall(state: Any) -> Any:
        return {"log": [(await sub.ainvoke({"log": ["x"]}, other))["log"]]}

    graph = outer(api, call if api.sync else acall)
    out = {"results": [await api.invoke(graph, {"log": [i]}, api.thread()) for i in range(2)]}
    return out | await record(api, sub, other)


# --- questions ----------------------------------------------------------------------------------


async def _ask_twice(api: Api, sub: Any, **options: Any) -> Any:
    graph = outer(api, sub)
    config = api.thread()
    out = [await api.invoke(graph, {"log": ["in"]}, config, **options)]
    for answer in ("r1", "r2"):
        out.append(await api.invoke(graph, api.Command(resume=answer), config, **options))
        out.append(await api.state(graph, config))
    return out


@both
async def case_sub_two_questions_in_a_node(api: Api) -> Any:
    return await _ask_twice(api, inner(api, "a", asker(api, "ask", "q1", "q2"), "b"))


@both
async def case_sub_two_nodes_ask(api: Api) -> Any:
    return await _ask_twice(api, inner(api, asker(api, "one", "q1"), asker(api, "two", "q2")))


@both
async def case_sub_two_nodes_ask_one_history(api: Api) -> Any:
    sub = inner(api, asker(api, "one", "q1"), asker(api, "two", "q2"), checkpointer=True)
    return await _ask_twice(api, sub)


@both
async def case_sub_asks_at_exit(api: Api) -> Any:
    sub = inner(api, "a", asker(api, "one", "q1"), asker(api, "two", "q2"))
    return await _ask_twice(api, sub, durability="exit")


@both
async def case_sub_asks_at_exit_two_levels(api: Api) -> Any:
    sub = inner(api, "a", inner(api, "x", asker(api, "ask", "q1", "q2")), "b")
    return await _ask_twice(api, sub, durability="exit")


@both
async def case_sub_two_nodes_ask_sync(api: Api) -> Any:
    sub = inner(api, asker(api, "one", "q1"), "a", asker(api, "two", "q2"))
    return await _ask_twice(api, sub, durability="sync")


@both
async def case_sub_answered_by_id(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    config = api.thread()
    asked = await api.invoke(graph, {"log": ["in"]}, config)
    resume = {asked["__interrupt__"][0].id: "by id"}
    return [asked, await api.invoke(graph, api.Command(resume=resume), config)]


async def case_sub_parallel_subgraphs_ask(api: Api) -> Any:
    nodes = {
        "one": inner(api, "a", asker(api, "one", "q1")),
        "two": inner(api, "b", asker(api, "two", "q2")),
    }
    edges = [(api.START, "one"), (api.START, "two")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    config = api.thread()
    out: list[Any] = [await api.invoke(graph, {"log": ["in"]}, config)]
    asked = sorted(out[0]["__interrupt__"], key=lambda i: i.value)
    out[0]["__interrupt__"] = asked
    out.append(await api.invoke(graph, api.Command(resume={asked[0].id: "r1"}), config))
    out.append(await api.state(graph, config, subgraphs=True))
    out.append(await api.invoke(graph, api.Command(resume={asked[1].id: "r2"}), config))
    return out


@both
async def case_sub_question_before_a_function_calls(api: Api) -> Any:
    sub = inner(api, asker(api, "ask", "inner q"), "b")

    def call(state: Any) -> Any:
        mine = api.interrupt("outer q")
        return {"log": [mine, *sub.invoke({"log": []})["log"]]}

    async def acall(state: Any) -> Any:
        mine = api.interrupt("outer q")
        return {"log": [mine, *(await sub.ainvoke({"log": []}))["log"]]}

    return await _ask_twice(api, call if api.sync else acall)


@both
async def case_sub_twelve_sends_ask(api: Api) -> Any:
    sub = inner(api, "a", asker(api, "ask", "q"))

    def spread(state: Any) -> Any:
        return [api.Send("sub", {"log": [f"s{i}"]}) for i in range(3)]

    graph = build(api, Log, {"sub": sub}, [], [(api.START, spread)], checkpointer=api.saver())
    config = api.thread()
    asked = await api.invoke(graph, {"log": ["in"]}, config)
    ids = [i.id for i in (await api.state(graph, config)).interrupts]
    resume = {name: f"r{i}" for i, name in enumerate(ids)}
    told = await api.invoke(graph, api.Command(resume=resume), config)
    return [len(asked["__interrupt__"]), len(set(ids)), told]


@both
async def case_sub_breakpoint_inside(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b", interrupt_before=["b"]))
    config = api.thread()
    out: list[Any] = [await api.invoke(graph, {"log": ["in"]}, config)]
    out.append(await api.state(graph, config, subgraphs=True))
    out.append(await api.invoke(graph, None, config))
    return [*out, await record(api, graph, config)]


@both
async def case_sub_breakpoint_inside_is_streamed(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b", interrupt_after=["a"]))
    out = [await watch(api, graph, {"log": ["in"]}, api.thread())]
    return [*out, await watch(api, graph, None, api.thread())]


# --- streams ------------------------------------------------------------------------------------


@both
async def case_sub_streams_of_all_modes(api: Api) -> Any:
    graph = outer(api, inner(api, "a", inner(api, "x"), "b"))
    return await watch(api, graph, {"log": ["in"]}, api.thread())


@both
async def case_sub_streams_without_subgraphs(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b"))
    return await api.stream(graph, {"log": ["in"]}, api.thread(), ALL_MODES)


@both
async def case_sub_streams_one_mode(api: Api) -> Any:
    graph = outer(api, inner(api, "a", "b"), saved=False)
    modes = ["updates", "values", "custom"]
    return [await api.stream(graph, {"log": ["in"]}, None, m, subgraphs=True) for m in modes]


async def _custom(api: Api, **options: Any) -> Any:
    def say(state: Any, writer: Callable[[Any], None]) -> Any:
        writer("inside")
        return {"log": ["said"]}

    def say_outside(state: Any, writer: Callable[[Any], None]) -> Any:
        writer("outside")
        return {}

    sub = inner(api, api.node(say))
    nodes = {"out": api.node(say_outside), "sub": sub}
    graph = chain(api, Log, nodes)
    return await api.stream(graph, {"log": []}, None, "custom", **options)


async def case_sub_custom_chunks_with_subgraphs(api: Api) -> Any:
    return await _custom(api, subgraphs=True)


async def case_sub_custom_chunks_without_subgraphs(api: Api) -> Any:
    return await _custom(api)


@both
async def case_sub_streamed_by_its_caller(api: Api) -> Any:
    sub = inner(api, "a", "b")

    def call(state: Any) -> Any:
        return {"log": [list(sub.stream({"log": []}, stream_mode="updates"))]}

    async def acall(state: Any) -> Any:
        return {"log": [[c async for c in sub.astream({"log": []}, stream_mode="updates")]]}

    graph = outer(api, call if api.sync else acall)
    return [
        await watch(api, graph, {"log": []}, api.thread()),
        await api.stream(graph, {"log": []}, api.thread("u"), "updates"),
    ]


@both
async def case_sub_question_is_streamed(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    out = [await watch(api, graph, {"log": ["in"]}, api.thread())]
    return [*out, await watch(api, graph, api.Command(resume="r"), api.thread())]


# --- failures -----------------------------------------------------------------------------------


def failing(api: Api, *, times: int = 1) -> Callable[..., Any]:
    left = [times]

    def fail(state: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise ZeroDivisionError("no")
        return {"log": ["mended"]}

    return api.node(fail)


@both
async def case_sub_failure_and_resume(api: Api) -> Any:
    graph = outer(api, inner(api, "a", failing(api), "b"))
    config = api.thread()
    out: list[Any] = [await api.raised(api.invoke(graph, {"log": ["in"]}, config))]
    out.append(await api.state(graph, config, subgraphs=True))
    out.append(await api.invoke(graph, None, config))
    return [*out, await record(api, graph, config)]


@both
async def case_sub_failure_and_resume_at_exit(api: Api) -> Any:
    graph = outer(api, inner(api, "a", failing(api), "b"))
    config = api.thread()
    first = api.invoke(graph, {"log": ["in"]}, config, durability="exit")
    out: list[Any] = [await api.raised(first)]
    out.append(await api.state(graph, config, subgraphs=True))
    out.append(await api.invoke(graph, None, config, durability="exit"))
    return [*out, await api.state(graph, config)]


@both
async def case_sub_runs_out_of_steps(api: Api) -> Any:
    sub = inner(api, "a", "b", "c")
    graph = outer(api, sub, saved=False)
    config = {"recursion_limit": 3}
    return await api.raised(api.invoke(graph, {"log": []}, config))


# --- commands to the parent ---------------------------------------------------------------------


def commanding(api: Api, **command: Any) -> Callable[..., Any]:
    def command_parent(state: Any) -> Any:
        return api.Command(graph=api.Command.PARENT, **command)

    return api.node(command_parent)


async def _commanded(api: Api, sub: Any, **options: Any) -> Any:
    nodes = {"sub": sub, "x": logger(api, "x"), "y": logger(api, "y")}
    edges = [(api.START, "sub")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver(), **options)
    chunks = await watch(api, graph, {"log": ["in"]}, api.thread())
    return {"chunks": chunks} | await record(api, graph, api.thread())


@both
async def case_sub_commands_its_parent(api: Api) -> Any:
    return await _commanded(api, inner(api, "a", commanding(api, update={"log": ["c"]}, goto="x")))


async def case_sub_commands_its_parent_to_send(api: Api) -> Any:
    goto = [api.Send("x", {"log": ["sent"]}), "y"]
    return await _commanded(api, inner(api, "a", commanding(api, goto=goto)))


@both
async def case_sub_of_a_sub_commands_its_parent(api: Api) -> Any:
    deep = inner(api, "x", commanding(api, goto="b", update={"log": ["deep"]}))
    nodes = {"deep": deep, "b": logger(api, "b")}
    sub = build(api, Own, nodes, [(api.START, "deep")])
    return await _commanded(api, sub)


@both
async def case_sub_commands_its_parent_from_a_function(api: Api) -> Any:
    sub = inner(api, commanding(api, goto="x"))

    def call(state: Any) -> Any:
        sub.invoke({"log": []})
        return {"log": ["never"]}

    async def acall(state: Any) -> Any:
        await sub.ainvoke({"log": []})
        return {"log": ["never"]}

    return await _commanded(api, call if api.sync else acall)


@both
async def case_sub_commands_its_parent_with_edges(api: Api) -> Any:
    nodes = {"sub": inner(api, commanding(api, goto="x")), "x": logger(api, "x")}
    graph = build(api, Log, {**nodes, "y": logger(api, "y")}, [(api.START, "sub"), ("sub", "y")])
    return await api.invoke(graph, {"log": []})


# --- updates and time travel --------------------------------------------------------------------


@both
async def case_sub_state_is_updated(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    config = api.thread()
    await api.invoke(graph, {"log": ["in"]}, config)
    inside = (await api.state(graph, config)).tasks[0].state
    out: list[Any] = [await api.update(graph, inside, {"log": ["edited"]})]
    out.append(await api.state(graph, config, subgraphs=True))
    out.append(await api.invoke(graph, api.Command(resume="r"), config))
    return [*out, await record(api, graph, config)]


@both
async def case_sub_state_is_updated_as_a_node(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    config = api.thread()
    await api.invoke(graph, {"log": ["in"]}, config)
    inside = (await api.state(graph, config)).tasks[0].state
    out: list[Any] = [await api.update(graph, inside, {"log": ["instead"]}, "s1")]
    out.append(await api.state(graph, config, subgraphs=True))
    out.append(await api.invoke(graph, None, config))
    return [*out, await record(api, graph, config)]


@both
async def case_sub_update_of_an_unknown_graph(api: Api) -> Any:
    graph = outer(api, inner(api, "a"))
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    place = {"configurable": {"thread_id": "t", "checkpoint_ns": "nobody:1"}}
    return await api.raised(api.update(graph, place, {"log": ["x"]}))


async def _replays(api: Api, sub: Any) -> Any:
    graph = outer(api, sub)
    config = api.thread()
    out: list[Any] = [await api.invoke(graph, {"log": ["in"]}, config)]
    for snapshot in await api.history(graph, config):
        chunks = await watch(api, graph, None, snapshot.config)
        out.append([c for c in chunks if c[1] in ("updates", "values")])
    return [*out, await record(api, graph, config)]


@both
async def case_sub_replayed_from_every_checkpoint(api: Api) -> Any:
    return await _replays(api, inner(api, "a", "b"))


@both
async def case_sub_with_one_history_replayed(api: Api) -> Any:
    return await _replays(api, inner(api, "a", "b", checkpointer=True))


@both
async def case_sub_replayed_while_it_asks(api: Api) -> Any:
    return await _replays(api, inner(api, "a", asker(api, "ask", "q"), "b"))


@both
async def case_sub_replayed_from_inside(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b"))
    config = api.thread()
    await api.invoke(graph, {"log": ["in"]}, config)
    inside = (await api.state(graph, config)).tasks[0].state
    out = []
    for snapshot in await api.history(graph, inside):
        chunks = await watch(api, graph, None, snapshot.config)
        out.append([c for c in chunks if c[1] in ("updates", "values")])
    return out


@both
async def case_sub_with_one_history_replayed_from_inside(api: Api) -> Any:
    graph = outer(api, inner(api, "a", asker(api, "ask", "q"), "b", checkpointer=True))
    config = api.thread()
    await api.invoke(graph, {"log": ["in"]}, config)
    inside = {"configurable": {"thread_id": "t", "checkpoint_ns": "sub"}}
    out = []
    for snapshot in await api.history(graph, inside):
        chunks = await watch(api, graph, None, snapshot.config)
        out.append([c for c in chunks if c[1] in ("updates", "values")])
    return out


# --- what nodes inside see ----------------------------------------------------------------------


@both
async def case_sub_config_inside(api: Api) -> Any:
    def look(state: Any, config: api.RunnableConfig) -> Any:
        own = config["configurable"]
        return {
            "log": [
                own["thread_id"], own["mine"], sorted(config["metadata"]),
                config["metadata"]["checkpoint_ns"], own["checkpoint_ns"],
                config["metadata"]["langgraph_node"], config["metadata"]["langgraph_step"],
                config["metadata"]["langgraph_triggers"], config["metadata"]["m_own"],
                config.get("tags"),
            ]
        }  # fmt: skip

    def steps(state: Any, config: api.RunnableConfig) -> Any:
        return {"log": [config["configurable"]["checkpoint_ns"].count("|")]}

    graph = outer(api, inner(api, api.node(look), inner(api, api.node(steps))))
    config = api.thread(metadata={"m_own": 1}, tags=["tag"])
    config["configurable"]["mine"] = "yes"
    return await api.invoke(graph, {"log": []}, config)


@both
async def case_sub_context_inside(api: Api) -> Any:
    def look(state: Any, runtime: api.Runtime) -> Any:
        return {"log": [runtime.context]}

    graph = outer(api, inner(api, api.node(look)))
    return await api.invoke(graph, {"log": []}, api.thread(), context={"who": "me"})


@both
async def case_sub_context_of_its_own(api: Api) -> Any:
    def look(state: Any, runtime: api.Runtime) -> Any:
        return {"log": [runtime.context]}

    sub = inner(api, api.node(look))

    def call(state: Any) -> Any:
        return {"log": sub.invoke({"log": []}, context={"who": "other"})["log"]}

    async def acall(state: Any) -> Any:
        return {"log": (await sub.ainvoke({"log": []}, context={"who": "other"}))["log"]}

    graph = outer(api, call if api.sync else acall)
    return await api.invoke(graph, {"log": []}, api.thread(), context={"who": "me"})


@both
async def case_sub_remaining_steps_inside(api: Api) -> Any:
    class Steps(TypedDict):
        log: Annotated[list, operator.add]
        left: api.RemainingSteps  # type: ignore[name-defined]

    sub = chain(api, Steps, {"a": api.node(lambda s: {"log": [s["left"]]})})
    graph = outer(api, sub, saved=False)
    return await api.invoke(graph, {"log": []}, {"recursion_limit": 20})
