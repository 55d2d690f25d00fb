"""`durability`: the same final state, whatever is written on the way."""

from typing import Any

from tests.compat.engines import Api, Raised
from tests.compat.shapes import ALL_MODES, Log, both, build, chain, logger, record, warns


@both
async def case_durability_modes(api: Api) -> Any:
    out = {}
    for durability in ("sync", "async", "exit"):
        graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
        result = await api.invoke(graph, {"log": ["in"]}, api.thread(), durability=durability)
        out[durability] = {"result": result, **await record(api, graph, api.thread())}
    return out


@both
async def case_exit_over_several_turns(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": [n]}, api.thread(), durability="exit") for n in range(3)]
    return {"turns": out} | await record(api, graph, api.thread())


@both
async def case_exit_with_an_interrupt(api: Api) -> Any:
    s = api.START
    nodes = {
        "a": None,
        "ask": api.node(lambda st: {"log": [api.interrupt("q")]}),
        "c": None,
        "z": None,
    }
    edges = [(s, "a"), ("a", "ask"), ("a", "c"), (["ask", "c"], "z")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    out = {"stop": await api.invoke(graph, {"log": ["in"]}, api.thread(), durability="exit")}
    out["stopped"] = await record(api, graph, api.thread())
    command = api.Command(resume="r")
    out["on"] = await api.invoke(graph, command, api.thread(), durability="exit")
    return out | await record(api, graph, api.thread())


@both
async def case_exit_with_a_failure(api: Api) -> Any:
    runs: list[int] = []

    def flaky(state: Any) -> Any:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("once")
        return {"log": ["flaky"]}

    graph = chain(
        api, Log, {"a": logger(api, "a"), "f": api.node(flaky), "z": None}, checkpointer=api.saver()
    )
    out = {
        "raised": await api.raised(api.invoke(graph, {"log": []}, api.thread(), durability="exit"))
    }
    out["failed"] = await record(api, graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread(), durability="exit")
    return out | await record(api, graph, api.thread())


@both
async def case_exit_with_a_breakpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["c"])
    out = {"stop": await api.invoke(graph, {"log": ["in"]}, api.thread(), durability="exit")}
    out["stopped"] = await record(api, graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread(), durability="exit")
    return out | await record(api, graph, api.thread())


@both
async def case_exit_then_default(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": [1]}, api.thread(), durability="exit")
    await api.invoke(graph, {"log": [2]}, api.thread())
    return await record(api, graph, api.thread())


@both
async def case_exit_streams(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    modes = [m for m in ALL_MODES if m not in ("checkpoints", "debug")]
    return await api.stream(graph, {"log": ["in"]}, api.thread(), modes, durability="exit")


@both
@warns
async def case_durability_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, ["a"])
    out = {}
    for durability in ("async", "exit"):
        out[durability] = await api.invoke(graph, {"log": []}, None, durability=durability)
    return out


@both
async def case_sync_durability_with_an_interrupt(api: Api) -> Any:
    nodes = {"a": None, "ask": api.node(lambda st: {"log": [api.interrupt("q")]}), "z": None}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    out = {"stop": await api.invoke(graph, {"log": []}, api.thread(), durability="sync")}
    out["on"] = await api.invoke(graph, api.Command(resume=1), api.thread(), durability="sync")
    return out | await record(api, graph, api.thread())


@both
async def case_checkpoint_chunks_in_exit_mode(api: Api) -> Any:
    """What was not stored has no parent that could be looked up."""
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    inputs = ({"log": []}, {"log": ["x"]})
    chunks = [
        await api.stream(graph, given, api.thread(), "checkpoints", durability="exit")
        for given in inputs
    ]
    return {"chunks": chunks, "history": [s.config for s in await api.history(graph, api.thread())]}


async def case_command_that_starts_nothing_in_exit_mode(api: Api) -> Any:
    nodes = {"a": None, "late": None}
    graph = build(api, Log, nodes, [(api.START, "a")], deferred=["late"], checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    command = api.Command(update={"log": ["u"]}, goto="late")
    chunks = await api.stream(graph, command, api.thread(), "values", durability="exit")
    return [chunks, await api.state(graph, api.thread())]


async def case_join_that_is_half_full_in_exit_mode(api: Api) -> Any:
    """The run stops at a question while a source of the join has finished beside it."""

    def ask(state: Any) -> Any:
        return {"log": [["ask", api.interrupt("q")]]}

    nodes = {"a": None, "b": None, "ask": api.node(ask), "z": None}
    edges = [(api.START, "a"), ("a", "b"), ("a", "ask"), (["a", "b"], "z")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread(), durability="exit")
    state = await api.state(graph, api.thread())
    chunks = await api.stream(graph, api.Command(resume="r"), api.thread(), "updates")
    return {"next": state.next, "ran": [name for chunk in chunks for name in chunk]}


async def case_graph_that_keeps_nothing_inside_a_sync_run(api: Api) -> Any:
    inner = chain(api, Log, ["b"], checkpointer=False)
    graph = chain(api, Log, {"a": inner}, checkpointer=api.saver())
    out = []
    for durability in ("async", "sync", "exit"):
        config = api.thread(durability)
        try:
            out.append(await api.invoke(graph, {"log": []}, config, durability=durability))
        except AttributeError as error:
            out.append(Raised(error))
    return out


@both
async def case_exit_beside_a_graph_that_finished(api: Api) -> Any:
    """Of a graph inside whose task has its result, nothing is stored at exit."""
    s = api.START
    sub = chain(api, Log, ["inner"])
    nodes = {"ask": api.node(lambda st: {"log": [api.interrupt("q")]}), "sub": sub, "z": None}
    edges = [(s, "ask"), (s, "sub"), (["ask", "sub"], "z")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread(), durability="exit")
    stopped = await api.state(graph, api.thread(), subgraphs=True)
    on = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return {"stopped": stopped, "sub": [t.state for t in stopped.tasks], "on": on}
