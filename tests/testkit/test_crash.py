"""Kills at every await: graphs recover, and what does not recover is told."""

from __future__ import annotations

import asyncio
import operator
import time
from typing import Annotated, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import UsageError
from stepwell.graph import END, START, MessagesState, StateGraph
from stepwell.testing import EffectLog, crash_at, crash_everywhere
from stepwell.types import Command
from tests._postgres import fresh_schema, server_dsn
from tests.testkit._flows import build, config


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def saver(request, tmp_path):
    if request.param == "postgres":
        async with fresh_schema() as schema, open_saver(server_dsn(), schema=schema) as opened:
            yield opened
        return
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/threads.db"
    async with open_saver(url) as opened:
        yield opened


def broken(reports):
    return [report.to_dict() for report in reports if not report.ok]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_graph_recovers_from_a_kill_at_every_await(saver, durability):
    """Chains and a fan-out: the same end, nothing durable runs again, rework within bounds."""
    graph, every = build(saver, EffectLog(None)), 1 if isinstance(saver, InMemorySaver) else 4
    reports = await crash_everywhere(
        graph, {"limit": 1}, config("t"), durability=durability, every=every
    )
    assert broken(reports) == []
    assert [report.k for report in reports] == [1 + n * every for n in range(len(reports))]
    # Kills fell before anything was durable, in the middle, and after the end.
    assert any(report.given_again for report in reports)
    assert any(report.over for report in reports)
    if durability != "exit":
        assert any(report.durable_step is not None and not report.over for report in reports)
    if durability != "exit" and every == 1:
        stages = {report.where for report in reports}
        assert {"commit: not sent", "commit: done, its reply not read"} <= stages
    assert [t.thread_id async for t in saver.alist_threads()] == []


async def test_questions_and_answers_recover(saver):
    """A thread that exists is copied for each kill, with the question that it asked."""
    graph = build(saver, EffectLog(None), durability="sync")
    await graph.ainvoke({"limit": 1, "asks": True}, config("q"))
    before = await graph.aget_state(config("q"))
    reports = await crash_everywhere(graph, Command(resume="yes"), config("q"), every=2)
    assert broken(reports) == []
    assert reports[0].expected["tag"] == "yes"
    assert await graph.aget_state(config("q")) == before
    assert [t.thread_id async for t in saver.alist_threads()] == ["q"]


async def test_finished_siblings_do_not_run_again():
    """A fast task beside a slow one: whoever dies late repeats the slow one alone."""

    class State(TypedDict, total=False):
        done: Annotated[list[str], operator.add]

    async def fast(state: State):
        return {"done": ["fast"]}

    async def slow(state: State):
        for _ in range(20):
            await asyncio.sleep(60)  # virtual
        return {"done": ["slow"]}

    graph = StateGraph(State)
    for node in (fast, slow):
        graph.add_node(node.__name__, node)
        graph.add_edge(START, node.__name__)
    async with open_saver("memory://") as saver:
        reports = await crash_everywhere(graph.compile(saver), {"done": []}, config("t"))
    assert broken(reports) == []
    inside = [report for report in reports if "slow" in report.where]
    assert len(inside) >= 20
    assert inside[-1].rework == ("slow",)
    assert sum(report.rework == ("slow",) for report in inside) > 15


async def test_a_killed_process_runs_no_clean_up():
    """No `finally` of a node runs after the kill, not even when it is collected."""
    ran = []

    async def node(state: dict):
        ran.append("begun")
        try:
            await asyncio.sleep(1)
        finally:
            ran.append("finally")
        return {"x": 1}

    graph = StateGraph(dict)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    async with open_saver("memory://") as saver:
        reports = await crash_everywhere(graph.compile(saver), {"x": 0}, config("t"))
        [inside] = [report.k for report in reports if "node:" in report.where]
        ran.clear()
        report = await crash_at(graph.compile(saver), {"x": 0}, config("t"), k=inside)
    assert report.ok
    # The calm run, the killed one, and the one that goes on.
    assert ran == ["begun", "finally", "begun", "begun", "finally"]


async def test_synchronous_nodes_are_waited_for():
    """A thread cannot be killed: the node ends, its result goes nowhere, and it runs again."""
    begun, ended = [], []

    def node(state: dict):
        begun.append(1)
        time.sleep(0.02)
        ended.append(1)
        return {"x": state["x"] + 1}

    graph = StateGraph(dict)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    async with open_saver("memory://") as saver:
        reports = await crash_everywhere(graph.compile(saver), {"x": 1}, config("t"))
    assert broken(reports) == []
    assert any(report.rework == ("node",) for report in reports)
    assert begun == ended


async def test_names_that_are_drawn_make_no_difference():
    """Messages without ids are given random ones, by each run its own."""

    async def answer(state: MessagesState):
        return {"messages": [{"role": "assistant", "content": "yes"}]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    given = {"messages": [{"role": "user", "content": "well?"}]}
    async with open_saver("memory://") as saver:
        reports = await crash_everywhere(graph.compile(saver), given, config("t"), every=2)
    assert broken(reports) == []


async def test_a_graph_that_does_not_recover_is_told():
    """A node that keeps what it knows in memory: its second execution does something else."""
    seen = []

    async def node(state: dict):
        seen.append(1)
        await asyncio.sleep(0)
        return {"n": len(seen)}

    graph = StateGraph(dict)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    async with open_saver("memory://") as saver:
        reports = await crash_everywhere(graph.compile(saver), {"n": 0}, config("t"))
        assert all(report.problems == ("the state is another one",) for report in reports[-5:])
        assert not any(report.ok for report in reports[-5:])
        # What went wrong can be looked at.
        assert [t.thread_id async for t in saver.alist_threads()]
        reports = await crash_everywhere(
            graph.compile(saver), {"n": 0}, config("t"), same=lambda one, other: True
        )
        assert broken(reports) == []


async def test_an_error_of_a_node_is_an_end_like_another():
    async def node(state: dict):
        await asyncio.sleep(0)
        raise ValueError("no")

    graph = StateGraph(dict)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    async with open_saver("memory://") as saver:
        reports = await crash_everywhere(graph.compile(saver), {"n": 0}, config("t"))
    assert broken(reports) == []
    assert any(report.over for report in reports)


async def test_a_kill_behind_the_end_is_none():
    async with open_saver("memory://") as saver:
        report = await crash_at(build(saver, EffectLog(None)), {"limit": 1}, config("t"), k=100_000)
    assert (report.killed, report.ok, report.rework) == (False, True, ())


async def test_what_cannot_be_killed_is_refused():
    graph = build(None, EffectLog(None))
    with pytest.raises(UsageError, match="compile it with a saver"):
        await crash_at(graph, {}, config("t"), k=1)
    graph = build(InMemorySaver(), EffectLog(None))
    with pytest.raises(UsageError, match="counted from 1"):
        await crash_at(graph, {}, config("t"), k=0)
    with pytest.raises(UsageError, match="names no thread"):
        await crash_at(graph, {}, {}, k=1)
    with pytest.raises(UsageError, match="at least 1"):
        await crash_everywhere(graph, {}, config("t"), every=0)
