"""Threads and documents in PostgreSQL: LangGraph's classes speak through psycopg, ours through
asyncpg, each in an empty schema that the address names."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests._postgres import execute, fresh_name, server_dsn
from tests.compat.cases.stores import Verbs
from tests.compat.engines import Api
from tests.compat.shapes import Log, both, chain, logger, record


def on_a_server(case: Callable[..., Any]) -> Callable[..., Any]:
    """The case needs a PostgreSQL server; in both forms."""
    case.postgres = True  # type: ignore[attr-defined]
    return both(case)


def told(sql: str) -> None:
    """Run statements, whether or not a loop runs here."""
    with ThreadPoolExecutor(1) as aside:
        aside.submit(lambda: asyncio.run(execute(sql))).result()


@contextlib.contextmanager
def address() -> Iterator[str]:
    """The URL of a schema that is empty; a parameter of libpq's names it."""
    name, url = fresh_name(), server_dsn()
    told(f'CREATE SCHEMA "{name}"')
    try:
        yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
    finally:
        told(f'DROP SCHEMA "{name}" CASCADE')


@contextlib.asynccontextmanager
async def saver_of(api: Api, url: str, **options: Any) -> AsyncIterator[Any]:
    if api.sync:
        module = api.module("checkpoint.postgres")
        with module.PostgresSaver.from_conn_string(conn_string=url, **options) as saver:
            if not options:  # LangGraph cannot make its tables in a pipeline
                saver.setup()
                saver.setup()
            yield saver
    else:
        module = api.module("checkpoint.postgres.aio")
        async with module.AsyncPostgresSaver.from_conn_string(conn_string=url, **options) as saver:
            if not options:
                await saver.setup()
                await saver.setup()
            yield saver


@contextlib.asynccontextmanager
async def store_of(api: Api, url: str, **options: Any) -> AsyncIterator[Any]:
    module = api.module("store.postgres")
    if api.sync:
        with module.PostgresStore.from_conn_string(url, **options) as store:
            if "pipeline" not in options:
                store.setup()
            yield store
    else:
        async with module.AsyncPostgresStore.from_conn_string(url, **options) as store:
            if "pipeline" not in options:
                await store.setup()
            yield store


def asking(api: Api, saver: Any) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q"), {"deep": [1.5, None, "é"]}]}

    nodes = {"a": logger(api, "a"), "ask": api.node(ask), "z": logger(api, "z")}
    return chain(api, Log, nodes, checkpointer=saver)


@on_a_server
async def case_postgres_keeps_threads(api: Api) -> Any:
    seen = []
    with address() as url:
        async with saver_of(api, url) as saver:
            graph = asking(api, saver)
            seen.append(await api.invoke(graph, {"log": []}, api.thread(metadata={"m_a": 1})))
            base = api.module("checkpoint.postgres").BasePostgresSaver
            again = api.module("checkpoint.postgres.base").BasePostgresSaver
            seen.append([isinstance(saver, base), base is again])
        async with saver_of(api, url) as saver:
            graph = asking(api, saver)
            seen.append(await record(api, graph, api.thread()))
            seen.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
            old = (await api.history(graph, api.thread()))[-2].config
            seen.append(await api.update(graph, old, {"log": ["u"]}, "a"))
            seen.append(await record(api, graph, api.thread()))
            seen.append(await api.state(graph, api.thread("none")))
    return seen


@on_a_server
async def case_postgres_saver_in_a_pipeline(api: Api) -> Any:
    with address() as url:
        async with saver_of(api, url):
            pass
        async with saver_of(api, url, pipeline=True) as saver:
            graph = asking(api, saver)
            await api.invoke(graph, {"log": []}, api.thread())
            return await record(api, graph, api.thread())


