"""What nodes are given: config, runtime, context, writer."""

import dataclasses
from typing import Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, build, chain, warns


@both
async def case_config_parameter(api: Api) -> Any:
    def look(state: Any, config) -> Any:
        own = config["configurable"]
        shown = {
            "thread": own.get("thread_id"), "own": own.get("colour"),
            "tags": config.get("tags") or [],
            "metadata": config.get("metadata", {}).get("m_a"),
        }  # fmt: skip
        return {"log": [shown]}

    graph = chain(api, Log, {"a": api.node(look)}, checkpointer=api.saver())
    config = api.thread(tags=["red"], metadata={"m_a": 1}, recursion_limit=17)
    config["configurable"]["colour"] = "blue"
    return {
        "full": await api.invoke(graph, {"log": []}, config),
        "bare": await api.invoke(graph, {"log": []}, api.thread("u")),
    }


@both
@warns
async def case_config_parameter_by_annotation(api: Api) -> Any:
    def look(state: Any, config: api.RunnableConfig) -> Any:
        return {"log": [config["configurable"]["thread_id"]]}

    def maybe(state: Any, config: api.RunnableConfig | None = None) -> Any:
        return {"log": [config["configurable"]["thread_id"] if config else "none"]}

    def plain(state: Any, config: Any = "not injected") -> Any:
        return {"log": [config if isinstance(config, str) else "injected"]}

    nodes = {"a": api.node(look), "b": api.node(maybe), "c": api.node(plain)}
    return await api.invoke(
        chain(api, Log, nodes, checkpointer=api.saver()), {"log": []}, api.thread()
    )


@both
async def case_get_config(api: Api) -> Any:
    def look(state: Any) -> Any:
        config = api.get_config()
        return {"log": [[config["configurable"]["thread_id"], config["recursion_limit"]]]}

    def route(state: Any) -> Any:
        return api.END if api.get_config()["configurable"]["thread_id"] == "t" else "a"

    graph = build(
        api, Log, {"a": api.node(look)}, [(api.START, "a")], [("a", route, ["a", api.END])],
        checkpointer=api.saver(),
    )  # fmt: skip
    return await api.invoke(graph, {"log": []}, api.thread(recursion_limit=9))


@both
async def case_get_config_outside(api: Api) -> Any:
    return {
        "config": api.refused(api.get_config),
        "writer": api.refused(api.get_stream_writer),
        "interrupt": api.refused(lambda: api.interrupt("q")),
    }


@both
async def case_router_with_config(api: Api) -> Any:
    def route(state: Any, config) -> Any:
        return config["configurable"]["where"]

    graph = build(
        api, Log, ["a", "b", "c"], [(api.START, "a")], [("a", route, ["b", "c"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    config = api.thread()
    config["configurable"]["where"] = "c"
    return await api.invoke(graph, {"log": []}, config)


@both
async def case_runtime_context(api: Api) -> Any:
    @dataclasses.dataclass
    class Context:
        user: str
        level: int = 1

    def look(state: Any, runtime: api.Runtime[Context]) -> Any:
        return {
            "log": [[type(runtime.context).__name__, runtime.context.user, runtime.context.level]]
        }

    graph = api.StateGraph(Log, context_schema=Context)
    graph.add_node("a", api.node(look))
    graph.add_edge(api.START, "a")
    compiled = graph.compile()
    return {
        "object": await api.invoke(compiled, {"log": []}, None, context=Context("ann", 2)),
        "dict": await api.invoke(compiled, {"log": []}, None, context={"user": "bob"}),
    }


@both
async def case_runtime_context_as_a_typed_dict(api: Api) -> Any:
    class Context(TypedDict):
        user: str

    def look(state: Any, runtime: api.Runtime[Context]) -> Any:
        return {"log": [runtime.context]}

    def route(state: Any, runtime: api.Runtime[Context]) -> Any:
        return "b" if runtime.context["user"] == "ann" else api.END

    graph = api.StateGraph(Log, context_schema=Context)
    graph.add_node("a", api.node(look))
    graph.add_node("b", api.node(look))
    graph.add_edge(api.START, "a")
    graph.add_conditional_edges("a", route, ["b", api.END])
    compiled = graph.compile(checkpointer=api.saver())
    return [
        await api.invoke(compiled, {"log": []}, api.thread(n), context={"user": n})
        for n in ("ann", "bob")
    ]


@both
async def case_runtime_without_context(api: Api) -> Any:
    def look(state: Any, runtime: api.Runtime) -> Any:
        return {"log": [[runtime.context, runtime.store, runtime.previous]]}

    graph = chain(api, Log, {"a": api.node(look)})
    return await api.invoke(graph, {"log": []})


@both
async def case_runtime_execution_info(api: Api) -> Any:
    def look(state: Any, runtime: api.Runtime) -> Any:
        info = runtime.execution_info
        return {"log": [[info.thread_id, info.node_attempt, info.checkpoint_ns.split(":")[0]]]}

    graph = chain(api, Log, {"a": api.node(look)}, checkpointer=api.saver())
    return await api.invoke(graph, {"log": []}, api.thread())


@both
async def case_attempts_are_counted(api: Api) -> Any:
    seen: list[int] = []

    def f(state: Any, runtime: api.Runtime) -> Any:
        seen.append(runtime.execution_info.node_attempt)
        if len(seen) < 3:
            raise ConnectionError("x")
        return {"log": list(seen)}

    graph = api.StateGraph(Log)
    graph.add_node(
        "f", api.node(f), retry_policy=api.RetryPolicy(initial_interval=0.0001, jitter=False)
    )
    graph.add_edge(api.START, "f")
    return await api.invoke(graph.compile(), {"log": []})


@both
async def case_keyword_only_parameters(api: Api) -> Any:
    def look(state: Any, *, config, writer, runtime: api.Runtime, store) -> Any:
        return {"log": [[bool(config), callable(writer), runtime is not None, store]]}

    graph = chain(api, Log, {"a": api.node(look)}, checkpointer=api.saver())
    try:
        return await api.invoke(graph, {"log": []}, api.thread())
    except Exception as error:
        return type(error).__name__


@both
async def case_with_config_defaults(api: Api) -> Any:
    def look(state: Any, config) -> Any:
        return {
            "log": [
                [
                    config["configurable"].get("a"),
                    config["configurable"].get("b"),
                    config["recursion_limit"],
                ]
            ]
        }

    graph = chain(api, Log, {"x": api.node(look)}, checkpointer=api.saver())
    bound = graph.with_config({"configurable": {"a": 1, "b": 1}, "recursion_limit": 9})
    config = api.thread()
    config["configurable"]["b"] = 2
    return await api.invoke(bound, {"log": []}, config)


@both
async def case_nodes_do_not_share_their_input(api: Api) -> Any:
    def spoil(state: Any) -> Any:
        state["extra"] = 1
        return {"log": [sorted(state)]}

    graph = build(
        api, Log, {"a": api.node(spoil), "b": api.node(lambda s: {"log": [sorted(s)]})},
        [(api.START, "a"), ("a", "b")],
    )  # fmt: skip
    return await api.invoke(graph, {"log": []})


@both
async def case_input_is_not_changed(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    given = {"log": ["in"]}
    await api.invoke(graph, given, api.thread())
    return given
