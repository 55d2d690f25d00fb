"""The functional API: entrypoints."""

from typing import Any, TypedDict

from tests.compat.engines import Api
from tests.compat.flows import Tasks, flow, got, quick, recorded, task
from tests.compat.shapes import ALL_MODES, both


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
