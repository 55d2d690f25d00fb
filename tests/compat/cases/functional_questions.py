"""The functional API: questions that workflows and calls ask."""

import asyncio
from typing import Any

from tests.compat.engines import Api
from tests.compat.flows import Tasks, flow, got, recorded, task
from tests.compat.shapes import ALL_MODES, both


@both
async def case_questions_of_a_workflow(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        a = await got(api, t.double(n))
        first = api.interrupt({"n": a})
        b = await got(api, t.double(a))
        return [a, first, b, api.interrupt("second")]

    graph, out = flow(api, wf), []
    out.append(await api.stream(graph, 1, api.thread(), ["values", "updates", "tasks"]))
    out.append(await api.state(graph, api.thread()))
    out.append(await api.stream(graph, api.Command(resume="one"), api.thread(), ALL_MODES))
    out.append(await api.state(graph, api.thread()))
    out.append(await api.invoke(graph, api.Command(resume="two"), api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, graph, api.thread())


@both
async def case_questions_of_a_call(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        before = await got(api, t.double(n))
        answer = await got(api, t.ask("q"))
        return [before, answer, api.interrupt("own"), await got(api, t.double(before))]

    graph, out = flow(api, wf), []
    out.append(await api.stream(graph, 1, api.thread(), ["values", "updates", "tasks"]))
    out.append(await api.state(graph, api.thread()))
    on = api.Command(resume="bare")
    out.append(await api.stream(graph, on, api.thread(), ["values", "updates", "tasks"]))
    state = await api.state(graph, api.thread())
    out.append(state)
    on = api.Command(resume={state.interrupts[0].id: "by id"})
    out.append(await api.invoke(graph, on, api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, graph, api.thread())


@both
async def case_questions_of_a_call_answered_by_id(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        return [await got(api, t.ask("q")), api.interrupt("own")]

    graph = flow(api, wf)
    stopped = await api.invoke(graph, 1, api.thread())
    on = api.Command(resume={stopped["__interrupt__"][0].id: "A"})
    out = [stopped, await api.invoke(graph, on, api.thread())]
    on = api.Command(resume={out[1]["__interrupt__"][0].id: "B"})
    return [*out, await api.invoke(graph, on, api.thread()), t.seen]


@both
async def case_several_questions_in_one_call(api: Api) -> Any:
    seen: list[str] = []

    async def many(x: int) -> Any:
        seen.append("many")
        return [api.interrupt("one"), api.interrupt("two"), x]

    call = task(api, many)

    async def wf(n: int) -> Any:
        seen.append("wf")
        return [await got(api, call(n)), await got(api, call(n + 1))]

    graph = flow(api, wf)
    out = [await api.invoke(graph, 1, api.thread())]
    for answer in "abcd":
        out.append(await api.state(graph, api.thread()))
        out.append(await api.invoke(graph, api.Command(resume=answer), api.thread()))
    return {"out": out, "seen": seen}


async def case_questions_of_calls_beside_each_other(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        return await asyncio.gather(t.ask("p"), t.ask("q"), t.double(1))

    graph = flow(api, wf)
    out = {"stop": await api.invoke(graph, 1, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["bare"] = await api.raised(api.invoke(graph, api.Command(resume="x"), api.thread()))
    first = out["stop"]["__interrupt__"][0].id
    out["one"] = await api.invoke(graph, api.Command(resume={first: "P"}), api.thread())
    second = out["one"]["__interrupt__"][0].id
    out["two"] = await api.invoke(graph, api.Command(resume={second: "Q"}), api.thread())
    return out | {"seen": sorted(t.seen, key=str)}


async def case_questions_that_nobody_waits_for(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        t.ask("late").add_done_callback(lambda f: f.exception())
        return "end"

    graph = flow(api, wf)
    out = {"stop": await api.invoke(graph, 1, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="A"), api.thread())
    return out | {"seen": t.seen} | await recorded(api, graph, api.thread())


async def case_questions_that_a_caller_collects(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        found = await asyncio.gather(t.ask("q"), t.double(n), return_exceptions=True)
        return [f if isinstance(f, (int, list)) else type(f).__name__ for f in found]

    graph = flow(api, wf)
    out = {"stop": await api.invoke(graph, 1, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out


@both
async def case_questions_with_new_input(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int, *, previous: Any = None) -> Any:
        return [await got(api, t.double(n)), api.interrupt("?"), previous]

    graph = flow(api, wf)
    out = [await api.invoke(graph, 1, api.thread())]
    out.append(await api.invoke(graph, 2, api.thread()))
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    out.append(await api.invoke(graph, 3, api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, graph, api.thread())


@both
async def case_questions_in_every_durability(api: Api) -> Any:
    out = {}
    for durability in ("sync", "async", "exit"):
        t = Tasks(api)

        async def wf(n: int, t: Any = t) -> Any:
            return [await got(api, t.double(n)), await got(api, t.ask("?"))]

        graph, thread = flow(api, wf), api.thread()
        out[durability] = [
            await api.invoke(graph, 1, thread, durability=durability),
            await api.state(graph, thread),
            await api.invoke(graph, api.Command(resume=7), thread, durability=durability),
            t.seen,
        ]
    return out


@both
async def case_calls_again_from_an_old_checkpoint(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        return [await got(api, t.double(n)), await got(api, t.ask("?"))]

    graph = flow(api, wf)
    await api.invoke(graph, 1, api.thread())
    await api.invoke(graph, api.Command(resume="first"), api.thread())
    old = (await api.history(graph, api.thread()))[-1].config
    out = {"again": await api.invoke(graph, None, old), "seen": list(t.seen)}
    out["on"] = await api.invoke(graph, api.Command(resume="second"), api.thread())
    return out | {"seen again": t.seen} | await recorded(api, graph, api.thread())
