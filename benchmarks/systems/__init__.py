"""What is compared. Each class is one system behind the same few verbs.

A system has `places` (where it can keep its state: none, memory, sqlite, postgres), an async
context manager `opened(place, folder, fresh=True)` (fresh: nothing of an earlier process is
left), and for each shape of graph that it can build a method that returns a coroutine function.
Workloads that a system has no method for are left out, and the table says so.

    chain(opened, length, keys)   run(thread) -> number of nodes that ran
    loop(opened, steps)           run(thread) -> the same, through a conditional edge
    wide(opened, branches, pause) run(thread) -> how many branches came back
    talk(opened)                  say(thread, messages) -> how many messages there are
    latest(opened)                read(thread) -> how many messages the state has
    history(opened)               read(thread, limit) -> how many states were listed
    middle(opened)                read(thread) -> how many messages a state in the middle has
    stored(place)                 bytes in the database
    adding(opened)                add(thread), total(thread): every call adds 1
    enduring(opened, steps, tick) run(thread, again) -> steps; each calls tick(its number)
    rows(opened)                  append(threads): a row of each, durable at the end
    codec()                       encode(value) -> bytes, decode(bytes) -> value
    alone                         whether it can be opened once in a process, and no more
    packages                      what `pip install` is given, for SQLite and PostgreSQL
    imports                       the statement that a program begins with
    compiles                      the statement that makes a first graph, imports included
"""

from __future__ import annotations

import importlib
from typing import Any

NAMES = ("stepwell", "langgraph", "langgraph-delta", "burr", "dbos", "floor")
OURS = ("stepwell", "floor")
"""What has to be there; peers are left out where they are not installed."""
CLASSES = {"stepwell": "Stepwell", "langgraph": "LangGraph", "langgraph-delta": "LangGraphDelta",
           "burr": "Burr", "dbos": "Dbos", "floor": "Floor"}  # fmt: skip


def load(name: str) -> Any:
    """The system of that name. Its package is imported now, and no other.

    Raises:
        ImportError: It is not installed.
    """
    module = importlib.import_module(f"benchmarks.systems.{name.partition('-')[0]}")
    return getattr(module, CLASSES[name])()
