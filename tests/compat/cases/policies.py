"""Defaults of nodes, retries, draining, and what else a node can be given."""

import asyncio
import itertools
import logging
import warnings
from typing import Any, Literal, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, brief, build, chain, logger, warns

QUICK = {"initial_interval": 0.0001, "jitter": False}


def flaky(api: Api, runs: list[Any], times: int, error: Any = None, name: str = "f") -> Any:
    """A node that fails its first `times` runs."""

    def run(state: Any) -> Any:
        runs.append(name)
        if runs.count(name) <= times:
            raise error or ConnectionError("down")
        return {"log": [name]}

    return api.node(run)


def single(api: Api, node: Any, /, compiled: Any = None, **options: Any) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", node, **options)
    graph.add_edge(api.START, "f")
    return graph.compile(**(compiled or {}))


# --- defaults ---------------------------------------------------------------------------------


@both
async def case_default_retry_policy(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(Log)
    graph.set_node_defaults(retry_policy=api.RetryPolicy(**QUICK))
    graph.add_node("a", flaky(api, runs, 2, name="a"))
    graph.add_node("b", flaky(api, runs, 1, name="b"))
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    return await api.invoke(graph.compile(), {"log": []}), runs


@both
async def case_own_retry_policy_wins(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(Log)
    graph.set_node_defaults(retry_policy=api.RetryPolicy(**QUICK, max_attempts=5))
    own = api.RetryPolicy(**QUICK, max_attempts=2)
    graph.add_node("f", flaky(api, runs, 9), retry_policy=own)
    graph.add_edge(api.START, "f")
    return await api.raised(api.invoke(graph.compile(), {"log": []})), len(runs)


@both
async def case_default_retry_policies(api: Api) -> Any:
    """A list of policies is a default too."""
    runs: list[Any] = []
    graph = api.StateGraph(Log)
    graph.set_node_defaults(
        retry_policy=[
            api.RetryPolicy(**QUICK, retry_on=KeyError, max_attempts=2),
            api.RetryPolicy(**QUICK, retry_on=ConnectionError, max_attempts=4),
        ]
    )
    graph.add_node("f", flaky(api, runs, 9))
    graph.add_edge(api.START, "f")
    return await api.raised(api.invoke(graph.compile(), {"log": []})), len(runs)


@both
async def case_defaults_are_kept_when_others_are_set(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(Log)
    same = graph.set_node_defaults(retry_policy=api.RetryPolicy(**QUICK))
    graph.set_node_defaults(cache_policy=api.CachePolicy())
    graph.set_node_defaults()
    graph.add_node("f", flaky(api, runs, 2))
    graph.add_edge(api.START, "f")
    compiled = graph.compile(cache=api.InMemoryCache())
    out = [await api.invoke(compiled, {"log": []}) for _ in range(2)]
    return same is graph, out, len(runs)


@both
async def case_defaults_are_not_for_subgraphs(api: Api) -> Any:
    runs: list[Any] = []
    inner = single(api, flaky(api, runs, 1))
    outer = api.StateGraph(Log)
    outer.set_node_defaults(retry_policy=api.RetryPolicy(**QUICK, max_attempts=1))
    outer.add_node("inner", inner)
    outer.add_edge(api.START, "inner")
    return await api.raised(api.invoke(outer.compile(), {"log": []})), len(runs)


@both
async def case_defaults_set_after_compile(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(Log)
    graph.add_node("f", flaky(api, runs, 1))
    graph.add_edge(api.START, "f")
    compiled = graph.compile()
    graph.set_node_defaults(retry_policy=api.RetryPolicy(**QUICK))
    return await api.raised(api.invoke(compiled, {"log": []})), len(runs)


# --- retries ----------------------------------------------------------------------------------


@both
async def case_attempts_are_numbered(api: Api) -> Any:
    seen: list[Any] = []

    def run(state: Any, runtime: api.Runtime) -> Any:
        seen.append((runtime.execution_info.node_attempt,
                     runtime.execution_info.node_first_attempt_time))  # fmt: skip
        if len(seen) < 3:
            raise ConnectionError("down")
        return {"log": ["f"]}

    graph = single(api, api.node(run), retry_policy=api.RetryPolicy(**QUICK))
    await api.invoke(graph, {"log": []})
    first = seen[0][1]
    return [n for n, _ in seen], isinstance(first, float), [t == first for _, t in seen]


@both
async def case_first_attempt_of_a_node_without_a_policy(api: Api) -> Any:
    def run(state: Any, runtime: api.Runtime) -> Any:
        info = runtime.execution_info
        return {"log": [info.node_attempt, type(info.node_first_attempt_time).__name__]}

    return await api.invoke(single(api, api.node(run)), {"log": []})


@both
async def case_attempts_start_anew_on_resume(api: Api) -> Any:
    seen: list[Any] = []

    def run(state: Any, runtime: api.Runtime) -> Any:
        seen.append(runtime.execution_info.node_attempt)
        if len(seen) < 4:
            raise ConnectionError("down")
        return {"log": ["f"]}

    policy = api.RetryPolicy(**QUICK, max_attempts=2)
    graph = single(
        api, api.node(run), {"checkpointer": api.saver()}, retry_policy=policy
    )  # fmt: skip
    await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    return await api.invoke(graph, None, api.thread()), seen


@both
async def case_questions_asked_again_by_a_retry(api: Api) -> Any:
    """Each attempt counts its questions from the first: answers are used again."""
    runs: list[Any] = []

    def run(state: Any) -> Any:
        first = api.interrupt("q1")
        runs.append(first)
        if len(runs) in (1, 2, 4):
            raise ConnectionError("down")
        return {"log": [first, api.interrupt("q2")]}

    graph = single(
        api, api.node(run), {"checkpointer": api.saver()}, retry_policy=api.RetryPolicy(**QUICK)
    )
    out = [await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])]
    for answer in ("a1", "a2"):
        resume = api.Command(resume=answer)
        out.append(await api.stream(graph, resume, api.thread(), ["values", "updates"]))
    return out, runs


@both
async def case_retry_of_a_router(api: Api) -> Any:
    """The router is part of its node's attempt."""
    runs: list[Any] = []

    def run(state: Any) -> Any:
        runs.append("f")
        return {"log": ["f"]}

    def route(state: Any) -> str:
        runs.append("route")
        if len(runs) < 5:
            raise ConnectionError("down")
        return api.END

    graph = api.StateGraph(Log)
    graph.add_node("f", api.node(run), retry_policy=api.RetryPolicy(**QUICK))
    graph.add_edge(api.START, "f")
    graph.add_conditional_edges("f", route, [api.END])
    return await api.invoke(graph.compile(), {"log": []}), runs


@both
async def case_retry_of_sends(api: Api) -> Any:
    runs: list[Any] = []

    def run(state: Any) -> Any:
        runs.append(state)
        if runs.count(state) <= state:
            raise ConnectionError("down")
        return {"log": [state]}

    graph = api.StateGraph(Log)
    graph.add_node("f", api.node(run), retry_policy=api.RetryPolicy(**QUICK))
    graph.add_conditional_edges(api.START, lambda s: [api.Send("f", i) for i in range(3)], ["f"])
    return await api.invoke(graph.compile(), {"log": []}), sorted(runs)


@both
async def case_retry_on_nonsense(api: Api) -> Any:
    policy = api.RetryPolicy(**QUICK, retry_on=5)
    raised = await api.raised(api.invoke(single(api, flaky(api, [], 9), retry_policy=policy), {}))
    return raised.says("retry_on must be")


@both
async def case_max_attempts_of_one(api: Api) -> Any:
    runs: list[Any] = []
    policy = api.RetryPolicy(**QUICK, max_attempts=1)
    graph = single(api, flaky(api, runs, 9), retry_policy=policy)
    return await api.raised(api.invoke(graph, {"log": []})), len(runs)


async def case_pauses_between_attempts(api: Api) -> Any:
    """Each is longer than the last, up to the most."""
    at: list[float] = []
    loop = asyncio.get_running_loop()

    async def run(state: Any) -> Any:
        at.append(loop.time())
        raise ConnectionError("down")

    policy = api.RetryPolicy(
        initial_interval=0.02, backoff_factor=3, max_interval=0.1, max_attempts=5, jitter=False
    )
    await api.raised(api.invoke(single(api, run, retry_policy=policy), {"log": []}))
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    wanted = [0.02, 0.06, 0.1, 0.1]
    return [w <= p < w + 0.05 for p, w in zip(pauses, wanted, strict=True)]


@both
async def case_notes_on_errors(api: Api) -> Any:
    """Which task an error came from is said once."""
    out = []
    for options in ({}, {"retry_policy": api.RetryPolicy(**QUICK, max_attempts=1)}):
        graph = single(api, flaky(api, [], 9), **options)
        raised = await api.raised(api.invoke(graph, {"log": []}))
        out.append(raised.error.__notes__)
    return out


@both
async def case_notes_on_errors_of_subgraphs(api: Api) -> Any:
    inner = single(api, flaky(api, [], 9))
    outer = api.StateGraph(Log)
    outer.add_node("inner", inner)
    outer.add_edge(api.START, "inner")
    raised = await api.raised(api.invoke(outer.compile(), {"log": []}))
    return raised.error.__notes__


async def case_a_node_that_cancels_itself(api: Api) -> Any:
    def run(state: Any) -> Any:
        raise asyncio.CancelledError("mine")

    graph = single(api, api.node(run), {"checkpointer": api.saver()})
    raised = await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    error = raised.error
    state = brief(await api.state(graph, api.thread()))
    return [str(error), error.node, repr(error.__cause__), raised.family, state]


async def case_a_node_that_cancels_itself_is_not_retried(api: Api) -> Any:
    runs: list[Any] = []

    def run(state: Any) -> Any:
        runs.append("f")
        raise asyncio.CancelledError("mine")

    policy = api.RetryPolicy(**QUICK)
    graph = single(api, api.node(run), retry_policy=policy)
    return await api.raised(api.invoke(graph, {"log": []})), len(runs)


async def case_a_task_the_node_awaits_is_cancelled(api: Api) -> Any:
    async def run(state: Any) -> Any:
        inner = asyncio.create_task(asyncio.sleep(30))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    raised = await api.raised(api.invoke(single(api, run), {"log": []}))
    return [raised, str(raised.error)]


@both
async def case_error_texts(api: Api) -> Any:
    """Errors name the code that LangGraph's pages are about."""

    def number(state: Any) -> Any:
        return 5

    class Count(TypedDict):
        n: int

    out = {}
    out["return value"] = await api.raised(
        api.invoke(chain(api, Log, {"a": api.node(number)}), {"log": []})
    )
    writers = {n: api.node(lambda state: {"n": 1}) for n in ("a", "b")}
    both_write = build(api, Count, writers, [(api.START, "a"), (api.START, "b")])
    out["two writers"] = await api.raised(api.invoke(both_write, {"n": 0}))
    loop = build(api, Log, ["a"], [(api.START, "a"), ("a", "a")])
    out["no end"] = await api.raised(api.invoke(loop, {"log": []}, {"recursion_limit": 3}))
    codes = (
        "INVALID_GRAPH_NODE_RETURN_VALUE", "INVALID_CONCURRENT_GRAPH_UPDATE",
        "GRAPH_RECURSION_LIMIT",
    )  # fmt: skip
    return {label: raised.says(*codes) for label, raised in out.items()}


@both
async def case_fields_of_errors(api: Api) -> Any:
    timeout = api.NodeTimeoutError("n", 1.5, kind="idle", idle_timeout=1.0)
    names = ("node", "elapsed", "kind", "timeout", "idle_timeout", "run_timeout")
    bad = [
        {"kind": "idle"}, {"kind": "run", "idle_timeout": 1.0}, {"kind": "other"},
    ]  # fmt: skip
    return {
        "timeout": [str(timeout), {n: getattr(timeout, n) for n in names}],
        "is an OSError": isinstance(timeout, OSError),
        "refused": [api.refused(lambda b=b: api.NodeTimeoutError("n", 1.0, **b)) for b in bad],
        "cancelled": [str(api.NodeCancelledError("n")), str(api.NodeCancelledError("n", "m"))],
        "drained": [str(api.GraphDrained()), api.GraphDrained("why").reason],
        "node error": repr(api.NodeError("n", KeyError("k"))),
    }


# --- what else add_node takes -----------------------------------------------------------------


@warns
@both
async def case_former_names_of_options(api: Api) -> Any:
    runs: list[Any] = []

    class Part(TypedDict):
        n: int

    class Whole(TypedDict):
        n: int
        m: int
        seen: list

    out = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        graph = api.StateGraph(Log)
        graph.add_node("f", flaky(api, runs, 2), retry=api.RetryPolicy(**QUICK))
        graph.add_edge(api.START, "f")
        out.append(await api.invoke(graph.compile(), {"log": []}))
        graph = api.StateGraph(Whole)
        graph.add_node("f", api.node(lambda state: {"seen": sorted(state)}), input=Part)
        graph.add_edge(api.START, "f")
        out.append(await api.invoke(graph.compile(), {"n": 1, "m": 2}))
    said = [str(w.message) for w in caught if "is deprecated and will be removed" in str(w.message)]
    return out, len(runs), [text.partition(".")[0] for text in said]


@both
async def case_new_names_win_over_former_ones(api: Api) -> Any:
    runs: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = single(
            api, flaky(api, runs, 9), retry=api.RetryPolicy(**QUICK, max_attempts=5),
            retry_policy=api.RetryPolicy(**QUICK, max_attempts=2),
        )  # fmt: skip
    await api.raised(api.invoke(graph, {"log": []}))
    return len(runs)


@both
async def case_destinations(api: Api) -> Any:
    """They are for drawings and checks: the command decides."""

    def go(state: Any) -> Any:
        return api.Command(update={"log": ["go"]}, goto="b")

    def annotated(state: Any) -> api.Command[Literal["b"]]:
        return api.Command(update={"log": ["go"]}, goto="b")

    out = {}
    for label, options in {
        "tuple": {"destinations": ("b", "c")},
        "dict": {"destinations": {"b": "to b", "c": "to c"}},
        "unknown": {"destinations": ("nowhere",)},
        "end": {"destinations": ("b", api.END)},
    }.items():
        graph = api.StateGraph(Log)
        graph.add_node("a", api.node(go), **options)
        graph.add_node("b", logger(api, "b"))
        graph.add_node("c", logger(api, "c"))
        graph.add_edge(api.START, "a")
        try:
            out[label] = await api.invoke(graph.compile(), {"log": []})
        except ValueError as error:
            out[label] = f"refused: {'nowhere' in str(error)}"
    return out


@both
async def case_metadata_of_nodes(api: Api) -> Any:
    def look(state: Any, config: api.RunnableConfig) -> Any:
        given = config["metadata"]
        return {"log": [[given.get("m_own"), given.get("m_run")]]}

    graph = api.StateGraph(Log)
    graph.add_node("f", api.node(look), metadata={"m_own": 1})
    graph.add_node("g", api.node(look))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "g")
    config = {"metadata": {"m_run": 2}}
    return await api.stream(graph.compile(), {"log": []}, config, ["updates", "tasks"])


@both
async def case_trace_policies(api: Api) -> Any:
    """They change what a trace shows, never what a node is given."""
    policy = api.TracePolicy(process_inputs=api.omit_payload, process_outputs=api.omit_payload)
    graph = api.StateGraph(Log)
    graph.add_node("f", api.node(lambda state: {"log": [len(state["log"])]}), trace_policy=policy)
    graph.add_edge(api.START, "f")
    return [
        await api.invoke(graph.compile(), {"log": ["in"]}), api.omit_payload("secret"),
        api.TracePolicy() == api.TracePolicy(),
    ]  # fmt: skip


@both
async def case_unknown_options_of_a_compiled_graph(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", logger(api, "f"))
    graph.add_edge(api.START, "f")
    return api.refused(lambda: graph.compile(no_such_option=1))


@both
async def case_retries_are_logged(api: Api) -> Any:
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, entry: logging.LogRecord) -> None:
            records.append(entry.getMessage())

    root, keep = logging.getLogger(), Keep()
    names = ("stepwell", "langgraph.pregel._retry")
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(keep)
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.INFO)
        policy = api.RetryPolicy(**QUICK)
        await api.invoke(single(api, flaky(api, [], 2), retry_policy=policy), {"log": []})
    finally:
        root.removeHandler(keep)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    return [text.partition(" after ")[0] for text in records if text.startswith("Retrying")]