@on_a_server
async def case_postgres_prunes_threads(api: Api) -> Any:
    with address() as url:
        async with saver_of(api, url) as saver:
            graph = asking(api, saver)
            for name in ("a", "b", "c"):
                await api.invoke(graph, {"log": []}, api.thread(name))

            async def prune(*given: Any, **options: Any) -> Any:
                if api.sync:
                    return saver.prune(*given, **options)
                return await saver.aprune(*given, **options)

            await prune(["a", "unknown"], strategy="delete")
            await prune([], strategy="delete")
            seen = [
                (await api.raised(prune(["b"], strategy="some"))).family,
                (await api.raised(prune("b", strategy="delete"))).family,
            ]  # fmt: skip
            seen += [(await api.state(graph, api.thread(name))).next for name in ("a", "b", "c")]
            if api.sync:
                saver.delete_thread("b")
            else:
                await saver.adelete_thread("b")
            return [*seen, len(await api.history(graph, api.thread("b")))]


@on_a_server
async def case_postgres_keeps_documents(api: Api) -> Any:
    with address() as url:
        async with store_of(api, url) as opened:
            base = api.module("store.postgres.base")
            bases = [isinstance(opened, base.BasePostgresStore)]
            store = Verbs(api, opened)
            await store.put(("a",), "x", {"n": 1, "s": "red"})
            await store.put(("a", "b"), "y", {"n": 2, "deep": {"list": [1, None, "é"]}})
            await store.put(("a",), "gone", {})
            await store.delete(("a",), "gone")
            await store.put(("a",), "x", {"n": 3, "s": "red"})
        pool = base.PoolConfig(min_size=1, max_size=3)
        async with store_of(api, url, pool_config=pool) as opened:
            store = Verbs(api, opened)
            return [
                bases, await store.get(("a",), "x"), await store.get(("a",), "gone"),
                sorted(await store.search(("a",)), key=repr),
                await store.search((), filter={"s": "red"}, limit=5),
                await store.list_namespaces(prefix=("a",)),
            ]  # fmt: skip


@on_a_server
async def case_postgres_store_in_a_pipeline(api: Api) -> Any:
    with address() as url:
        async with store_of(api, url):
            pass
        async with store_of(api, url, pipeline=True) as opened:
            store = Verbs(api, opened)
            await store.put(("a",), "x", {"n": 1})
            return [await store.get(("a",), "x"), await store.search(("a",))]


@on_a_server
async def case_postgres_store_expiry(api: Api) -> Any:
    ttl = {"default_ttl": 10, "refresh_on_read": True, "sweep_interval_minutes": 1}
    with address() as url:
        async with store_of(api, url, ttl=ttl) as opened:
            store = Verbs(api, opened)
            await store.put(("a",), "default", {})
            await store.put(("a",), "own", {}, ttl=5)
            await store.put(("a",), "ever", {}, ttl=None)
            await store.put(("a",), "over", {}, ttl=-10 if api.package == "langgraph" else 0)
            if api.sync:
                swept = opened.sweep_ttl()
                started = opened.start_ttl_sweeper(sweep_interval_minutes=5)
                stopped = opened.stop_ttl_sweeper(timeout=5)
                started.result(5)
            else:
                swept = await opened.sweep_ttl()
                started = await opened.start_ttl_sweeper(sweep_interval_minutes=5)
                stopped = await opened.stop_ttl_sweeper(timeout=5)
                await started
            left = sorted(await store.search(("a",)), key=repr)
            return [swept, stopped, left]


async def case_shapes_of_postgres_settings(api: Api) -> Any:
    base, module = api.module("store.postgres.base"), api.module("store.postgres")
    index = base.PostgresIndexConfig(dims=2, embed=len, fields=["text"])
    pool = module.PoolConfig(min_size=1, max_size=2, kwargs={})
    return [
        sorted(index), pool, sorted(module.PoolConfig.__annotations__),
        base.PoolConfig is module.PoolConfig, module.PoolConfig.__total__,
        base.PostgresStore is module.PostgresStore,
        api.module("store.postgres.aio").AsyncPostgresStore is module.AsyncPostgresStore,
    ]  # fmt: skip
