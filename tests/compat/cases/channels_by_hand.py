"""`Pregel` and `NodeBuilder`: graphs of bare channels."""

import operator
from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, both


def parts(api: Api) -> tuple[Any, Any]:
    module = api.module("pregel")
    return module.Pregel, module.NodeBuilder


def double(api: Api) -> Any:
    return api.node(lambda x: x + x)


def one_node(api: Api, **options: Any) -> Any:
    Pregel, Node = parts(api)
    return Pregel(
        nodes={"one": Node().subscribe_only("a").do(double(api)).write_to("b")},
        channels={"a": api.EphemeralValue(str), "b": api.EphemeralValue(str)},
        input_channels=["a"],
        output_channels=["b"],
        **options,
    )


def two_nodes(api: Api, **options: Any) -> Any:
    Pregel, Node = parts(api)
    return Pregel(
        nodes={
            "one": Node().subscribe_only("a").do(double(api)).write_to("b"),
            "two": Node().subscribe_only("b").do(double(api)).write_to("c"),
        },
        channels={
            "a": api.EphemeralValue(str),
            "b": api.LastValue(str),
            "c": api.EphemeralValue(str),
        },
        **{"input_channels": ["a"], "output_channels": ["b", "c"], **options},
    )


@both
async def case_by_hand_one_node(api: Api) -> Any:
    return await api.invoke(one_node(api), {"a": "foo"})


@both
async def case_by_hand_each_mode(api: Api) -> Any:
    out = {}
    for mode in ALL_MODES:
        graph = two_nodes(api, checkpointer=api.saver())
        out[mode] = await api.stream(graph, {"a": "foo"}, api.thread(), mode)
    out["default"] = await api.stream(two_nodes(api), {"a": "foo"}, None)
    out["own default"] = await api.stream(two_nodes(api, stream_mode="updates"), {"a": "foo"}, None)
    return out


@both
async def case_by_hand_single_channels(api: Api) -> Any:
    graph = two_nodes(api, input_channels="a", output_channels="c")
    out = [await api.invoke(graph, "foo")]
    out.extend([await api.stream(graph, "foo", None, mode) for mode in ("values", "updates")])
    return out


@both
async def case_by_hand_stream_channels(api: Api) -> Any:
    out = []
    for shown in ("b", ["b"], ["c", "b"]):
        graph = two_nodes(api, stream_channels=shown, checkpointer=api.saver())
        out.append(await api.stream(graph, {"a": "x"}, api.thread(), ["values", "updates"]))
        out.append(await api.state(graph, api.thread()))
    return out


@both
async def case_by_hand_states(api: Api) -> Any:
    graph = two_nodes(api, checkpointer=api.saver())
    out = [await api.invoke(graph, {"a": "foo"}, api.thread())]
    out.append(await api.state(graph, api.thread()))
    out.append(await api.history(graph, api.thread()))
    out.append(await api.invoke(graph, {"a": "bar"}, api.thread()))
    out.append((await api.state(graph, api.thread())).values)
    return out


@both
async def case_by_hand_breakpoints(api: Api) -> Any:
    out = []
    for option in ("interrupt_before_nodes", "interrupt_after_nodes"):
        graph = two_nodes(api, checkpointer=api.saver(), **{option: ["two"]})
        out.append(await api.invoke(graph, {"a": "foo"}, api.thread()))
        out.append((await api.state(graph, api.thread())).next)
        out.append(await api.invoke(graph, None, api.thread()))
    return out


@both
async def case_by_hand_update_state(api: Api) -> Any:
    graph = two_nodes(api, checkpointer=api.saver(), interrupt_before_nodes=["two"])
    await api.invoke(graph, {"a": "foo"}, api.thread())
    await api.update(graph, api.thread(), "edited", "one")
    out = [await api.state(graph, api.thread())]
    out.append(await api.invoke(graph, None, api.thread()))
    return out


