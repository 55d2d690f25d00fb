"""Time limits of nodes, of sends, of supersteps."""

import asyncio
from datetime import timedelta
from typing import Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, brief, build, chain, logger

LONG = 30


def timed(api: Api, node: Any, timeout: Any, /, retry: Any = None, **options: Any) -> Any:
    """START -> f -> z, where f has a time limit."""
    graph = api.StateGraph(Log)
    graph.add_node("f", node, timeout=timeout, retry_policy=retry)
    graph.add_node("z", logger(api, "z"))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "z")
    return graph.compile(**options)


async def slow(state: Any) -> Any:
    await asyncio.sleep(LONG)


async def quick(state: Any) -> Any:
    await asyncio.sleep(0)
    return {"log": ["f"]}


async def steady(state: Any, seconds: float = 0.12) -> Any:
    """Nothing to see for a while."""
    await asyncio.sleep(seconds)
    return {"log": ["f"]}


def shown(raised: Any) -> Any:
    """What an error of a time limit says of itself."""
    error = raised.error
    names = ("node", "kind", "timeout", "run_timeout", "idle_timeout")
    fields = {name: getattr(error, name) for name in names}
    message, _, _ = str(error).partition(" (elapsed")
    return [raised.family, fields, message, error.elapsed >= error.timeout * 0.9, error.__notes__]


async def case_run_timeout(api: Api) -> Any:
    graph = timed(api, slow, 0.03, checkpointer=api.saver())
    out = {"raised": shown(await api.raised(api.invoke(graph, {"log": []}, api.thread())))}
    out["state"] = [s.next for s in [await api.state(graph, api.thread())]]
    return out


async def case_run_timeout_in_the_stream(api: Api) -> Any:
    graph = timed(api, slow, 0.03, checkpointer=api.saver())
    seen = await api.stream(graph, {"log": []}, api.thread(), ["values", "updates"])
    return seen, brief(await api.state(graph, api.thread()))["next"]


async def case_a_node_within_its_timeout(api: Api) -> Any:
    graph = timed(api, quick, timedelta(seconds=5), checkpointer=api.saver())
    return await api.stream(graph, {"log": []}, api.thread(), ALL_MODES)


async def case_timeout_then_resume(api: Api) -> Any:
    runs: list[str] = []

    async def once(state: Any) -> Any:
        runs.append("f")
        await asyncio.sleep(LONG if len(runs) < 2 else 0)
        return {"log": ["f"]}

    graph = timed(api, once, 0.03, checkpointer=api.saver())
    out: dict[str, Any] = {"1": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["2"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs}


async def case_timeout_is_retried(api: Api) -> Any:
    runs: list[int] = []

    async def third(state: Any, runtime: api.Runtime) -> Any:
        runs.append(runtime.execution_info.node_attempt)
        await asyncio.sleep(LONG if len(runs) < 3 else 0)
        return {"log": ["f"]}

    policy = api.RetryPolicy(initial_interval=0.001, jitter=False)
    graph = timed(api, third, 0.03, retry=policy)
    return await api.invoke(graph, {"log": []}), runs


async def case_timeout_retries_run_out(api: Api) -> Any:
    runs: list[str] = []

    async def never(state: Any) -> Any:
        runs.append("f")
        await asyncio.sleep(LONG)

    policy = api.RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=2)
    graph = timed(api, never, 0.02, retry=policy)
    raised = await api.raised(api.invoke(graph, {"log": []}))
    return raised, raised.error.kind, len(runs)


async def case_timeout_not_covered_by_the_policy(api: Api) -> Any:
    policy = api.RetryPolicy(initial_interval=0.001, jitter=False, retry_on=KeyError)
    return await api.raised(api.invoke(timed(api, slow, 0.02, retry=policy), {"log": []}))


async def case_timed_out_node_is_cancelled(api: Api) -> Any:
    seen: list[str] = []

    async def node(state: Any) -> Any:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    await api.raised(api.invoke(timed(api, node, 0.02), {"log": []}))
    await asyncio.sleep(0.01)
    return seen


async def case_writes_after_a_timeout_are_dropped(api: Api) -> Any:
    async def stubborn(state: Any) -> Any:
        writer = api.get_stream_writer()
        writer("before")
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            writer("after")
            return {"log": ["late"]}

    graph = timed(api, stubborn, 0.02, checkpointer=api.saver())
    seen = await api.stream(graph, {"log": []}, api.thread(), ["custom", "values", "updates"])
    return seen, brief(await api.state(graph, api.thread()))["values"]


