"""Databases with threads of all sorts, and all that is in them."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

import pytest

from stepwell._journal.copying import comparable
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import RowKind, at_rest
from stepwell.graph import END, START, StateGraph
from stepwell.types import interrupt

KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


class State(TypedDict):
    log: Annotated[list, operator.add]
    goal: int


async def step(state: State) -> dict:
    return {"log": [f"step {len(state['log'])}", {"of": (1, 2), "at": len(state["log"]) + 0.5}]}


def ask(state: State) -> dict:
    return {"log": [interrupt("more?")]} if state["goal"] < 0 else {}


class Inner(TypedDict):
    goal: int


def deep(state: Inner) -> dict:
    return {"goal": state["goal"]}


def graph_of(saver: Saver):
    inner = StateGraph(Inner).add_node(deep).add_edge(START, "deep").compile()
    builder = StateGraph(State).add_node("step", step).add_node("sub", inner).add_node(ask)
    builder.add_edge(START, "step").add_edge("step", "sub")
    builder.add_conditional_edges(
        "sub", lambda s: "step" if len(s["log"]) < s["goal"] else "ask", ["step", "ask"]
    )
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


def config(name: str) -> dict:
    return {"configurable": {"thread_id": name}}


async def logical(saver: Saver) -> dict:
    """All rows of a database, in the form in which all kinds of driver agree."""
    driver = (await saver.journal()).driver
    async with driver.snapshot() as snapshot:
        assert snapshot.note is None
        rows = await snapshot.threads(None, 10_000)
        found = {}
        for row in rows:
            kept = at_rest(row)._replace(
                created_at=round(row.created_at, 6), updated_at=round(row.updated_at, 6)
            )
            kinds = {kind: (await snapshot.rows(kind, [row.key]))[0] for kind in RowKind}
            found[row.key] = (
                kept,
                {kind: [comparable(kind, r) for r in rows] for kind, rows in kinds.items()},
            )
        return found


async def populate(saver: Saver) -> None:
    """Threads of all sorts: done, asked, forked, folded, of other scopes, with odd texts."""
    graph = graph_of(saver)
    for i in range(3):
        await graph.ainvoke({"log": [f"\x00 {i}"], "goal": 8}, config(f"t{i}"))
    await graph.ainvoke({"log": [], "goal": -1}, config("asked"), idempotency_key="once")
    await graph.aupdate_state(
        config("t1"), {"log": ["by hand"]}, metadata={"who": "ann", "n": 1.0, "big": 1e20}
    )
    early = [s async for s in graph.aget_state_history(config("t2"))][5]
    await graph.aupdate_state(early.config, {"log": ["a branch"]})
    await graph.ainvoke({"log": ["again"], "goal": 30}, config("long"))
    await saver.acompact(["long"])
    await saver.aset_ttl("t0", 3600)
    view = saver.scoped("other/€")
    await graph_of(view).ainvoke({"log": ["mine"], "goal": 5}, config("t0"))
