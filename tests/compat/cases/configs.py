"""What becomes of a config: what nodes and routers see of it, what is stored."""

import operator
import uuid
import warnings
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import Count, Log, both, build, chain

RUN = "0d5a0b0e-6c3c-4e0a-9d0e-3f1d6f0a6f00"


def mine(config: Any) -> dict[str, Any]:
    """The caller's own part of a config."""
    metadata = {k: v for k, v in (config.get("metadata") or {}).items() if k.startswith("m_")}
    conf = {k: v for k, v in config.get("configurable", {}).items() if k.startswith(("my_", "th"))}
    return {
        "tags": sorted(t for t in config.get("tags") or [] if not t.startswith(("seq:", "graph:"))),
        "metadata": metadata,
        "configurable": conf,
        "recursion_limit": config.get("recursion_limit"),
        "max_concurrency": config.get("max_concurrency"),
        "run_id": config.get("run_id") and str(config["run_id"]),
    }


def looking(api: Api, seen: list[Any], **options: Any) -> Any:
    """A graph whose node and router note the config, by parameter and by get_config()."""

    def look(state: Any, config: api.RunnableConfig) -> Any:
        seen.append({"node": mine(config)})
        seen.append({"node, ambient": mine(api.get_config())})
        return {"n": 1}

    def route(state: Any, config: api.RunnableConfig) -> str:
        seen.append({"router": mine(config)["configurable"]})
        seen.append({"router, ambient": mine(api.get_config())["configurable"]})
        return api.END

    return build(
        api, Count, {"look": api.node(look)}, [(api.START, "look")], [("look", route)], **options
    )


GIVEN = {
    "tags": ["red", "blue"],
    "metadata": {"m_x": 1, "m_y": True},
    "recursion_limit": 17,
    "max_concurrency": 3,
    "run_name": "a name",
    "run_id": uuid.UUID(RUN),
    "configurable": {"thread_id": "t", "my_key": "mine", "my_list": [1, 2]},
}


@both
async def case_config_reaches_nodes(api: Api) -> Any:
    seen: list[Any] = []
    graph = looking(api, seen, checkpointer=api.saver())
    await api.invoke(graph, {"n": 0}, GIVEN)
    return {"seen": seen, "history": await api.history(graph, api.thread())}


@both
async def case_config_without_a_checkpointer(api: Api) -> Any:
    seen: list[Any] = []
    graph = looking(api, seen)
    for config in (None, {}, {"configurable": {"my_key": 1}}, {"tags": ["t"]}):
        await api.invoke(graph, {"n": 0}, config)
    for entry in seen:
        for part in entry.values():
            part.pop("recursion_limit", None)
    return seen


@both
async def case_config_with_unknown_keys(api: Api) -> Any:
    """They are folded into `configurable`, and win over what is there."""
    seen: list[Any] = []
    graph = looking(api, seen, checkpointer=api.saver())
    config = {
        "my_top": 5,
        "my_none": None,
        "my_list": [],
        "my_no": False,
        "my_key": "top",
        "configurable": {"thread_id": "t", "my_key": "inner"},
    }
    await api.invoke(graph, {"n": 0}, config)
    return [s.get("router") for s in seen if "router" in s]


@both
async def case_config_thread_ids(api: Api) -> Any:
    graph = chain(api, Count, {"a": api.node(lambda s: {"n": 1})}, checkpointer=api.saver())
    name = uuid.UUID(RUN)
    out = []
    for thread in (7, name):
        config = {"configurable": {"thread_id": thread}}
        await api.invoke(graph, {"n": 0}, config)
        out.append((await api.state(graph, config)).values)
        out.append((await api.state(graph, {"configurable": {"thread_id": str(thread)}})).values)
    return out


@both
async def case_config_without_a_thread(api: Api) -> Any:
    graph = chain(api, Count, {"a": api.node(lambda s: {"n": 1})}, checkpointer=api.saver())
    out = {}
    for name, config in {"none": None, "empty": {}, "no thread": {"configurable": {}}}.items():
        out[name] = await api.raised(api.invoke(graph, {"n": 0}, config))
    return out


