"""Which workloads are run, at which sizes, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reading:
    """One line of the table: a metric of a case.

    `goal` is a bound on Stepwell's value; `times` on how many times better than LangGraph it
    is to be; `share` on how near to the floor (Stepwell / floor for speeds, its inverse for
    times).
    """

    id: str
    title: str
    metric: str
    unit: str
    goal: float | None = None
    times: float | None = None
    share: float | None = None
    more: bool = False
    """Whether a larger value is the better one."""


@dataclass(frozen=True)
class Case:
    """One workload at one place."""

    name: str
    workload: str
    place: str
    parameters: dict[str, Any]
    readings: tuple[Reading, ...]
    n: int = 3
    smoke: dict[str, Any] = field(default_factory=dict)
    """Parameters of the run that only shows that it works."""
    leaves_out: tuple[str, ...] = ()
    """Systems that could do it, but in no time that anybody would wait."""


def _one(name: str, title: str, metric: str, unit: str, **goals: Any) -> tuple[Reading, ...]:
    return (Reading(name, title, metric, unit, **goals),)


def _talk_readings(suffix: str, *, stored: float, latest: float, where: str) -> tuple[Reading, ...]:
    return (
        Reading(f"W5{suffix}", f"1,000 turns, {where}: bytes / payload", "bytes_per_payload", "x",
                goal=stored),
        Reading(f"W5t{suffix}-10", f"turn 10, {where}", "turn_10_ms", "ms", goal=0.4),
        Reading(f"W5t{suffix}-100", f"turn 100, {where}", "turn_100_ms", "ms"),
        Reading(f"W5t{suffix}-1000", f"turn 1,000, {where}", "turn_1000_ms", "ms", goal=0.6),
        Reading(f"W6{suffix}", f"newest state of 2,000 messages, {where}", "latest_ms", "ms",
                goal=latest),
        Reading(f"W6h{suffix}-10", f"ten history entries, {where}", "history_10_ms", "ms", goal=4),
        Reading(f"W6h{suffix}-1000", f"1,000 history entries, {where}", "history_1000_ms", "ms",
                goal=60),
        Reading(f"W6m{suffix}", f"a state in the middle, {where}", "middle_ms", "ms", goal=1.2),
    )  # fmt: skip


def _crowd(place: str, letter: str, where: str, size: int, n: int) -> Case:
    readings = _one(
        f"W4{letter}-{size}", f"{size} threads x 10, {where}, sync", "per_s", "supersteps/s",
        goal=25_000, times=35, more=True,
    )  # fmt: skip
    readings += (
        Reading(f"W4{letter}-{size}-cpu", f"the same, CPU of a superstep ({where})", "cpu_us",
                "us", goal=35),
    )  # fmt: skip
    if size == 256:
        readings += (
            Reading(f"W4l{letter}", f"p99 of one run among 256, {where}", "p99_ms", "ms", goal=150),
        )
    return Case(f"W4{letter}-{size}", "crowd", place, {"size": size}, readings, n, {"size": 4})


def _durable(place: str, letter: str, where: str, turns: tuple[float, float]) -> list[Case]:
    return [
        Case(f"W3{letter}", "chain", place, {"size": 10},
             _one(f"W3{letter}", f"chain of 10, {where}, sync, one client", "per_s",
                  "supersteps/s", times=8, share=0.6, more=True), 3, {"size": 2}),
        _crowd(place, letter, where, 64, 3),
        _crowd(place, letter, where, 256, 2),
        Case(f"W5{letter}", "talk", place, {"size": 1000},
             _talk_readings("" if letter == "s" else letter, stored=turns[0], latest=turns[1],
                            where=where), 3, {"size": 12}),
        Case(f"W8{letter}", "race", place, {"size": 50},
             _one(f"W8{letter}", f"50 runs at once on one thread, {where}: counted", "counted",
                  "of 50", goal=50, more=True), 2, {"size": 5}),
    ]  # fmt: skip


CASES: tuple[Case, ...] = (
    Case("W1", "chain", "none", {"size": 200},
         _one("W1", "chain of 10, no saver", "us", "us", goal=8, times=25), 5, {"size": 2}),
    Case("W1b", "loop", "none", {"size": 1000},
         _one("W1b", "loop of 1,000 through an edge", "us", "us", goal=10, times=30), 5,
         {"size": 20}),
    Case("W1c", "chain", "none", {"size": 200, "keys": 20},
         _one("W1c", "chain of 10, state of 20 keys", "us", "us", goal=9), 5,
         {"size": 2, "keys": 20}),
    *(
        Case(f"W2-{size}", "wide", "none", {"size": size},
             _one(f"W2-{size}", f"1 -> {size} -> 1, per branch", "us", "us", goal=12, times=12),
             5, {"size": 3})
        for size in (10, 100, 1000)
    ),
    Case("W2b", "wide", "none", {"size": 100, "pause": 0.005},
         _one("W2b", "100 branches that sleep 5 ms", "ms", "ms", goal=7), 5,
         {"size": 3, "pause": 0.001}),
    Case("W3", "chain", "memory", {"size": 50},
         _one("W3", "chain of 10, memory saver, sync", "us", "us", goal=20, times=15), 5,
         {"size": 2}),
    *_durable("sqlite", "s", "SQLite FULL", (2.5, 1.2)),
    *_durable("postgres", "p", "PostgreSQL", (3.0, 2.0)),
    Case("W7m", "idle", "memory", {"size": 5000},
         _one("W7m", "idle threads in the memory saver, each", "kb", "KB", goal=3), 1,
         {"size": 20}),
)  # fmt: skip
