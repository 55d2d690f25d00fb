"""Spans and metrics of OpenTelemetry, as its SDK sees them."""

from __future__ import annotations

import asyncio
import operator
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import pytest_asyncio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.contrib.otel import OTelObserver
from stepwell.errors import UsageError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.observe import LeaseLost, LoadFinished, LockWaited, StorageRetried
from stepwell.types import Command, Send, interrupt
from tests._postgres import fresh_schema, server_dsn

CANARY = "sesame-4711"


class State(TypedDict, total=False):
    """A secret, and a list."""

    word: str
    log: Annotated[list[Any], operator.add]


class Told:
    """Everything that was exported."""

    def __init__(self, **options: Any) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = provider.get_tracer("the program's own")
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.observer = OTelObserver(
            tracer_provider=provider, meter_provider=self._meters, **options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """Ended spans, in the order of their beginning."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name."""
        return [span for span in self.spans if span.name == name]

    def above(self, span: ReadableSpan) -> list[str]:
        """Names from a span upwards."""
        by_id = {s.context.span_id: s for s in self.spans if s.context}
        names = []
        here: ReadableSpan | None = span
        while here is not None:
            names.append(here.name)
            here = None if here.parent is None else by_id[here.parent.span_id]
        return names

    def metrics(self) -> dict[str, list[Any]]:
        """Data points by name."""
        read = self._reader.get_metrics_data()
        assert read is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in read.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def opened(request: Any, tmp_path: Path) -> AsyncIterator[tuple[Saver, Told]]:
    """A saver whose spans are kept."""
    told = Told()
    if request.param == "postgres":
        async with (
            fresh_schema() as schema,
            open_saver(server_dsn(), schema=schema, observe=told.observer) as saver,
        ):
            yield saver, told
        return
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/t.db"
    async with open_saver(url, observe=told.observer) as saver:
        yield saver, told


def config(thread_id: str) -> dict[str, Any]:
    """A config of a thread."""
    return {"configurable": {"thread_id": thread_id}}


async def test_spans_nest_as_the_work_does(opened: tuple[Saver, Told]) -> None:
    """Run, superstep, node, the program's own span; below what the caller was doing."""
    saver, told = opened

    async def one(state: State) -> dict[str, Any]:
        with told.tracer.start_as_current_span("own async"):
            await asyncio.sleep(0)
        return {"log": ["one"]}

    def two(state: State) -> dict[str, Any]:
        with told.tracer.start_as_current_span("own sync"):
            return {"log": ["two"]}

    async def many(given: dict[str, Any]) -> dict[str, Any]:
        with told.tracer.start_as_current_span(f"own {given['n']}"):
            await asyncio.sleep(0)
            return {"log": [given["n"]]}

    builder = StateGraph(State).add_node("one", one).add_node("two", two).add_node("many", many)
    builder.add_edge(START, "one").add_edge("one", "two")
    builder.add_conditional_edges("two", lambda _: [Send("many", {"n": n}) for n in (1, 2, 3)])
    graph = builder.compile(saver, name="g")
    with told.tracer.start_as_current_span("request"):
        await graph.ainvoke({"word": CANARY, "log": []}, config("t"))
    run = ["invoke_workflow g", "request"]
    assert told.above(*told.named("own async")) == ["own async", "node one", "superstep 1", *run]
    assert told.above(*told.named("own sync")) == ["own sync", "node two", "superstep 2", *run]
    for n in (1, 2, 3):
        above = told.above(*told.named(f"own {n}"))
        assert above == [f"own {n}", "node many", "superstep 3", *run]
    parents = {s.parent.span_id for s in told.spans if s.name.startswith("own ") and s.parent}
    assert len(parents) == 5  # each node's own
    [span] = told.named("invoke_workflow g")
    assert span.attributes is not None
    assert span.attributes["stepwell.thread_id"] == "t"
    assert span.attributes["stepwell.status"] == "done"
    assert "gen_ai.operation.name" not in span.attributes
    assert CANARY not in "".join(s.to_json() for s in told.spans)
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_runs_beside_each_other_keep_apart(opened: tuple[Saver, Told]) -> None:
    """Interleaved on one loop, each has its own spans."""
    saver, told = opened

    async def node(state: State) -> dict[str, Any]:
        with told.tracer.start_as_current_span(f"own {state['word']}"):
            await asyncio.sleep(0)
        return {}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver)

    async def call(name: str) -> None:
        with told.tracer.start_as_current_span(f"request {name}"):
            await graph.ainvoke({"word": name}, config(name))

    await asyncio.gather(*(call(f"t{n}") for n in range(5)))
    for n in range(5):
        above = told.above(*told.named(f"own t{n}"))
        assert (above[0], above[-1]) == (f"own t{n}", f"request t{n}")
        assert len(above) == 5


