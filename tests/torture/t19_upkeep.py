"""T19: folding and pruning beside runs, forks and reads; and killed in the middle of it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import AsyncExitStack

from stepwell import open_saver
from tests.torture import _upkeep_child
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._record import ROOT
from tests.torture._registry import torture
from tests.torture._upkeep import THREADS, Ledger, build, config_of, settle, storm, write

STORM_ROUNDS = 12
"""Runs on each thread in one storm."""
KILLS = 4
"""Kills on one database."""
WORK_S = 0.6
"""The instant of a kill is drawn evenly from this, after the child has begun."""


async def storm_on(url: str, seed: int, rounds: int, figures: Figures) -> None:
    """A storm of two savers on one database."""
    async with AsyncExitStack() as stack:
        savers = [await stack.enter_async_context(open_saver(url)) for _ in range(2)]
        await storm(savers, seed, rounds, figures)


async def kills_on(url: str, seed: int, kills: int, figures: Figures) -> None:
    """Threads are made; a child that folds and prunes them is killed again and again; after each
    kill all that is left is what it was."""
    dice, ledger = random.Random(seed), Ledger()
    names = [f"thread-{n}" for n in range(THREADS)]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    async with open_saver(url, lease_ttl_s=1.0) as saver:
        graph = build(saver)
        for kill in range(kills):
            for name in names:
                for _ in range(4):
                    await write(graph, ledger, name, dice)
                async for snapshot in graph.aget_state_history(config_of(name)):
                    ledger.look(name, snapshot, "before")
            child = await asyncio.create_subprocess_exec(
                sys.executable, _upkeep_child.__file__, url, str(seed + kill),
                env={**os.environ, "PYTHONPATH": path}, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert child.stdout is not None
            if await child.stdout.readline() != b"ready\n":
                ledger.wrong.append("the child did not begin")
            await asyncio.sleep(dice.uniform(0, WORK_S))
            child.kill()
            await child.wait()
            for name in names:
                async for snapshot in graph.aget_state_history(config_of(name)):
                    if (name, snapshot.config["configurable"]["checkpoint_id"]) not in ledger.known:
                        ledger.wrong.append(f"{name} has a checkpoint that nobody wrote")
                    ledger.look(name, snapshot, "after a kill")
                newest = await graph.aget_state(config_of(name))
                ledger.look(name, newest, "newest after a kill")
            figures.cases += 1
        await settle(saver, ledger, names)
    figures.failures += ledger.wrong
    figures.counts["kills"] += kills
    figures.counts.update({f"reads: {how}": n for how, n in ledger.reads.items()})


@torture("T19", per_commit="tests/torture/test_upkeep.py")
async def run(seed: int, budget: Budget) -> Figures:
    """Storms and kills in turn, on each database."""
    figures = Figures()
    turn = 0
    while budget.more(figures.cases):
        for place in sorted(budget.places):
            turn += 1
            with database(place, budget.folder, f"storm{turn}") as url:
                await storm_on(url, seed + turn, STORM_ROUNDS, figures)
            with database(place, budget.folder, f"kills{turn}") as url:
                await kills_on(url, seed + turn, KILLS, figures)
    return figures
