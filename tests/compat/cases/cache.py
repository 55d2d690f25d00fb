"""Caching of what nodes return."""

import operator
import tempfile
from pathlib import Path
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, brief, logger, record


class State(TypedDict):
    n: int
    log: Annotated[list, operator.add]


def counted(api: Api, runs: list[Any], name: str = "f") -> Any:
    """A node that notes each of its runs."""

    def run(state: Any) -> Any:
        runs.append(name)
        return {"log": [[name, state["n"]]]}

    return api.node(run)


def cached(api: Api, node: Any, /, policy: Any = None, **options: Any) -> Any:
    """START -> f -> z, where f is cached."""
    graph = api.StateGraph(State)
    graph.add_node("f", node, cache_policy=policy or api.CachePolicy())
    graph.add_node("z", logger(api, "z"))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "z")
    options.setdefault("cache", api.InMemoryCache())
    return graph.compile(**options)


async def calls(api: Api, graph: Any, *inputs: Any, **options: Any) -> list[Any]:
    """What each input gives, every one on a thread of its own where there are threads."""
    return [await api.invoke(graph, given, api.thread(str(i)), **options) for i, given in
            enumerate(inputs)]  # fmt: skip


def of(n: Any) -> Any:
    return {"n": n, "log": []}


@both
async def case_cached_node(api: Api) -> Any:
    runs: list[Any] = []
    graph = cached(api, counted(api, runs))
    return await calls(api, graph, of(1), of(1), of(2), of(1)), runs


@both
async def case_cached_node_all_modes(api: Api) -> Any:
    runs: list[Any] = []
    graph = cached(api, counted(api, runs), checkpointer=api.saver())
    out: dict[str, Any] = {"runs": runs}
    for thread in ("one", "two"):
        config = api.thread(thread)
        out[thread] = await api.stream(graph, of(1), config, ALL_MODES)
        out[f"{thread} kept"] = await record(api, graph, config)
    return out


@both
async def case_cached_command(api: Api) -> Any:
    runs: list[Any] = []

    def go(state: Any) -> Any:
        runs.append("f")
        return api.Command(update={"log": ["f"]}, goto=["z", api.Send("z", of(9))])

    graph = cached(api, api.node(go))
    modes = ["updates", "values"]
    return [await api.stream(graph, of(1), None, modes) for _ in range(2)], runs


@both
async def case_cached_node_with_a_router(api: Api) -> Any:
    asked: list[Any] = []

    def route(state: Any) -> str:
        asked.append(state["n"])
        return "z"

    graph = api.StateGraph(State)
    graph.add_node("f", counted(api, asked), cache_policy=api.CachePolicy())
    graph.add_node("z", logger(api, "z"))
    graph.add_edge(api.START, "f")
    graph.add_conditional_edges("f", route, ["z"])
    compiled = graph.compile(cache=api.InMemoryCache())
    return await calls(api, compiled, of(1), of(1)), asked


@both
async def case_cached_nothing(api: Api) -> Any:
    runs: list[Any] = []
    graph = cached(api, api.node(lambda state: runs.append("f")))
    return [await api.stream(graph, of(1), None, ["updates"]) for _ in range(2)], runs


@both
async def case_policy_without_a_cache(api: Api) -> Any:
    runs: list[Any] = []
    graph = cached(api, counted(api, runs), cache=None)
    return await calls(api, graph, of(1), of(1)), runs


