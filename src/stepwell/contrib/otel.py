"""Spans and metrics of OpenTelemetry: `open_saver(url, observe=OTelObserver())`.

    invoke_workflow {graph}             a run, below whatever span is current where it is called
      superstep {n}
        node {name}                     current while the node's code runs: its own spans nest
          superstep {n}                 of a graph inside
    storage.commit                      a trace of its own, linked to the supersteps it carried

Needs the extra `otel` (the API alone; exporters and processors are the program's). Nothing of a
state is in a span or a metric; of an error its class is.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell.constants import START
from stepwell.errors import UsageError
from stepwell.observe import (
    CommitFinished,
    Event,
    LeaseLost,
    LoadFinished,
    LockWaited,
    RunFinished,
    RunStarted,
    StorageRetried,
    SuperstepFinished,
    TaskFinished,
    TaskStarted,
)
from stepwell.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanContext, TracerProvider

_RUNS_MAX: Final = 10_000
"""Runs that are remembered, those that go on and those that a resumed one may link to."""
_LINKS_MAX: Final = 128
_GEN_AI: Final = "gen_ai_latest_experimental"

_Place = tuple[str | None, str | None]
"""Thread and run."""


class _RunSpans:
    """The spans of a run that is under way."""

    __slots__ = ("context", "graph", "nodes", "span", "steps")

    def __init__(self, span: Span, context: Context, graph: str) -> None:
        self.span = span
        self.context = context
        self.graph = graph
        self.steps: dict[tuple[str | None, int], Span] = {}
        """By namespace and step."""
        self.nodes: dict[str, Span] = {}
        """By task id."""

    def end(self) -> None:
        """End whatever the run has left open, and the run."""
        for span in (*self.nodes.values(), *self.steps.values()):
            span.end()
        self.span.end()


class OTelObserver:
    """Makes spans and metrics of events.

    Args:
        tracer_provider: Where spans go; None: the global provider.
        meter_provider: Where metrics go; None: the global provider.
        gen_ai: Also set the attributes of the GenAI conventions, which are not stable yet; None:
            if OTEL_SEMCONV_STABILITY_OPT_IN says so.

    Raises:
        UsageError: The package opentelemetry-api is not installed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        gen_ai: bool | None = None,
    ) -> None:
        try:
            from opentelemetry import context, metrics, trace
        except ModuleNotFoundError as error:
            raise UsageError(
                "OTelObserver needs the package opentelemetry-api: pip install 'stepwell[otel]'"
            ) from error
        self._trace, self._context = trace, context
        self._tracer = trace.get_tracer("stepwell", __version__, tracer_provider)
        meter = metrics.get_meter("stepwell", __version__, meter_provider)
        self._metrics = _Metrics(meter)
        self._inside = context.create_key("stepwell-task")
        if gen_ai is None:
            gen_ai = _GEN_AI in os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
        self._gen_ai = gen_ai
        self._clock: Clock = SYSTEM_CLOCK
        self._runs: OrderedDict[_Place, _RunSpans] = OrderedDict()
        self._last: OrderedDict[str, SpanContext] = OrderedDict()
        """Thread -> its newest run."""
        self._unsaved: dict[str, deque[tuple[float, SpanContext]]] = {}
        """Thread -> supersteps that no commit has carried yet, and when they ended."""

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        match event:
            case RunStarted():
                self._run_started(event)
            case RunFinished():
                self._run_finished(event)
            case TaskStarted():
                self._task_started(event)
            case TaskFinished():
                self._task_finished(event)
            case SuperstepFinished():
                self._superstep_finished(event)
            case CommitFinished():
                self._commit_finished(event)
            case _:
                self._metrics.note(event)

    def enter_task(self, event: TaskStarted, /) -> None:
        """Make the span of a node the current one, where its code runs."""
        run = self._runs.get((event.thread_id, event.run_id))
        node = None if run is None else run.nodes.get(event.task_id)
        if node is not None:
            place = event.thread_id, event.run_id, event.ns
            mine = self._context.set_value(self._inside, place)
            self._context.attach(self._trace.set_span_in_context(node, mine))

    # -- runs

    def _run_started(self, event: RunStarted) -> None:
        graph = event.graph or "graph"
        attributes = _attributes(event, graph=graph, attempt=event.attempt, resumed=event.resumed)
        if self._gen_ai:
            attributes["gen_ai.operation.name"] = "invoke_workflow"
            attributes["gen_ai.conversation.id"] = event.thread_id or ""
        before = self._last.get(event.thread_id or "") if event.resumed else None
        around = self._context.get_current()
        span = self._tracer.start_span(
            f"invoke_workflow {graph}",
            context=around,
            attributes=attributes,
            links=() if before is None else (self._trace.Link(before),),
        )
        within = self._trace.set_span_in_context(span, around)
        self._runs[event.thread_id, event.run_id] = _RunSpans(span, within, graph)
        self._last[event.thread_id or ""] = span.get_span_context()
        self._last.move_to_end(event.thread_id or "")
        while len(self._last) > _RUNS_MAX:
            self._last.popitem(last=False)
        while len(self._runs) > _RUNS_MAX:
            self._runs.popitem(last=False)[1].end()
        self._metrics.active.add(1, {"stepwell.graph": graph})

    def _run_finished(self, event: RunFinished) -> None:
        run = self._runs.pop((event.thread_id, event.run_id), None)
        self._unsaved.pop(event.thread_id or "", None)
        if run is None:
            return
        run.span.set_attribute("stepwell.status", event.status)
        run.span.set_attribute("stepwell.supersteps", event.supersteps)
        if event.status == "failed":
            self._failed(run.span, event.error)
        run.end()
        known = {"stepwell.graph": run.graph}
        self._metrics.active.add(-1, known)
        self._metrics.run.record(event.duration_s, {**known, "stepwell.status": event.status})

    # -- supersteps and nodes

    def _task_started(self, event: TaskStarted) -> None:
        run = self._runs.get((event.thread_id, event.run_id))
        if run is None or event.node == START:
            return
        here, inside = self._context.get_current(), self._context.get_value(self._inside)
        place = event.thread_id, event.run_id, event.ns
        if inside == place:  # the code of a node calls a task
            around = here
        else:
            nested = isinstance(inside, tuple) and inside[:2] == place[:2]
            around = self._step(run, event, here if nested else run.context)
        attributes = _attributes(
            event, ns=event.ns, step=event.step, node=event.node, task_id=event.task_id
        )
        node = self._tracer.start_span(f"node {event.node}", context=around, attributes=attributes)
        run.nodes[event.task_id] = node

    def _step(self, run: _RunSpans, event: TaskStarted, around: Context) -> Context:
        """What the nodes of a superstep stand in; its span begins with the first of them."""
        span = run.steps.get((event.ns, event.step))
        if span is None:
            span = self._tracer.start_span(
                f"superstep {event.step}",
                context=around,
                attributes=_attributes(event, ns=event.ns, step=event.step),
            )
            run.steps[event.ns, event.step] = span
        return self._trace.set_span_in_context(span, around)

    def _task_finished(self, event: TaskFinished) -> None:
        run = self._runs.get((event.thread_id, event.run_id))
        if run is None or event.node == START:
            return
        told = {"stepwell.graph": run.graph, "stepwell.node": event.node}
        self._metrics.node.record(event.duration_s, {**told, "stepwell.outcome": event.outcome})
        node = run.nodes.pop(event.task_id, None)
        if node is None:
            return
        node.set_attribute("stepwell.outcome", event.outcome)
        node.set_attribute("stepwell.attempt", event.attempt)
        if event.outcome == "error":
            self._failed(node, event.error)
        node.end()

    def _superstep_finished(self, event: SuperstepFinished) -> None:
        run = self._runs.get((event.thread_id, event.run_id))
        step = None if run is None else run.steps.pop((event.ns, event.step), None)
        if run is None or step is None:
            return
        self._metrics.superstep.record(event.duration_s, {"stepwell.graph": run.graph})
        step.set_attribute("stepwell.tasks", event.tasks)
        if event.seq is not None:
            step.set_attribute("stepwell.seq", event.seq)
            waiting = self._unsaved.setdefault(event.thread_id or "", deque(maxlen=_LINKS_MAX))
            waiting.append((self._clock.monotonic(), step.get_span_context()))
        step.end()

    def _failed(self, span: Span, error: str | None) -> None:
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, error))
        span.set_attribute("error.type", error or "error")

    # -- the journal

    def _commit_finished(self, event: CommitFinished) -> None:
        self._metrics.commit.record(event.duration_s)
        self._metrics.batch.record(event.rows)
        self._metrics.bytes.add(event.bytes)
        began = self._clock.monotonic() - event.duration_s
        links = []
        for thread_id in event.thread_ids:
            waiting = self._unsaved.get(thread_id)
            while waiting and waiting[0][0] <= began:
                links.append(self._trace.Link(waiting.popleft()[1]))
        now = int(self._clock.wall() * 1e9)
        span = self._tracer.start_span(
            "storage.commit",
            context=self._context.Context(),
            attributes={
                "stepwell.threads": event.threads, "stepwell.rows": event.rows,
                "stepwell.bytes": event.bytes, "stepwell.refused": event.refused,
            },
            links=links[:_LINKS_MAX],
            start_time=now - int(event.duration_s * 1e9),
        )  # fmt: skip
        span.end(end_time=now)