async def test_graphs_and_tasks_inside_nest_too(opened: tuple[Saver, Told]) -> None:
    """A graph in a node: its supersteps below the node. A task that is called: below its caller."""
    saver, told = opened

    async def deep(state: State) -> dict[str, Any]:
        with told.tracer.start_as_current_span("own deep"):
            return {"log": ["deep"]}

    inner = StateGraph(State).add_node("deep", deep).add_node("beside", lambda _: {})
    inner.add_edge(START, "deep").add_edge(START, "beside")
    outer = StateGraph(State).add_node("sub", inner.compile()).add_edge(START, "sub")
    await outer.compile(saver, name="outer").ainvoke({"log": []}, config("t"))
    above = ["node sub", "superstep 1", "invoke_workflow outer"]
    assert told.above(*told.named("own deep")) == ["own deep", "node deep", "superstep 1", *above]
    assert told.above(*told.named("node beside")) == ["node beside", "superstep 1", *above]

    @task
    async def work(n: int) -> int:
        with told.tracer.start_as_current_span(f"own call {n}"):
            return n

    @entrypoint(checkpointer=saver)
    async def flow(n: int) -> int:
        with told.tracer.start_as_current_span("own flow"):
            return sum(await asyncio.gather(work(n), work(n + 1)))

    await flow.ainvoke(1, config("f"))
    for n in (1, 2):
        above = told.above(*told.named(f"own call {n}"))
        assert above[:4] == [f"own call {n}", "node work", "own flow", "node flow"]


async def test_a_run_that_goes_on_links_to_where_it_stopped(opened: tuple[Saver, Told]) -> None:
    """And what failed says so, by its class."""
    saver, told = opened

    def ask(state: State) -> dict[str, Any]:
        if interrupt("well?") == "fail":
            raise KeyError(CANARY)
        return {}

    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(saver, name="g")
    await graph.ainvoke({}, config("t"))
    with pytest.raises(KeyError):
        await graph.ainvoke(Command(resume="fail"), config("t"))
    first, second = told.named("invoke_workflow g")
    assert [link.context for link in second.links] == [first.context]
    assert (list(first.links), first.status.status_code) == ([], StatusCode.UNSET)
    assert (second.status.status_code, second.status.description) == (StatusCode.ERROR, "KeyError")
    asked, failed = told.named("node ask")
    assert asked.attributes
    assert failed.attributes
    assert asked.attributes["stepwell.outcome"] == "interrupt"
    assert failed.attributes["error.type"] == "KeyError"
    assert len(told.named("superstep 1")) == 2  # ended, although no barrier came
    assert CANARY not in "".join(s.to_json() for s in told.spans)


