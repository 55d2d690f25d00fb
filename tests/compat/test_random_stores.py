"""Random operations on stores: ours say what LangGraph's say, wherever theirs agree with
themselves (see `differences`)."""

from __future__ import annotations

import asyncio
import os
import warnings
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from stepwell.store.memory import InMemoryStore
from stepwell.store.sqlite import SqliteStore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langgraph.store import base as theirs
    from langgraph.store.memory import InMemoryStore as TheirMemory
    from langgraph.store.sqlite import AsyncSqliteStore as TheirAsyncSqlite
    from langgraph.store.sqlite import SqliteStore as TheirSqlite

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]

EXAMPLES = int(os.environ.get("STEPWELL_COMPAT_STORES", "60"))

labels = st.sampled_from(["a", "b", "ab", "c"])
namespaces = st.lists(labels, min_size=1, max_size=3).map(tuple)
prefixes = st.lists(labels, max_size=2).map(tuple)
patterns = st.lists(st.sampled_from(["a", "b", "ab", "*"]), max_size=3).map(tuple)
names = st.sampled_from(["k", "l", "m"])
numbers = st.one_of(st.integers(-3, 3), st.floats(-3, 3).map(lambda x: round(x, 1)))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(["", "x", "red", "é", "1"]))
values = st.fixed_dictionaries(
    {},
    optional={
        "n": numbers,
        "s": scalars,
        "in": st.fixed_dictionaries(
            {}, optional={"p": scalars, "q": st.lists(scalars, max_size=2)}
        ),
        "l": st.lists(scalars, max_size=2),
    },
)
sizes = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$eq"]), numbers, min_size=1, max_size=2
)
simple_filters = st.one_of(
    st.fixed_dictionaries({"s": st.sampled_from(["x", "red", "é", "", None])}),
    st.fixed_dictionaries({"n": st.one_of(st.integers(-3, 3), st.floats(-3, 3))}),
    st.fixed_dictionaries({"n": sizes}),
)
filters = st.one_of(
    simple_filters,
    st.dictionaries(st.sampled_from(["n", "s", "in", "l", "none"]), scalars, max_size=2),
    st.fixed_dictionaries({"in": st.dictionaries(st.sampled_from("pq"), scalars, max_size=2)}),
    st.fixed_dictionaries({"l": st.lists(scalars, max_size=2)}),
    st.fixed_dictionaries({"s": st.dictionaries(st.sampled_from(["$eq", "$ne"]), scalars)}),
)
operations = st.one_of(
    st.tuples(st.just("put"), namespaces, names, values),
    st.tuples(st.just("put"), namespaces, names, values),
    st.tuples(st.just("put"), namespaces, names, values),
    st.tuples(st.just("delete"), namespaces, names),
    st.tuples(st.just("get"), namespaces, names),
    st.tuples(st.just("search"), prefixes, st.one_of(st.none(), filters)),
    st.tuples(st.just("simple"), prefixes, simple_filters),
    st.tuples(st.just("list"), patterns, patterns, st.one_of(st.none(), st.integers(1, 3))),
)


def shown(item: Any) -> Any:
    return None if item is None else (tuple(item.namespace), item.key, item.value)


def look(store: Any, op: tuple[Any, ...]) -> Any:
    """What a store says to an operation; the name of the error, if it fails."""
    verb, *rest = op
    try:
        if verb == "put":
            return store.put(*rest)
        if verb == "delete":
            return store.delete(*rest)
        if verb == "get":
            return shown(store.get(*rest))
        if verb in ("search", "simple"):
            prefix, wanted = rest
            return [shown(item) for item in store.search(prefix, filter=wanted, limit=1000)]
        prefix, suffix, depth = rest
        return store.list_namespaces(prefix=prefix, suffix=suffix, max_depth=depth, limit=1000)
    except (TypeError, ValueError) as error:
        return type(error).__name__


def unordered(found: Any) -> Any:
    return sorted(found, key=repr) if isinstance(found, list) else found


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(st.lists(operations, min_size=1, max_size=40))
def test_every_store_says_what_langgraphs_say(ops):
    with ExitStack() as stack:
        their_memory = TheirMemory()
        their_sqlite = stack.enter_context(TheirSqlite.from_conn_string(":memory:"))
        their_sqlite.setup()
        mine = {
            "memory": InMemoryStore(),
            "sqlite": stack.enter_context(SqliteStore.from_conn_string(":memory:")),
        }
        deleted = False
        for op in ops:
            deleted |= op[0] == "delete"
            memory, sqlite = look(their_memory, op), look(their_sqlite, op)
            for kind, store in mine.items():
                said = look(store, op)
                if op[0] == "list":  # their memory also lists what is empty
                    assert said == sqlite, (kind, op)
                elif not isinstance(memory, str):  # sizes of what has none are an error there
                    assert unordered(said) == unordered(memory), (kind, op)
                else:
                    assert isinstance(said, list), (kind, op)
                if op[0] == "simple":
                    assert unordered(said) == unordered(sqlite), (kind, op)
                if (
                    kind == "memory"
                    and not deleted
                    and not isinstance(memory, str)
                    and op[0] != "list"
                ):
                    assert said == memory, op


paths = st.text(alphabet="ab.[]{}*,0-1$ ", max_size=10)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab0"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=10 * EXAMPLES, deadline=None)
@given(documents, paths)
def test_paths_lead_to_the_same_texts(document, path):
    from stepwell.store.base import get_text_at_path, tokenize_path

    assert tokenize_path(path) == theirs.tokenize_path(path)
    assert get_text_at_path(document, path) == theirs.get_text_at_path(document, path)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(namespaces, names, st.one_of(st.none(), values)), max_size=20))
def test_batches_of_a_tick_leave_the_same(puts):
    """Of several puts to a key in one tick the last counts, in both."""

    async def left(store: Any) -> Any:
        await asyncio.gather(*(store.aput(*put) for put in puts))
        return unordered([shown(item) for item in await store.asearch((), limit=1000)])

    async def both() -> tuple[Any, Any]:
        async with (
            TheirAsyncSqlite.from_conn_string(":memory:") as their,
            SqliteStore.from_conn_string(":memory:") as mine,
        ):
            await their.setup()
            return await left(their), await left(mine)

    expected, said = asyncio.run(both())
    assert said == expected
