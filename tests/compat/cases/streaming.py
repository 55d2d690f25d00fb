"""Stream modes alone and together, output keys, custom chunks."""

import operator
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, LogCount, both, build, chain, logger


class Three(TypedDict):
    log: Annotated[list, operator.add]
    n: int
    note: str


def three(api: Api, **options: Any) -> Any:
    nodes = {
        "a": api.node(lambda state: {"log": ["a"], "n": state["n"] + 1}),
        "b": api.node(lambda state: {"note": "from b"}),
    }
    return chain(api, Three, nodes, **options)


GIVEN = {"log": ["in"], "n": 0, "note": ""}


@both
async def case_each_mode_alone(api: Api) -> Any:
    out = {}
    for mode in ALL_MODES:
        graph = three(api, checkpointer=api.saver())
        out[mode] = await api.stream(graph, GIVEN, api.thread(), mode)
        out[f"[{mode}]"] = await api.stream(
            three(api, checkpointer=api.saver()), GIVEN, api.thread(), [mode]
        )
    return out


@both
async def case_default_mode(api: Api) -> Any:
    graph = three(api, checkpointer=api.saver())
    return await api.stream(graph, GIVEN, api.thread())


@both
async def case_all_modes_at_once(api: Api) -> Any:
    return await api.stream(three(api, checkpointer=api.saver()), GIVEN, api.thread(), ALL_MODES)


@both
async def case_modes_without_a_checkpointer(api: Api) -> Any:
    return await api.stream(three(api), GIVEN, None, ALL_MODES)


@both
async def case_output_keys(api: Api) -> Any:
    out = {}
    for label, keys in {"one": "n", "list of one": ["n"], "two": ["log", "note"]}.items():
        graph = three(api, checkpointer=api.saver())
        out[label] = {
            "stream": await api.stream(graph, GIVEN, api.thread(), ALL_MODES, output_keys=keys),
            "invoke": await api.invoke(three(api), GIVEN, None, output_keys=keys),
        }
    return out


@both
async def case_unknown_output_keys(api: Api) -> Any:
    return await api.raised(api.invoke(three(api), GIVEN, None, output_keys=["ghost"]))


@both
async def case_invoke_with_stream_modes(api: Api) -> Any:
    out = {}
    for mode in ("values", "updates", ["values", "updates"], ["updates"], "tasks"):
        graph = three(api, checkpointer=api.saver())
        out[repr(mode)] = await api.invoke(graph, GIVEN, api.thread(), stream_mode=mode)
    return out


@both
async def case_custom_chunks(api: Api) -> Any:
    def by_call(state: Any) -> Any:
        write = api.get_stream_writer()
        write({"n": 1})
        write("two")
        write(None)
        return {"log": ["by_call"]}

    def by_parameter(state: Any, writer) -> Any:
        writer([3])
        return {"log": ["by_parameter"]}

    def by_runtime(state: Any, runtime: api.Runtime) -> Any:
        runtime.stream_writer(4)
        return {"log": ["by_runtime"]}

    nodes = {"c": api.node(by_call), "p": api.node(by_parameter), "r": api.node(by_runtime)}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    return {
        "alone": await api.stream(graph, {"log": []}, api.thread("1"), "custom"),
        "mixed": await api.stream(
            graph, {"log": []}, api.thread("2"), ["custom", "updates", "values"]
        ),
        "not asked": await api.stream(graph, {"log": []}, api.thread("3"), "updates"),
        "invoke": await api.invoke(graph, {"log": []}, api.thread("4"), stream_mode="custom"),
    }


@both
async def case_updates_of_nodes_that_write_nothing(api: Api) -> Any:
    graph = chain(api, LogCount, {"a": api.node(lambda s: None), "b": api.node(lambda s: {"n": 1})})
    return {
        "updates": await api.stream(graph, {"log": []}, None, "updates"),
        "values": await api.stream(graph, {"log": []}, None, "values"),
        "keys": await api.stream(
            graph, {"log": []}, None, ["updates", "values"], output_keys=["n"]
        ),
    }


async def case_updates_of_parallel_nodes(api: Api) -> Any:
    s = api.START
    graph = build(api, Log, ["b", "a", "z"], [(s, "a"), (s, "b"), (["a", "b"], "z")])
    return await api.stream(graph, {"log": []}, None, ["updates", "values", "tasks"])


@both
async def case_values_when_nothing_changes(api: Api) -> Any:
    graph = chain(api, Log, {"a": api.node(lambda s: {}), "b": None, "c": api.node(lambda s: None)})
    return await api.stream(graph, {}, None, ["values", "updates"])


async def case_stream_left_early(api: Api) -> Any:
    ran: list[str] = []

    def step(name: str) -> Any:
        def run(state: Any) -> Any:
            ran.append(name)
            return {"log": [name]}

        return api.node(run)

    graph = chain(api, Log, {n: step(n) for n in "abc"}, checkpointer=api.saver())
    chunks = graph.astream({"log": []}, api.thread(), stream_mode="updates", durability="sync")
    first = await anext(chunks)
    await chunks.aclose()
    state = await api.state(graph, api.thread())
    done = await api.invoke(graph, None, api.thread()) if state.next else state.values
    return {"first": first, "c did not run": "c" not in ran or "left", "done": done}


@both
async def case_node_metadata_and_tags_in_tasks(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("a", logger(api, "a"), metadata={"m_node": "A"})
    graph.add_edge(api.START, "a")
    compiled = graph.compile(checkpointer=api.saver())
    config = api.thread(metadata={"m_run": 1}, tags=["red"])
    return {
        "stream": await api.stream(compiled, {"log": []}, config, ["tasks"]),
        "history": await api.history(compiled, api.thread()),
    }


@both
async def case_stream_of_a_second_turn(api: Api) -> Any:
    graph = three(api, checkpointer=api.saver())
    await api.invoke(graph, GIVEN, api.thread())
    return await api.stream(graph, {"log": ["again"]}, api.thread(), ALL_MODES)
