"""Counts and latencies of one process, gathered from events.

A histogram has fixed bounds, ten to the decade, so a percentile is right to about a quarter, it
costs the same however many values came, and two of them can be added. Beside everything since
the beginning, a meter keeps what came lately: two windows that take turns, so "lately" is
between one and two windows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any, Final

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._dataclass import dataclass
from stepwell.constants import START
from stepwell.observe._events import (
    CommitFinished,
    Event,
    LeaseLost,
    LoadFinished,
    LockWaited,
    Pruned,
    RunFinished,
    RunRecovered,
    RunStarted,
    StorageRetried,
    SuperstepFinished,
    TaskFinished,
)

BOUNDS_S: Final = tuple(round(10 ** (n / 10), 9) for n in range(-50, 31))
"""Upper bounds of the buckets, 10 microseconds to 1000 seconds; one more takes what is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long something took, over all the times it happened; seconds.

    Attributes:
        count: How often.
        mean_s: On average.
        p50_s: Half of the times it took no longer; to within a bucket.
        p99_s: Of a hundred times, 99 took no longer.
        most_s: The longest.
        buckets: Pairs of an upper bound and how many took no longer than it, but longer than
            the bound before; only those that hold something. The last bound may be infinite.
    """

    count: int = 0
    mean_s: float = 0.0
    p50_s: float = 0.0
    p99_s: float = 0.0
    most_s: float = 0.0
    buckets: tuple[tuple[float, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Fields by name; an infinite bound is None."""
        return {
            "count": self.count, "mean_s": self.mean_s, "p50_s": self.p50_s, "p99_s": self.p99_s,
            "most_s": self.most_s,
            "buckets": [[None if up == float("inf") else up, n] for up, n in self.buckets],
        }  # fmt: skip


class _Histogram:
    __slots__ = ("counts", "most", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total = self.most = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total += seconds
        self.most = max(self.most, seconds)

    def plus(self, other: _Histogram) -> _Histogram:
        both = _Histogram()
        both.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        both.total, both.most = self.total + other.total, max(self.most, other.most)
        return both

    def latency(self) -> Latency:
        count = sum(self.counts)
        if not count:
            return Latency()
        bounds = (*BOUNDS_S, float("inf"))
        return Latency(
            count=count,
            mean_s=self.total / count,
            p50_s=self._percentile(0.5, count),
            p99_s=self._percentile(0.99, count),
            most_s=self.most,
            buckets=tuple((up, n) for up, n in zip(bounds, self.counts, strict=True) if n),
        )

    def _percentile(self, share: float, count: int) -> float:
        """Somewhere in the bucket that holds it: as if the values in there were spread evenly."""
        left = share * count
        below = 0.0
        for up, n in zip(BOUNDS_S, self.counts, strict=False):
            if n >= left:
                return min(below + (up - below) * left / n, self.most)
            left -= n
            below = up
        return self.most


class _Figures:
    """What came in one stretch of time."""

    __slots__ = ("counts", "times")

    def __init__(self) -> None:
        self.times: dict[str, _Histogram] = {}
        self.counts: Counter[str] = Counter()

    def add(self, name: str, seconds: float) -> None:
        histogram = self.times.get(name)
        if histogram is None:
            histogram = self.times[name] = _Histogram()
        histogram.add(seconds)

    def plus(self, other: _Figures) -> _Figures:
        both = _Figures()
        both.counts = self.counts + other.counts
        for name in self.times.keys() | other.times.keys():
            mine, theirs = self.times.get(name), other.times.get(name)
            both.times[name] = (mine or _Histogram()).plus(theirs or _Histogram())
        return both


class Meter:
    """An observer that keeps counts and latencies: `open_saver(url, observe=Meter())`.

    `areport` and `ahealth` of that saver find it and show what it has gathered. It serves one
    process: every process has its own figures.

    Args:
        window_s: How long "lately" is: between once and twice so many seconds.
        clock: The only source of time.
    """

    TIMES: Final = ("run", "superstep", "task", "save", "load", "lock_wait")
    """What is timed: runs, supersteps, tasks, commits, loads (with those of claims), and waits
    for threads that others held."""

    def __init__(self, *, window_s: float = 300.0, clock: Clock = SYSTEM_CLOCK) -> None:
        self._window_s = window_s
        self._clock = clock
        self._all, self._now, self._before = _Figures(), _Figures(), _Figures()
        self._turned_at = clock.monotonic()

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        self._turn()
        for figures in (self._all, self._now):
            _note(figures, event)

    def _turn(self) -> None:
        now = self._clock.monotonic()
        age = now - self._turned_at
        if age >= self._window_s:
            self._before = self._now if age < 2 * self._window_s else _Figures()
            self._now = _Figures()
            self._turned_at = now

    def latencies(self, *, lately: bool = False) -> dict[str, Latency]:
        """By name (`TIMES`), what was measured at all; since the beginning, or lately."""
        figures = self._chosen(lately)
        return {n: figures.times[n].latency() for n in self.TIMES if n in figures.times}

    def counts(self, *, lately: bool = False) -> dict[str, int]:
        """How often things happened, by name: "runs_done", "runs_failed", "tasks_error",
        "rows", "bytes", "retries", "leases_lost", "recovered", "pruned_threads", ..."""
        return dict(sorted(self._chosen(lately).counts.items()))

    def _chosen(self, lately: bool) -> _Figures:
        self._turn()
        return self._now.plus(self._before) if lately else self._all


def _note(figures: _Figures, event: Event) -> None:
    counts = figures.counts
    match event:
        case TaskFinished(node=node) if node != START:
            figures.add("task", event.duration_s)
            counts[f"tasks_{event.outcome}"] += 1
        case SuperstepFinished():
            figures.add("superstep", event.duration_s)
        case CommitFinished():
            figures.add("save", event.duration_s)
            counts["rows"] += event.rows
            counts["bytes"] += event.bytes
            counts["refused"] += event.refused
        case LoadFinished():
            figures.add("load", event.duration_s)
        case RunStarted():
            counts["runs_started"] += 1
        case RunFinished():
            figures.add("run", event.duration_s)
            counts[f"runs_{event.status}"] += 1
        case LockWaited():
            figures.add("lock_wait", event.waited_s)
            counts["locks_won" if event.won else "locks_not_won"] += 1
        case StorageRetried():
            counts["retries"] += 1
        case LeaseLost():
            counts["leases_lost"] += 1
        case RunRecovered():
            counts["recovered"] += 1
        case Pruned():
            counts["pruned_threads"] += event.threads
            counts["pruned_checkpoints"] += event.checkpoints
        case _:
            pass


__all__ = ["BOUNDS_S", "Latency", "Meter"]
