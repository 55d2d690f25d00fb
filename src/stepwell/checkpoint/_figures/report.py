"""A report on what a saver keeps: collected once, then shown as JSON, text or a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from stepwell._clock import Clock
from stepwell._dataclass import dataclass
from stepwell._journal.journal import Journal
from stepwell.checkpoint._figures import wording
from stepwell.checkpoint._figures.page import page
from stepwell.checkpoint._figures.stats import Stats, by_status, bytes_by_channel, stats_of
from stepwell.checkpoint._looking.listing import moment
from stepwell.checkpoint._results import _Record
from stepwell.checkpoint.driver import TallyQuery, ThreadQuery, ThreadRow, ThreadStatus
from stepwell.observe import Latency, Meter

_NOTED_MAX: Final = 10
"""Threads of a kind that are named."""
_SPANS_MAX: Final = 60
_WIDTHS_S: Final = (
    60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400,
)  # fmt: skip
_CLASS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_BAR: Final = 24
_ROWS_MAX: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth(_Record):
    """Threads that were made in one span of time, and what they hold today.

    Attributes:
        begins_at: When the span begins.
        threads: How many were made in it.
        checkpoints: What they have now.
        bytes: What these take now.
    """

    begins_at: datetime
    threads: int
    checkpoints: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadNote(_Record):
    """A thread that somebody may have to look at.

    Attributes:
        thread_id: Its name.
        graph: The graph that wrote it last.
        status: "failed" | "interrupted".
        interrupts: Questions that wait for an answer.
        error: Class of the error that it failed with; never its text.
        updated_at: When it was last written.
    """

    thread_id: str
    graph: str | None
    status: str
    interrupts: int
    error: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(_Record):
    """What a scope holds, and how this process has done.

    Attributes:
        made_at: When.
        scope: Whose threads; "" is the scope of the plain saver.
        since: Where growth begins, if that was asked for.
        stats: Totals, by status, by graph, by channel.
        active: Threads that are not over: idle, running or interrupted.
        completed: Threads that are done.
        failed: Threads that failed.
        average_checkpoints: Checkpoints of a thread, on average.
        average_bytes: Bytes of a thread, on average.
        written_since: Threads written since `since`, by status; None without it.
        growth: Threads by when they were made, oldest span first, without a gap.
        growth_span_s: How long each of these spans is.
        made_before: Threads that were made before the first of them.
        noted: Threads that failed, and threads with questions: the newest of each.
        latencies: What this process has measured, by name; empty without a `Meter`.
        counts: What this process has counted; empty without a `Meter`.
    """

    made_at: datetime
    scope: str
    since: datetime | None
    stats: Stats
    active: int
    completed: int
    failed: int
    average_checkpoints: float
    average_bytes: float
    written_since: dict[str, int] | None
    growth: tuple[Growth, ...]
    growth_span_s: float
    made_before: int
    noted: tuple[ThreadNote, ...]
    latencies: dict[str, Latency]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Fields by name; times as ISO 8601 text in UTC, tuples as lists."""
        told = _Record.to_dict(self)
        told["latencies"] = {name: each.to_dict() for name, each in self.latencies.items()}
        return told

    def to_json(self) -> str:
        """The fields as a JSON document, in ASCII."""
        return json.dumps(self.to_dict(), indent=2)

    def to_text(self) -> str:
        """A page for a terminal, 80 columns wide."""
        return "\n".join(_lines(self)) + "\n"

    def to_html(self) -> str:
        """One page that needs nothing else: no script, no file, no address. Encode as UTF-8."""
        return page(self)


# --- collecting ---------------------------------------------------------------------------------


async def collect(
    journal: Journal, scope: str, *, since: float | None, deep: bool, clock: Clock
) -> Report:
    """Read what a report tells. `since`: unix seconds.

    Raises:
        CorruptRecordError: A record is damaged.
        StorageError: The database did not answer.
    """
    now = clock.wall()
    tallies = await journal.tally(TallyQuery(scope))
    vitals = await journal.vitals()
    channels = await bytes_by_channel(journal, scope) if deep else None
    stats = stats_of(tallies, vitals.bytes, channels)
    written: dict[str, int] | None = None
    if since is not None:
        written = by_status(await journal.tally(TallyQuery(scope, updated_since=since)))
    first = min((tally.created_first for tally in tallies), default=now)
    growth, width_s, before = await _growth(journal, scope, first if since is None else since, now)
    meter = journal.observers.find(Meter)
    threads = max(stats.threads, 1)
    completed, failed = stats.by_status["done"], stats.by_status["failed"]
    return Report(
        made_at=moment(now),
        scope=scope,
        since=None if since is None else moment(since),
        stats=stats,
        active=stats.threads - completed - failed,
        completed=completed,
        failed=failed,
        average_checkpoints=stats.checkpoints / threads,
        average_bytes=stats.bytes / threads,
        written_since=written,
        growth=growth,
        growth_span_s=width_s,
        made_before=before,
        noted=(
            *await _noted(journal, scope, ThreadStatus.FAILED),
            *await _noted(journal, scope, ThreadStatus.INTERRUPTED),
        ),
        latencies={} if meter is None else meter.latencies(),
        counts={} if meter is None else meter.counts(),
    )


