"""More names that other cases have no use for: small shapes, made and read by hand."""

import asyncio
import datetime as dt
import operator
import warnings
from collections import deque
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, chain, warns


async def case_checkpoint_tuples_by_hand(api: Api) -> Any:
    base = api.module("checkpoint.base")
    empty = base.empty_checkpoint()
    short = base.CheckpointTuple(api.thread(), empty, {"source": "loop", "step": 1})
    full = base.CheckpointTuple(
        config=api.thread("a"), checkpoint=empty, metadata={"source": "input", "step": -1},
        parent_config=api.thread("b"), pending_writes=[("task", "channel", 1)],
    )  # fmt: skip
    config, _, metadata, parent, writes = full
    return [
        short._fields, [short.parent_config, short.pending_writes], short == short._replace(),
        config, metadata, parent, writes, full.checkpoint is empty, full == short,
    ]  # fmt: skip


async def case_following_checkpoints_by_hand(api: Api) -> Any:
    base, channels = api.module("checkpoint.base"), api.module("channels")
    before = base.empty_checkpoint()
    before["channel_values"] = {"old": 1}
    before["channel_versions"] = {"fold": 2, "late": 3}
    before["versions_seen"] = {"node": {"fold": 1}}
    made = {
        "fold": channels.BinaryOperatorAggregate(int, operator.add),
        "unknown": channels.LastValue(str),
        "late": channels.EphemeralValue(str),
    }  # fmt: skip
    for name, writes in (("fold", [3, 4]), ("unknown", ["x"]), ("late", ["y"])):
        made[name].key = name
        made[name].update(writes)
    named = base.create_checkpoint(before, made, 5, id="named")
    plain = base.create_checkpoint(before, None, 5)
    keys = ("channel_values", "channel_versions", "versions_seen", "updated_channels", "v")
    return [
        named["id"], plain["id"] != before["id"], sorted(named),
        [{key: made_one[key] for key in keys} for made_one in (named, plain)],
        [one["ts"] >= before["ts"] for one in (named, plain)],
    ]  # fmt: skip


async def case_following_checkpoint_of_an_empty_channel(api: Api) -> Any:
    base, channels = api.module("checkpoint.base"), api.module("channels")
    before = {**base.empty_checkpoint(), "channel_versions": {"unset": 1}}
    return base.create_checkpoint(before, {"unset": channels.LastValue(str)}, 5)["channel_values"]


async def case_metadata_that_can_be_stored(api: Api) -> Any:
    base = api.module("checkpoint.base")
    config = {
        "configurable": {"thread_id": "t", "user": "u\0", "n": 1, "__own": 2, "deep": {"a": 1}},
        "metadata": {"run": "r", "step": 9},
    }
    given = {"source": "loop", "step": 3, "writes": {"a": 1}, "parents": {}}
    stored = base.get_serializable_checkpoint_metadata(config, given)
    return [sorted(stored.items(), key=str), sorted(given)]


async def case_order_of_writes(api: Api) -> Any:
    key = api.module("checkpoint.base").writes_sort_key
    rows = [("b", "1", 0), ("a", "2", 1), ("a", "2", 0), ("a", "10", 5), ("", "z", -1)]
    return [sorted(rows, key=lambda row: key(*row)), key("path"), key("p", idx=2, task_id="t")]


def told(messages: Any) -> Any:
    return [[message.type, message.content, message.id] for message in messages]


async def case_messages_added_by_hand(api: Api) -> Any:
    add, again = api.add_messages, api.module("graph.message").add_messages
    left = [HumanMessage("one", id="1"), AIMessage("two", id="2")]
    merged = add(left, [AIMessage("new", id="2"), HumanMessage("three", id="3")])
    later = add(format="langchain-openai")
    return [
        told(merged), told(left), told(add(left=left, right=HumanMessage("more", id="4"))),
        told(again([], [HumanMessage("x", id="1")])),
        [told_one[:2] for told_one in told(later(left, [AIMessage("five", id="5")]))],
        api.refused(lambda: add(left, None)).family, api.refused(lambda: add(None, left)).family,
        api.refused(lambda: add(left, [], format="none")).family,
    ]  # fmt: skip


