"""Whole graphs of several processes under seeded faults: what was acknowledged is there, every
checkpoint is the fold of its parent and of what ran, and every thread comes to its end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation._engine_chaos import QUIET, ROUGH, simulation

SEEDS = int(os.environ.get("STEPWELL_SIMULATIONS", "150"))
FIRST = int(os.environ.get("STEPWELL_TEST_SEED", "0"))
TOGETHER = 10


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def check(first, count, plan):
    """Run seeds; all that did not hold, by seed. Returns what the clients and faults did."""
    did: Counter[str] = Counter()
    wrong = {}
    for seed in range(first, first + count):
        world = simulation(seed, plan)
        did += world.did
        did.update(f"fault: {line.split(maxsplit=2)[2]}" for line in world.faults())
        if world.problems:
            wrong[seed] = world.problems
    assert not wrong, f"{wrong}; STEPWELL_TEST_SEED replays a seed"
    return did


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
@pytest.mark.timeout(600)
def test_acknowledged_supersteps_survive_whatever_happens(first):
    """Faults at every call of a driver, cancelled runs, killed processes."""
    did = check(first, min(TOGETHER, FIRST + SEEDS - first), ROUGH)
    assert sum(did.values()) > 10


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS // 5, TOGETHER))
def test_in_calm_weather_nothing_fails(first):
    """Without faults no run loses its thread or fails, whatever the order of callbacks."""
    check(first, TOGETHER, QUIET)


def test_the_simulation_reaches_what_it_is_for():
    """Every kind of fault happens, and every operation ends in every way that it can."""
    did = check(0, 40, ROUGH)
    for fault in ("none", "unknown", "after", "slow", "slow reply", "no reply", "late", "cut off"):
        assert did[f"fault: {fault}"], fault
    for fault in ("parked", "poison"):
        assert did[f"fault: {fault}"], fault
    for ended in (
        "kill", "run: done", "run: asked", "run: cancelled", "run: Boom", "run: StaleWriterError",
        "run: StorageError", "run: ThreadBusyError", "stream: left", "stream: done",
        "stream: cancelled", "go_on: done", "go_on: cancelled", "answer: done", "answer: asked",
        "answer: cancelled", "update: done", "update: cancelled", "fork: done", "fork: asked",
        "fork: cancelled",
    ):  # fmt: skip
        assert did[ended], ended


def test_a_seed_replays():
    """The same seed makes the same trace to the byte: each fault, each task, each outcome."""
    for seed in (3, 8):
        first, second = (simulation(seed, ROUGH) for _ in range(2))
        assert len(first.trace) > 50
        assert "\n".join(first.trace).encode() == "\n".join(second.trace).encode()
        assert first.acked == second.acked


def test_a_seed_replays_in_another_process():
    """Nothing depends on the order of sets, on object addresses, on the time of day."""
    code = (
        "import hashlib, logging; logging.disable(logging.CRITICAL)\n"
        "from tests.simulation._engine_chaos import ROUGH, simulation\n"
        "trace = '\\n'.join(simulation(3, ROUGH).trace)\n"
        "print(hashlib.sha256(trace.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        ).stdout
        for number in range(2)
    }
    assert len(digests) == 1, digests
