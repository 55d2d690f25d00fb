"""Journals of several processes under seeded faults: nothing acknowledged is ever lost."""

from __future__ import annotations

import pytest

from tests.simulation._journal_chaos import simulation
from tests.simulation._journal_faults import CALM, HOPELESS, ROUGH, Plan


@pytest.mark.parametrize("seed", range(40))
def test_nothing_acknowledged_is_lost(seed):
    """Two processes, three threads, calls that fail before and after, late and never."""
    assert simulation(seed).problems == []


@pytest.mark.parametrize("plan", [ROUGH, HOPELESS], ids=["rough", "hopeless"])
@pytest.mark.parametrize("first", range(0, 30, 10))
def test_a_lease_after_the_last_run_every_thread_is_to_be_had(first, plan):
    """Whatever became of claims and releases: nothing renews what no run holds, no lock is kept,
    and rows stay owned only where nobody could have freed them."""
    assert {
        n: found for n in range(first, first + 10) if (found := simulation(n, plan).problems)
    } == {}


@pytest.mark.parametrize("seed", range(10))
def test_in_calm_weather_nobody_is_fenced(seed):
    """Without faults no run ever loses its thread, and every row is free in the end."""
    assert simulation(seed, CALM).problems == []


def test_a_seed_replays():
    """The same seed makes the same trace, down to the time of each fault."""
    plan = Plan(fault=0.3)
    first, second = simulation(5, plan), simulation(5, plan)
    assert len(first.trace) > 20
    assert first.trace == second.trace
    assert [log.epoch for log in first.logs] == [log.epoch for log in second.logs]
