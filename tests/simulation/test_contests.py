"""Clients that interrupt and undo each other's runs, with idempotency keys, recovery and
cancellation, under faults and kills: what is said to be undone is, and nothing else is."""

from __future__ import annotations

import asyncio
import logging
import operator
import os
from collections import Counter
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from typing import Annotated, TypedDict

import pytest

from stepwell._engine import entry
from stepwell._ids import RandomIds
from stepwell._journal.outbox import Outbox
from stepwell.checkpoint.base import Saver
from stepwell.errors import RunPreemptedError
from stepwell.graph import START, StateGraph
from tests.simulation._engine_chaos import simulation
from tests.simulation._engine_contests import CONTEST, Contest
from tests.simulation._journal_faults import CALM
from tests.simulation._journal_world import Database, Process
from tests.simulation._virtual import LoopClock, bury, simulate

SEEDS = int(os.environ.get("STEPWELL_CONTESTS", "40"))
FIRST = int(os.environ.get("STEPWELL_TEST_SEED", "0"))
TOGETHER = 10
QUIET = replace(CALM, threads=2, workers=3, runs=4, cancel=0.0)
KILLED = replace(QUIET, kill=True)
"""Nothing goes wrong but that processes die."""


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def check(first, count, plan):
    """Run seeds; all that did not hold, by seed. Returns what the clients did."""
    did: Counter[str] = Counter()
    wrong = {}
    for seed in range(first, first + count):
        world = simulation(seed, plan, Contest)
        did += world.did
        if world.problems:
            wrong[seed] = world.problems
    assert not wrong, f"{wrong}; STEPWELL_TEST_SEED replays a seed"
    return did


@pytest.mark.parametrize("plan", [CONTEST, KILLED, QUIET], ids=["faults", "kills", "calm"])
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
@pytest.mark.timeout(600)
def test_what_is_said_to_be_undone_is_and_nothing_else(first, plan):
    """Of runs that were undone nothing is left, whatever broke in the middle of undoing them;
    what a run has returned stays; no input goes in twice."""
    count = min(TOGETHER, FIRST + SEEDS - first)
    did = check(first, count, plan)
    assert did["preempted: rollback"] or count < TOGETHER  # one seed need not have any


def test_the_simulation_reaches_what_it_is_for():
    """Every policy has its way, keys are refused and answered, orphans are recovered."""
    did = check(0, 40, CONTEST)
    for ended in (
        "kill", "preempted: rollback", "preempted: interrupt", "preempted: cancel",
        "key: done", "key: asked", "key: IdempotencyConflictError", "key: cancelled",
        "run: RunPreemptedError", "stream: RunPreemptedError", "go_on: RunPreemptedError",
        "answer: RunPreemptedError", "recover: nothing", "stop: True", "stop: False",
    ):  # fmt: skip
        assert did[ended], ended


def test_a_seed_replays():
    """Nothing depends on names that were drawn, or on the machine's clock."""
    first, second = (simulation(4, CONTEST, Contest) for _ in range(2))
    assert len(first.trace) > 50
    assert first.trace == second.trace


# -- without its guards


def complaints(plan, seeds):
    """Of the first seed that has any."""
    return next((p for seed in range(seeds) if (p := simulation(seed, plan, Contest).problems)), [])


def test_a_run_that_is_not_undone_is_found_out(monkeypatch):
    async def nothing(_opened):
        return

    monkeypatch.setattr(entry, "_undo", nothing)
    assert "undone, and still there" in str(complaints(QUIET, 20))


# -- kill -9 in the middle


class Mortal(Process):
    """A process that dies at a call: just before it, or when it is done."""

    left = None
    after = False

    async def _call(self, verb):
        await super()._call(verb)
        if self.left is not None and verb != "renew":
            self.left -= 1
            if self.left == 0 and not self.after:
                await self.die()

    async def commit(self, batch):
        done = await super().commit(batch)
        if self.left == 0:
            await self.die()
        return done

    async def die(self):
        self.kill()
        await asyncio.Event().wait()


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


async def first(state: Log) -> Log:
    return {"log": [f"first {state['log'][-1]}"]}


async def second(state: Log) -> Log:
    if "slow" in state["log"][-1]:
        await asyncio.sleep(5)
    return {"log": ["second"]}


def on(process):
    saver = Saver(
        process, clock=LoopClock(), ids=RandomIds(seed=1), lease_ttl_s=6.0, batch_rows_max=1
    )
    graph = StateGraph(Log).add_sequence([("first", first), ("second", second)])
    return saver, graph.add_edge(START, "first").compile(saver, durability="sync")


CONFIG = {"configurable": {"thread_id": "t"}}


@pytest.mark.parametrize("policy", ["wait", "rollback"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("moment", range(1, 9))
def test_killed_while_it_undoes_a_run_it_leaves_the_run_or_nothing_of_it(moment, after, policy):
    """Whoever comes next finds the run as it was, and finishes or undoes it, or finds it undone."""

    async def main():
        await asyncio.wait_for(killed_while_it_undoes(moment, after, policy), 1000)
        await bury()

    simulate(main())


async def killed_while_it_undoes(moment, after, policy):
    database = Database()
    mortal, heir = Mortal(database), Process(database)
    (saver, graph), (other, graph2) = on(mortal), on(heir)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(other.aclose)
        await graph.ainvoke({"log": ["before"]}, CONFIG)
        run = asyncio.ensure_future(graph.ainvoke({"log": ["slow"]}, CONFIG))
        await asyncio.sleep(1)
        mortal.left, mortal.after = moment, after
        last = asyncio.ensure_future(
            graph.ainvoke({"log": ["new"]}, CONFIG, on_conflict="rollback")
        )
        await asyncio.sleep(20)
        journal, mortal.left = await saver.journal(), None
        if mortal.dead:
            journal.forget()
            saver._home._warns = False
        else:
            closing.push_async_callback(saver.aclose)
        found = await graph2.ainvoke({"log": ["heir"]}, CONFIG, on_conflict=policy)
        runs = {r.run_id: r.status async for r in other.alist_runs("t")}
        undone = "superseded" in runs.values()
        assert ("slow" in found["log"]) != undone, (runs, found)
        assert found["log"][:3] == ["before", "first before", "second"]
        assert found["log"][-3:] == ["heir", "first heir", "second"]
        if policy == "rollback":
            assert "slow" not in found["log"]
    if not mortal.dead:
        assert isinstance(run.exception(), RunPreemptedError)
        assert last.done()


def test_undone_in_pieces_half_of_a_run_is_found(monkeypatch):
    """Without the guard that puts it into one commit."""
    monkeypatch.setattr(Outbox, "together", lambda _self: nullcontext())
    missed = 0
    for moment in range(1, 9):
        try:
            test_killed_while_it_undoes_a_run_it_leaves_the_run_or_nothing_of_it(
                moment, after=True, policy="wait"
            )
        except AssertionError:
            missed += 1
    assert missed