async def _growth(
    journal: Journal, scope: str, first: float, now: float
) -> tuple[tuple[Growth, ...], float, int]:
    """Spans from `first` to `now`, the length of one, and threads that are older than all."""
    length = max(now - first, 0.0)
    fits = (width for width in _WIDTHS_S if length / width < _SPANS_MAX - 1)
    width_s = float(next(fits, max(_WIDTHS_S[-1], length / (_SPANS_MAX - 1))))
    tallies = await journal.tally(TallyQuery(scope, width_s=width_s))
    begin, end = int(first // width_s), int(now // width_s)
    sums = {span: [0, 0, 0] for span in range(begin, end + 1)}
    before = 0
    for tally in tallies:
        if tally.span < begin:
            before += tally.threads
            continue
        # The database's clock may be ahead of ours.
        total = sums[min(tally.span, end)]
        for n, number in enumerate((tally.threads, tally.checkpoints, tally.bytes)):
            total[n] += number
    spans = tuple(
        Growth(begins_at=moment(span * width_s), threads=t, checkpoints=c, bytes=b)
        for span, (t, c, b) in sums.items()
    )
    return spans, width_s, before


async def _noted(journal: Journal, scope: str, status: ThreadStatus) -> list[ThreadNote]:
    query = ThreadQuery(scope=scope, status=int(status), limit=_NOTED_MAX)
    return [_note(row) for row in await journal.threads(query)]


def _note(row: ThreadRow) -> ThreadNote:
    named = _CLASS.match(row.error or "")
    return ThreadNote(
        thread_id=row.key.thread_id,
        graph=row.graph,
        status=ThreadStatus(row.status).name.lower(),
        interrupts=row.interrupts,
        error=None if row.error is None else (named[0] if named else "error"),
        updated_at=moment(row.updated_at),
    )


# --- as text ------------------------------------------------------------------------------------


def _lines(report: Report) -> Iterator[str]:
    stats = report.stats
    whose = f", scope {wording.shown(report.scope)}" if report.scope else ""
    yield f"Stepwell report, {wording.when(report.made_at)}{whose}"
    yield ""
    yield f"Threads      {wording.count(stats.threads)}"
    yield from _bars([*stats.by_status.items()], wording.count)
    yield f"Length       {report.average_checkpoints:.1f} checkpoints a thread, on average"
    yield f"Runs         {wording.count(stats.runs)}"
    yield f"Checkpoints  {wording.count(stats.checkpoints)}"
    yield f"Questions    {wording.count(stats.interrupts)} wait for an answer"
    yield f"Storage      {wording.size(stats.bytes)} of records"
    if stats.database_bytes is not None:
        yield f"Database     {wording.size(stats.database_bytes)}, all scopes and indexes"
    if report.written_since is not None:
        told = ", ".join(f"{n} {status}" for status, n in report.written_since.items() if n)
        yield f"Written      since {wording.when(report.since)}: {told or 'none'}"
    if stats.graphs:
        yield from ("", "Storage by graph")
        yield from _bars([(g.graph, g.bytes) for g in stats.graphs], wording.size)
    if stats.by_channel:
        yield from ("", "Written by channel (as JSON, before folding)")
        yield from _bars([*stats.by_channel.items()], wording.size)
    yield from _growth_lines(report)
    yield from _latency_lines(report.latencies)
    yield from _noted_lines(report.noted)


def _bars(values: Sequence[tuple[str | None, int]], show: Callable[[int], str]) -> Iterator[str]:
    most = max([1, *(value for _, value in values)])
    for name, value in values[:_ROWS_MAX]:
        bar = "#" * (max(1, round(_BAR * value / most)) if value else 0)
        yield f"  {wording.shown(name, 28):<28} {show(value):>12}  {bar}".rstrip()
    if len(values) > _ROWS_MAX:
        yield f"  and {len(values) - _ROWS_MAX} more"


def _growth_lines(report: Report) -> Iterator[str]:
    made = [(wording.when(g.begins_at)[:16], g.threads) for g in report.growth if g.threads]
    if not made:
        return
    yield from ("", f"Threads made, in spans of {wording.span(report.growth_span_s)}")
    if report.made_before:
        yield f"  {'before':<28} {wording.count(report.made_before):>12}"
    yield from _bars(made, wording.count)


def _latency_lines(latencies: Mapping[str, Latency]) -> Iterator[str]:
    if not latencies:
        yield from ("", "Latencies: not measured (open the saver with observe=Meter()).")
        return
    yield from ("", "Latencies in this process")
    yield f"  {'':<12} {'times':>10} {'p50':>10} {'p99':>10} {'most':>10}"
    for name, each in latencies.items():
        times = [wording.span(value) for value in (each.p50_s, each.p99_s, each.most_s)]
        cells = "".join(f" {cell:>10}" for cell in (wording.count(each.count), *times))
        yield f"  {name:<12}{cells}"


def _noted_lines(noted: Sequence[ThreadNote]) -> Iterator[str]:
    for status, title in (("failed", "Failed last"), ("interrupted", "Waiting for an answer")):
        mine = [note for note in noted if note.status == status]
        if mine:
            yield from ("", title)
        for note in mine:
            why = note.error if status == "failed" else f"{note.interrupts} asked"
            when = wording.when(note.updated_at)[:16]
            yield f"  {wording.shown(note.thread_id, 28):<28} {when}  {wording.shown(why, 30)}"


__all__ = ["Growth", "Report", "ThreadNote", "collect"]