async def test_commits_link_to_the_supersteps_they_carried(opened: tuple[Saver, Told]) -> None:
    """Each superstep that is stored was carried by one commit; commits are traces of their own."""
    saver, told = opened

    async def count(state: State) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"log": [len(state["log"])]}

    builder = StateGraph(State).add_node("count", count).add_edge(START, "count")
    builder.add_conditional_edges("count", lambda s: "__end__" if len(s["log"]) > 5 else "count")
    await builder.compile(saver).ainvoke({"log": []}, config("t"), durability="sync")
    commits = told.named("storage.commit")
    carried = [link.context.span_id for commit in commits for link in commit.links]
    steps = [s for s in told.spans if s.name.startswith("superstep")]
    assert len(steps) == 6
    assert sorted(carried) == sorted(s.context.span_id for s in steps if s.context)
    assert all(commit.parent is None for commit in commits)
    for commit in commits:
        assert commit.start_time is not None
        assert commit.end_time is not None
        assert commit.start_time <= commit.end_time


async def test_metrics_have_their_names(opened: tuple[Saver, Told]) -> None:
    """In seconds and bytes; runs that are active come back to none."""
    saver, told = opened

    def node(state: State) -> dict[str, Any]:
        if state["word"] == "fail":
            raise ValueError(CANARY)
        return {}

    graph = (
        StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver, name="g")
    )
    await graph.ainvoke({"word": "fine"}, config("t"))
    with pytest.raises(ValueError, match=CANARY):
        await graph.ainvoke({"word": "fail"}, config("t"))
    for event in (
        LockWaited(waited_s=1.0, won=True), LeaseLost(epoch=1, noticed_by="commit"),
        StorageRetried(verb="commit", attempt=1, delay_s=0.1, error="storage"),
        LoadFinished(verb="history", rows=10_000),
    ):  # fmt: skip
        told.observer(event)
    points = told.metrics()
    assert set(points) == {
        "stepwell.superstep.duration", "stepwell.node.duration", "stepwell.commit.duration",
        "stepwell.commit.batch.rows", "stepwell.journal.bytes", "stepwell.lease.lost",
        "stepwell.run.active", "stepwell.run.duration", "stepwell.replay.deltas",
        "stepwell.lock.wait.duration", "stepwell.storage.retries",
    }  # fmt: skip
    assert [point.value for point in points["stepwell.run.active"]] == [0]
    runs = {p.attributes["stepwell.status"]: p.count for p in points["stepwell.run.duration"]}
    assert runs == {"done": 1, "failed": 1}
    nodes = {p.attributes["stepwell.outcome"]: p.count for p in points["stepwell.node.duration"]}
    assert nodes == {"ok": 1, "error": 1}
    assert points["stepwell.superstep.duration"][0].count == 1
    assert points["stepwell.journal.bytes"][0].value > 0
    assert points["stepwell.replay.deltas"][0].max < 10_000


async def test_genai_conventions_are_opted_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the argument, or by OpenTelemetry's variable."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http,gen_ai_latest_experimental")
    for options, expected in (({}, True), ({"gen_ai": False}, False)):
        told = Told(**options)
        async with open_saver("memory://", observe=told.observer) as saver:
            graph = StateGraph(State).add_node("n", lambda _: {}).add_edge(START, "n")
            await graph.compile(saver).ainvoke({}, config("t"))
        run = next(s for s in told.spans if s.name.startswith("invoke_workflow"))
        assert run.attributes is not None
        assert ("gen_ai.conversation.id" in run.attributes) is expected


def test_nodes_of_sync_calls_nest_too() -> None:
    """The caller's span is found from the thread that waits."""
    told = Told()

    def node(state: State) -> dict[str, Any]:
        with told.tracer.start_as_current_span("own"):
            return {}

    with open_saver("memory://", observe=told.observer) as saver:
        graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile(saver, name="g")
        with told.tracer.start_as_current_span("request"):
            graph.invoke({}, config("t"))
    above = told.above(*told.named("own"))
    assert above == ["own", "node n", "superstep 1", "invoke_workflow g", "request"]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module itself can be imported."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(UsageError, match=r"stepwell\[otel\]"):
        OTelObserver()
