"""Is a saver well? Looked at in bounded time, whatever the database does.

    what this process knows (queue, latencies)      always there
    what the database says (vitals, running rows)   as far as it answers in time

Every figure becomes a `Check` by the thresholds of its name; the worst of them is the verdict.
What was not measured is no reason to alarm.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import field, fields
from datetime import datetime
from typing import Any, Final, Literal

from stepwell._clock import Clock
from stepwell._dataclass import dataclass
from stepwell._journal.journal import Journal
from stepwell.checkpoint._figures import wording
from stepwell.checkpoint._looking.listing import PAGE, moment, standing_of
from stepwell.checkpoint._results import _Record
from stepwell.checkpoint.driver import ThreadQuery, ThreadStatus, Vitals
from stepwell.errors import SchemaVersionError, StorageError, UsageError
from stepwell.observe import Meter

Bounds = tuple[float, float]
Status = Literal["ok", "warn", "fail", "unmeasured"]
Verdict = Literal["ok", "warn", "fail"]

_PAGES_MAX: Final = 10
"""Pages of running threads that are looked at."""
_RUNS_MIN: Final = 10
"""Below so many runs that have ended lately there is no rate of errors."""
_ORDER: Final = ("unmeasured", "ok", "warn", "fail")
_LEAST: Final = frozenset({"disk_free_bytes"})
"""Where less is worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthThresholds(_Record):
    """From where on a figure is a warning, and from where on a failure; None: it is only shown.

    Attributes:
        reply_s: How long the database takes to answer a small question.
        queue_share: How full the queue of records is that are not durable yet; 1 is full.
        lag_s: For how long the oldest of these records has waited.
        error_rate: Of the runs that have ended lately, the share that failed.
        save_p50_s: Half of the latest commits took no longer.
        save_p99_s: Of the latest commits, 99 in 100 took no longer.
        load_p50_s: The same of loads.
        load_p99_s: The same of loads.
        lock_wait_p99_s: How long calls have waited lately for threads that others held.
        lease_age_share: Of the running thread whose lease was renewed longest ago: how much of
            the lease is over; 1 is all of it.
        orphans: Runs whose process has died and that nobody has taken over.
        storage_bytes: What the database takes.
        disk_free_bytes: What is left on its disk; here less is worse.
        timeout_s: How long all of it may take. A database that has not answered by then fails.

    Raises:
        UsageError: Something is no pair of numbers, or its second is not the worse one.
    """

    reply_s: Bounds | None = (0.5, 2.0)
    queue_share: Bounds | None = (0.5, 0.9)
    lag_s: Bounds | None = (2.0, 15.0)
    error_rate: Bounds | None = (0.05, 0.25)
    save_p50_s: Bounds | None = (0.1, 1.0)
    save_p99_s: Bounds | None = (1.0, 10.0)
    load_p50_s: Bounds | None = (0.1, 1.0)
    load_p99_s: Bounds | None = (1.0, 10.0)
    lock_wait_p99_s: Bounds | None = (10.0, 60.0)
    lease_age_share: Bounds | None = (0.8, 1.0)
    orphans: Bounds | None = (1, 10)
    storage_bytes: Bounds | None = None
    disk_free_bytes: Bounds | None = (2 << 30, 256 << 20)
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            value = getattr(self, name)
            if name == "timeout_s":
                if not (_is_number(value) and 0 < value < math.inf):
                    raise UsageError(f"timeout_s must be a number of seconds, not {value!r:.100}.")
            elif value is not None:
                _check_pair(name, value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_pair(name: str, value: Any) -> None:
    if not (isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))):
        raise UsageError(f"{name} must be (warn, fail), two numbers, or None; not {value!r:.100}.")
    warn, fail = value
    if fail < warn if name not in _LEAST else fail > warn:
        raise UsageError(f"{name}={value!r}: the second number is where it fails, the worse one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(_Record):
    """One figure, and what it says.

    Attributes:
        name: Of a threshold, or "database", "schema".
        status: "ok" | "warn" | "fail" | "unmeasured".
        value: The figure, in the unit that its name ends in; None: not measured.
        warn: From where on it is a warning; None: never.
        fail: From where on it is a failure; None: never.
        message: The same in words.
    """

    name: str
    status: Status
    value: float | None = None
    warn: float | None = None
    fail: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(_Record):
    """How a saver is.

    Attributes:
        verdict: The worst of the checks: "ok" | "warn" | "fail". What was not measured counts
            as ok.
        checks: One by one.
        checked_at: When.
        took_s: How long it took to find out.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    checked_at: datetime
    took_s: float

    def __getitem__(self, name: str) -> Check:
        """The check of a name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)


