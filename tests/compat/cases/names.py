"""Names that other cases have no use for: constants, errors, typed dicts, objects made by hand."""

import datetime as dt
import operator
import tempfile
from typing import Annotated, Any, TypedDict

import typing_extensions

from tests.compat.engines import Api
from tests.compat.shapes import Log, LogCount, both, build, chain


class Words(typing_extensions.TypedDict):
    """Pydantic asks for this kind of TypedDict."""

    log: Annotated[list, operator.add]


def shown(value: Any) -> Any:
    """A class as its fields, or what it is based on."""
    if not isinstance(value, type):
        return repr(value) if callable(value) else value
    if issubclass(value, BaseException):
        builtin = [c.__name__ for c in value.__mro__ if c.__module__ == "builtins"]
        return [c.__name__ for c in value.__mro__[:2]][:1] + builtin[:1]
    return sorted(getattr(value, "__annotations__", {}))


async def case_constants(api: Api) -> Any:
    module = api.module("constants")
    names = ("CONF", "CONFIG_KEY_CHECKPOINTER", "START", "END", "TAG_HIDDEN", "TAG_NOSTREAM")
    return {name: getattr(module, name) for name in (*names, "TASKS")}


async def case_typed_dicts(api: Api) -> Any:
    types = api.module("types")
    names = (
        "CheckpointPayload", "CheckpointStreamPart", "CheckpointTask", "CustomStreamPart",
        "MessagesStreamPart", "TaskPayload", "TaskResultPayload", "TasksStreamPart",
        "UpdatesStreamPart", "ValuesStreamPart", "DebugStreamPart",
    )  # fmt: skip
    base = api.module("checkpoint.base")
    return [
        {name: shown(getattr(types, name)) for name in names},
        [
            {"id", "ts", "channel_values"} <= set(shown(base.Checkpoint)),
            {"source", "step", "parents", "run_id"} <= set(shown(base.CheckpointMetadata)),
        ],
    ]


async def case_aliases_of_types(api: Api) -> Any:
    """They are there, and can stand in annotations."""
    types, typing_, store = api.module("types"), api.module("typing"), api.module("store.base")
    names = ("All", "StreamMode", "StreamWriter", "Durability", "Checkpointer", "StreamPart")
    found = [getattr(types, name) is not None for name in (*names, "DebugPayload")]
    found += [getattr(store, n) is not None for n in ("Op", "NamespacePath", "NamespaceMatchType")]
    embed = api.module("store.base.embed")
    found += [getattr(embed, n) is not None for n in ("EmbeddingsFunc", "AEmbeddingsFunc")]
    variables = ("StateT", "ContextT", "InputT", "OutputT", "StateT_co", "StateT_contra")
    return [found, [getattr(typing_, name).__name__ for name in variables]]


async def case_errors(api: Api) -> Any:
    errors = api.module("errors")
    codes = errors.ErrorCode
    return {
        "codes": {code.name: code.value for code in codes},
        "task": str(errors.TaskNotFound("x")), "channel": str(errors.EmptyChannelError("c")),
        "parent": errors.ParentCommand(api.Command(goto="a")).args[0],
        "interrupt": errors.GraphInterrupt((api.Interrupt("v", "id"),)).args[0],
        "bubbles": [
            issubclass(e, errors.GraphBubbleUp)
            for e in (errors.GraphInterrupt, errors.ParentCommand, errors.GraphDrained)
        ],
    }  # fmt: skip


async def case_warnings(api: Api) -> Any:
    module = api.module("warnings")
    names = ("LangGraphDeprecatedSinceV05", "LangGraphDeprecatedSinceV10")
    made = [getattr(module, name)("msg.") for name in (*names, "LangGraphDeprecatedSinceV11")]
    kind = module.LangGraphDeprecationWarning
    own = kind("old", since=(1, 2), expected_removal=(2, 0))
    return [[str(w), isinstance(w, kind), isinstance(w, DeprecationWarning)] for w in [*made, own]]


async def case_interrupts_by_hand(api: Api) -> Any:
    made = api.Interrupt.from_ns("v", ns="n:1")
    return [made.value, len(made.id), made == api.Interrupt.from_ns("v", ns="n:1")]