async def case_aliases_of_managed_values(api: Api) -> Any:
    base = api.module("managed.base")
    managed = api.module("managed")
    spec = base.ManagedValueSpec
    return [
        base.ManagedValueMapping == dict[str, spec],
        base.ManagedValueMapping(left=managed.RemainingSteps).keys() == {"left"},
        spec.__origin__ is type, spec.__args__[0].__name__,
    ]  # fmt: skip


async def case_nodes_that_are_built_by_hand(api: Api) -> Any:
    builder = api.module("pregel").NodeBuilder
    policy = api.TimeoutPolicy(run_timeout=5, idle_timeout=1)
    made = (
        builder().subscribe_to("a").read_from("b").meta("tag", m_a=1)
        .add_retry_policies(api.RetryPolicy(max_attempts=2)).set_timeout(policy).build()
    )  # fmt: skip
    single = builder().subscribe_only("a").set_timeout(3).build()
    spans = [None, 2.5, dt.timedelta(seconds=4)]
    limits = [builder().subscribe_only("a").set_timeout(span).build().timeout for span in spans]
    return {
        "channels": [made.channels, single.channels, made.triggers, single.triggers],
        "said": [made.tags, made.metadata, [r.max_attempts for r in made.retry_policy]],
        "limits": [made.timeout == policy, single.timeout.run_timeout, single.timeout.idle_timeout],
        "spans": [None if limit is None else limit.run_timeout for limit in limits],
        "bad": [
            api.refused(lambda: builder().set_timeout(0)).family,
            api.refused(lambda: builder().set_timeout("soon")).family,
        ],
    }


async def case_a_built_node_times_out(api: Api) -> Any:
    pregel, channels = api.module("pregel"), api.module("channels")

    async def slow(value: Any) -> Any:
        await asyncio.sleep(30)
        return value

    node = pregel.NodeBuilder().subscribe_only("a").do(slow).write_to("b").set_timeout(0.05)
    graph = pregel.Pregel(
        nodes={"slow": node},
        channels={"a": channels.EphemeralValue(str), "b": channels.LastValue(str)},
        input_channels="a", output_channels="b",
    )  # fmt: skip
    return await api.raised(api.invoke(graph, "x"))


@warns  # where it is the first to import them
async def case_executable_tasks_by_hand(api: Api) -> Any:
    types = api.module("types")
    fields: dict[str, Any] = {
        "name": "n", "input": 1, "proc": None, "writes": deque([("a", 1)]), "config": {},
        "triggers": ["a"], "retry_policy": [], "cache_key": None, "id": "t", "path": ("p",),
    }  # fmt: skip
    task = types.PregelExecutableTask(**fields)
    full = types.PregelExecutableTask(
        **fields, writers=["w"], subgraphs=["s"], timeout=api.TimeoutPolicy(run_timeout=1)
    )
    same = api.module("pregel.types").PregelExecutableTask is types.PregelExecutableTask
    return [
        [task.writers, task.subgraphs, task.timeout], task == full, full.writes == task.writes,
        [full.writers, full.subgraphs, full.timeout.run_timeout], same,
        api.refused(lambda: setattr(task, "name", "m")).family,
        api.refused(lambda: types.PregelExecutableTask("n")).family,
    ]  # fmt: skip


class User:
    """What a server would pass: attributes, and the same as keys."""

    is_authenticated = True
    display_name = "Ada"
    identity = "ada"
    permissions = ("read",)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return hasattr(self, str(key))

    def __iter__(self) -> Any:
        return iter(("identity", "permissions"))


PROPERTIES = ("is_authenticated", "display_name", "identity", "permissions")


async def case_users_are_known_by_their_members(api: Api) -> Any:
    """The protocol asks for every one of its members."""
    protocol = api.module("runtime").BaseUser
    members = (*PROPERTIES, "__getitem__", "__contains__", "__iter__")
    kinds = {m: {k: v for k, v in vars(User).items() if k != m} for m in members}
    lacking = {m: type("Lacking", (), kinds[m])() for m in members}
    properties = [isinstance(vars(protocol)[name], property) for name in PROPERTIES]
    return [
        isinstance(User(), protocol), properties,
        {m: isinstance(user, protocol) for m, user in lacking.items()},
    ]  # fmt: skip


