"""Long-term memory: what stores do, and how graphs get at them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, chain


class Verbs:
    """The verbs of a store in the form of the api. Items are shown without their times."""

    def __init__(self, api: Api, store: Any, *, times: bool = True) -> None:
        self._sync = api.sync
        self._store = store
        self._times = times

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            if self._sync:
                return shown(getattr(self._store, name)(*args, **options), self._times)
            found = await getattr(self._store, f"a{name}")(*args, **options)
            return shown(found, self._times)

        return call


def shown(found: Any, times: bool = True) -> Any:
    if hasattr(found, "namespace") and hasattr(found, "value"):
        if times:  # those of LangGraph's SQLite store know no time zone
            assert found.created_at.tzinfo is not None
        assert found.created_at <= found.updated_at
        score = getattr(found, "score", "no score")
        return [found.namespace, found.key, found.value, score, type(found).__name__]
    return [shown(item, times) for item in found] if type(found) is list else found


def opened(api: Api, **options: Any) -> Verbs:
    return Verbs(api, api.InMemoryStore(**options))


@both
async def case_store_put_get_delete(api: Api) -> Any:
    store = opened(api)
    seen = [await store.get(("a",), "x")]
    await store.put(("a",), "x", {"n": 1})
    await store.put(("a", "b"), "x", {"n": 2, "deep": {"list": [1, None, "é\0"]}})
    seen += [await store.get(("a",), "x"), await store.get(("a", "b"), "x")]
    await store.put(("a",), "x", {"n": 3})
    seen.append(await store.get(("a",), "x"))
    await store.delete(("a",), "x")
    await store.delete(("a",), "never there")
    await store.put(("a", "b"), "x", None)
    return [*seen, await store.get(("a",), "x"), await store.get(("a", "b"), "x")]


@both
async def case_store_keys_become_text(api: Api) -> Any:
    store = opened(api)
    await store.put(("a",), 5, {"n": 1})
    return [await store.get(("a",), 5), await store.get(("a",), "5")]


@both
async def case_store_namespaces_that_are_none(api: Api) -> Any:
    store = opened(api)
    bad = [(), ("",), ("a", ""), ("a.b",), ("a", 1), ("langgraph", "x"), ("a\0",)]
    seen: list[Any] = []
    for namespace in bad:
        seen.append(await api.raised(store.put(namespace, "k", {})))
    for namespace in [("",), ("a.b",), (1,)]:
        seen.append(await api.raised(store.get(namespace, "k")))
        seen.append(await api.raised(store.search(namespace)))
        seen.append(await api.raised(store.delete(namespace, "k")))
        seen.append(await api.raised(store.list_namespaces(prefix=namespace)))
        seen.append(await api.raised(store.list_namespaces(suffix=namespace)))
    seen.append(await store.get((), "k"))
    seen.append(await store.get(("langgraph",), "k"))
    await store.put(("x", "langgraph"), "k", {})
    seen.append(await store.search(()))
    return [one.says("namespace") if hasattr(one, "says") else one for one in seen]


async def _filled(api: Api) -> Verbs:
    store = opened(api)
    rows: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
        (("a",), "1", {"colour": "red", "n": 1, "on": True}),
        (("a",), "2", {"colour": "blue", "n": 2.5, "on": False}),
        (("a", "b"), "3", {"colour": "red", "n": 3, "tags": ["x", "y"], "in": {"p": 1, "q": 2}}),
        (("ab",), "4", {"colour": "red", "n": 4}),
        (("c", "b"), "5", {"colour": None, "n": -1, "in": {"p": 1}}),
        (("c", "b", "d"), "6", {"n": 0, "text": "20"}),
    ]
    for namespace, key, value in rows:
        await store.put(namespace, key, value)
    return store


@both
async def case_store_search_by_namespace(api: Api) -> Any:
    store = await _filled(api)
    seen = {}
    for prefix in [(), ("a",), ("ab",), ("a", "b"), ("c",), ("b",), ("a", "b", "c")]:
        seen[prefix] = [item[1] for item in await store.search(prefix)]
    seen["pages"] = [
        [item[1] for item in await store.search((), limit=limit, offset=offset)]
        for limit, offset in [(2, 0), (2, 2), (2, 4), (2, 6), (0, 0), (100, 5)]
    ]
    seen["item"] = (await store.search(("a",), limit=1))[0]
    return seen


@both
async def case_store_filters(api: Api) -> Any:
    store = await _filled(api)
    filters: list[dict[str, Any] | None] = [
        None, {}, {"colour": "red"}, {"colour": None}, {"missing": None}, {"on": True}, {"on": 1},
        {"n": 1}, {"n": 1.0}, {"n": "1"}, {"colour": "red", "n": 3}, {"tags": ["x", "y"]},
        {"tags": ["x"]}, {"tags": ("x", "y")}, {"in": {"p": 1}}, {"in": {"p": 1, "q": 2}},
        {"in": {}}, {"in": {"$eq": {"p": 1}}},
        {"colour": {"$eq": "red"}}, {"colour": {"$ne": "red"}}, {"n": {"$gt": 1}},
        {"n": {"$gte": 1}}, {"n": {"$lt": 1}}, {"n": {"$lte": 1}}, {"n": {"$gt": 1, "$lt": 4}},
        {"n": {"$ne": 1}}, {"missing": {"$ne": 1}}, {"missing": {"$eq": None}},
        {"n": {"$gt": "1"}}, {"n": {"$gt": 0.5}, "colour": {"$ne": "blue"}},
    ]  # fmt: skip
    return [[item[1] for item in await store.search((), filter=one)] for one in filters]


@both
async def case_store_filters_that_are_none(api: Api) -> Any:
    store = await _filled(api)
    seen = [
        await api.raised(store.search((), filter={"n": {"$regex": "x"}})),
        await api.raised(store.search((), filter={"n": {"$gt": 1, "other": 2}})),
    ]
    return [one.says("operator") for one in seen]


@both
async def case_store_list_namespaces(api: Api) -> Any:
    store = opened(api)
    spaces = [
        ("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f"),
        ("a", "c", "f"), ("b", "a", "f"), ("users", "123"), ("users", "456", "settings"),
        ("a-b",), ("a",),
    ]  # fmt: skip
    for namespace in spaces:
        await store.put(namespace, "k", {})
    asked: list[dict[str, Any]] = [
        {}, {"prefix": ("a",)}, {"prefix": ("a", "b")}, {"suffix": ("f",)}, {"suffix": ("b", "f")},
        {"prefix": ("a",), "suffix": ("f",)}, {"prefix": ("a", "*", "f")}, {"prefix": ("*", "a")},
        {"suffix": ("*", "f")}, {"prefix": ("users", "*", "settings")}, {"max_depth": 1},
        {"max_depth": 3, "prefix": ("a", "b")}, {"max_depth": 2, "suffix": ("f",)},
        {"limit": 3}, {"limit": 3, "offset": 8}, {"max_depth": 1, "limit": 2, "offset": 1},
        {"prefix": ("none",)}, {"prefix": ()}, {"max_depth": 0},
    ]  # fmt: skip
    return [await store.list_namespaces(**one) for one in asked]


@both
async def case_store_batches(api: Api) -> Any:
    store = opened(api)
    await store.put(("a",), "old", {"n": 0})
    ops = [
        api.PutOp(("a",), "new", {"n": 1}),
        api.GetOp(("a",), "new"),
        api.GetOp(("a",), "old"),
        api.PutOp(("a",), "new", {"n": 2}),
        api.PutOp(("a",), "old", None),
        api.SearchOp(("a",)),
        api.ListNamespacesOp(),
        api.ListNamespacesOp((api.MatchCondition("prefix", ("a",)),), max_depth=1),
        api.PutOp(("b",), "gone", {"n": 3}),
        api.PutOp(("b",), "gone", None),
    ]
    seen = [await store.batch(ops), await store.search(()), await store.batch([])]
    return [*seen, (await api.raised(store.batch([1]))).family]


@both
async def case_store_without_ttl(api: Api) -> Any:
    store = opened(api)
    refused = await api.raised(store.put(("a",), "x", {}, ttl=5))
    await store.put(("a",), "y", {}, ttl=None)
    await store.put(("a",), "z", {}, index=False)
    return [
        refused,
        await store.get(("a",), "y", refresh_ttl=False),
        await store.search(("a",), refresh_ttl=True, query="nobody embeds this"),
    ]


def letters(texts: Any) -> list[list[float]]:
    return [[float(text.count(letter)) for letter in "abcde"] for text in texts]


@both
async def case_store_semantic_search(api: Api) -> Any:
    store = opened(api, index={"dims": 5, "embed": letters, "fields": ["text", "notes[*].body"]})
    await store.put(("d",), "1", {"text": "aab"})
    await store.put(("d",), "2", {"text": "bbc", "notes": [{"body": "a"}, {"body": "ddd"}]})
    await store.put(("d",), "3", {"text": "eeee"}, index=False)
    await store.put(("d",), "4", {"text": "eb", "other": "aaaa"}, index=["other"])
    await store.put(("d", "x"), "5", {"text": "zzz", "n": 1})
    seen = []
    for query in ["aa", "d", "eb", "zz"]:
        found = await store.search(("d",), query=query)
        seen.append(
            sorted((item[1], item[3] if item[3] is None else round(item[3], 6)) for item in found)
        )
        seen.append([item[1] for item in found if item[3]])
    seen.append([i[1] for i in await store.search(("d",), query="aa", limit=2)])
    seen.append([i[1] for i in await store.search(("d",), query="aa", limit=1, offset=1)])
    seen.append([i[1] for i in await store.search(("d",), query="aa", filter={"n": 1})])
    return seen


@both
async def case_store_paths_of_texts(api: Api) -> Any:
    document = {
        "a": {"b": "x", "c": [1, 2.5, True, None, {"d": "y"}]}, "list": ["p", "q", ["r"]],
        "e.f": "dotted", "n": None,
    }  # fmt: skip
    paths = [
        "", "$", "a", "a.b", "a.c", "a.c[0]", "a.c[-1]", "a.c[*]", "a.c[*].d", "a.c[9]", "a.c[x]",
        "list[*]", "list[2][0]", "*", "a.*", "{a.b,list}", "a.{b,c}", "a.{b,none}.x", "n", "none",
        "e.f", "a.b.c", "list.*", "a[0]", "[0]", "{b", "a[", "..a..b", "{n}", "a{b}",
    ]  # fmt: skip
    return [[api.tokenize_path(p), api.get_text_at_path(document, p)] for p in paths]


# -- in graphs


@both
async def case_store_in_a_graph(api: Api) -> Any:
    store = api.InMemoryStore()

    def by_parameter(state: Any, *, store) -> Any:
        store.put(("seen",), "a", {"log": list(state["log"])})
        return {"log": ["a"]}

    def by_annotation(state: Any, store: api.BaseStore) -> Any:
        return {"log": [store.get(("seen",), "a").value]}

    def by_runtime(state: Any, runtime: api.Runtime) -> Any:
        return {"log": [len(runtime.store.search(("seen",))), runtime.store is store]}

    def by_call(state: Any) -> Any:
        return {"log": [api.get_store() is store]}

    nodes = {
        "a": api.node(by_parameter), "b": api.node(by_annotation), "c": api.node(by_runtime),
        "d": api.node(by_call),
    }  # fmt: skip
    graph = chain(api, Log, nodes, store=store, checkpointer=api.saver())
    return [
        graph.store is store,
        await api.invoke(graph, {"log": []}, api.thread("1")),
        await api.invoke(graph, {"log": ["x"]}, api.thread("2")),
        shown(store.search(())),
    ]


@both
async def case_a_graph_without_a_store(api: Api) -> Any:
    def by_call(state: Any) -> Any:
        return {"log": [api.get_store()]}

    def by_runtime(state: Any, runtime: api.Runtime) -> Any:
        return {"log": [runtime.store]}

    def optional(state: Any, store: api.BaseStore | None = None) -> Any:
        return {"log": [store]}

    def needed(state: Any, *, store: api.BaseStore) -> Any:
        return {"log": [store]}

    nodes = {"a": api.node(by_call), "b": api.node(by_runtime), "c": api.node(optional)}
    seen: list[Any] = [await api.invoke(chain(api, Log, nodes), {"log": []})]
    return [*seen, await api.invoke(chain(api, Log, {"d": api.node(needed)}), {"log": []})]


@both
async def case_store_sizes_of_what_has_none(api: Api) -> Any:
    store = await _filled(api)
    filters: list[dict[str, Any]] = [
        {"missing": {"$gt": 1}}, {"colour": {"$lt": 5}}, {"colour": {"$gte": "blue"}},
        {"in": {"p": {"$gt": 0}}},
    ]  # fmt: skip
    seen = []
    for one in filters:
        try:
            seen.append([item[1] for item in await store.search((), filter=one)])
        except (TypeError, ValueError) as error:
            seen.append(type(error).__name__)
    return seen


@both
async def case_store_what_is_read_is_a_copy(api: Api) -> Any:
    store = api.InMemoryStore()
    value = {"list": [1]}
    verbs = Verbs(api, store)
    await verbs.put(("a",), "x", value)
    value["list"].append(2)
    item = store.get(("a",), "x") if api.sync else await store.aget(("a",), "x")
    item.value["list"].append(3)
    return (await verbs.get(("a",), "x"))[2]


@both
async def case_store_created_once(api: Api) -> Any:
    store = api.InMemoryStore()
    seen = []
    for n in (1, 2):
        await Verbs(api, store).put(("a",), "x", {"n": n})
        item = store.get(("a",), "x") if api.sync else await store.aget(("a",), "x")
        seen.append((item.created_at, item.updated_at))
    (first, _), (second, updated) = seen
    return {"kept": first == second, "updated": updated >= second}


@both
async def case_store_namespaces_that_became_empty(api: Api) -> Any:
    store = opened(api)
    await store.get(("read",), "x")
    await store.put(("deleted",), "x", {})
    await store.delete(("deleted",), "x")
    return await store.list_namespaces()


def _inside(api: Api, own: Any, outer: Any) -> Any:
    """A graph that runs another as a node, and calls it from one; each says which store it has."""
    names = {id(own): "own", id(outer): "outer", id(None): None}

    def look(state: Any, *, store: api.BaseStore) -> Any:
        return {"log": [names[id(store)], names[id(api.get_store())]]}

    inner = chain(api, Log, {"look": api.node(look)}, store=own)

    async def call(state: Any) -> Any:
        return {"log": (await inner.ainvoke({"log": []}))["log"]}

    def call_sync(state: Any) -> Any:
        return {"log": inner.invoke({"log": []})["log"]}

    nodes = {"node": inner, "call": call_sync if api.sync else call}
    return chain(api, Log, nodes, store=outer)


@both
async def case_store_of_graphs_inside_a_graph(api: Api) -> Any:
    own, outer = api.InMemoryStore(), api.InMemoryStore()
    return [
        await api.invoke(_inside(api, None, outer), {"log": []}),
        await api.invoke(_inside(api, own, outer), {"log": []}),
        await api.invoke(_inside(api, None, None), {"log": []}),
    ]


@both
async def case_store_of_a_graph_inside_one_without(api: Api) -> Any:
    return await api.invoke(_inside(api, api.InMemoryStore(), None), {"log": []})


# -- in SQLite


@contextlib.asynccontextmanager
async def sqlite(api: Api, **options: Any) -> AsyncIterator[Any]:
    """A store in memory of SQLite's, made as LangGraph's documentation says."""
    if api.sync:
        with api.SqliteStore.from_conn_string(":memory:", **options) as store:
            store.setup()
            yield store
    else:
        async with api.AsyncSqliteStore.from_conn_string(":memory:", **options) as store:
            await store.setup()
            yield store


@both
async def case_sqlite_store(api: Api) -> Any:
    async with sqlite(api) as opened_store:
        store = Verbs(api, opened_store, times=False)
        await store.put(("a",), "x", {"n": 1, "s": "red"})
        await store.put(("a", "b"), "y", {"n": 2, "s": "blue"}, index=False)
        await store.put(("ab",), "z", {"n": 3})
        await store.put(("a",), "x", {"n": 4, "s": "red"})
        seen = [
            await store.get(("a",), "x"), await store.get(("a",), "none"),
            sorted(await store.search(("a",)), key=repr),
            await store.search((), filter={"s": "blue"}, limit=5, offset=0),
            await store.search((), filter={"n": {"$gt": 2, "$lte": 3}}, refresh_ttl=False),
            await store.search((), filter={"n": {"$gte": 4}}), await store.search(("a",), limit=0),
            len(await store.search((), limit=2)), len(await store.search((), limit=2, offset=2)),
            await store.list_namespaces(), await store.list_namespaces(prefix=("a",)),
            await store.list_namespaces(suffix=("b",), max_depth=1, limit=1, offset=0),
        ]  # fmt: skip
        await store.delete(("a",), "x")
        ops = [
            api.GetOp(("a", "b"), "y", refresh_ttl=False),
            api.PutOp(("c",), "w", {}, index=False, ttl=None),
            api.SearchOp(("c",), filter={"n": 1}, limit=3, offset=0, query=None, refresh_ttl=True),
            api.ListNamespacesOp(None, None, limit=2, offset=1),
        ]  # fmt: skip
        return [*seen, await store.batch(ops), await store.list_namespaces()]


@both
async def case_sqlite_store_expiry(api: Api) -> Any:
    ttl = {"default_ttl": 10, "refresh_on_read": True, "sweep_interval_minutes": 1}
    async with sqlite(api, ttl=ttl) as opened_store:
        store = Verbs(api, opened_store, times=False)
        await store.put(("a",), "default", {})
        await store.put(("a",), "own", {}, ttl=5)
        await store.put(("a",), "ever", {}, ttl=None)
        await store.put(("a",), "over", {}, ttl=-10 if api.package == "langgraph" else 0)
        if api.sync:
            swept = opened_store.sweep_ttl()
            started = opened_store.start_ttl_sweeper(sweep_interval_minutes=5)
            stopped = opened_store.stop_ttl_sweeper(timeout=5)
            started.result(5)
        else:
            swept = await opened_store.sweep_ttl()
            started = await opened_store.start_ttl_sweeper(sweep_interval_minutes=5)
            stopped = await opened_store.stop_ttl_sweeper(timeout=5)
            await started
        left = sorted(await store.search(("a",)), key=repr)
        return [swept, stopped, left]


# -- parts


@both
async def case_store_items(api: Api) -> Any:
    moment = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    fields: dict[str, Any] = {
        "value": {"n": 1}, "key": "k", "namespace": ["a", "b"], "created_at": moment.isoformat(),
        "updated_at": moment,
    }  # fmt: skip
    item, same = api.Item(**fields), api.Item(**fields)
    other = api.Item(**{**fields, "value": {}})
    shown_as = {**item.dict(), "created_at": "moment", "updated_at": "moment"}
    return [
        item == same, item == other, item != "text", hash(item) == hash(other), item.namespace,
        item.created_at == moment, shown_as, repr(item),
    ]  # fmt: skip


class _Embedded:
    def embed_documents(self, texts: Any) -> Any:
        return [[float(len(text))] for text in texts]

    def embed_query(self, text: str) -> Any:
        return [float(len(text)) + 0.5]


@both
async def case_store_embeddings(api: Api) -> Any:
    class Own(_Embedded, api.Embeddings):
        pass

    async def later(texts: Any) -> Any:
        return [[float(len(text)), 1.0] for text in texts]

    seen: list[Any] = []
    for one in (Own(), letters, later):
        ready = api.ensure_embeddings(one)
        seen.append(ready is one)
        if api.sync and one is later:
            seen.append(type(await api.raised(_call(ready.embed_query, "abc"))).__name__)
        elif api.sync:
            seen += [ready.embed_documents(["a", "bb"]), ready.embed_query("abc")]
        else:
            seen += [await ready.aembed_documents(["a", "bb"]), await ready.aembed_query("abc")]
    return [*seen, api.refused(lambda: api.ensure_embeddings(None)).family]


async def _call(function: Any, *args: Any) -> Any:
    return function(*args)


@both
async def case_store_namespaces_of_operations(api: Api) -> Any:
    bad = [
        api.GetOp(("a.b",), "k"), api.PutOp(("",), "k", {}), api.SearchOp(("a", 1)),
        api.ListNamespacesOp((api.MatchCondition("suffix", ("x.y",)),)),
    ]  # fmt: skip
    good = [
        api.GetOp((), "k"),
        api.SearchOp(()),
        api.ListNamespacesOp(),
        api.PutOp(("a",), "k", None),
    ]
    return [
        *(api.refused(lambda op=op: api.validate_op_namespace(op)).family for op in bad),
        *(api.validate_op_namespace(op) for op in good),
    ]


async def case_store_of_ones_own_in_batches(api: Api) -> Any:
    """What is asked for in one tick is one batch: equal reads once, the last put of a key."""
    batches: list[Any] = []

    class Own(api.AsyncBatchedBaseStore):
        supports_ttl = True

        async def abatch(self, ops: Any) -> Any:
            ops = list(ops)
            batches.append([(type(op).__name__, *op) for op in ops])
            said = [f"{type(op).__name__} {n}" for n, op in enumerate(ops)]
            return [None if one.startswith("Put") else one for one in said]

    store = Own()
    first = await asyncio.gather(
        store.aget(("a",), "x"), store.aput(("a",), "x", {"n": 1}), store.aget(("a",), "x"),
        store.aput(("a",), "x", {"n": 2}, index=["n"], ttl=3), store.adelete(("a",), "y"),
        store.asearch(("a",), filter={"n": 1}, query="q", limit=3, offset=1),
        store.asearch(("a",), filter={"n": 1}, query="q", limit=3, offset=1),
        store.aget(("a",), "x", refresh_ttl=False),
        store.alist_namespaces(prefix=("a",), suffix=("b",), max_depth=2, limit=5, offset=1),
    )  # fmt: skip
    second = await asyncio.gather(store.aget(("a",), "x"), store.asearch(()))
    by_sync = await asyncio.to_thread(store.batch, [api.GetOp(("b",), "k")])
    one = [
        await asyncio.to_thread(store.get, ("b",), "k"),
        await asyncio.to_thread(store.list_namespaces, max_depth=1),
    ]
    refused = await api.raised(_call(store.get, ("b",), "k"))
    return [first, second, by_sync, one, batches, refused.says("await")[1:]]


async def case_store_configurations_can_be_read(api: Api) -> Any:
    def embed(texts: list[str]) -> list[list[float]]:
        return [[1.0, float(len(t))] for t in texts]

    index = {"dims": 2, "embed": embed, "fields": ["text"]}
    with api.SqliteStore.from_conn_string(":memory:", index=index) as store:
        kept = [store, api.InMemoryStore(index=index)]
        seen = [{key: s.index_config[key] == index[key] for key in index} for s in kept]
        vectors = [s.embeddings.embed_documents(["four"]) for s in kept]
    bare = api.InMemoryStore()
    return [seen, vectors, bare.index_config, bare.embeddings]


case_store_configurations_can_be_read.forms = ("sync",)  # type: ignore[attr-defined]