async def case_small_functions_of_types(api: Api) -> Any:
    types = api.module("types")
    policy = types.TimeoutPolicy
    forms = (None, 3, dt.timedelta(seconds=2), policy(idle_timeout=4))
    given = [types.ensure_valid_checkpointer(value) for value in (None, True, False)]
    errors = (
        ConnectionError("x"),
        ValueError("x"),
        RuntimeError("x"),
        OSError("x"),
        Exception("x"),
    )
    return {
        "coerced": [
            None if (p := policy.coerce(form)) is None else [p.run_timeout, p.idle_timeout]
            for form in forms
        ],
        "valid": given, "invalid": api.refused(lambda: types.ensure_valid_checkpointer("x")).family,
        "retried": [types.default_retry_on(error) for error in errors],
    }  # fmt: skip


async def case_runtime_by_hand(api: Api) -> Any:
    runtime, info = api.Runtime, api.module("runtime").ExecutionInfo
    one = runtime(context={"a": 1})
    two = runtime(context={"b": 2}, previous=3)
    merged = one.merge(two)
    changed = two.override(context={"c": 3})
    made = info(
        checkpoint_id="c", checkpoint_ns="n", task_id="t", thread_id="th", run_id="r",
        node_attempt=2, node_first_attempt_time=1.5,
    )  # fmt: skip
    patched = runtime(execution_info=made).patch_execution_info(node_attempt=3)
    return {
        "merged": [merged.context, merged.previous],
        "changed": [changed.context, changed.previous],
        "patched": made.patch(task_id="u").task_id,
        "in runtime": [patched.execution_info.node_attempt, patched.execution_info.task_id],
    }


async def case_channels_by_hand(api: Api) -> Any:
    module = api.module("channels")
    made = {
        "last": module.LastValue(str), "any": module.AnyValue(str),
        "fold": module.BinaryOperatorAggregate(int, operator.add),
        "topic": module.Topic(str, accumulate=True),
        "gone": module.EphemeralValue(str, guard=False),
        "late": module.LastValueAfterFinish(str),
        "names": module.NamedBarrierValue(str, {"a", "b"}),
        "late names": module.NamedBarrierValueAfterFinish(str, {"a", "b"}),
        "untracked": module.UntrackedValue(str, guard=False),
    }  # fmt: skip
    writes: dict[str, list[Any]] = {
        "fold": [1, 2], "topic": ["x", ["y"]], "names": ["a", "b"], "late names": ["a", "b"],
    }  # fmt: skip
    seen = {}
    for name, channel in made.items():
        channel.key = name
        before = channel.is_available()
        changed = channel.update(writes.get(name, ["x"]))
        finished, again = channel.finish(), channel.copy()
        consumed = channel.consume()
        seen[name] = {
            "before": before, "changed": changed, "finished": finished, "consumed": consumed,
            "there": [channel.is_available(), again.is_available()],
            "got": again.get() if again.is_available() else None,
            "empty": channel.update([]), "equal": again == channel,
        }  # fmt: skip
        if name != "untracked":
            restored = channel.from_checkpoint(again.checkpoint())
            seen[name]["restored"] = restored.get() if restored.is_available() else None
        seen[name]["types"] = [str(channel.ValueType), str(channel.UpdateType)]
    nothing = api.refused(module.LastValue(str, "k").get)
    return [seen, type(nothing.error).__name__]


async def case_checkpoints_by_hand(api: Api) -> Any:
    base = api.module("checkpoint.base")
    empty = base.empty_checkpoint()
    copied = base.copy_checkpoint({**empty, "channel_values": {"a": [1]}})
    config = {"configurable": {"thread_id": "t", "checkpoint_id": "c", "user": "u"}}
    return {
        "empty": sorted(empty), "copied": copied["channel_values"],
        "id": [base.get_checkpoint_id(config), base.get_checkpoint_id(api.thread())],
        "metadata": base.get_checkpoint_metadata(
            {**config, "metadata": {"m_a": 1}}, {"source": "loop", "step": 3}
        ),
    }  # fmt: skip


@both
async def case_saver_reads(api: Api) -> Any:
    """What a saver says of a thread: the newest checkpoint, all, some, none after a deletion."""
    saver = api.saver()
    graph = chain(api, LogCount, ["a", "b"], checkpointer=saver)
    config = api.thread(metadata={"m_a": 1})
    await api.invoke(graph, {"log": []}, config)
    await api.invoke(graph, {"log": []}, api.thread("other"))

    async def read(**options: Any) -> list[Any]:
        if api.sync:
            return list(saver.list(api.thread(), **options))
        return [c async for c in saver.alist(api.thread(), **options)]

    every = await read()
    found = {
        "all": [[c.metadata, c.config, c.parent_config] for c in every],
        "limit": len(await read(limit=2)),
        "filter": len(await read(filter={"source": "loop", "step": 1})),
        "before": len(await read(before=every[1].config)),
    }
    newest = saver.get_tuple(config) if api.sync else await saver.aget_tuple(config)
    plain = saver.get(config) if api.sync else await saver.aget(config)
    found["newest"] = [newest.config == every[0].config, newest.metadata]
    found["values"] = plain["channel_values"]["log"]
    if api.sync:
        saver.delete_thread("t")
    else:
        await saver.adelete_thread("t")
    return found | {"left": len(await read())}