@both
async def case_runs_know_the_server(api: Api) -> Any:
    info = api.module("runtime").ServerInfo
    seen: list[Any] = []

    def look(state: Any, runtime: api.Runtime) -> Any:
        told = runtime.server_info
        user = None if told is None else told.user
        names = None if user is None else [getattr(user, name) for name in PROPERTIES]
        seen.append(None if told is None else [told.assistant_id, told.graph_id, names])
        seen.append(isinstance(told, info))
        return {}

    graph = chain(api, Log, {"look": api.node(look)})
    for keys in (
        {}, {"assistant_id": "a", "graph_id": "g"}, {"assistant_id": "a"}, {"graph_id": "g"},
        {"assistant_id": "a", "graph_id": "g", "langgraph_auth_user": User()},
        {"langgraph_auth_user": User()}, {"assistant_id": 7, "langgraph_auth_user": "nobody"},
    ):  # fmt: skip
        await api.invoke(graph, {"log": []}, {"configurable": keys})
    one, two = info("a", "g"), info(assistant_id="a", graph_id="g", user=None)
    known = info("a", "g", user=User())
    return [
        seen, one == two, one.user, known == one, known.user["identity"],
        api.refused(lambda: setattr(one, "graph_id", "h")).family,
    ]  # fmt: skip


@warns
async def case_interrupt_ids_under_their_old_name(api: Api) -> Any:
    made = api.Interrupt.from_ns("v", ns="n:1")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same = made.interrupt_id == made.id
    return [same, [[w.category.__name__, str(w.message)] for w in caught]]


async def case_writes_replayed_into_a_delta(api: Api) -> Any:
    def fold(held: list[Any], writes: Any) -> list[Any]:
        return [*held, list(writes)]

    def replayed(*writes: Any) -> Any:
        channel = api.DeltaChannel(fold, list)
        channel.key = "log"
        channel.update(["before"])
        channel.replay_writes([("task", "log", write) for write in writes])
        return channel.get()

    start = ["start"]
    result = [
        replayed(), replayed(1), replayed(1, 2), replayed(1, api.Overwrite(start), 2, 3),
        replayed(api.Overwrite(["lost"]), 1, api.Overwrite(start)),
        replayed(1, api.Overwrite(None), 2), replayed(api.Overwrite(None)),
        replayed({"__overwrite__": ["d"]}, 4),
    ]  # fmt: skip
    return [result, start]


@both
async def case_sqlite_stores_have_one_base(api: Api) -> Any:
    base = api.module("store.sqlite.base")
    made = base.SqliteIndexConfig(
        dims=2, embed=lambda texts: [[float("x" in t), float("y" in t)] for t in texts],
        fields=["text"],
    )  # fmt: skip
    module = api.module("store.sqlite")
    classes = [module.SqliteStore, module.AsyncSqliteStore]
    fields = sorted(base.SqliteIndexConfig.__optional_keys__)
    return [
        [issubclass(cls, base.BaseSqliteStore) for cls in classes],
        [issubclass(cls, api.BaseStore) for cls in classes], sorted(made), fields,
    ]  # fmt: skip


RUN = "00000000-0000-4000-8000-000000000001"


async def runs_of_threads(api: Api) -> Any:
    saver = api.saver()
    graph = chain(api, Log, ["a"], checkpointer=saver)
    await api.invoke(graph, {"log": []}, {**api.thread(), "run_id": RUN})
    return saver, graph


async def ended(doing: Any) -> Any:
    """How something a saver may not have ended."""
    try:
        if hasattr(done := doing(), "__await__"):
            await done
    except NotImplementedError:
        return "not implemented"
    return "done"


@both
async def case_threads_are_copied(api: Api) -> Any:
    saver, graph = await runs_of_threads(api)
    copy = saver.copy_thread if api.sync else saver.acopy_thread
    said = await ended(lambda: copy("t", "u"))
    both_states = [await api.state(graph, api.thread(name)) for name in "tu"]
    return [said, [state.values for state in both_states]]


@both
async def case_threads_of_runs_are_deleted(api: Api) -> Any:
    saver, graph = await runs_of_threads(api)
    delete = saver.delete_for_runs if api.sync else saver.adelete_for_runs
    said = await ended(lambda: delete([RUN]))
    return [said, (await api.state(graph, api.thread())).values]
