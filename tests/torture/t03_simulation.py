"""T3: whole graphs of several processes on virtual time, with a fault at any call of a driver.

What is drawn is told in `tests/simulation/_engine_chaos.py`, what must hold in `_engine_oracle`.
"""

from __future__ import annotations

import logging

from tests.simulation._engine_chaos import QUIET, ROUGH, simulation
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

CALM_EVERY = 8
APART = 1_000_000
"""So that no two rounds draw the same."""


@torture("T3", places=("memory",), per_commit="tests/simulation/test_engine.py")
def run(seed: int, budget: Budget) -> Figures:
    """One seed after the other; every eighth without faults, where nothing at all may fail."""
    figures = Figures()
    logging.disable(logging.CRITICAL)
    try:
        while budget.more(figures.cases):
            drawn = seed * APART + figures.cases
            plan = ROUGH if figures.cases % CALM_EVERY else QUIET
            world = simulation(drawn, plan)
            weather = "rough" if plan is ROUGH else "calm"
            figures.failures += [f"seed {drawn}, {weather}: {what}" for what in world.problems]
            figures.cases += 1
            figures.counts["tasks begun"] += sum(world.begun.values())
            figures.counts["acknowledged checkpoints"] += len(world.acked)
            figures.counts["kills"] += world.did["kill"]
            figures.stages.update(line.split(maxsplit=2)[2] for line in world.faults())
    finally:
        logging.disable(logging.NOTSET)
    return figures