class _Metrics:
    """The instruments."""

    def __init__(self, meter: Any) -> None:
        histogram, counter = meter.create_histogram, meter.create_counter
        self.run = histogram("stepwell.run.duration", "s", "Runs")
        self.superstep = histogram("stepwell.superstep.duration", "s", "Supersteps")
        self.node = histogram("stepwell.node.duration", "s", "Nodes and tasks")
        self.commit = histogram("stepwell.commit.duration", "s", "Commits of the journal")
        self.batch = histogram("stepwell.commit.batch.rows", "{row}", "Records of a commit")
        self.bytes = counter("stepwell.journal.bytes", "By", "Bytes of records committed")
        self.active = meter.create_up_down_counter("stepwell.run.active", "{run}", "Runs now")
        self._deltas = histogram(
            "stepwell.replay.deltas", "{row}", "Rows and segments that a load reads"
        )
        self._lock = histogram("stepwell.lock.wait.duration", "s", "Waits for busy threads")
        self._lost = counter("stepwell.lease.lost", "{lease}", "Claims lost to others")
        self._retries = counter("stepwell.storage.retries", "{retry}", "Calls tried again")

    def note(self, event: Event) -> None:
        """Events that are no part of a span."""
        match event:
            case LoadFinished(verb="claim" | "load"):
                self._deltas.record(event.rows + event.segments)
            case LockWaited():
                self._lock.record(event.waited_s, {"stepwell.won": event.won})
            case LeaseLost():
                self._lost.add(1, {"stepwell.noticed_by": event.noticed_by})
            case StorageRetried():
                self._retries.add(1, {"stepwell.verb": event.verb})
            case _:
                pass


def _attributes(event: Event, **more: str | int | bool | None) -> dict[str, str | int | bool]:
    told: Mapping[str, str | int | bool | None] = {
        "thread_id": event.thread_id, "run_id": event.run_id, **more,
    }  # fmt: skip
    return {f"stepwell.{name}": value for name, value in told.items() if value not in (None, "")}


__all__ = ["OTelObserver"]
