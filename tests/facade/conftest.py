"""Savers of every kind, on a database of the test's own."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest

from stepwell._portal import sync
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.postgres.aio import AsyncPostgresSaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.checkpoint.sqlite.aio import AsyncSqliteSaver
from stepwell.graph import END, START, StateGraph
from tests._postgres import execute, fresh_name, server_dsn

SQLITE = [SqliteSaver, AsyncSqliteSaver]
POSTGRES = [PostgresSaver, AsyncPostgresSaver]
CLASSES = [
    InMemorySaver,
    *SQLITE,
    *(pytest.param(kind, marks=pytest.mark.postgres) for kind in POSTGRES),
]
PLAIN = [
    InMemorySaver,
    SqliteSaver,
    pytest.param(PostgresSaver, marks=pytest.mark.postgres),
]


@pytest.fixture
def schema():
    name = fresh_name()
    yield name
    asyncio.run(execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'))


@pytest.fixture
def make(request, tmp_path):
    """Makes a saver of a class; all on the same database, except those in memory."""

    def make(kind, **options):
        if kind is InMemorySaver:
            return kind(**options)
        if kind in SQLITE:
            return kind.from_conn_string(tmp_path / "threads.db", **options)
        schema = request.getfixturevalue("schema")
        return kind.from_conn_string(server_dsn(), schema=schema, **options)

    return make


@pytest.fixture
def not_warned(monkeypatch):
    """As if no synchronous call had been made inside a running loop yet."""
    monkeypatch.setattr(sync, "_warned", False)


class State(TypedDict):
    """One list that grows."""

    seen: Annotated[list, operator.add]


def config(thread_id="a"):
    return {"configurable": {"thread_id": thread_id}}


def graph(saver, node=lambda state: {"seen": ["node"]}):
    """A graph of one node on a saver."""
    builder = StateGraph(State).add_node("node", node)
    return builder.add_edge(START, "node").add_edge("node", END).compile(checkpointer=saver)
