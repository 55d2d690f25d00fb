"""Counts and latencies of one process: what a meter makes of events."""

from __future__ import annotations

import json
import math
import random

import pytest

from stepwell.observe import (
    BOUNDS_S,
    CommitFinished,
    Event,
    LeaseLost,
    LoadFinished,
    LockWaited,
    Meter,
    Pruned,
    RunFinished,
    RunRecovered,
    RunStarted,
    StorageRetried,
    SuperstepFinished,
    TaskFinished,
    TaskStarted,
)


class Hand:
    """A clock that is moved by hand."""

    now = 100.0

    def monotonic(self):
        return self.now

    def wall(self):
        return self.now


def load(seconds):
    return LoadFinished(verb="load", duration_s=seconds)


@pytest.mark.parametrize("shape", ["even", "exponential", "two"])
def test_percentiles_are_right_to_a_bucket(shape):
    dice = random.Random(7)
    draw = {
        "even": lambda: dice.uniform(0.001, 0.1),
        "exponential": lambda: dice.expovariate(50),
        "two": lambda: dice.choice([0.002, 0.9]),
    }[shape]
    values = sorted(draw() for _ in range(5000))
    meter = Meter()
    for value in values:
        meter(load(value))
    told = meter.latencies()["load"]
    width = BOUNDS_S[1] / BOUNDS_S[0] * 1.001
    for share, found in ((0.5, told.p50_s), (0.99, told.p99_s)):
        exact = values[math.ceil(share * len(values)) - 1]
        assert exact / width <= found <= exact * width
    assert told.count == 5000
    assert told.mean_s == pytest.approx(sum(values) / 5000)
    assert told.most_s == values[-1]
    assert sum(n for _, n in told.buckets) == 5000
    assert all(n for _, n in told.buckets)


def test_what_is_outside_of_the_bounds_is_counted_too():
    meter = Meter()
    for seconds in (0.0, 1e-9, 5000.0):
        meter(load(seconds))
    told = meter.latencies()["load"]
    assert [n for _, n in told.buckets] == [2, 1]
    assert (told.most_s, told.p99_s) == (5000.0, 5000.0)
    assert json.loads(json.dumps(told.to_dict(), allow_nan=False))["buckets"][-1] == [None, 1]


def test_one_value_is_its_own_percentile():
    meter = Meter()
    meter(load(0.012))
    told = meter.latencies()["load"]
    assert told.p50_s <= told.p99_s <= told.most_s == 0.012


def test_every_event_has_its_name():
    meter = Meter()
    where = {"node": "n", "task_id": "i", "step": 1}
    for event in (
        RunStarted(), RunFinished(status="failed", duration_s=1.0), RunFinished(duration_s=2.0),
        SuperstepFinished(step=1, duration_s=0.5), TaskStarted(**where),
        TaskFinished(**where, outcome="error", duration_s=0.5),
        CommitFinished(threads=2, rows=3, bytes=400, duration_s=0.1, refused=1),
        load(0.2), LockWaited(waited_s=0.3, won=True), LockWaited(waited_s=0.3, won=False),
        LeaseLost(epoch=1, noticed_by="commit"), RunRecovered(),
        StorageRetried(verb="load", attempt=1, delay_s=0.1, error="x"),
        Pruned(threads=1, checkpoints=9), Event(),
    ):  # fmt: skip
        meter(event)
    assert list(meter.latencies()) == ["run", "superstep", "task", "save", "load", "lock_wait"]
    assert meter.latencies()["run"].count == 2
    assert meter.counts() == {
        "bytes": 400, "leases_lost": 1, "locks_not_won": 1, "locks_won": 1,
        "pruned_checkpoints": 9, "pruned_threads": 1, "recovered": 1, "refused": 1, "retries": 1,
        "rows": 3, "runs_done": 1, "runs_failed": 1, "runs_started": 1, "tasks_error": 1,
    }  # fmt: skip


def test_lately_forgets():
    """What came in this window and the one before it; nothing older, however long the pause."""
    clock = Hand()
    meter = Meter(window_s=60.0, clock=clock)
    seen = []
    for seconds, pause in ((0.1, 50), (0.2, 15), (0.3, 50), (0.4, 61), (0.5, 121), (0.6, 0)):
        meter(load(seconds))
        seen.append(meter.latencies(lately=True)["load"].count)
        clock.now += pause
    assert seen == [1, 2, 3, 4, 3, 1]
    assert meter.latencies()["load"].count == 6
    clock.now += 1000
    assert meter.latencies(lately=True) == {}
    assert meter.counts(lately=True) == {}
