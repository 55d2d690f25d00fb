"""The functional API: failures, retries and timeouts of calls."""

import asyncio
from typing import Any

from tests.compat.engines import Api
from tests.compat.flows import Tasks, flow, got, quick, recorded, task
from tests.compat.shapes import both


@both
async def case_call_failures(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        await got(api, t.double(n))
        return await got(api, t.fail(n))

    graph = flow(api, wf)
    chunks = await api.stream(graph, 1, api.thread(), ["values", "updates", "tasks"])
    out = {"chunks": chunks[:-1], "error": chunks[-1]}
    out["state"] = await api.state(graph, api.thread())
    error = await api.raised(api.invoke(graph, None, api.thread()))
    out["again"] = error
    out["notes"] = getattr(error.error, "__notes__", None)
    return out | {"seen": t.seen, "history": await api.history(graph, api.thread())}


@both
async def case_call_failures_caught(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        try:
            await got(api, t.fail(n))
        except ZeroDivisionError as error:
            said = str(error)
        return [said, api.interrupt("?"), await got(api, t.double(n))]

    graph = flow(api, wf)
    out = {"stop": await api.invoke(graph, 1, api.thread())}
    out["on"] = await api.invoke(graph, api.Command(resume=1), api.thread())
    return out | {"seen": t.seen} | await recorded(api, graph, api.thread())


@both
async def case_call_failures_leave_what_had_finished(api: Api) -> Any:
    t = Tasks(api)
    fails = [True]

    async def sometimes(x: int) -> Any:
        t.seen.append(["sometimes", x])
        if fails and fails.pop():
            raise ConnectionError("down")
        return x

    call = task(api, sometimes)

    async def wf(n: int) -> Any:
        return [
            await got(api, t.double(1)),
            await got(api, call(2)),
            await got(api, t.double(3)),
        ]

    graph = flow(api, wf)
    out = {"fails": await api.raised(api.invoke(graph, 1, api.thread()))}
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | {"seen": t.seen} | await recorded(api, graph, api.thread())


@both
async def case_call_retries(api: Api) -> Any:
    seen: list[Any] = []

    async def flaky(x: int, runtime: Any) -> Any:
        seen.append([x, runtime.execution_info.node_attempt])
        if len(seen) < 3:
            raise ConnectionError("down")
        return x

    call = task(api, flaky, retry_policy=quick(api))

    async def wf(n: int) -> Any:
        return await got(api, call(n))

    chunks = await api.stream(flow(api, wf), 1, api.thread(), ["updates", "tasks"])
    return {"chunks": chunks, "seen": seen}


@both
async def case_call_inherits_the_policy_of_its_workflow(api: Api) -> Any:
    t = Tasks(api)

    async def own(x: int) -> Any:
        t.seen.append(["own", x])
        raise ValueError("own")

    call = task(api, own, retry_policy=quick(api, 1))

    async def wf(n: int) -> Any:
        found = []
        for each in (t.fail, call):
            try:
                await got(api, each(n))
            except (ZeroDivisionError, ValueError) as error:
                found.append(type(error).__name__)
        return found

    out = {"run": await api.invoke(flow(api, wf, retry_policy=quick(api)), 1, api.thread())}
    return out | {"seen": t.seen}


@both
async def case_calls_when_their_caller_is_retried(api: Api) -> Any:
    t = Tasks(api)
    fails = [True, True]

    async def wf(n: int) -> Any:
        first = await got(api, t.double(1))
        if fails:
            fails.pop()
            raise ConnectionError("again")
        return [first, await got(api, t.double(2))]

    graph = flow(api, wf, retry_policy=quick(api))
    return {"run": await api.invoke(graph, 1, api.thread()), "seen": t.seen}


async def case_idle_timeouts_of_callers(api: Api) -> Any:
    limit = api.TimeoutPolicy(idle_timeout=0.4)

    @api.task
    async def short() -> str:
        await asyncio.sleep(0.15)
        return "short"

    @api.task
    async def chatty() -> str:
        for i in range(5):
            await asyncio.sleep(0.15)
            api.get_stream_writer()(i)
        return "chatty"

    async def makes_calls(n: int) -> Any:
        return [await short() for _ in range(4)]

    async def waits(n: int) -> Any:
        return await chatty()

    return [
        await api.raised_or(api.invoke(flow(api, each, timeout=limit), 1, api.thread()))
        for each in (makes_calls, waits)
    ]


async def case_call_timeouts(api: Api) -> Any:
    @api.task(timeout=0.02)
    async def slow() -> Any:
        await asyncio.sleep(5)

    async def wf(n: int) -> Any:
        return await slow()

    graph = flow(api, wf)
    out = {"fails": await api.raised(api.invoke(graph, 1, api.thread()))}
    error = out["fails"].error
    return out | {"who": error.node, "kind": error.kind, "notes": error.__notes__}
