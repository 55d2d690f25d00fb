"""What a compiled graph offers beside running: printing, defaults, copies, batches."""

import contextlib
import io
import warnings
from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import Count, Log, both, chain, logger


def adding(api: Api, **options: Any) -> Any:
    def add(state: Any) -> Any:
        if state["n"] < 0:
            raise ValueError("negative")
        return {"n": state["n"] + 1}

    return chain(api, Count, {"add": api.node(add)}, **options)


@both
async def case_print_mode(api: Api) -> Any:
    out = {}
    for mode in ("values", "updates", ["values", "updates"], "tasks"):
        for call in ("invoke", "stream"):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                verb = api.invoke if call == "invoke" else api.stream
                result = await verb(adding(api), {"n": 1}, None, print_mode=mode)
            out[f"{call} {mode}"] = [printed.getvalue(), result]
    return out


@both
async def case_debug_prints(api: Api) -> Any:
    out = []
    for compiled, call in (({"debug": True}, {}), ({}, {"debug": True}), ({}, {"debug": False})):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = await api.invoke(adding(api, **compiled), {"n": 1}, None, **call)
        out.append([printed.getvalue(), result])
    return out


@both
async def case_stream_mode_as_a_tuple(api: Api) -> Any:
    return await api.stream(adding(api), {"n": 1}, None, ("values", "updates"))


@both
async def case_checkpoint_during(api: Api) -> Any:
    out = {}
    for during in (True, False):
        graph = adding(api, checkpointer=api.saver())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = await api.invoke(graph, {"n": 1}, api.thread(), checkpoint_during=during)
        old = [w.category.__name__ for w in caught if "checkpoint_during" in str(w.message)]
        out[str(during)] = [result, old, len(await api.history(graph, api.thread()))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out["both"] = await api.raised(
            api.invoke(graph, {"n": 1}, api.thread(), checkpoint_during=True, durability="sync")
        )
    return out


@both
async def case_durability_without_a_saver_warns(api: Api) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = await api.invoke(adding(api), {"n": 1}, None, durability="async")
    return [result, [str(w.message) for w in caught if "durability" in str(w.message)]]


@both
async def case_with_config(api: Api) -> Any:
    seen: list[Any] = []

    def look(state: Any, config: api.RunnableConfig) -> Any:
        conf = config["configurable"]
        seen.append(
            {
                "mine": {k: v for k, v in conf.items() if k.startswith("my_")},
                "thread": conf.get("thread_id"),
                "metadata": {k: v for k, v in config["metadata"].items() if k.startswith("m_")},
                "tags": sorted(config.get("tags") or []),
            }
        )
        return {"n": 1}

    plain = chain(api, Count, {"look": api.node(look)}, checkpointer=api.saver())
    bound = plain.with_config(
        {"configurable": {"thread_id": "bound", "my_a": 1, "my_b": 1}, "metadata": {"m_x": 1}},
        tags=["red"],
    )
    again = bound.with_config(metadata={"m_y": 2}, configurable={"my_b": 2})
    for graph, config in (
        (plain, api.thread("plain")),
        (bound, None),
        (bound, {"configurable": {"my_b": 3}, "metadata": {"m_x": 3}, "tags": ["blue"]}),
        (again, {}),
        (again, api.thread("given")),
    ):
        await api.invoke(graph, {"n": 0}, config)
    limits = bound.with_config(recursion_limit=1)
    raised = await api.raised(api.invoke(limits, {"n": 0}, None))
    return {"seen": seen, "limits": raised, "name": bound.name, "same": bound is plain}


@both
async def case_copies(api: Api) -> Any:
    graph = adding(api, checkpointer=api.saver(), name="first")
    other = graph.copy({"name": "second"})
    await api.invoke(other, {"n": 1}, api.thread())
    return {
        "names": [graph.name, other.name, graph.copy().name],
        "shared thread": (await api.state(graph, api.thread())).values,
        "type": type(other).__name__,
    }


@both
async def case_get_name(api: Api) -> Any:
    graph = adding(api)
    named = adding(api, name="worker")
    return [
        graph.get_name(), graph.name, named.get_name(), named.get_name("Input"),
        graph.get_name("input"), named.get_name(name="Other"), named.get_name("x", name="Other"),
    ]  # fmt: skip


@both
async def case_checkpointer_set_after_compiling(api: Api) -> Any:
    graph = adding(api)
    graph.checkpointer = api.saver()
    result = await api.invoke(graph, {"n": 1}, api.thread())
    return [result, (await api.state(graph, api.thread())).values]


async def batch(api: Api, graph: Any, *given: Any, **options: Any) -> Any:
    if api.sync:
        return graph.batch(*given, **options)
    return await graph.abatch(*given, **options)


async def as_completed(api: Api, graph: Any, *given: Any, **options: Any) -> Any:
    if api.sync:
        return list(graph.batch_as_completed(*given, **options))
    return [item async for item in graph.abatch_as_completed(*given, **options)]


INPUTS = [{"n": i} for i in range(5)]


@both
async def case_batch(api: Api) -> Any:
    graph = adding(api, checkpointer=api.saver())
    configs = [api.thread(str(i)) for i in range(5)]
    out = {
        "one config": await batch(api, adding(api), INPUTS),
        "many": await batch(api, graph, INPUTS, configs),
        "none": await batch(api, graph, [], []),
        "as a tuple": await batch(api, adding(api), tuple(INPUTS)),
        "updates": await batch(api, adding(api), INPUTS, stream_mode="updates"),
        "slowly": await batch(api, adding(api), INPUTS, {"max_concurrency": 1}),
        "completed": sorted(await as_completed(api, adding(api), INPUTS), key=str),
        "nothing completed": await as_completed(api, adding(api), []),
    }
    out["states"] = [(await api.state(graph, c)).values for c in configs]
    return out


@both
async def case_batch_with_a_failure(api: Api) -> Any:
    graph = adding(api)
    given = [{"n": 1}, {"n": -1}, {"n": 3}]
    kept = await batch(api, graph, given, return_exceptions=True)
    completed = await as_completed(api, graph, given, return_exceptions=True)
    return {
        "kept": kept,
        "raised": await api.raised(batch(api, graph, given)),
        "completed": sorted(completed, key=lambda item: item[0]),
        "completed raised": await api.raised(as_completed(api, graph, given)),
    }


@both
async def case_batch_with_too_few_configs(api: Api) -> Any:
    return await api.raised(batch(api, adding(api), INPUTS, [{}, {}]))


@both
async def case_breakpoints_of_a_call_over_the_graphs(api: Api) -> Any:
    nodes = {n: logger(api, n) for n in "abc"}
    graph = chain(api, Log, nodes, checkpointer=api.saver(), interrupt_before=["c"])
    out = []
    for options in (
        {"interrupt_before": ["b"]}, {"interrupt_after": ["a"]}, {"interrupt_before": "*"},
        {"interrupt_before": []}, {"interrupt_after": "*"}, {},
    ):  # fmt: skip
        config = api.thread(str(options))
        out.append(await api.invoke(graph, {"log": []}, config, **options))
        out.append((await api.state(graph, config)).next)
    return out