@dataclass(slots=True)
class _Seen:
    """What could be found out."""

    error: StorageError | None = None
    answered: bool = False
    reply_s: float | None = None
    vitals: Vitals = field(default_factory=Vitals)
    orphans: int | None = None
    lease_age_share: float | None = None
    running: int = 0


async def look(
    opened: Callable[[], Awaitable[Journal]], scope: str, limits: HealthThresholds, clock: Clock
) -> Health:
    """Find out, in `limits.timeout_s` at most; a database that does not answer is a finding."""
    began = clock.monotonic()
    seen = _Seen()
    journal: Journal | None = None
    try:
        async with asyncio.timeout(limits.timeout_s):
            journal = await opened()
            await _ask(journal, scope, seen)
    except TimeoutError:
        pass  # what is missing says so
    except StorageError as error:
        seen.error = error
    checks = (*_database(seen, limits), *_local(journal, limits))
    worst = max((check.status for check in checks), key=_ORDER.index)
    return Health(
        verdict="ok" if worst == "unmeasured" else worst,
        checks=checks,
        checked_at=moment(clock.wall()),
        took_s=clock.monotonic() - began,
    )


async def _ask(journal: Journal, scope: str, seen: _Seen) -> None:
    # The driver itself: the journal would wait for a database that is away.
    began = journal.clock.monotonic()
    seen.vitals = await journal.driver.vitals()
    seen.reply_s = journal.clock.monotonic() - began
    query = ThreadQuery(
        scope=scope, status=int(ThreadStatus.RUNNING), order="thread_id", descending=False,
        limit=PAGE,
    )  # fmt: skip
    orphans, age = 0, 0.0
    for _ in range(_PAGES_MAX):
        page = await journal.driver.threads(query)
        seen.running += len(page)
        for row, gone in zip(page, await journal.orphans(page), strict=True):
            orphans += gone
            if row.lease_left_s is not None and not gone:
                ttl_s = journal.options.lease_ttl_s
                age = max(age, (ttl_s - row.lease_left_s) / ttl_s)
        if len(page) < PAGE:
            break
        query = query._replace(after=standing_of(page[-1], query.order))
    seen.orphans, seen.lease_age_share, seen.answered = orphans, age, True


# --- figures become checks ----------------------------------------------------------------------


def _judged(name: str, value: float | None, bounds: Bounds | None, words: str) -> Check:
    warn, fail = bounds or (None, None)
    if value is None:
        return Check(name=name, status="unmeasured", warn=warn, fail=fail, message=words)
    status: Status = "ok"
    sign = -1 if name in _LEAST else 1
    if fail is not None and sign * value >= sign * fail:
        status = "fail"
    elif warn is not None and sign * value >= sign * warn:
        status = "warn"
    return Check(name=name, status=status, value=value, warn=warn, fail=fail, message=words)


