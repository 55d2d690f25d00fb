"""Tortures that try the harness itself: one holds, one fails, one raises, one dies."""

from __future__ import annotations

import os
import signal

from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture


@torture("X1", places=["sqlite"])
async def holds(seed: int, budget: Budget) -> Figures:
    figures = Figures()
    while budget.more(figures.cases):
        figures.cases += 1
        figures.stages[f"seed {seed}"] += 1
        figures.counts["seen"] += len(budget.places)
        figures.at_worst("pause_s", figures.cases / 4)
    return figures


@torture("X2", places=["sqlite"])
def fails(seed: int, budget: Budget) -> Figures:
    return Figures(1, [f"lost at {seed}"] if seed % 2 else [])


@torture("X3", places=["sqlite"])
def raises(seed: int, budget: Budget) -> Figures:
    raise ValueError("no")


@torture("X4", places=["sqlite"])
def dies(seed: int, budget: Budget) -> Figures:
    os.kill(os.getpid(), signal.SIGKILL)
    return Figures(1)


@torture("X5", places=["sqlite"])
def idles(seed: int, budget: Budget) -> Figures:
    return Figures()


@torture("X6", needs=["postgres"], places=["postgres"])
def elsewhere(seed: int, budget: Budget) -> Figures:
    return Figures(1)
