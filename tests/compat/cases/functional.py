"""The functional API: entrypoints and tasks.

The body of a workflow or task is written once, as a coroutine function; in the sync form it
becomes a plain function, and what it awaits (`got`) waits in its thread.
"""

import asyncio
import functools
import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, both


def body(api: Api, function: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function as the form wants it."""
    if not api.sync:
        return function

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        coroutine = function(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("a sync body waited for something")

    return run


def task(api: Api, function: Callable[..., Any], **options: Any) -> Any:
    return api.task(**options)(body(api, function))


def flow(api: Api, function: Callable[..., Any], *, saved: bool = True, **options: Any) -> Any:
    if saved:
        options["checkpointer"] = api.saver()
    return api.entrypoint(**options)(body(api, function))


async def got(api: Api, future: Any) -> Any:
    """The result of a call."""
    return future.result() if api.sync else await future


class Tasks:
    """Tasks that note what they do."""

    def __init__(self, api: Api) -> None:
        self.seen: list[Any] = []
        seen = self.seen

        async def double(x: Any) -> Any:
            seen.append(["double", x])
            return x * 2

        async def fail(x: Any) -> Any:
            seen.append(["fail", x])
            raise ZeroDivisionError(f"boom {x}")

        async def ask(question: Any) -> Any:
            seen.append(["ask", question])
            return [question, api.interrupt(question)]

        async def nothing() -> None:
            seen.append(["nothing"])

        self.double = task(api, double)
        self.fail = task(api, fail)
        self.ask = task(api, ask)
        self.nothing = task(api, nothing)


async def recorded(api: Api, graph: Any, config: Any) -> dict[str, Any]:
    return {"state": await api.state(graph, config), "history": await api.history(graph, config)}


def quick(api: Api, attempts: int = 3) -> Any:
    return api.RetryPolicy(
        initial_interval=0.001, jitter=False, max_attempts=attempts, retry_on=Exception
    )


# -- workflows ----------------------------------------------------------------------------------


@both
async def case_entrypoint_returns_its_value(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        return [await got(api, t.double(n)), await got(api, t.double(x=n + 1))]

    graph = flow(api, wf)
    out = {"run": await api.invoke(graph, 3, api.thread()), "name": graph.name}
    return out | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_without_a_saver(api: Api) -> Any:
    async def wf(n: Any, *, previous: Any = "default") -> Any:
        return [n, previous]

    graph = flow(api, wf, saved=False)
    return [await api.invoke(graph, {"a": 1}), await api.invoke(graph, "x")]


@both
async def case_entrypoint_streams(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        await got(api, t.nothing())
        return await got(api, t.double(n))

    out = {}
    for mode in [*ALL_MODES, None]:
        graph = flow(api, wf)
        out[str(mode)] = await api.stream(graph, 3, api.thread(), mode)
    return out


@both
async def case_entrypoint_previous(api: Api) -> Any:
    async def wf(n: int, *, previous: Any = None) -> Any:
        return {"n": n, "before": previous and previous["n"]}

    graph = flow(api, wf)
    runs = [await api.invoke(graph, n, api.thread()) for n in (1, 2, 3)]
    other = await api.invoke(graph, 9, api.thread("other"))
    return {"runs": runs, "other": other} | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_final(api: Api) -> Any:
    final = api.entrypoint.final

    async def wf(n: int, *, previous: Any = None) -> Any:
        return final(value=previous, save=[n, previous])

    graph = flow(api, wf)
    runs = [await api.invoke(graph, n, api.thread()) for n in (1, 2, 3)]
    chunks = await api.stream(graph, 4, api.thread(), ["values", "updates", "tasks"])
    return {"runs": runs, "chunks": chunks} | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_final_saves_none(api: Api) -> Any:
    final = api.entrypoint.final

    async def wf(n: int, *, previous: Any = "none") -> Any:
        return final(value=n, save=None if n % 2 else {"kept": n, "was": previous})

    graph = flow(api, wf)
    runs = [await api.invoke(graph, n, api.thread()) for n in (2, 1, 4)]
    return {"runs": runs, "state": await api.state(graph, api.thread())}


@both
async def case_entrypoint_returns_nothing(api: Api) -> Any:
    async def wf(n: int) -> None:
        return None

    graph = flow(api, wf)
    out = {"run": await api.invoke(graph, 1, api.thread())}
    out["chunks"] = await api.stream(graph, 2, api.thread(), ["values", "updates"])
    return out | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_falsy_results(api: Api) -> Any:
    seen: list[Any] = []

    async def same(x: Any) -> Any:
        seen.append(x)
        return x

    falsy = task(api, same)

    async def wf(n: int) -> Any:
        found = [await got(api, falsy(x)) for x in (0, "", [], {}, None, False)]
        return [found, api.interrupt("?")]

    graph = flow(api, wf)
    out = {"stop": await api.invoke(graph, 1, api.thread())}
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out | {"seen": seen}


@both
async def case_entrypoint_command_as_input(api: Api) -> Any:
    async def wf(n: Any, *, previous: Any = None) -> Any:
        return [n, previous]

    graph = flow(api, wf)
    out = {"none": await api.raised(api.invoke(graph, None, api.thread()))}
    out["first"] = await api.invoke(graph, 1, api.thread())
    out["none again"] = await api.invoke(graph, None, api.thread())
    out["dict"] = await api.invoke(graph, {}, api.thread())
    return out | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_update_state(api: Api) -> Any:
    async def wf(n: Any, *, previous: Any = None) -> Any:
        return [n, previous]

    graph = flow(api, wf)
    await api.invoke(graph, 1, api.thread())
    await api.update(graph, api.thread(), "edited")
    out = {"edited": await api.state(graph, api.thread())}
    out["after"] = await api.invoke(graph, 2, api.thread())
    await api.update(graph, api.thread(), api.entrypoint.final(value="v", save="s"), "wf")
    out["final"] = await api.invoke(graph, 3, api.thread())
    out["unknown"] = await api.raised(api.update(graph, api.thread(), 1, "nobody"))
    out["start"] = await api.raised(api.update(graph, api.thread(), 1, api.START))
    return out | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_update_of_a_new_thread(api: Api) -> Any:
    async def wf(n: Any, *, previous: Any = None) -> Any:
        return [n, previous]

    graph = flow(api, wf)
    await api.update(graph, api.thread(), {"seed": 1})
    out = {"state": await api.state(graph, api.thread())}
    out["run"] = await api.invoke(graph, 2, api.thread())
    return out | await recorded(api, graph, api.thread())


@both
async def case_entrypoint_state_of_nothing(api: Api) -> Any:
    async def wf(n: Any) -> Any:
        return n

    graph = flow(api, wf)
    return await recorded(api, graph, api.thread("nobody"))


@both
async def case_entrypoint_breakpoints(api: Api) -> Any:
    t = Tasks(api)

    async def wf(n: int) -> Any:
        return await got(api, t.double(n))

    out = {}
    for name in ("interrupt_before", "interrupt_after"):
        for nodes in (["wf"], "*"):
            graph, thread = flow(api, wf), api.thread()
            key = f"{name} {nodes}"
            out[key] = [
                await api.invoke(graph, 2, thread, **{name: nodes}),
                await api.state(graph, thread),
                await api.invoke(graph, None, thread),
                await api.state(graph, thread),
            ]
    return {"out": out, "seen": t.seen}


@both
async def case_entrypoint_definitions_refused(api: Api) -> Any:
    def generator(n: int) -> Any:
        yield n

    async def agenerator(n: int) -> Any:
        yield n

    def plain(n: int) -> Any:
        return n

    return [
        api.refused(lambda: api.entrypoint()(generator)),
        api.refused(lambda: api.entrypoint()(agenerator)),
        api.refused(lambda: api.entrypoint()(lambda: 1)),
        api.refused(lambda: api.entrypoint(timeout=1)(plain)),
        api.refused(lambda: api.task(timeout=1)(plain)),
        api.refused(lambda: api.task(timeout=-1)),
        api.refused(lambda: api.task(plain)(1)),
        api.refused(lambda: api.entrypoint(nonsense=1)(plain))
        if api.package == "stepwell"
        else "raised TypeError",
    ]


@both
async def case_entrypoint_retries(api: Api) -> Any:
    seen: list[int] = []

    async def wf(n: int) -> Any:
        seen.append(n)
        if len(seen) < 3:
            raise ConnectionError("again")
        return "done"

    graph = flow(api, wf, retry_policy=quick(api))
    out = {"run": await api.invoke(graph, 1, api.thread()), "seen": list(seen)}
    seen.clear()
    graph = flow(api, wf, retry_policy=quick(api, 2))
    out["fails"] = await api.raised(api.invoke(graph, 1, api.thread()))
    out["state"] = await api.state(graph, api.thread())
    return out | {"seen again": seen}


@both
async def case_entrypoint_injection(api: Api) -> Any:
    async def inner(x: Any, config: api.RunnableConfig, runtime: Any, writer=None) -> Any:
        writer(["inner", x])
        info = runtime.execution_info
        metadata = config["metadata"]
        return {
            "path": metadata["langgraph_path"],
            "node": metadata["langgraph_node"],
            "triggers": list(metadata["langgraph_triggers"]),
            "step": metadata["langgraph_step"],
            "mine": metadata["m_a"],
            "levels": info.checkpoint_ns.count("|"),
            "names": [p.split(":")[0] for p in info.checkpoint_ns.split("|")],
            "id in ns": info.task_id in info.checkpoint_ns,
            "context": runtime.context,
            "attempt": info.node_attempt,
        }

    call = task(api, inner)

    async def wf(n: int, *, config: api.RunnableConfig, runtime: Any, writer, previous: Any) -> Any:
        writer("outer")
        return [
            await got(api, call(n)),
            config["metadata"]["langgraph_path"],
            config["configurable"]["thread_id"],
            previous is None,
            api.get_config()["metadata"]["langgraph_node"],
        ]

    graph = flow(api, wf)
    config = api.thread(metadata={"m_a": 1}, tags=["tag"])
    return await api.stream(graph, 1, config, ["custom", "updates", "tasks"], context={"who": "me"})


@both
async def case_entrypoint_store(api: Api) -> Any:
    async def remember(x: Any, *, store: api.BaseStore) -> Any:
        store.put(("a",), "k", {"v": x})
        return store.get(("a",), "k").value

    call = task(api, remember)

    async def wf(n: int, *, store: api.BaseStore) -> Any:
        found = await got(api, call(n))
        return [found, store.get(("a",), "k").value]

    return await api.invoke(flow(api, wf, store=api.InMemoryStore()), 3, api.thread())


@both
async def case_entrypoint_context_schema(api: Api) -> Any:
    class Context(TypedDict):
        who: str

    async def wf(n: int, runtime: Any) -> Any:
        return [n, runtime.context["who"]]

    graph = flow(api, wf, context_schema=Context)
    return await api.invoke(graph, 1, api.thread(), context={"who": "me"})


# -- calls --------------------------------------------------------------------------------------


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


def path(api: Api) -> Any:
    config = api.get_config()
    return [
        str(config["metadata"]["langgraph_path"]),
        [p.split(":")[0] for p in config["configurable"]["checkpoint_ns"].split("|")],
    ]


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


# -- failures -----------------------------------------------------------------------------------


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


# -- questions ----------------------------------------------------------------------------------


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


# -- in graphs ----------------------------------------------------------------------------------


class Logged(TypedDict):
    n: int
    log: Annotated[list[Any], operator.add]


def graph_of(api: Api, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Any:
    graph = api.StateGraph(Logged)
    for name, function in nodes.items():
        graph.add_node(name, body(api, function))
    for start, end in edges:
        graph.add_edge(start, end)
    return graph.compile(checkpointer=api.saver())


@both
async def case_calls_in_a_node(api: Api) -> Any:
    t = Tasks(api)

    async def node(state: Logged) -> Any:
        return {"log": [await got(api, t.double(state["n"])), await got(api, t.double(10))]}

    async def after(state: Logged) -> Any:
        return {"n": await got(api, t.double(state["n"]))}

    graph = graph_of(api, {"node": node, "after": after}, [(api.START, "node"), ("node", "after")])
    out = {"chunks": await api.stream(graph, {"n": 1}, api.thread(), ALL_MODES)}
    return out | await recorded(api, graph, api.thread())


@both
async def case_questions_of_calls_in_nodes(api: Api) -> Any:
    t = Tasks(api)

    async def node(state: Logged) -> Any:
        return {"log": [await got(api, t.double(state["n"]))]}

    async def asks(state: Logged) -> Any:
        return {"log": [await got(api, t.double(5)), await got(api, t.ask("q"))]}

    graph = graph_of(api, {"a": node, "b": asks}, [(api.START, "a"), (api.START, "b")])
    out = {"stop": await api.invoke(graph, {"n": 1}, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out | {"seen": sorted(t.seen, key=str)} | await recorded(api, graph, api.thread())


@both
async def case_calls_in_sends(api: Api) -> Any:
    t = Tasks(api)

    async def work(n: int) -> Any:
        return {"log": [await got(api, t.double(n)), path(api)[0]]}

    graph = api.StateGraph(Logged)
    graph.add_node("work", body(api, work))
    graph.add_conditional_edges(
        api.START, lambda state: [api.Send("work", i) for i in range(3)], ["work"]
    )
    graph = graph.compile(checkpointer=api.saver())
    out = {"run": await api.invoke(graph, {"n": 1}, api.thread())}
    return out | {"seen": sorted(t.seen)} | await recorded(api, graph, api.thread())


@both
async def case_graphs_inside_workflows(api: Api) -> Any:
    t = Tasks(api)

    async def node(state: Logged) -> Any:
        return {"n": await got(api, t.double(state["n"])), "log": [api.interrupt("inside")]}

    graph = api.StateGraph(Logged).add_node("node", body(api, node))
    inner = graph.add_edge(api.START, "node").compile()

    async def call(n: int) -> Any:
        return (await api.invoke(inner, {"n": n}))["n"]

    called = task(api, call)

    async def wf(n: int) -> Any:
        first = await api.invoke(inner, {"n": n})
        return [first, await got(api, called(first["n"]))]

    outer, out = flow(api, wf), []
    out.append(await api.invoke(outer, 1, api.thread()))
    out.append(await api.state(outer, api.thread()))
    out.append(await api.invoke(outer, api.Command(resume="one"), api.thread()))
    out.append(await api.invoke(outer, api.Command(resume="two"), api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, outer, api.thread())


@both
async def case_workflows_inside_workflows(api: Api) -> Any:
    t = Tasks(api)

    async def inner(n: int, *, previous: Any = "nothing") -> Any:
        return [await got(api, t.double(n)), api.interrupt("inner"), previous]

    nested = flow(api, inner, saved=False)

    async def wf(n: int) -> Any:
        return {"r": await api.invoke(nested, n)}

    outer = flow(api, wf)
    out = [await api.invoke(outer, 1, api.thread())]
    out.append(await api.invoke(outer, api.Command(resume="R"), api.thread()))
    out.append(await api.invoke(outer, 2, api.thread()))
    out.append(await api.invoke(outer, api.Command(resume="S"), api.thread()))
    return {"out": out, "seen": t.seen} | await recorded(api, outer, api.thread())


@both
async def case_a_workflow_as_a_node(api: Api) -> Any:
    t = Tasks(api)

    async def inner(state: Logged) -> Any:
        return {"log": [await got(api, t.double(state["n"]))]}

    async def after(state: Logged) -> Any:
        return {"n": state["n"] + 1}

    graph = api.StateGraph(Logged).add_node("inner", flow(api, inner, saved=False))
    graph.add_node("after", body(api, after))
    graph.add_edge(api.START, "inner").add_edge("inner", "after")
    compiled = graph.compile(checkpointer=api.saver())
    chunks = await api.stream(compiled, {"n": 3}, api.thread(), ["updates"], subgraphs=True)
    return {"chunks": chunks} | await recorded(api, compiled, api.thread())
