"""The functional API: calls of tasks."""

import asyncio
from typing import Any

from tests.compat.engines import Api
from tests.compat.flows import Tasks, flow, got, path, recorded, task
from tests.compat.shapes import both


@both
async def case_calls_in_parallel(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        futures = [t.double(i) for i in range(n)]
        return [await got(api, f) for f in futures]

    graph = flow(api, wf)
    out = {"run": await api.invoke(graph, 12, api.thread())}
    return out | {"seen": sorted(t.seen)} | await recorded(api, graph, api.thread())


async def case_calls_gathered(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        return await asyncio.gather(*(t.double(i) for i in range(n)))

    graph = flow(api, wf)
    return await api.stream(graph, 4, api.thread(), ["updates", "tasks", "values"])


async def case_calls_as_completed_and_waited_for(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        first = sorted([await f for f in asyncio.as_completed([t.double(1), t.double(2)])])
        done, waiting = await asyncio.wait([t.double(3), t.double(4)])
        return [first, sorted(f.result() for f in done), len(waiting)]

    return await api.invoke(flow(api, wf), 0, api.thread())


@both
async def case_calls_named(api: Api) -> Any:
    class Thing:
        def method(self, x: int) -> int:
            return x + 1

    async def plain(x: int) -> int:
        return x

    async def renamed(x: int) -> int:
        return x

    tasks = [
        task(api, renamed, name="named"),
        task(api, plain),
        api.task(Thing().method),
        api.task(name="other")(Thing().method),
        api.task(lambda x: x * 3),
        api.task(plain_function),
    ]

    async def wf(n: int) -> Any:
        return [await got(api, each(n)) for each in tasks]

    return await api.stream(flow(api, wf), 2, api.thread(), ["updates", "tasks"])


def plain_function(x: int) -> str:
    """A task at module level."""
    return f"plain {x}"


@both
async def case_calls_of_one_function_by_two_names(api: Api) -> Any:
    def same(x: int) -> int:
        return x

    one, two = api.task(name="one")(same), api.task(name="two")(same)

    async def wf(n: int) -> Any:
        return [await got(api, one(n)), await got(api, two(n))]

    return await api.stream(flow(api, wf), 2, api.thread(), ["updates"])


async def case_async_functions_in_sync_runs(api: Api) -> Any:
    @api.task
    async def call(x: int) -> int:
        return x

    @api.entrypoint()
    async def all_async(n: int) -> Any:
        return await call(n)

    @api.entrypoint()
    def waits(n: int) -> Any:
        return call(n).result()

    found = []
    for graph in (all_async, waits):
        found.append(await api.raised_or(api.invoke(graph, 1)))
    return found


case_async_functions_in_sync_runs.forms = ("sync",)


async def case_questions_of_a_task_group(api: Api) -> Any:
    t = Tasks(api)

    async def waiting(future: Any) -> Any:
        return await future

    async def wf(n: int) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(waiting(t.ask("q")))

    return await api.raised_or(api.invoke(flow(api, wf), 1, api.thread()))


@both
async def case_calls_keep_what_a_function_is(api: Api) -> Any:
    made = api.task(plain_function)
    return [
        made.__name__, made.__doc__, made.__wrapped__ is plain_function,
        made.func is plain_function,
        list(made.retry_policy), made.cache_policy, made.timeout, type(made).__name__,
    ]  # fmt: skip


@both
async def case_calls_with_arguments_of_all_kinds(api: Api) -> Any:
    async def taker(a: Any, *rest: Any, b: Any = "b", config: Any = "none", **more: Any) -> Any:
        return [a, list(rest), b, config if isinstance(config, str) else "injected", more]

    call = task(api, taker)

    async def wf(n: int) -> Any:
        return [
            await got(api, call(1)),
            await got(api, call(1, 2, 3, b=4, c=5)),
            await got(api, call(1, config="mine")),
        ]

    chunks = await api.stream(flow(api, wf), 2, api.thread(), ["updates", "tasks"])
    return [c for c in chunks if c[0] == "updates" or "input" in c[1]]


@both
async def case_calls_nested(api: Api) -> Any:
    t = Tasks(api)

    async def outer(x: int) -> Any:
        return [await got(api, t.double(x)), await got(api, t.double(x + 1)), path(api)]

    async def deepest(x: int) -> Any:
        return [await got(api, middle(x)), path(api)]

    middle, deep = task(api, outer), task(api, deepest)

    async def wf(n: int) -> Any:
        return [await got(api, middle(n)), await got(api, deep(n)), path(api)]

    graph = flow(api, wf)
    return {"chunks": await api.stream(graph, 1, api.thread(), ["updates", "tasks"])}


@both
async def case_calls_that_nobody_waits_for(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        t.double(n)
        return "end"

    graph = flow(api, wf)
    out = {"run": await api.invoke(graph, 1, api.thread()), "seen": list(t.seen)}
    return out | await recorded(api, graph, api.thread())


@both
async def case_calls_that_fail_when_nobody_waits(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        if not api.sync:
            asyncio.ensure_future(t.fail(n)).add_done_callback(lambda f: f.exception())
        else:
            t.fail(n)
        return "end"

    graph = flow(api, wf)
    out = {"run": await api.invoke(graph, 1, api.thread()), "seen": list(t.seen)}
    return out | await recorded(api, graph, api.thread())


async def case_calls_cut_off_by_their_caller(api: Api) -> Any:
    seen: list[Any] = []

    @api.task
    async def slow(x: int) -> int:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return x

    async def wf(n: int) -> Any:
        try:
            return await asyncio.wait_for(slow(1), 0.02)
        except TimeoutError:
            return "too slow"

    out = {"run": await api.invoke(flow(api, wf), 1, api.thread())}
    return out | {"seen": seen}


async def case_calls_still_running_when_their_caller_fails(api: Api) -> Any:
    t = Tasks(api)
    seen = t.seen

    @api.task
    async def slow(x: int) -> int:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return x

    async def wf(n: int) -> Any:
        slow(1)
        await t.double(1)
        raise ValueError("caller")

    async def wf2(n: int) -> Any:
        return await asyncio.gather(slow(1), t.fail(1))

    out = {}
    for each in (wf, wf2):
        graph = flow(api, each)
        out[each.__name__] = [
            await api.raised(api.invoke(graph, 1, api.thread())),
            list(seen),
            await api.state(graph, api.thread()),
        ]
        seen.clear()
    return out


@both
async def case_calls_stream_in_the_namespace_of_their_caller(api: Api) -> Any:
    async def inner(x: Any) -> Any:
        api.get_stream_writer()(["inner", x])
        return x

    deep = task(api, inner)

    async def outer(x: Any) -> Any:
        api.get_stream_writer()(["outer", x])
        return await got(api, deep(x))

    call = task(api, outer)

    async def wf(n: int) -> Any:
        api.get_stream_writer()("wf")
        return await got(api, call(n))

    graph = flow(api, wf)
    return [
        await api.stream(graph, 1, api.thread(str(sub)), ["custom", "updates"], subgraphs=sub)
        for sub in (True, False)
    ]


@both
async def case_calls_outside_of_a_run(api: Api) -> Any:
    t = Tasks(api)
    return api.refused(lambda: t.double(1))


@both
async def case_calls_that_return_a_final(api: Api) -> Any:
    async def odd() -> Any:
        return api.entrypoint.final(value=1, save=2)

    call = task(api, odd)

    async def wf(n: int) -> Any:
        found = await got(api, call())
        return [found.value, found.save]

    return await api.invoke(flow(api, wf, saved=False), 1)


# -- caches: not in the sync form, where LangGraph keeps results at some later time -------------


def first_letter(x: Any, **more: Any) -> str:
    return str(x)[:1]


async def case_calls_cached(api: Api) -> Any:
    seen, cache = [], api.InMemoryCache()

    async def double(x: Any) -> Any:
        seen.append(["double", x])
        return x * 2

    async def same(x: Any) -> Any:
        seen.append(["same", x])
        return x

    doubled = task(api, double, cache_policy=api.CachePolicy())
    keyed = task(api, same, cache_policy=api.CachePolicy(key_func=first_letter))

    async def wf(n: Any) -> Any:
        found = [
            await got(api, doubled(n)),
            await got(api, doubled(n)),
            await got(api, doubled(x=n)),
        ]
        return [*found, await got(api, keyed("ab")), await got(api, keyed("ac"))]

    graph = flow(api, wf, cache=cache)
    out = {"first": await api.stream(graph, 3, api.thread(), ["values", "updates", "tasks"])}
    other = api.thread("other")
    out["second"] = await api.stream(graph, 3, other, ["values", "updates", "tasks"])
    out["seen"] = list(seen)
    doubled.clear_cache(cache)
    out["cleared"] = await api.invoke(graph, 3, api.thread("third"))
    return out | {"all": seen} | await recorded(api, graph, other)


async def case_calls_cached_only_when_they_finish(api: Api) -> Any:
    seen, cache = [], api.InMemoryCache()

    async def fail(x: Any) -> Any:
        seen.append(["fail", x])
        raise ZeroDivisionError(x)

    async def ask(x: Any) -> Any:
        seen.append(["ask", x])
        return api.interrupt(x)

    fails = task(api, fail, cache_policy=api.CachePolicy())
    asks = task(api, ask, cache_policy=api.CachePolicy())

    async def wf(n: Any) -> Any:
        try:
            await got(api, fails(n))
        except ZeroDivisionError:
            return await got(api, asks(n))

    graph = flow(api, wf, cache=cache)
    out = [await api.invoke(graph, 3, api.thread())]
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    out.append(await api.invoke(graph, 3, api.thread("other")))
    return [*out, seen]


async def case_entrypoint_cached(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        t.seen.append("wf")
        return await got(api, t.double(n))

    graph = flow(api, wf, cache=api.InMemoryCache(), cache_policy=api.CachePolicy())
    out = [
        await api.stream(graph, 3, api.thread(name), ["values", "updates", "tasks"])
        for name in ("a", "b")
    ]
    graph.clear_cache()
    out.append(await api.invoke(graph, 3, api.thread("c")))
    return [*out, t.seen]


@both
async def case_calls_with_a_policy_and_no_cache(api: Api) -> Any:
    seen: list[Any] = []

    async def double(x: Any) -> Any:
        seen.append(x)
        return x * 2

    doubled = task(api, double, cache_policy=api.CachePolicy())

    async def wf(n: Any) -> Any:
        return [await got(api, doubled(n)), await got(api, doubled(n))]

    return [await api.invoke(flow(api, wf), 3, api.thread()), seen]


async def case_calls_cached_beside_each_other(api: Api) -> Any:
    seen: list[Any] = []

    @api.task(cache_policy=api.CachePolicy())
    async def double(x: Any) -> Any:
        seen.append(x)
        return x * 2

    async def wf(n: Any) -> Any:
        return await asyncio.gather(double(n), double(n))

    graph = flow(api, wf, cache=api.InMemoryCache())
    out = [await api.stream(graph, 3, api.thread(n), ["updates", "tasks"]) for n in ("a", "b")]
    return [*out, seen]