def _database(seen: _Seen, limits: HealthThresholds) -> Iterator[Check]:
    if seen.error is not None and not isinstance(seen.error, SchemaVersionError):
        yield Check(name="database", status="fail", message=str(seen.error))
    elif not seen.answered and seen.error is None:
        words = f"No answer in {wording.span(limits.timeout_s)}."
        yield Check(name="database", status="fail", message=words)
    else:
        yield Check(name="database", status="ok", value=1.0, message="It answers.")
    yield _schema(seen)
    reply = None if seen.reply_s is None else wording.span(seen.reply_s)
    yield _judged("reply_s", seen.reply_s, limits.reply_s, reply or "No answer.")
    vitals = seen.vitals
    for name, size in (
        ("storage_bytes", vitals.bytes),
        ("disk_free_bytes", vitals.disk_free_bytes),
    ):
        words = "It cannot be seen from here." if size is None else f"{wording.size(size)}."
        yield _judged(name, size, getattr(limits, name), words)
    many = "or more " if seen.running >= _PAGES_MAX * PAGE else ""
    among = f"of {wording.count(seen.running)} {many}threads that run."
    words = "Not known." if seen.orphans is None else f"{seen.orphans} {among}"
    yield _judged("orphans", seen.orphans, limits.orphans, words)
    share = seen.lease_age_share
    words = "Not known." if share is None else f"{share:.0%} of a lease is over, at most."
    yield _judged("lease_age_share", share, limits.lease_age_share, words)


def _schema(seen: _Seen) -> Check:
    if isinstance(seen.error, SchemaVersionError):
        return Check(name="schema", status="fail", message=str(seen.error))
    found, needed = seen.vitals.schema_version, seen.vitals.schema_needed
    if found is None or needed is None:
        words = "It has none." if seen.answered else "Not known."
        return Check(name="schema", status="ok" if seen.answered else "unmeasured", message=words)
    status: Status = "ok" if found == needed else "fail"
    words = f"Version {found}; this release works with {needed}."
    return Check(name="schema", status=status, value=float(found), message=words)


def _local(journal: Journal | None, limits: HealthThresholds) -> Iterator[Check]:
    if journal is None:
        words = "The saver is not open."
        yield _judged("queue_share", None, limits.queue_share, words)
        yield _judged("lag_s", None, limits.lag_s, words)
        return
    backlog = journal.backlog()
    rows, room = backlog.rows, journal.options.queue_rows_max
    words = f"{wording.count(rows)} of {wording.count(room)} records wait."
    yield _judged("queue_share", rows / room, limits.queue_share, words)
    words = f"The oldest has waited {wording.span(backlog.oldest_s)}."
    yield _judged("lag_s", backlog.oldest_s, limits.lag_s, words)
    yield from _measured(journal.observers.find(Meter), limits)


def _measured(meter: Meter | None, limits: HealthThresholds) -> Iterator[Check]:
    none = "Not measured: open the saver with observe=Meter()." if meter is None else "None lately."
    counts = {} if meter is None else meter.counts(lately=True)
    ended = sum(n for name, n in counts.items() if name.startswith("runs_") and name[5:] in _ENDS)
    failed = counts.get("runs_failed", 0)
    rate = failed / ended if ended >= _RUNS_MIN else None
    words = none if meter is None else f"{failed} of {ended} runs failed lately."
    yield _judged("error_rate", rate, limits.error_rate, words)
    latencies = {} if meter is None else meter.latencies(lately=True)
    for name, timed, percentile in (
        ("save_p50_s", "save", "p50_s"), ("save_p99_s", "save", "p99_s"),
        ("load_p50_s", "load", "p50_s"), ("load_p99_s", "load", "p99_s"),
        ("lock_wait_p99_s", "lock_wait", "p99_s"),
    ):  # fmt: skip
        latency = latencies.get(timed)
        value = None if latency is None else getattr(latency, percentile)
        shown = none if value is None else f"{wording.span(value)}."
        yield _judged(name, value, getattr(limits, name), shown)


_ENDS: Final = frozenset({"done", "failed", "interrupted", "cancelled", "superseded"})

__all__ = ["Check", "Health", "HealthThresholds", "look"]