async def case_timeout_error_of_the_node_itself(api: Api) -> Any:
    async def node(state: Any) -> Any:
        raise TimeoutError("mine")

    raised = await api.raised(api.invoke(timed(api, node, 5), {"log": []}))
    return [type(raised.error).__name__, str(raised.error)]


async def case_asyncio_timeout_inside_a_timed_node(api: Api) -> Any:
    async def node(state: Any) -> Any:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(LONG)
        except TimeoutError:
            return {"log": ["own limit"]}

    return await api.invoke(timed(api, node, 5), {"log": []})


async def case_timed_node_that_fails(api: Api) -> Any:
    async def node(state: Any) -> Any:
        raise KeyError("k")

    return await api.raised(api.invoke(timed(api, node, 5), {"log": []}))


async def case_timed_node_that_cancels_itself(api: Api) -> Any:
    async def node(state: Any) -> Any:
        raise asyncio.CancelledError("mine")

    raised = await api.raised(api.invoke(timed(api, node, 5), {"log": []}))
    return [raised, str(raised.error)]


async def case_timed_node_that_asks(api: Api) -> Any:
    async def node(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = timed(api, node, 5, checkpointer=api.saver())
    first = await api.invoke(graph, {"log": []}, api.thread())
    return first, await api.invoke(graph, api.Command(resume="a"), api.thread())


async def case_timed_node_that_commands(api: Api) -> Any:
    async def node(state: Any) -> Any:
        return api.Command(update={"log": ["f"]}, goto="z")

    return await api.invoke(timed(api, node, 5), {"log": []})


async def case_idle_timeout(api: Api) -> Any:
    policy = api.TimeoutPolicy(idle_timeout=0.03)
    return shown(await api.raised(api.invoke(timed(api, slow, policy), {"log": []})))


async def case_idle_timeout_before_the_run_timeout(api: Api) -> Any:
    policy = api.TimeoutPolicy(idle_timeout=0.03, run_timeout=5)
    return shown(await api.raised(api.invoke(timed(api, slow, policy), {"log": []})))


async def case_run_timeout_before_the_idle_timeout(api: Api) -> Any:
    policy = api.TimeoutPolicy(idle_timeout=5, run_timeout=0.03)
    return shown(await api.raised(api.invoke(timed(api, slow, policy), {"log": []})))


def busy(signal: Any, times: int = 5) -> Any:
    """An async function that gives a sign of life now and then."""

    async def node(state: Any, *args: Any) -> Any:
        for _ in range(times):
            await asyncio.sleep(0.15)
            signal()
        return {"log": ["f"]}

    return node


IDLE = {"idle_timeout": 0.5}
"""Longer than a pause between two signs of life, shorter than all of them."""


async def case_heartbeats_are_progress(api: Api) -> Any:
    async def node(state: Any, runtime: api.Runtime) -> Any:
        return await busy(runtime.heartbeat)(state)

    out = []
    for refresh in ("auto", "heartbeat"):
        policy = api.TimeoutPolicy(**IDLE, refresh_on=refresh)
        out.append(await api.invoke(timed(api, node, policy), {"log": []}))
    return out


async def case_heartbeats_do_not_lift_the_run_timeout(api: Api) -> Any:
    async def node(state: Any, runtime: api.Runtime) -> Any:
        return await busy(runtime.heartbeat)(state)

    policy = api.TimeoutPolicy(**IDLE, run_timeout=0.6)
    return shown(await api.raised(api.invoke(timed(api, node, policy), {"log": []})))


async def case_stream_writes_are_progress(api: Api) -> Any:
    async def node(state: Any) -> Any:
        writer = api.get_stream_writer()
        return await busy(lambda: writer("alive"))(state)

    graph = timed(api, node, api.TimeoutPolicy(**IDLE))
    return await api.stream(graph, {"log": []}, None, ["custom", "updates"])


async def case_stream_writes_nobody_watches_are_progress(api: Api) -> Any:
    async def node(state: Any, runtime: api.Runtime) -> Any:
        return await busy(lambda: runtime.stream_writer("alive"))(state)

    return await api.invoke(timed(api, node, api.TimeoutPolicy(**IDLE)), {"log": []})


async def case_injected_writer_is_progress(api: Api) -> Any:
    async def node(state: Any, writer) -> Any:
        return await busy(lambda: writer("alive"))(state)

    return await api.invoke(timed(api, node, api.TimeoutPolicy(**IDLE)), {"log": []})


async def case_stream_writes_are_no_heartbeats(api: Api) -> Any:
    async def node(state: Any) -> Any:
        writer = api.get_stream_writer()
        return await busy(lambda: writer("alive"))(state)

    policy = api.TimeoutPolicy(**IDLE, refresh_on="heartbeat")
    return shown(await api.raised(api.invoke(timed(api, node, policy), {"log": []})))


async def case_heartbeat_without_a_limit(api: Api) -> Any:
    async def node(state: Any, runtime: api.Runtime) -> Any:
        runtime.heartbeat()
        return {"log": ["f"]}

    out = [await api.invoke(chain(api, Log, {"f": node}), {"log": []})]
    out.append(await api.invoke(timed(api, node, 5), {"log": []}))
    return out


async def case_heartbeat_from_a_thread(api: Api) -> Any:
    async def node(state: Any, runtime: api.Runtime) -> Any:
        for _ in range(5):
            await asyncio.sleep(0.15)
            await asyncio.to_thread(runtime.heartbeat)
        return {"log": ["f"]}

    policy = api.TimeoutPolicy(**IDLE, refresh_on="heartbeat")
    return await api.invoke(timed(api, node, policy), {"log": []})


async def case_idle_clock_starts_anew_with_every_attempt(api: Api) -> Any:
    runs: list[str] = []

    async def node(state: Any) -> Any:
        runs.append("f")
        await asyncio.sleep(0.3)
        if len(runs) < 3:
            raise ConnectionError("down")
        return {"log": ["f"]}

    policy = api.RetryPolicy(initial_interval=0.001, jitter=False)
    graph = timed(api, node, api.TimeoutPolicy(**IDLE), retry=policy)
    return await api.invoke(graph, {"log": []}), len(runs)


@both
async def case_timeouts_of_sync_nodes_are_refused(api: Api) -> Any:
    def sync(state: Any) -> Any:
        return {"log": ["f"]}

    class Callable:
        def __call__(self, state: Any) -> Any:
            return {"log": ["f"]}

    policies = (1, timedelta(seconds=1), api.TimeoutPolicy(idle_timeout=1))
    out = [api.refused(lambda p=p: timed(api, sync, p)).says("sync", "'f'") for p in policies]
    out.append(api.refused(lambda: timed(api, Callable(), 1)).says("sync"))

    def added() -> None:
        api.StateGraph(Log).add_node("f", sync, timeout=1)
        raise ValueError("not before it is compiled")

    return [*out, api.refused(added).says("not before")]


@both
async def case_unusable_timeouts(api: Api) -> Any:
    bad = (
        0, -1, timedelta(0), "x", lambda: api.TimeoutPolicy(idle_timeout=0),
        lambda: api.TimeoutPolicy(idle_timeout=-2.0, run_timeout=1),
        lambda: api.TimeoutPolicy(run_timeout=1, refresh_on="never"),
    )  # fmt: skip
    out = []
    for value in bad:
        policy = value() if callable(value) else value
        graph = api.StateGraph(Log)
        out.append(
            api.refused(lambda g=graph, p=policy: g.add_node("f", quick, timeout=p)).says(
                "greater than 0", "refresh_on", "run_timeout", "idle_timeout"
            )
        )
    return out


async def case_empty_timeout_policy(api: Api) -> Any:
    return await api.invoke(timed(api, quick, api.TimeoutPolicy()), {"log": []})


async def case_default_timeout(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.set_node_defaults(timeout=0.03)
    graph.add_node("own", steady, timeout=5)
    graph.add_node("f", slow)
    graph.add_edge(api.START, "own")
    graph.add_edge("own", "f")
    return shown(await api.raised(api.invoke(graph.compile(), {"log": []})))


@both
async def case_default_timeout_of_a_sync_node(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.set_node_defaults(timeout=1)
    graph.add_node("f", lambda state: {"log": ["f"]})
    graph.add_edge(api.START, "f")
    return api.refused(graph.compile).says("sync", "'f'")


@both
async def case_default_timeout_of_a_sync_handler(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.set_node_defaults(timeout=1, error_handler=lambda state: None)
    graph.add_node("f", quick)
    graph.add_edge(api.START, "f")
    return api.refused(graph.compile).says("sync", "__default_error_handler__")


def sending(api: Api, node: Any, timeout: Any, /, **options: Any) -> Any:
    """START sends to f with a time limit."""
    graph = api.StateGraph(Log)
    graph.add_node("f", node, **options)
    graph.add_conditional_edges(
        api.START, lambda state: [api.Send("f", {"log": []}, timeout=timeout)], ["f"]
    )
    return graph.compile(checkpointer=api.saver())


async def case_timeout_of_a_send(api: Api) -> Any:
    graph = sending(api, slow, 0.03)
    return shown(await api.raised(api.invoke(graph, {"log": []}, api.thread())))


async def case_timeout_of_a_send_wins_over_the_node(api: Api) -> Any:
    out = [await api.invoke(sending(api, steady, 5, timeout=0.03), {"log": []}, api.thread())]
    graph = sending(api, slow, 0.03, timeout=5)
    out.append(shown(await api.raised(api.invoke(graph, {"log": []}, api.thread()))))
    return out


async def case_send_without_a_timeout_has_that_of_its_node(api: Api) -> Any:
    graph = sending(api, slow, None, timeout=0.03)
    return shown(await api.raised(api.invoke(graph, {"log": []}, api.thread())))


async def case_timeout_of_a_send_is_stored(api: Api) -> Any:
    runs: list[str] = []

    async def node(state: Any) -> Any:
        runs.append("f")
        await asyncio.sleep(LONG)

    graph = sending(api, node, api.TimeoutPolicy(idle_timeout=0.03))
    out = []
    for given in ({"log": []}, None):
        out.append(shown(await api.raised(api.invoke(graph, given, api.thread()))))
    return out, len(runs)


@both
async def case_sends_and_their_timeouts(api: Api) -> Any:
    send, plain = api.Send("f", 1, timeout=2), api.Send("f", 1)
    return {
        "repr": [repr(send), repr(plain)],
        "equal": [
            send == plain, send == api.Send("f", 1, timeout=timedelta(seconds=2)),
            send == api.Send("f", 1, timeout=api.TimeoutPolicy(run_timeout=2)),
            hash(send) == hash(api.Send("f", 1, timeout=2.0)),
        ],
        "refused": api.refused(lambda: api.Send("f", 1, timeout=0)).family,
    }  # fmt: skip


async def case_siblings_of_a_timed_out_node(api: Api) -> Any:
    seen: list[str] = []

    async def sibling(state: Any) -> Any:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    graph = api.StateGraph(Log)
    graph.add_node("f", slow, timeout=0.03)
    graph.add_node("quick", quick)
    graph.add_node("sibling", sibling)
    for name in ("f", "quick", "sibling"):
        graph.add_edge(api.START, name)
    compiled = graph.compile(checkpointer=api.saver())
    out = {"raised": await api.raised(api.invoke(compiled, {"log": []}, api.thread()))}
    state = await api.state(compiled, api.thread())
    return out | {"seen": seen, "next": state.next, "values": state.values}


async def case_cancelling_a_run_with_a_timed_node(api: Api) -> Any:
    seen: list[str] = []
    started = asyncio.Event()

    async def node(state: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(LONG if not seen else 0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return {"log": ["f"]}

    graph = timed(api, node, 5, checkpointer=api.saver())
    run = asyncio.create_task(graph.ainvoke({"log": []}, api.thread()))
    await started.wait()
    run.cancel()
    try:
        await run
    except asyncio.CancelledError:
        seen.append("run cancelled")
    await asyncio.sleep(0.01)
    return sorted(seen), await api.invoke(graph, None, api.thread())


async def case_step_timeout(api: Api) -> Any:
    graph = build(
        api, Log, {"s": slow, "f": quick}, [(api.START, "s"), (api.START, "f")],
        checkpointer=api.saver(),
    )  # fmt: skip
    before = graph.step_timeout
    graph.step_timeout = 0.05
    out = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    return out | {"before": before, "state": brief(await api.state(graph, api.thread()))}


async def case_step_timeout_of_a_single_node(api: Api) -> Any:
    graph = chain(api, Log, {"f": slow}, checkpointer=api.saver())
    graph.step_timeout = 0.05
    out: dict[str, Any] = {"1": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["next"] = (await api.state(graph, api.thread())).next
    return out


async def case_step_timeout_is_kept(api: Api) -> Any:
    graph = chain(api, Log, {"a": quick, "b": steady, "c": quick})
    graph.step_timeout = 5
    return await api.invoke(graph, {"log": []})


class Wide(TypedDict):
    log: list


async def case_timeout_of_a_deferred_node(api: Api) -> Any:
    graph = api.StateGraph(Wide)
    graph.add_node("f", slow, timeout=0.03, defer=True)
    graph.add_edge(api.START, "f")
    return shown(await api.raised(api.invoke(graph.compile(), {"log": []})))


@both
async def case_what_a_timeout_policy_is_made_of(api: Api) -> Any:
    made = api.TimeoutPolicy(run_timeout=timedelta(seconds=2), idle_timeout=1)
    coerced = [
        api.TimeoutPolicy.coerce(value)
        for value in (None, 3, 1.5, timedelta(seconds=4), made, api.TimeoutPolicy())
    ]
    return [repr(policy) for policy in coerced], api.TimeoutPolicy.coerce(coerced[4]) == coerced[4]
