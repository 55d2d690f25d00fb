"""T20: a mixed load for a long time, kills, backups, restores; nothing grows or is lost.

Two processes run, stream, ask, fork, copy, delete, prune, fold and read on one database; one of
them is killed again and again, the other takes over what it leaves. In each period (a minute, if
the round is long) a backup is made beside them and checked; at its end all rows of what is restored
from another one equal the source, and every acknowledgement is kept. Resident memory, open files
and threads of the process that stays, the write-ahead log, the file or the server's sessions and
locks are measured then, and have to be flat. `--seconds 1800` makes a round of half an hour.
"""

from __future__ import annotations

import time

from tests.torture._databases import database
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._soak import Soak

PERIOD_S = 60.0
PERIOD_MIN_S = 4.0
PERIODS = 10
"""Into how many periods a shorter round is divided, about."""


@torture("T20", per_commit="tests/torture/test_soak.py")
async def run(seed: int, budget: Budget) -> Figures:
    """Each database has its share of the time."""
    figures = Figures()
    places = sorted(budget.places - {"memory"})
    for left, place in zip(range(len(places), 0, -1), places, strict=True):
        share_s = max(0.0, budget.left_s()) / left
        folder = budget.folder / place
        folder.mkdir()
        with database(place, folder, "soak") as url:
            await Soak(url, folder, seed, figures).run(
                time.monotonic() + share_s,
                min(PERIOD_S, max(PERIOD_MIN_S, share_s / PERIODS)),
                budget.cases,
            )
    return figures