@both
async def case_cache_without_a_policy(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(State)
    graph.add_node("f", counted(api, runs))
    graph.add_edge(api.START, "f")
    return await calls(api, graph.compile(cache=api.InMemoryCache()), of(1), of(1)), runs


@both
async def case_key_func(api: Api) -> Any:
    out = {}
    functions = {
        "str": lambda state: str(state["n"] % 2),
        "bytes": lambda state: b"%d" % (state["n"] % 2),
        "constant": lambda state: "",
        "one key": lambda state: repr(sorted(state)),
    }
    for label, key_func in functions.items():
        runs: list[Any] = []
        graph = cached(api, counted(api, runs), api.CachePolicy(key_func=key_func))
        out[label] = [await calls(api, graph, of(1), of(2), of(3)), len(runs)]
    return out


@both
async def case_key_func_that_fails(api: Api) -> Any:
    def bad(state: Any) -> str:
        raise KeyError("key")

    graph = cached(api, counted(api, []), api.CachePolicy(key_func=bad), checkpointer=api.saver())
    return await api.raised(api.invoke(graph, of(1), api.thread()))


@both
async def case_key_of_an_equal_input(api: Api) -> Any:
    """The order of keys in a dict does not matter; what is in it does."""
    runs: list[Any] = []
    graph = cached(api, counted(api, runs))
    inputs = [{"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, {"a": 1, "b": [2, 1]}, {"a": 1}]
    await calls(api, graph, *map(of, inputs))
    return len(runs)


@both
async def case_ttl(api: Api) -> Any:
    out = {}
    for ttl in (60, 0, None):
        runs: list[Any] = []
        graph = cached(api, counted(api, runs), api.CachePolicy(ttl=ttl))
        await calls(api, graph, of(1), of(1))
        out[ttl] = len(runs)
    return out


@both
async def case_errors_are_not_cached(api: Api) -> Any:
    runs: list[Any] = []

    def fail(state: Any) -> Any:
        runs.append("f")
        if len(runs) < 3:
            raise ValueError("no")
        return {"log": ["f"]}

    graph = cached(api, api.node(fail))
    out: list[Any] = [await api.raised(api.invoke(graph, of(1))) for _ in range(2)]
    out.append(await calls(api, graph, of(1), of(1)))
    return out, runs


@both
async def case_questions_are_not_cached(api: Api) -> Any:
    runs: list[Any] = []

    def ask(state: Any) -> Any:
        runs.append("f")
        return {"log": [api.interrupt("q")]}

    graph = cached(api, api.node(ask), checkpointer=api.saver())
    out: list[Any] = []
    for thread in ("one", "two"):
        out.append(await api.invoke(graph, of(1), api.thread(thread)))
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread("one")))
    out.append(await api.invoke(graph, of(1), api.thread("three")))
    return out, len(runs)


@both
async def case_what_a_handler_did_is_not_cached(api: Api) -> Any:
    runs: list[Any] = []

    def fail(state: Any) -> Any:
        runs.append("f")
        raise ValueError("no")

    graph = api.StateGraph(State)
    graph.set_node_defaults(cache_policy=api.CachePolicy())
    graph.add_node("f", api.node(fail), error_handler=counted(api, runs, "handler"))
    graph.add_edge(api.START, "f")
    return await calls(api, graph.compile(cache=api.InMemoryCache()), of(1), of(1)), runs


@both
async def case_default_cache_policy(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(State)
    graph.set_node_defaults(cache_policy=api.CachePolicy(ttl=60))
    for name in ("a", "b"):
        graph.add_node(name, counted(api, runs, name))
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    return await calls(api, graph.compile(cache=api.InMemoryCache()), of(1), of(1)), runs


@both
async def case_own_cache_policy_wins_over_the_default(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(State)
    graph.set_node_defaults(cache_policy=api.CachePolicy())
    policy = api.CachePolicy(key_func=lambda state: "same")
    graph.add_node("a", counted(api, runs), cache_policy=policy)
    graph.add_edge(api.START, "a")
    return await calls(api, graph.compile(cache=api.InMemoryCache()), of(1), of(2)), runs


@both
async def case_nodes_do_not_share(api: Api) -> Any:
    """One function under two names is two entries."""
    runs: list[Any] = []
    node = counted(api, runs)
    graph = api.StateGraph(State)
    policy = api.CachePolicy(key_func=lambda state: "same")
    for name in ("a", "b"):
        graph.add_node(name, node, cache_policy=policy)
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    return await calls(api, graph.compile(cache=api.InMemoryCache()), of(1), of(1)), len(runs)


@both
async def case_graphs_share_a_cache(api: Api) -> Any:
    runs: list[Any] = []
    cache = api.InMemoryCache()
    node = counted(api, runs)
    out = [
        await api.invoke(cached(api, node, cache=cache), of(1)),
        await api.invoke(cached(api, node, cache=cache), of(1)),
    ]
    return out, len(runs)


@both
async def case_clear_cache(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(State)
    for name in ("a", "b"):
        graph.add_node(name, counted(api, runs, name), cache_policy=api.CachePolicy())
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    compiled = graph.compile(cache=api.InMemoryCache())
    out = []
    for nodes in ("keep", None, ["a"], ["b"], [], ["unknown"]):
        if nodes != "keep":
            if api.sync:
                compiled.clear_cache(nodes)
            else:
                await compiled.aclear_cache(nodes)
        runs.clear()
        await api.invoke(compiled, of(1))
        out.append([nodes, list(runs)])
    return out


@both
async def case_clear_cache_without_one(api: Api) -> Any:
    graph = cached(api, counted(api, []), cache=None)

    async def clear() -> Any:
        return graph.clear_cache() if api.sync else await graph.aclear_cache()

    return (await api.raised(clear())).says("No cache is set for this graph")


@both
async def case_cached_sends(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(State)
    graph.add_node("f", counted(api, runs), cache_policy=api.CachePolicy())
    graph.add_conditional_edges(
        api.START, lambda state: [api.Send("f", {"n": i}) for i in range(state["n"])], ["f"]
    )
    compiled = graph.compile(cache=api.InMemoryCache(), checkpointer=api.saver())
    return await calls(api, compiled, of(3), of(5)), sorted(map(str, runs))


@both
async def case_cached_and_other_nodes_in_one_superstep(api: Api) -> Any:
    runs: list[Any] = []
    graph = api.StateGraph(State)
    graph.add_node("a", counted(api, runs, "a"), cache_policy=api.CachePolicy())
    graph.add_node("b", counted(api, runs, "b"))
    graph.add_edge(api.START, "a")
    graph.add_edge(api.START, "b")
    compiled = graph.compile(cache=api.InMemoryCache(), checkpointer=api.saver())
    out = {}
    for thread in ("one", "two"):
        config = api.thread(thread)
        out[thread] = await api.invoke(compiled, of(1), config)
        out[f"{thread} kept"] = await record(api, compiled, config)
    return out, sorted(runs)


async def case_cached_beside_a_failure(api: Api) -> Any:
    """A result from the cache is recorded like any other.

    Not in the sync form: there LangGraph may fail to keep the result beside a failure.
    """
    runs: list[Any] = []

    def fail(state: Any) -> Any:
        raise ValueError("no")

    graph = api.StateGraph(State)
    graph.add_node("a", counted(api, runs, "a"), cache_policy=api.CachePolicy())
    graph.add_node("b", api.node(fail))
    graph.add_edge(api.START, "a")
    graph.add_edge(api.START, "b")
    compiled = graph.compile(cache=api.InMemoryCache(), checkpointer=api.saver())
    await api.raised(api.invoke(compiled, of(1), api.thread("one")))
    seen = await api.stream(compiled, of(1), api.thread("two"), ["updates", "values"])
    return seen, runs, brief(await api.state(compiled, api.thread("two")))


@both
async def case_cached_in_a_loop(api: Api) -> Any:
    """A node that meets its own earlier input takes its earlier result."""
    runs: list[Any] = []

    class Loop(TypedDict):
        n: int

    def step(state: Any) -> Any:
        runs.append(state["n"])
        return {"n": (state["n"] + 1) % 3}

    turns: list[Any] = []

    def again(state: Any) -> Any:
        turns.append(1)
        return "f" if len(turns) < 7 else api.END

    graph = api.StateGraph(Loop)
    graph.add_node("f", api.node(step), cache_policy=api.CachePolicy())
    graph.add_node("turn", api.node(lambda state: None))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "turn")
    graph.add_conditional_edges("turn", again, ["f", api.END])
    compiled = graph.compile(cache=api.InMemoryCache())
    return await api.stream(compiled, {"n": 0}, None, ["updates"]), runs


@both
async def case_cached_on_breakpoints(api: Api) -> Any:
    runs: list[Any] = []
    graph = cached(
        api, counted(api, runs), checkpointer=api.saver(), interrupt_before=["f"],
        interrupt_after=["f"],
    )  # fmt: skip
    out = []
    for thread in ("one", "two"):
        config = api.thread(thread)
        out.append(await api.stream(graph, of(1), config, ["updates"]))
        out.extend([await api.stream(graph, None, config, ["updates"]) for _ in range(2)])
    return out, runs


@both
async def case_cached_node_of_a_subgraph(api: Api) -> Any:
    """A graph inside a graph has the cache it was compiled with, not that around it."""
    runs: list[Any] = []
    out = {}
    for label, options in {"own": {}, "none": {"cache": None}}.items():
        inner = cached(api, counted(api, runs), **options)
        outer = api.StateGraph(State)
        outer.add_node("inner", inner)
        outer.add_edge(api.START, "inner")
        compiled = outer.compile(cache=api.InMemoryCache())
        runs.clear()
        out[label] = [await calls(api, compiled, of(1), of(1)), len(runs)]
    return out


@both
async def case_cache_itself(api: Api) -> Any:
    """The verbs of both caches."""
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = {
            "memory": api.InMemoryCache(),
            "sqlite": api.SqliteCache(path=str(Path(folder) / "cache.db")),
            "private": api.SqliteCache(path=":memory:"),
        }
        for label, cache in made.items():
            a, b = ("a", "x"), ("b", "x")

            async def get(*keys: Any, cache: Any = cache) -> Any:
                found = cache.get(keys) if api.sync else await cache.aget(keys)
                return sorted(found.items())

            async def put(pairs: Any, cache: Any = cache) -> Any:
                return cache.set(pairs) if api.sync else await cache.aset(pairs)

            async def clear(namespaces: Any = None, cache: Any = cache) -> Any:
                return cache.clear(namespaces) if api.sync else await cache.aclear(namespaces)

            seen: list[Any] = [await get((a, "k")), await get()]
            seen.append(
                await put({(a, "k"): ({"v": 1}, None), (a, "l"): ([1], 60), (b, "k"): (None, 0)})
            )
            seen.append(await get((a, "k"), (a, "l"), (b, "k"), (a, "m")))
            await put({(a, "k"): ("new", None), (b, "k"): ("b", None)})
            seen.append(await get((a, "k"), (b, "k")))
            await clear([a, ("unknown",)])
            seen.append(await get((a, "k"), (a, "l"), (b, "k")))
            await clear([])
            seen.append(await get((b, "k")))
            await clear()
            seen.append(await get((b, "k")))
            out[label] = seen
        for label in ("sqlite", "private"):
            (getattr(made[label], "close", None) or made[label]._conn.close)()
    return out


@both
async def case_own_cache_class(api: Api) -> Any:
    """A subclass of the base is a cache."""
    seen: list[str] = []

    class Mine(api.BaseCache):
        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[Any, Any] = {}

        def get(self, keys: Any) -> Any:
            seen.append("get")
            return {k: self.serde.loads_typed(self.kept[k]) for k in keys if k in self.kept}

        def set(self, pairs: Any) -> None:
            seen.append("set")
            self.kept |= {k: self.serde.dumps_typed(v) for k, (v, _) in pairs.items()}

        def clear(self, namespaces: Any = None) -> None:
            self.kept.clear()

        async def aget(self, keys: Any) -> Any:
            return self.get(keys)

        async def aset(self, pairs: Any) -> None:
            self.set(pairs)

        async def aclear(self, namespaces: Any = None) -> None:
            self.clear(namespaces)

    runs: list[Any] = []
    cache = Mine()
    graph = cached(api, counted(api, runs), cache=cache)
    out = await calls(api, graph, of(1), of(1))
    (namespace, key), *rest = cache.kept
    return out, runs, seen, [namespace[0], namespace[-1], type(key).__name__, len(key), rest]


@both
async def case_cached_node_on_sqlite(api: Api) -> Any:
    runs: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "cache.db")
        out = []
        node = counted(api, runs)
        for _ in range(2):
            cache = api.SqliteCache(path=path)
            out.append(await calls(api, cached(api, node, cache=cache), of(1), of(2)))
            (getattr(cache, "close", None) or cache._conn.close)()
    return out, len(runs)


@both
async def case_a_policy_of_defaults(api: Api) -> Any:
    policy = api.CachePolicy()
    return [policy.ttl, policy == api.CachePolicy(), policy == api.CachePolicy(ttl=1)]


@both
async def case_log_of_a_cached_node_is_its_own(api: Api) -> Any:
    """What comes from the cache is a copy: changing it in place changes no entry."""

    def meddle(state: Any) -> Any:
        state["log"].append("smuggled")

    graph = api.StateGraph(Log)
    graph.add_node("f", logger(api, "f"), cache_policy=api.CachePolicy())
    graph.add_node("meddle", api.node(meddle))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "meddle")
    compiled = graph.compile(cache=api.InMemoryCache())
    out = [await api.stream(compiled, {"log": []}, None, ["updates"]) for _ in range(3)]
    return [chunk for stream in out for _, chunk in stream if "f" in chunk]


@both
async def case_cache_with_a_serializer_of_its_own(api: Api) -> Any:
    class Counting:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            self.calls.append("dumps")
            return "repr", repr(obj).encode()

        def loads_typed(self, stored: tuple[str, bytes]) -> Any:
            self.calls.append("loads")
            return [stored[0], stored[1].decode()]

    out = []
    for make in (api.InMemoryCache, lambda serde: api.SqliteCache(path=":memory:", serde=serde)):
        serde = Counting()
        cache = make(serde=serde)
        cache.set({(("ns",), "k"): ({"v": 1}, None)})
        out.append([cache.get([(("ns",), "k")]), serde.calls, cache.serde is serde])
    return out
