"""T1: random operations of clients on memory, SQLite and PostgreSQL at once, against a model.

The state machine is the one of every commit (`tests/simulation/test_model.py`); here it runs with
seeds of its own, a few examples of 30 operations at a time.
"""

from __future__ import annotations

import hypothesis.core
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.test_model import Clients, ClientsWithPostgres
from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

EXAMPLES = 5
STEPS = 30
APART = 1_000_000
"""So that no two rounds draw the same."""


@torture("T1", places=("memory", "sqlite", "postgres"), per_commit="tests/simulation/test_model.py")
def run(seed: int, budget: Budget) -> Figures:
    """A few examples after the other; a case is one example."""
    figures = Figures()
    machine = ClientsWithPostgres if "postgres" in budget.places else Clients
    bounds = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    while budget.more(figures.cases):
        hypothesis.core.global_force_seed = drawn = seed * APART + figures.cases
        try:
            run_state_machine_as_test(machine, settings=bounds)
        except AssertionError as broken:
            notes = "; ".join(getattr(broken, "__notes__", ()))
            figures.failures.append(f"hypothesis seed {drawn}: {broken!s:.600} {notes:.3000}")
        figures.cases += EXAMPLES
        figures.counts["operations at most"] += EXAMPLES * STEPS
        figures.stages[machine.__name__] += EXAMPLES
    return figures
