"""With checkpoints left out, a killed process costs more work, and never another result."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.func import task
from stepwell.graph import END, START, StateGraph
from stepwell.testing import CrashReport, EffectLog, crash_everywhere
from stepwell.types import Always, Command, Every, OnExit, Send, When, interrupt
from tests.testkit._flows import build, config

POLICIES = {
    "every": Every(3),
    "exit": OnExit(),
    "when": When(lambda delta: "parts" in delta),
}


def broken(reports: list[CrashReport]) -> list[dict[str, Any]]:
    return [report.to_dict() for report in reports if not report.ok]


def often(saver: Saver) -> int:
    return 1 if isinstance(saver, InMemorySaver) else 9


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_kill_at_every_await(saver: Saver, policy: str, durability: Any) -> None:
    """Chains and fan-outs end as they do without a kill; what is stored is sound."""
    graph = build(saver, EffectLog(None), checkpoint_when=POLICIES[policy])
    reports = await crash_everywhere(
        graph, {"limit": 2}, config("t"), durability=durability, every=often(saver)
    )
    assert broken(reports) == []
    assert any(report.rework for report in reports)
    assert any(report.over for report in reports)
    report = await saver.averify()
    assert report.ok, report


async def test_more_rework_with_fewer_rows() -> None:
    """A kill costs what was not written: that is what a policy is."""
    work = {}
    async with open_saver("memory://") as saver:
        for name, policy in (("always", Always()), ("every", Every(4)), ("exit", OnExit())):
            effects = EffectLog(None)
            graph = build(saver, effects, checkpoint_when=policy)
            reports = await crash_everywhere(
                graph, {"limit": 3}, config("t"), durability="sync", every=3
            )
            assert broken(reports) == []
            work[name] = len(effects.effects()) / len(reports)
    assert work["always"] < work["every"] < work["exit"]


@pytest.mark.parametrize("policy", POLICIES)
async def test_kills_around_questions(saver: Saver, policy: str) -> None:
    """Before a question is asked, and between its answer and the end."""
    graph = build(saver, EffectLog(None), durability="sync", checkpoint_when=POLICIES[policy])
    reports = await crash_everywhere(
        graph, {"limit": 1, "asks": True}, config("new"), every=often(saver)
    )
    assert broken(reports) == []
    await graph.ainvoke({"limit": 1, "asks": True}, config("q"))
    reports = await crash_everywhere(graph, Command(resume="yes"), config("q"), every=often(saver))
    assert broken(reports) == []
    assert reports[0].expected["tag"] == "yes"


class Outer(TypedDict, total=False):
    """What the graph around collects."""

    n: int
    log: Annotated[list[Any], operator.add]


def around(saver: Saver, outer: Any, inner: Any, *, asks: bool = False) -> Any:
    """Three nodes in a row, of which the second calls a graph and tasks, beside another one."""

    @task
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    async def count(state: Outer) -> dict[str, Any]:
        await asyncio.sleep(0)
        n = state.get("n", 0) + 1
        return {"n": n, "log": [f"inside {n}"]}

    below = StateGraph(Outer).add_node("count", count).add_edge(START, "count")
    below.add_conditional_edges("count", lambda s: "count" if s["n"] < 4 else END)
    inside = below.compile(checkpoint_when=inner)

    async def first(state: Outer) -> dict[str, Any]:
        return {"log": ["first"]}

    async def call(state: Outer) -> dict[str, Any]:
        out = await inside.ainvoke({"n": 0})
        doubled = await double(out["n"])
        answer = interrupt("?") if asks else "unasked"
        return {"log": [*out["log"], doubled, answer]}

    async def beside(state: Outer) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"log": ["beside"]}

    async def last(state: Outer) -> dict[str, Any]:
        return {"log": ["last"]}

    graph = StateGraph(Outer)
    for node in (first, call, beside, last):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "first").add_edge("first", "call").add_edge("first", "beside")
    graph.add_edge(["call", "beside"], "last")
    return graph.compile(saver, checkpoint_when=outer)


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize(
    ("outer", "inner"),
    [(OnExit(), None), (OnExit(), Always()), (Every(2), Every(3)), (None, OnExit())],
)
async def test_kills_inside_graphs(saver: Saver, outer: Any, inner: Any, asks: bool) -> None:
    """Rows of a graph inside never tell of a checkpoint around it that is not there."""
    graph = around(saver, outer, inner, asks=asks)
    reports = await crash_everywhere(graph, {"n": 1}, config("t"), every=often(saver))
    assert broken(reports) == []
    if asks:
        await graph.ainvoke({"n": 1}, config("q"))
        again = await crash_everywhere(
            graph, Command(resume="yes"), config("q"), every=often(saver)
        )
        assert broken(again) == []
        assert "yes" in again[0].expected["log"]
    report = await saver.averify()
    assert report.ok, report


class Drawn(TypedDict, total=False):
    """Channels of several kinds."""

    n: int
    log: Annotated[list[Any], operator.add]
    known: Annotated[dict[str, int], lambda a, b: {**(a or {}), **b}]
    last: str


policies = st.one_of(
    st.just(Always()),
    st.builds(Every, st.integers(1, 5)),
    st.just(OnExit()),
    st.builds(When, st.sampled_from([
        lambda delta: "last" in delta, lambda delta: len(delta.get("log", ())) % 3 == 0,
        lambda delta: delta.get("n", 0) % 2 == 1, lambda delta: False,
    ])),
)  # fmt: skip

nodes = st.fixed_dictionaries(
    {
        "writes": st.sets(st.sampled_from(["n", "log", "known", "last"])),
        "to": st.lists(st.integers(0, 4), max_size=2, unique=True),
        "sends": st.integers(0, 2),
        "asks": st.booleans(),
        "policy": st.none() | policies,
    }
)


def drawn(shape: list[dict[str, Any]], saver: Saver, policy: Any, *, by_node: bool) -> Any:
    """A graph of five nodes that goes round until its log is long enough."""

    def body(i: int, node: dict[str, Any]) -> Any:
        async def run(state: Drawn) -> dict[str, Any]:
            told = [f"{i}"]
            if node["asks"]:
                told.append(interrupt(f"{i}?"))
            values: dict[str, Any] = {
                "n": len(state.get("log", ())), "log": told,
                "known": {f"k{i}": len(state.get("log", ()))}, "last": f"n{i}",
            }  # fmt: skip
            # Two writes of one superstep to "n" or "last" are an error, in every mode alike.
            return {"log": told, **{k: v for k, v in values.items() if k in node["writes"]}}

        return run

    def router(node: dict[str, Any]) -> Any:
        def route(state: Drawn) -> list[Any]:
            if len(state.get("log", ())) >= 14:
                return [END]
            sends = [Send("sent", k) for k in range(node["sends"])]
            return [*sends, *[f"n{t}" for t in node["to"]]] or [END]

        return route

    async def sent(k: int) -> dict[str, Any]:
        return {"log": [k]}

    graph = StateGraph(Drawn).add_node("sent", sent)
    for i, node in enumerate(shape):
        graph.add_node(f"n{i}", body(i, node), checkpoint_when=node["policy"] if by_node else None)
        graph.add_conditional_edges(
            f"n{i}", router(node), ["sent", END, *[f"n{t}" for t in range(5)]]
        )
    graph.add_edge(START, "n0")
    return graph.compile(saver, checkpoint_when=policy)


async def outcome(graph: Any, name: str) -> Any:
    """What comes of it: states and questions at every stop, or the class of an error."""
    told: list[Any] = []
    given: Any = {"log": []}
    for _ in range(40):
        try:
            out = await graph.ainvoke(given, {**config(name), "recursion_limit": 25})
        except Exception as error:
            told.append(type(error).__name__)
            out = None
        shown = await graph.aget_state(config(name))
        told.append((shown.values, shown.next, sorted(i.value for i in shown.interrupts)))
        if out is None or not shown.interrupts:
            break
        given = Command(resume={i.id: f"answer {i.value}" for i in shown.interrupts})
    return told


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(shape=st.lists(nodes, min_size=5, max_size=5), policy=policies)
async def test_any_graph_ends_as_with_all_rows(shape: list[Any], policy: Any) -> None:
    """Whatever the graph and the policies: the same states, questions and errors at every stop,
    and a history of which each state is one of the whole history's."""
    async with open_saver("memory://") as saver:
        always = drawn(shape, saver, None, by_node=False)
        expected = await outcome(always, "always")
        graph = drawn(shape, saver, policy, by_node=True)
        assert await outcome(graph, "thin") == expected
        whole = {
            (s.metadata["step"], s.metadata["source"]): s.values
            async for s in always.aget_state_history(config("always"))
        }
        rows = 0
        async for shown in graph.aget_state_history(config("thin")):
            rows += 1
            assert whole[shown.metadata["step"], shown.metadata["source"]] == shown.values
        assert rows <= len(whole)
        report = await saver.averify()
        assert report.ok, report