@both
async def case_config_recursion_limits(api: Api) -> Any:
    graph = chain(api, Count, {n: api.node(lambda s: {"n": 1}) for n in "abc"})
    out = {}
    for limit in (-1, 0, 1, 3, 4):
        try:
            result = await api.invoke(graph, {"n": 0}, {"recursion_limit": limit})
        except Exception as error:
            names = {c.__name__ for c in type(error).__mro__}
            result = sorted(names & {"ValueError", "RecursionError", "GraphRecursionError"})
        out[limit] = result
    return out


@both
async def case_config_run_ids_are_stored(api: Api) -> Any:
    graph = chain(api, Count, {"a": api.node(lambda s: {"n": 1})}, checkpointer=api.saver())
    await api.invoke(graph, {"n": 0}, {**api.thread(), "run_id": RUN})
    history = await api.history(graph, api.thread())
    return [(s.metadata.get("run_id"), s.metadata["step"]) for s in history]


@both
async def case_config_is_not_changed(api: Api) -> Any:
    def change(state: Any, config: api.RunnableConfig) -> Any:
        config["configurable"]["my_new"] = 1
        config["metadata"]["m_new"] = 1
        return {"n": 1}

    given = {"configurable": {"thread_id": "t"}, "metadata": {"m_x": 1}, "tags": ["a"]}
    graph = chain(api, Count, {"a": api.node(change)}, checkpointer=api.saver())
    await api.invoke(graph, {"n": 0}, given)
    return given


@both
async def case_config_tells_where_a_node_is(api: Api) -> Any:
    seen: list[Any] = []

    def look(state: Any, config: api.RunnableConfig) -> Any:
        told = {k: v for k, v in config["metadata"].items() if k.startswith("langgraph_")}
        seen.append({**told, "thread_id": config["metadata"].get("thread_id")})
        return {"n": state["n"] + 1}

    graph = chain(api, Count, {"a": api.node(look), "b": api.node(look)}, checkpointer=api.saver())
    await api.invoke(graph, {"n": 0}, api.thread())
    return seen


@both
async def case_config_run_info(api: Api) -> Any:
    seen: list[Any] = []

    def look(state: Any, runtime: api.Runtime) -> Any:
        info = runtime.execution_info
        seen.append(
            {
                "thread": info.thread_id, "run": info.run_id, "attempt": info.node_attempt,
                "started": info.node_first_attempt_time is not None,
                "task": info.task_id in info.checkpoint_ns, "checkpoint": bool(info.checkpoint_id),
                "server": runtime.server_info, "previous": runtime.previous,
                "drains": runtime.drain_requested, "control": runtime.control is not None,
            }
        )  # fmt: skip
        return {"n": 1}

    graph = chain(api, Count, {"a": api.node(look)}, checkpointer=api.saver())
    await api.invoke(graph, {"n": 0}, {**api.thread(), "run_id": RUN})
    plain = chain(api, Count, {"a": api.node(look)})
    await api.invoke(plain, {"n": 0})
    server = {"assistant_id": "as", "graph_id": "g"}
    await api.invoke(plain, {"n": 0}, {"configurable": server})
    seen[2]["server"] = (seen[2]["server"].assistant_id, seen[2]["server"].graph_id)
    return seen


@both
async def case_config_outside_of_a_node(api: Api) -> Any:
    module = api.module("config")
    names = ("get_config", "get_stream_writer", "get_store")
    return [api.refused(getattr(module, name)) for name in names]


@both
async def case_config_of_a_node_that_drains_its_run(api: Api) -> Any:
    def stop(state: Any, runtime: api.Runtime) -> Any:
        runtime.control.request_drain("enough")
        return {"n": 1}

    graph = chain(
        api, Count, {"a": api.node(stop), "b": api.node(lambda s: {"n": 2})},
        checkpointer=api.saver(),
    )  # fmt: skip
    raised = await api.raised(api.invoke(graph, {"n": 0}, api.thread()))
    return {"raised": raised, "next": (await api.state(graph, api.thread())).next,
            "on": await api.invoke(graph, None, api.thread())}  # fmt: skip


