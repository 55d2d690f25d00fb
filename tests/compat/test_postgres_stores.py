"""Random operations on LangGraph's PostgreSQL store and on ours: the same documents are there,
the same are found, the same namespaces are listed."""
# ruff: noqa: F401, F811  # fixtures are imported by name

from __future__ import annotations

import random
import warnings

import pytest

pytest.importorskip("psycopg", reason="LangGraph's PostgreSQL store speaks through psycopg")
pytest.importorskip("langgraph.store.postgres", reason="LangGraph's PostgreSQL store is missing")

from stepwell.store.postgres import PostgresStore
from tests._postgres import execute, pg_dsn, pg_schema

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langgraph.store.postgres import PostgresStore as Theirs

pytestmark = [pytest.mark.compat, pytest.mark.postgres, pytest.mark.timeout(120)]

LABELS = ("a", "b", "ab", "c")
FILTERS = (
    None, {"s": "red"}, {"s": {"$eq": "blue"}}, {"n": 3}, {"on": True}, {"s": "red", "n": 2},
    {"l": [1, 2]}, {"n": {"$eq": 2.5}},
)  # fmt: skip


def namespace(chance: random.Random, least: int = 1) -> tuple[str, ...]:
    return tuple(chance.choice(LABELS) for _ in range(chance.randint(least, 3)))


def value(chance: random.Random) -> dict:
    fields = {
        "s": chance.choice(["red", "blue", "é", ""]), "n": chance.choice([0, 1, 2, 2.5, 3, -1]),
        "on": chance.random() < 0.5, "l": chance.choice([[], [1, 2], ["x", None]]),
        "in": {"deep": [{"a": 1.5}]},
    }  # fmt: skip
    return {name: fields[name] for name in fields if chance.random() < 0.7}


def shown(item):
    return None if item is None else (tuple(item.namespace), item.key, item.value)


def operation(chance: random.Random):
    """Something to do with a store, and what it says."""
    verb = chance.choice(["put"] * 4 + ["delete", "get", "search", "search", "list"])
    if verb == "put":
        what = (namespace(chance), chance.choice("kl"), value(chance))
        return lambda store: store.put(*what)
    if verb in ("delete", "get"):
        where = (namespace(chance), chance.choice("kl"))
        return lambda store: shown(getattr(store, verb)(*where))
    if verb == "search":
        prefix, wanted = namespace(chance, 0)[:2], chance.choice(FILTERS)
        return lambda store: [
            shown(item) for item in store.search(prefix, filter=wanted, limit=500)
        ]
    options = {
        "prefix": tuple(chance.choice((*LABELS, "*")) for _ in range(chance.randint(0, 2))),
        "suffix": tuple(chance.choice((*LABELS, "*")) for _ in range(chance.randint(0, 2))),
        "max_depth": chance.choice([None, 1, 2]),
    }
    return lambda store: store.list_namespaces(**options, limit=500)


@pytest.mark.parametrize("seed", range(8))
def test_both_stores_say_the_same(seed, pg_dsn, pg_schema):
    import asyncio

    chance = random.Random(seed)
    asyncio.run(execute(f'CREATE SCHEMA "{pg_schema}"'))
    sign = "&" if "?" in pg_dsn else "?"
    theirs_dsn = f"{pg_dsn}{sign}options=-csearch_path%3D{pg_schema}"
    with (
        Theirs.from_conn_string(theirs_dsn) as theirs,
        PostgresStore.from_conn_string(pg_dsn, schema=pg_schema) as mine,
    ):
        theirs.setup()
        mine.setup()
        for _ in range(120):
            do = operation(chance)
            expected, said = do(theirs), do(mine)
            assert said == expected, "order included: what was put last comes first"


@pytest.mark.parametrize("seed", range(2))
def test_an_item_is_created_once_in_both(seed, pg_dsn, pg_schema):
    import asyncio

    asyncio.run(execute(f'CREATE SCHEMA "{pg_schema}"'))
    sign = "&" if "?" in pg_dsn else "?"
    theirs_dsn = f"{pg_dsn}{sign}options=-csearch_path%3D{pg_schema}"
    with (
        Theirs.from_conn_string(theirs_dsn) as theirs,
        PostgresStore.from_conn_string(pg_dsn, schema=pg_schema) as mine,
    ):
        theirs.setup()
        for store in (theirs, mine):
            store.put(("a",), "k", {"n": 1})
            first = store.get(("a",), "k")
            store.put(("a",), "k", {"n": 2})
            second = store.get(("a",), "k")
            assert second.created_at == first.created_at
            assert second.updated_at > first.updated_at