async def case_saver_tells_what_steps_changed(api: Api) -> Any:
    """Channels that a superstep emptied do not count."""
    saver = api.saver()
    graph = chain(api, LogCount, ["a", "b", "c"], checkpointer=saver)
    await api.invoke(graph, {"log": ["in"], "n": 1}, api.thread())
    kept = [c.checkpoint async for c in saver.alist(api.thread())]
    return [[sorted(c["updated_channels"]), c["channel_values"]] for c in kept]


async def case_saver_of_a_path(api: Api) -> Any:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        module = api.module("checkpoint.sqlite.aio")
        async with module.AsyncSqliteSaver.from_conn_string(
            conn_string=f"{folder}/threads.db"
        ) as saver:
            await saver.setup()
            graph = chain(api, Log, ["a"], checkpointer=saver)
            await api.invoke(graph, {"log": []}, api.thread())
        async with module.AsyncSqliteSaver.from_conn_string(f"{folder}/threads.db") as saver:
            graph = chain(api, Log, ["a"], checkpointer=saver)
            return (await api.state(graph, api.thread())).values


async def case_saver_of_a_path_without_a_loop(api: Api) -> Any:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        saver_class = api.module("checkpoint.sqlite").SqliteSaver
        with saver_class.from_conn_string(f"{folder}/threads.db") as saver:
            saver.setup()
            graph = chain(api, Log, ["a"], checkpointer=saver)
            graph.invoke({"log": []}, api.thread())
            return graph.get_state(api.thread()).values


case_saver_of_a_path_without_a_loop.forms = ("sync",)  # type: ignore[attr-defined]


async def case_builder_is_validated(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("a", lambda state: None)
    first = api.refused(graph.validate)
    graph.add_edge(api.START, "a")
    good = graph.validate(interrupt=["a"]) is graph
    return [first.family, good, api.refused(lambda: graph.validate(interrupt=["b"])).family]


async def case_compiled_graphs_are_validated(api: Api) -> Any:
    graph = build(api, Log, ["a"], [(api.START, "a")])
    return graph.validate() is graph


async def case_ui_messages(api: Api) -> Any:
    ui = api.module("graph.ui")
    one = {"type": "ui", "id": "1", "name": "card", "props": {"a": 1}, "metadata": {}}
    more = {**one, "props": {"b": 2}, "metadata": {"merge": True}}
    kept = ui.ui_message_reducer([one], more)
    gone = ui.ui_message_reducer(kept, [{"type": "remove-ui", "id": "1"}])
    return [kept, gone, shown(ui.UIMessage), shown(ui.RemoveUIMessage)]


async def case_version(api: Api) -> Any:
    return isinstance(api.module("version").__version__, str)


async def case_schemas_for_a_config(api: Api) -> Any:
    graph = build(api, Words, ["a"], [(api.START, "a")], name="G")
    config = {"configurable": {"x": 1}}
    schemas = [graph.get_input_jsonschema(config), graph.get_output_jsonschema(config)]
    models = [graph.get_input_schema(config), graph.get_output_schema(config)]
    drawn = await graph.aget_graph(config, xray=True)
    return {
        "json": schemas, "drawn": sorted(drawn.nodes),
        "models": [model.__name__ for model in models],
        "class": isinstance(graph, api.module("graph.state").CompiledStateGraph),
    }  # fmt: skip


async def case_runtime_of_a_context(api: Api) -> Any:
    class Context(TypedDict):
        user: str

    def look(state: Any) -> Any:
        return {"log": [api.get_runtime(Context).context]}

    graph = api.StateGraph(Log, context_schema=Context)
    graph.add_node("a", api.node(look))
    graph.add_edge(api.START, "a")
    return await api.invoke(graph.compile(), {"log": []}, context={"user": "u"})


async def case_output_of_version_two(api: Api) -> Any:
    graph = chain(api, Log, ["a"])
    made = await api.invoke(graph, {"log": []}, version="v2")
    return [isinstance(made, api.module("types").GraphOutput), made.value, made.interrupts]