@both
async def case_by_hand_reads_and_writes(api: Api) -> Any:
    Pregel, Node = parts(api)
    seen: list[Any] = []

    def note(value: Any) -> Any:
        seen.append(value)
        return value

    graph = Pregel(
        nodes={
            "both": Node()
            .subscribe_to("a", "b")
            .do(api.node(note))
            .write_to("c", total=lambda v: sum(v.values()), fixed=7),
            "quiet": Node()
            .subscribe_to("c", read=False)
            .read_from("total", "log")
            .do(api.node(note))
            .write_to(log=lambda v: [v]),
            "pass": Node().subscribe_only("fixed").write_to("last"),
        },
        channels={
            "a": api.LastValue(int),
            "b": api.LastValue(int),
            "c": api.EphemeralValue(dict),
            "total": api.BinaryOperatorAggregate(int, operator.add),
            "fixed": api.LastValue(int),
            "log": api.BinaryOperatorAggregate(list, operator.add),
            "last": api.LastValue(int),
        },
        input_channels=["a", "b"],
        output_channels=["total", "fixed", "log", "last"],
        checkpointer=api.saver(),
    )
    out = [await api.invoke(graph, {"a": 1, "b": 2}, api.thread())]
    out.append(await api.invoke(graph, {"a": 10}, api.thread()))
    return [*out, seen]


@both
async def case_by_hand_steps_of_a_node(api: Api) -> Any:
    Pregel, Node = parts(api)
    graph = Pregel(
        nodes={
            "n": Node()
            .subscribe_only("a")
            .do(double(api))
            .do(api.node(lambda s: s + "!"))
            .write_to("b")
        },
        channels={"a": api.EphemeralValue(str), "b": api.LastValue(str)},
        input_channels="a",
        output_channels="b",
    )
    return await api.invoke(graph, "x")


@both
async def case_by_hand_topics(api: Api) -> Any:
    Pregel, Node = parts(api)
    graph = Pregel(
        nodes={
            "one": Node().subscribe_only("a").do(double(api)).write_to("b", "c"),
            "two": Node().subscribe_to("b").do(api.node(lambda v: v["b"] * 2)).write_to("c"),
        },
        channels={
            "a": api.EphemeralValue(str),
            "b": api.EphemeralValue(str),
            "c": api.Topic(str, accumulate=True),
        },
        input_channels=["a"],
        output_channels=["c"],
    )
    return [await api.invoke(graph, {"a": "x"}), await api.stream(graph, {"a": "x"}, None)]


@both
async def case_by_hand_cycle(api: Api) -> Any:
    Pregel, Node = parts(api)
    entry = api.module("pregel._write" if api.package == "langgraph" else "pregel._node")

    def grow(value: str) -> Any:
        return value + value if len(value) < 10 else None

    graph = Pregel(
        nodes={
            "n": Node()
            .subscribe_only("value")
            .do(api.node(grow))
            .write_to(entry.ChannelWriteEntry("value", skip_none=True))
        },
        channels={"value": api.EphemeralValue(str)},
        input_channels=["value"],
        output_channels=["value"],
    )
    return await api.invoke(graph, {"value": "a"})


@both
async def case_by_hand_mistakes(api: Api) -> Any:
    Pregel, Node = parts(api)

    def made(**changed: Any) -> Any:
        given = {
            "nodes": {"n": Node().subscribe_only("a").write_to("b")},
            "channels": {"a": api.LastValue(int), "b": api.LastValue(int)},
            "input_channels": "a",
            "output_channels": "b",
        }
        return lambda: Pregel(**{**given, **changed})

    wrong = {
        "input": made(input_channels="x"),
        "inputs": made(input_channels=["x"]),
        "input nobody reads": made(input_channels="b"),
        "output": made(output_channels=["x"]),
        "stream": made(stream_channels=["x"]),
        "subscribed": made(nodes={"n": Node().subscribe_only("x")}),
        "read": made(nodes={"n": Node().subscribe_to("a").read_from("x")}),
        "break": made(interrupt_before_nodes=["x"]),
        "reserved": made(channels={"a": api.LastValue(int), "__input__": api.LastValue(int)}),
        "only twice": lambda: Node().subscribe_only("a").subscribe_only("b"),
        "only then to": lambda: Node().subscribe_only("a").subscribe_to("b"),
    }
    out = {name: api.refused(doing) for name, doing in wrong.items()}
    out["no dict"] = await api.raised(api.invoke(one_node(api), "foo"))
    out["nothing"] = await api.raised(api.invoke(one_node(api), {"x": 1}))
    return out


