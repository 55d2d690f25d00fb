"""T7: the N-th operation on SQLite's files fails with ENOSPC or EIO, for N = 1, 2, ...

Once, or from then on; a failing write may have written half of its bytes. Opening included. The
work either goes on (a commit is tried again, on a new connection) or ends with an error of
storage; the same saver can be used again as soon as the disk works; a new one finds everything
that was acknowledged, and the work comes to its right end on it.
"""

from __future__ import annotations

import random

import orjson

from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture
from tests.torture._shim import under_shim

EVERY, EVERY_LONG = 5, 3
"""At a commit every fifth operation has its turn, in a long run every third; which of them is
drawn from the seed, so that a few rounds come to all."""


@torture(
    "T7", needs=["compiler"], places=["sqlite"], per_commit="tests/torture/test_disk_faults.py"
)
def run(seed: int, budget: Budget) -> Figures:
    """A sweep from an operation drawn from the first few to the last of all."""
    every = EVERY_LONG if budget.cases is None else EVERY
    first = random.Random(seed).randint(1, every)
    out = budget.folder / "figures.json"
    # A sweep is finished even if it takes longer than a round: up to seven times as long.
    seconds = budget.seconds * 7
    done = under_shim(
        budget.folder, "tests.torture._disk_faults", str(budget.folder), str(seed),
        str(first), str(every), str(seconds), str(out),
    )  # fmt: skip
    if done.returncode:
        return Figures(1, [f"exit code {done.returncode}: {done.stderr[-2000:]}"])
    return Figures.from_json(orjson.loads(out.read_bytes()))
