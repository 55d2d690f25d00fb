"""T5: kill -9 at random instants, resumed by the next process, killed again.

Eight threads run in a child. It is killed after a time drawn evenly from the length of a run;
then the database is held against what the child was told and did, and the next child goes on.
Each durability on each database has its own promise (see `tests/crash/_killing.py`).
"""

from __future__ import annotations

import random

from tests.crash._killing import Killer
from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

DURABILITIES = ("sync", "async", "exit")
SERIES = 8
"""Kills on one database, unless fewer cases are asked for."""


@torture("T5", per_commit="tests/crash/test_kill.py")
def run(seed: int, budget: Budget) -> Figures:
    """A series of kills for each durability on each database, in turn; the seed says in which
    order."""
    figures = Figures()
    ways = [(place, d) for place in sorted(budget.places) for d in DURABILITIES]
    random.Random(seed).shuffle(ways)
    turn = 0
    while budget.more(figures.cases):
        place, durability = ways[turn % len(ways)]
        folder = budget.folder / f"kill{turn}"
        folder.mkdir()
        with database(place, folder) as url:
            kills = SERIES if budget.cases is None else min(SERIES, budget.cases)
            found = Killer(url, folder, seed + turn, durability=durability).run(kills)
        figures.cases += found.kills
        figures.failures += [f"{place}, {durability}: {what}" for what in found.broken]
        figures.counts[f"kills on {place}, {durability}"] += found.kills
        figures.counts["acknowledged supersteps"] += found.acknowledged
        figures.counts["durable results at the kills"] += found.durable_results
        figures.counts["nodes run again"] += found.reworked_in_flight
        figures.stages.update(found.stages)
        turn += 1
    return figures
