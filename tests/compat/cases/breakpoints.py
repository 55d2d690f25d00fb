"""Static breakpoints: `interrupt_before` and `interrupt_after`."""

from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, build, chain, record


async def to_the_end(api: Api, graph: Any, input: Any, **options: Any) -> list[Any]:
    """Run, then go on with None until nothing is left; at most eight times."""
    out: list[Any] = []
    config = api.thread()
    for _ in range(8):
        chunks = await api.stream(graph, input, config, ["values", "updates"], **options)
        state = await api.state(graph, config)
        out.append((chunks, state))
        if not state.next:
            break
        input = None
    return out


@both
async def case_interrupt_before_at_compile(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    out = {"runs": await to_the_end(api, graph, {"log": ["in"]})}
    return out | await record(api, graph, api.thread())


@both
async def case_interrupt_after_at_compile(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_after=["b"])
    out = {"runs": await to_the_end(api, graph, {"log": ["in"]})}
    return out | await record(api, graph, api.thread())


@both
async def case_breakpoints_all_modes(api: Api) -> Any:
    graph = chain(
        api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"],
        interrupt_after=["b"],
    )  # fmt: skip
    return [
        await api.stream(graph, {"log": ["in"]}, api.thread(), ALL_MODES),
        await api.stream(graph, None, api.thread(), ALL_MODES),
        await api.stream(graph, None, api.thread(), ALL_MODES),
    ]


@both
async def case_interrupt_before_everything(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver(), interrupt_before="*")
    out = {"runs": await to_the_end(api, graph, {"log": ["in"]})}
    return out | await record(api, graph, api.thread())


@both
async def case_interrupt_after_everything(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver(), interrupt_after="*")
    out = {"runs": await to_the_end(api, graph, {"log": ["in"]})}
    return out | await record(api, graph, api.thread())


@both
async def case_breakpoints_of_one_call(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    out = {"before": await api.invoke(graph, {"log": []}, api.thread(), interrupt_before=["c"])}
    out["state"] = await api.state(graph, api.thread())
    out["none"] = await api.invoke(graph, None, api.thread())
    out["after"] = await api.invoke(graph, {"log": []}, api.thread(), interrupt_after=["a"])
    out["star"] = await api.invoke(graph, None, api.thread(), interrupt_before="*")
    return out | await record(api, graph, api.thread())


@both
async def case_call_overrides_compiled_breakpoints(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    out = {"other": await api.invoke(graph, {"log": []}, api.thread(), interrupt_before=["c"])}
    out["state"] = await api.state(graph, api.thread())
    out["none"] = await api.invoke(graph, {"log": []}, api.thread("u"), interrupt_before=[])
    return out


@both
async def case_breakpoint_at_a_fan_out(api: Api) -> Any:
    s = api.START
    edges = [(s, "a"), (s, "b"), (["a", "b"], "z")]
    graph = build(
        api, Log, ["a", "b", "z"], edges, checkpointer=api.saver(), interrupt_before=["b"],
        interrupt_after=["a"],
    )  # fmt: skip
    out = {"runs": [s for _, s in await to_the_end(api, graph, {"log": ["in"]})]}
    return out | await record(api, graph, api.thread())


@both
async def case_breakpoint_in_a_loop(api: Api) -> Any:
    def more(state: Any) -> Any:
        return "a" if len(state["log"]) < 4 else api.END

    graph = build(
        api, Log, ["a"], [(api.START, "a")], [("a", more)], checkpointer=api.saver(),
        interrupt_before=["a"],
    )  # fmt: skip
    out = {"runs": await to_the_end(api, graph, {"log": ["in"]})}
    return out | await record(api, graph, api.thread())


@both
async def case_edit_at_a_breakpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), {"log": ["edit"]})
    out = {"edited": await api.state(graph, api.thread())}
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_skip_at_a_breakpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b", "c"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), {"log": ["instead of b"]}, "b")
    out = {"edited": await api.state(graph, api.thread())}
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    out["again"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_new_input_at_a_breakpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    out = {"one": await api.invoke(graph, {"log": ["one"]}, api.thread())}
    out["two"] = await api.stream(graph, {"log": ["two"]}, api.thread(), ["values", "updates"])
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_breakpoint_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], interrupt_before=["b"])
    try:
        return await api.stream(graph, {"log": []}, None, ["values", "updates"])
    except Exception as error:
        return type(error).__name__


@both
async def case_breakpoint_and_question_in_one_node(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = chain(
        api, Log, {"ask": api.node(ask), "z": None}, checkpointer=api.saver(),
        interrupt_before=["ask"], interrupt_after=["ask"],
    )  # fmt: skip
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    out.append(await api.invoke(graph, None, api.thread()))
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    out.append(await api.state(graph, api.thread()))
    out.append(await api.invoke(graph, None, api.thread()))
    return {"runs": out} | await record(api, graph, api.thread())
