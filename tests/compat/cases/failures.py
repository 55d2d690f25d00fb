"""Errors in nodes: what reaches the caller, what is kept, what runs again; retries."""

import asyncio
from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, build, chain, logger, record


class Custom(Exception):
    pass


def failing(api: Api, runs: list[str], name: str, times: int, error: Exception) -> Any:
    """A node that fails its first `times` runs."""

    def run(state: Any) -> Any:
        runs.append(name)
        if runs.count(name) <= times:
            raise error
        return {"log": [name]}

    return api.node(run)


@both
async def case_error_reaches_the_caller_as_it_is(api: Api) -> Any:
    out = {}
    for error in (ValueError("v"), Custom("c"), KeyError("k"), OSError("o")):
        graph = chain(api, Log, {"a": failing(api, [], "a", 9, error)}, checkpointer=api.saver())
        raised = await api.raised(api.invoke(graph, {"log": []}, api.thread()))
        out[type(error).__name__] = [raised.error is error, str(raised.error)]
        out[type(error).__name__].append(await api.state(graph, api.thread()))
    return out


@both
async def case_fail_then_succeed(api: Api) -> Any:
    runs: list[str] = []
    nodes = {"a": logger(api, "a"), "f": failing(api, runs, "f", 2, ValueError("no")), "z": None}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    out = {"1": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["state 1"] = await api.state(graph, api.thread())
    out["2"] = await api.raised(api.invoke(graph, None, api.thread()))
    out["state 2"] = await api.state(graph, api.thread())
    out["3"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs} | await record(api, graph, api.thread())


@both
async def case_failure_all_modes(api: Api) -> Any:
    nodes = {"a": logger(api, "a"), "f": failing(api, [], "f", 1, ValueError("no"))}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    return [
        await api.stream(graph, {"log": []}, api.thread(), ALL_MODES),
        await api.stream(graph, None, api.thread(), ALL_MODES),
    ]


async def case_finished_siblings_are_kept(api: Api) -> Any:
    runs: list[str] = []

    async def ok(state: Any) -> Any:
        runs.append("ok")
        return {"log": ["ok"]}

    async def fail(state: Any) -> Any:
        runs.append("fail")
        await asyncio.sleep(0.01)
        if runs.count("fail") == 1:
            raise ValueError("once")
        return {"log": ["fail"]}

    s = api.START
    graph = build(
        api, Log, {"ok": ok, "fail": fail, "z": None},
        [(s, "ok"), (s, "fail"), (["ok", "fail"], "z")], checkpointer=api.saver(),
    )  # fmt: skip
    out = {
        "first": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates", "tasks"])
    }
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates", "tasks"])
    return out | {"runs": runs} | await record(api, graph, api.thread())


async def case_running_siblings_are_cancelled(api: Api) -> Any:
    seen: list[str] = []

    async def slow(state: Any) -> Any:
        seen.append("slow starts")
        try:
            await asyncio.sleep(0.02 if "slow cancelled" in seen else 30)
        except asyncio.CancelledError:
            seen.append("slow cancelled")
            raise
        return {"log": ["slow"]}

    async def fail(state: Any) -> Any:
        seen.append("fail starts")
        await asyncio.sleep(0.01)
        if seen.count("fail starts") == 1:
            raise ValueError("once")
        return {"log": ["fail"]}

    s = api.START
    graph = build(
        api, Log, {"slow": slow, "fail": fail}, [(s, "slow"), (s, "fail")], checkpointer=api.saver()
    )
    out = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    await asyncio.sleep(0)
    out["next"] = sorted((await api.state(graph, api.thread())).next)
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | {"seen": sorted(seen)}


@both
async def case_two_failures_in_one_superstep(api: Api) -> Any:
    runs: list[str] = []
    s = api.START
    nodes = {n: failing(api, runs, n, 1, ValueError("both")) for n in ("a", "b")}
    graph = build(api, Log, nodes, [(s, "a"), (s, "b")], checkpointer=api.saver())
    out = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["next"] = (await api.state(graph, api.thread())).next
    last: Any = "three runs were not enough"
    for _ in range(3):
        try:
            last = await api.invoke(graph, None, api.thread())
            break
        except ValueError:
            continue
    return out | {"last": last}


@both
async def case_new_input_after_a_failure(api: Api) -> Any:
    nodes = {"a": logger(api, "a"), "f": failing(api, [], "f", 1, ValueError("no"))}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    await api.raised(api.invoke(graph, {"log": ["one"]}, api.thread()))
    out = {"two": await api.invoke(graph, {"log": ["two"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_edit_the_state_then_retry(api: Api) -> Any:
    def check(state: Any) -> Any:
        if "fixed" not in state["log"]:
            raise ValueError("not fixed")
        return {"log": ["checked"]}

    graph = chain(
        api, Log, {"a": None, "check": api.node(check), "z": None}, checkpointer=api.saver()
    )
    await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    await api.update(graph, api.thread(), {"log": ["fixed"]})
    out = {"edited": await api.state(graph, api.thread())}
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_skip_a_failed_node(api: Api) -> Any:
    nodes = {"a": None, "f": failing(api, [], "f", 9, ValueError("no")), "z": None}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    await api.update(graph, api.thread(), {"log": ["instead"]}, "f")
    out = {"on": await api.invoke(graph, None, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_first_node_fails(api: Api) -> Any:
    graph = chain(
        api,
        Log,
        {"f": failing(api, [], "f", 1, ValueError("no")), "z": None},
        checkpointer=api.saver(),
    )
    out = {"raised": await api.raised(api.invoke(graph, {"log": ["in"]}, api.thread()))}
    out |= await record(api, graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out


@both
async def case_failure_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, {"f": failing(api, [], "f", 9, Custom("no"))})
    return await api.stream(graph, {"log": []}, None, ["values", "updates", "tasks"])


def retried(api: Api, node: Any, policy: Any, **options: Any) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", node, retry_policy=policy)
    graph.add_edge(api.START, "f")
    return graph.compile(**options)


@both
async def case_retry_succeeds(api: Api) -> Any:
    runs: list[str] = []
    node = failing(api, runs, "f", 2, ConnectionError("down"))
    policy = api.RetryPolicy(initial_interval=0.001, jitter=False)
    graph = retried(api, node, policy, checkpointer=api.saver())
    out = {
        "stream": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates", "tasks"])
    }
    return out | {"runs": runs} | await record(api, graph, api.thread())


@both
async def case_retry_gives_up(api: Api) -> Any:
    runs: list[str] = []
    node = failing(api, runs, "f", 9, ConnectionError("down"))
    policy = api.RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False)
    graph = retried(api, node, policy, checkpointer=api.saver())
    out = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    return out | {"runs": runs} | await record(api, graph, api.thread())


@both
async def case_what_the_default_policy_retries(api: Api) -> Any:
    out = {}
    errors = (
        ConnectionError("x"), ValueError("x"), TypeError("x"), ArithmeticError("x"),
        ImportError("x"), LookupError("x"), NameError("x"), RuntimeError("x"), OSError("x"),
        Custom("x"), TimeoutError("x"), AssertionError("x"), AttributeError("x"),
    )  # fmt: skip
    for error in errors:
        runs: list[str] = []
        node = failing(api, runs, "f", 9, error)
        policy = api.RetryPolicy(initial_interval=0.0001, max_attempts=2, jitter=False)
        await api.raised(api.invoke(retried(api, node, policy), {"log": []}))
        out[type(error).__name__] = len(runs)
    return out


@both
async def case_retry_on_kinds(api: Api) -> Any:
    out = {}
    kinds = {
        "type": ValueError,
        "tuple": (KeyError, ValueError),
        "other type": KeyError,
        "callable": lambda error: "x" in str(error),
        "callable no": lambda error: False,
    }
    for label, retry_on in kinds.items():
        runs: list[str] = []
        node = failing(api, runs, "f", 9, ValueError("x"))
        policy = api.RetryPolicy(
            initial_interval=0.0001, max_attempts=3, jitter=False, retry_on=retry_on
        )
        await api.raised(api.invoke(retried(api, node, policy), {"log": []}))
        out[label] = len(runs)
    return out


@both
async def case_several_retry_policies(api: Api) -> Any:
    runs: list[str] = []

    def f(state: Any) -> Any:
        runs.append("f")
        raise (KeyError("k") if len(runs) % 2 else ValueError("v"))

    policies = [
        api.RetryPolicy(initial_interval=0.0001, max_attempts=5, jitter=False, retry_on=KeyError),
        api.RetryPolicy(initial_interval=0.0001, max_attempts=3, jitter=False, retry_on=ValueError),
    ]
    graph = retried(api, api.node(f), policies)
    return [await api.raised(api.invoke(graph, {"log": []})), len(runs)]


@both
async def case_writes_of_failed_attempts_are_dropped(api: Api) -> Any:
    runs: list[str] = []

    def f(state: Any) -> Any:
        api.get_stream_writer()(f"attempt {len(runs)}")
        runs.append("f")
        if len(runs) < 2:
            raise ConnectionError("x")
        return {"log": [len(runs)]}

    policy = api.RetryPolicy(initial_interval=0.0001, jitter=False)
    graph = retried(api, api.node(f), policy, checkpointer=api.saver())
    return await api.stream(graph, {"log": []}, api.thread(), ["custom", "values", "updates"])


async def case_node_that_cancels_itself(api: Api) -> Any:
    def f(state: Any) -> Any:
        raise asyncio.CancelledError("by hand")

    graph = chain(api, Log, {"f": api.node(f)}, checkpointer=api.saver())
    return await api.raised(api.invoke(graph, {"log": []}, api.thread()))


async def case_cancelled_run_can_go_on(api: Api) -> Any:
    started = asyncio.Event()
    runs: list[str] = []

    async def slow(state: Any) -> Any:
        runs.append("slow")
        started.set()
        await asyncio.sleep(0 if len(runs) > 1 else 30)
        return {"log": ["slow"]}

    graph = chain(api, Log, {"a": None, "slow": slow, "z": None}, checkpointer=api.saver())
    task = asyncio.create_task(graph.ainvoke({"log": []}, api.thread()))
    await started.wait()
    task.cancel()
    try:
        await task
        out: dict[str, Any] = {"cancelled": False}
    except asyncio.CancelledError:
        out = {"cancelled": True}
    state = await api.state(graph, api.thread())
    out |= {"values": state.values, "next": state.next}
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs}


async def case_chunks_of_siblings_that_are_cancelled(api: Api) -> Any:
    async def slow(state: Any) -> Any:
        await asyncio.sleep(5)

    async def bad(state: Any) -> Any:
        await asyncio.sleep(0.02)
        raise ValueError("bad")

    edges = [(api.START, "slow"), (api.START, "bad")]
    graph = build(api, Log, {"slow": slow, "bad": bad}, edges, checkpointer=api.saver())
    chunks = await api.stream(graph, {"log": []}, api.thread(), ["tasks", "updates", "debug"])
    return [chunks, await api.state(graph, api.thread())]