@both
async def case_context_of_many_kinds(api: Api) -> Any:
    import dataclasses

    from pydantic import BaseModel

    @dataclasses.dataclass
    class Record:
        user: str
        n: int = 1

    class Model(BaseModel):
        user: str
        n: int = 1

    class Plain(TypedDict):
        user: str

    seen: list[Any] = []

    def look(state: Any, runtime: api.Runtime) -> Any:
        seen.append((type(runtime.context).__name__, runtime.context))
        seen.append(api.get_runtime().context == runtime.context)
        return {"n": 1}

    for schema in (Record, Model, Plain, None):
        builder = api.StateGraph(Count, context_schema=schema)
        builder.add_node("look", api.node(look))
        builder.add_edge(api.START, "look")
        graph = builder.compile()
        for context in ({"user": "u"}, None, Record("me"), Model(user="m")):
            await api.invoke(graph, {"n": 0}, context=context)
    refused = api.StateGraph(Count, context_schema=Model)
    refused.add_node("look", api.node(look))
    refused.add_edge(api.START, "look")
    raised = await api.raised(api.invoke(refused.compile(), {"n": 0}, context={"no": 1}))
    return {"seen": seen, "refused": isinstance(raised.error, ValueError)}


class Both(TypedDict):
    log: Annotated[list, operator.add]


@both
async def case_config_of_a_graph_in_a_node(api: Api) -> Any:
    """The ambient config reaches a graph that a node calls without one."""
    seen: list[Any] = []

    def inner(state: Any, config: api.RunnableConfig) -> Any:
        part = mine(config)
        seen.append({k: part[k] for k in ("tags", "metadata", "configurable")})
        return {"log": ["inner"]}

    child = chain(api, Log, {"inner": api.node(inner)})
    plain = {"metadata": {"m_own": 2}, "tags": ["own"], "configurable": {"my_own": 3}}
    if api.sync:

        def outer(state: Any, config: api.RunnableConfig) -> Any:
            child.invoke({"log": []})
            child.invoke({"log": []}, config)
            child.invoke({"log": []}, plain)
            child.invoke({"log": []}, {"configurable": {"thread_id": "other"}})
            return {"log": ["outer"]}
    else:

        async def outer(state: Any, config: api.RunnableConfig) -> Any:
            await child.ainvoke({"log": []})
            await child.ainvoke({"log": []}, config)
            await child.ainvoke({"log": []}, plain)
            await child.ainvoke({"log": []}, {"configurable": {"thread_id": "other"}})
            return {"log": ["outer"]}

    graph = chain(api, Log, {"outer": outer})
    config = {"metadata": {"m_x": 1}, "tags": ["red"], "configurable": {"my_key": 1}}
    await api.invoke(graph, {"log": []}, config)
    return seen


@both
async def case_callbacks_are_accepted(api: Api) -> Any:
    graph = chain(api, Count, {"a": api.node(lambda s: {"n": 1})})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return await api.invoke(graph, {"n": 0}, {"callbacks": []})


@both
async def case_runtimes_are_combined(api: Api) -> Any:
    seen: list[Any] = []

    def look(state: Any, runtime: api.Runtime) -> Any:
        other = runtime.override(context="other", previous=5)
        merged = runtime.merge(api.Runtime(store="mine"))
        patched = runtime.patch_execution_info(node_attempt=9)
        ambient = api.get_runtime(str)
        seen.append(
            [
                other.context, other.previous, runtime.context, merged.context, merged.store,
                patched.execution_info.node_attempt, ambient.context,
            ]
        )  # fmt: skip
        return {"n": 1}

    graph = chain(api, Count, {"a": api.node(look)})
    await api.invoke(graph, {"n": 0}, context="given")
    return seen


@both
async def case_schemas_by_config(api: Api) -> Any:
    from pydantic import BaseModel

    class Numbered(BaseModel):
        n: int = 0

    graph = chain(api, Numbered, {"a": api.node(lambda s: {"n": 1})})
    config = {"configurable": {"x": 1}}
    return [
        graph.get_input_jsonschema(config), graph.get_output_jsonschema(config),
        graph.get_input_schema(config).__name__, graph.get_output_schema(config).__name__,
        graph.validate() is graph,
    ]  # fmt: skip
