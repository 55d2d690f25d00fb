"""`Command`: from nodes, and as input."""

from typing import Any, Literal

from tests.compat.engines import Api
from tests.compat.shapes import (
    ALL_MODES,
    Count,
    Log,
    LogCount,
    both,
    build,
    chain,
    logger,
    record,
    warns,
)


@both
async def case_node_returns_a_command(api: Api) -> Any:
    def a(state: Any) -> Any:
        return api.Command(update={"log": ["a"]}, goto="c")

    graph = build(
        api, Log, {"a": api.node(a), "b": None, "c": None}, [(api.START, "a")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {
        "stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates", "tasks"])
    }
    return out | await record(api, graph, api.thread())


@both
async def case_command_goto_and_edge_both_fire(api: Api) -> Any:
    def a(state: Any) -> Any:
        return api.Command(update={"log": ["a"]}, goto="c")

    graph = build(
        api, Log, {"a": api.node(a), "b": None, "c": None}, [(api.START, "a"), ("a", "b")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_command_goto_kinds(api: Api) -> Any:
    gotos = {
        "list": ["b", "c"],
        "send": api.Send("b", {"log": ["sent"]}),
        "mixed": ["c", api.Send("b", {"log": ["sent"]}), api.Send("c", {"log": ["sent"]})],
        "end": api.END,
        "list with end": [api.END, "b"],
        "nothing": (),
    }
    out = {}
    for label, goto in gotos.items():

        def a(state: Any, goto: Any = goto) -> Any:
            return api.Command(update={"log": ["a"]}, goto=goto)

        def look(state: Any) -> Any:
            return {"log": [["saw", *state["log"]]]}

        graph = build(
            api, Log, {"a": api.node(a), "b": api.node(look), "c": None}, [(api.START, "a")],
            checkpointer=api.saver(),
        )  # fmt: skip
        out[label] = {
            "result": await api.invoke(graph, {"log": []}, api.thread()),
            **await record(api, graph, api.thread()),
        }
    return out


@both
async def case_command_update_kinds(api: Api) -> Any:
    updates = {"dict": {"log": ["u"]}, "pairs": [("log", ["u"]), ("log", ["v"])], "none": None}
    out = {}
    for label, update in updates.items():

        def a(state: Any, update: Any = update) -> Any:
            return api.Command(update=update, goto="b")

        graph = build(
            api, Log, {"a": api.node(a), "b": None}, [(api.START, "a")], checkpointer=api.saver()
        )
        out[label] = await api.stream(
            graph, {"log": []}, api.thread(), ["values", "updates", "tasks"]
        )
    return out


async def case_node_returns_a_list_of_commands_and_dicts(api: Api) -> Any:
    def a(state: Any) -> Any:
        return [
            {"log": ["first"]},
            api.Command(update={"log": ["second"]}, goto="b"),
            api.Command(update={"log": ["third"]}, goto=[api.Send("c", {"log": []})]),
        ]

    graph = build(
        api, Log, {"a": api.node(a), "b": None, "c": None}, [(api.START, "a")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {
        "stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates", "tasks"])
    }
    return out | await record(api, graph, api.thread())


@both
async def case_annotated_command_destinations(api: Api) -> Any:
    def a(state: Any) -> api.Command[Literal["b", "c"]]:
        return api.Command(goto="b" if state["n"] else "c")

    graph = build(
        api, LogCount, {"a": a if api.sync else api.node(a), "b": None, "c": None},
        [(api.START, "a")], checkpointer=api.saver(),
    )  # fmt: skip
    return [await api.invoke(graph, {"log": [], "n": n}, api.thread()) for n in (0, 1)]


@both
async def case_goto_loop(api: Api) -> Any:
    def a(state: Any) -> Any:
        return api.Command(update={"n": state["n"] + 1}, goto="a" if state["n"] < 3 else api.END)

    graph = build(api, Count, {"a": api.node(a)}, [(api.START, "a")], checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"n": 0}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_goto_an_unknown_node(api: Api) -> Any:
    def a(state: Any) -> Any:
        return api.Command(update={"log": ["a"]}, goto="ghost")

    graph = build(api, Log, {"a": api.node(a)}, [(api.START, "a")], checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


async def case_command_input_update_and_goto_on_a_new_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    command = api.Command(update={"log": ["cmd"]}, goto="b")
    out = {"stream": await api.stream(graph, command, api.thread(), ["values", "updates"])}
    return out | await record(api, graph, api.thread())


async def case_command_input_on_a_finished_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    out = {"first": await api.invoke(graph, {"log": []}, api.thread())}
    out["update"] = await api.invoke(graph, api.Command(update={"log": ["u"]}), api.thread())
    out["state"] = await api.state(graph, api.thread())
    out["goto"] = await api.invoke(graph, api.Command(goto="b"), api.thread())
    command = api.Command(update={"log": ["x"]}, goto=["a", api.Send("b", {"log": []})])
    out["both"] = await api.stream(graph, command, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_empty_command(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    out = {"new thread": await api.raised(api.invoke(graph, api.Command(), api.thread()))}
    await api.invoke(graph, {"log": []}, api.thread())
    out["finished thread"] = await api.raised(api.invoke(graph, api.Command(), api.thread()))
    return out


@both
async def case_command_to_parent_from_a_root_graph(api: Api) -> Any:
    def a(state: Any) -> Any:
        return api.Command(graph=api.Command.PARENT, update={"log": ["up"]}, goto="b")

    graph = build(api, Log, {"a": api.node(a), "b": None}, [(api.START, "a")])
    try:
        await api.invoke(graph, {"log": []})
    except BaseException as error:
        return type(error).__name__
    return "nothing raised"


async def case_resume_with_update_and_goto(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("?")]}

    graph = build(
        api, Log, {"ask": api.node(ask), "b": None, "c": None}, [(api.START, "ask"), ("ask", "b")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"stop": await api.invoke(graph, {"log": []}, api.thread())}
    command = api.Command(resume="yes", update={"log": ["u"]}, goto="c")
    out["on"] = await api.stream(graph, command, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_resume_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, ["a"])
    return await api.raised(api.invoke(graph, api.Command(resume=1)))


@both
async def case_resume_a_thread_that_asked_nothing(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    out = {"result": await api.invoke(graph, api.Command(resume=1), api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_command_input_all_modes(api: Api) -> Any:
    graph = build(api, Log, ["a", "b"], [(api.START, "a")], checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return await api.stream(
        graph, api.Command(update={"log": ["u"]}, goto="b"), api.thread(), ALL_MODES
    )


@both
@warns
async def case_command_update_with_unknown_keys(api: Api) -> Any:
    def a(state: Any) -> Any:
        return api.Command(update={"log": ["a"], "nobody": 1}, goto="b")

    graph = build(
        api, Log, {"a": api.node(a), "b": logger(api, "b")}, [(api.START, "a")],
        checkpointer=api.saver(),
    )  # fmt: skip
    return await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])


async def case_command_input_goto_while_interrupted_before(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    out = {"stop": await api.invoke(graph, {"log": []}, api.thread())}
    out["goto"] = await api.stream(
        graph, api.Command(goto="c"), api.thread(), ["values", "updates"]
    )
    return out | await record(api, graph, api.thread())