@both
async def case_by_hand_policies_and_metadata(api: Api) -> Any:
    Pregel, Node = parts(api)
    tries: list[int] = []

    def flaky(value: int, config: api.RunnableConfig) -> Any:
        tries.append(value)
        if len(tries) < 2:
            raise ConnectionError
        return config["metadata"]["m_a"]

    once = api.RetryPolicy(initial_interval=0.001, jitter=False)
    node = Node().subscribe_only("a").do(api.node(flaky)).write_to("b").meta("red", m_a=5)
    graph = Pregel(
        nodes={"n": node.add_retry_policies(once)},
        channels={"a": api.LastValue(int), "b": api.LastValue(int)},
        input_channels="a",
        output_channels="b",
    )
    return [await api.invoke(graph, 1), tries]


@both
async def case_by_hand_keys(api: Api) -> Any:
    graph = two_nodes(api)
    return [
        graph.input_channels, graph.output_channels, graph.stream_channels_list[:3],
        list(graph.nodes), sorted(graph.channels), graph.name, graph.stream_mode,
        type(graph.validate()).__name__,
    ]  # fmt: skip


@both
async def case_by_hand_cached_nodes(api: Api) -> Any:
    Pregel, Node = parts(api)
    ran: list[str] = []

    def slow(value: str) -> Any:
        ran.append(value)
        return value + value

    def made(node: Any, **options: Any) -> Any:
        return Pregel(
            nodes={"n": node.subscribe_only("a").do(api.node(slow)).write_to("b")},
            channels={"a": api.EphemeralValue(str), "b": api.LastValue(str)},
            input_channels="a",
            output_channels="b",
            cache=api.module("cache.memory").InMemoryCache(),
            **options,
        )

    policy = api.module("types").CachePolicy(ttl=60)
    out = []
    for graph in (made(Node().add_cache_policy(policy)), made(Node(), cache_policy=policy)):
        out += [await api.invoke(graph, value) for value in ("x", "x", "y")]
        out.append(await api.stream(graph, "x", None, "updates"))
    return [*out, ran]


@both
async def case_by_hand_drawn(api: Api) -> Any:
    graphs = [two_nodes(api, input_channels="a")]  # not a list: LangGraph fails
    out = []
    for graph in graphs:
        drawn = graph.get_graph()
        out.append([sorted(drawn.nodes), sorted((e.source, e.target) for e in drawn.edges)])
    return out


@both
async def case_by_hand_asks(api: Api) -> Any:
    Pregel, Node = parts(api)

    def ask(value: int) -> Any:
        return api.interrupt("q") + value

    graph = Pregel(
        nodes={"n": Node().subscribe_only("a").do(api.node(ask)).write_to("b")},
        channels={"a": api.EphemeralValue(int), "b": api.LastValue(int)},
        input_channels="a",
        output_channels="b",
        checkpointer=api.saver(),
    )
    out = [await api.invoke(graph, 1, api.thread()), await api.state(graph, api.thread())]
    out.append(await api.invoke(graph, api.Command(resume=5), api.thread()))
    out.append(await api.invoke(graph, api.Command(update={"b": 100}), api.thread()))
    await api.update(graph, api.thread(), 7)
    return [*out, (await api.state(graph, api.thread())).values]


@both
async def case_by_hand_managed_and_reduced(api: Api) -> Any:
    Pregel, Node = parts(api)
    left = api.module("managed.is_last_step").RemainingStepsManager

    def note(given: Any) -> Any:
        return [given]

    graph = Pregel(
        nodes={
            "n": Node().subscribe_to("a").read_from("left").do(api.node(note)).write_to("log"),
            "m": Node().subscribe_only("a").write_to(log=lambda v: [v * 10]),
        },
        channels={
            "a": api.EphemeralValue(int),
            "log": api.BinaryOperatorAggregate(list, operator.add),
            "left": left,
        },
        input_channels="a",
        output_channels="log",
    )
    return await api.invoke(graph, 3, {"recursion_limit": 10})


@both
async def case_by_hand_stopped_before_its_output(api: Api) -> Any:
    """The output of an earlier run is not the output of one that stopped before it had any."""
    Pregel, Node = parts(api)
    graph = Pregel(
        nodes={
            "one": Node().subscribe_only("a").do(double(api)).write_to("b"),
            "two": Node().subscribe_only("b").do(double(api)).write_to("c"),
        },
        channels={k: api.LastValue(int) for k in "abc"},
        input_channels="a",
        output_channels="c",
        checkpointer=api.saver(),
        interrupt_after_nodes=["one"],
    )
    return [await api.invoke(graph, given, api.thread()) for given in (1, None, 2, 3, None)]
