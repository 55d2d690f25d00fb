"""T12, small: frozen past the lease, on each database."""

from __future__ import annotations

import pytest

from tests.torture import t12_zombie
from tests.torture._figures import Budget, Figures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _rounds(tmp_path, seed, capsys, place: str) -> Figures:
    """Two rounds at least, and more (a few) until a run was caught in its middle."""
    figures = Figures()
    for more in range(5):
        folder = tmp_path / f"{more}"
        folder.mkdir()
        budget = Budget(folder=folder, cases=2, places=frozenset({place}))
        figures.add(t12_zombie.run(seed + more, budget))
        if figures.counts["threads taken over"]:
            break
    with capsys.disabled():
        print(f"\nT12 seed {seed}: {figures.line()}")
    return figures


def test_a_zombie_writes_nothing_on_sqlite(tmp_path, seed, capsys):
    """Taken over past the lease, woken up, refused; a wall clock that is an hour off changes
    nothing; caught inside a write transaction it blocks, and the error names it."""
    figures = _rounds(tmp_path, seed, capsys, "sqlite")
    assert not figures.failures
    assert figures.counts["refused late writers"] > 0


@pytest.mark.postgres
def test_a_zombie_writes_nothing_on_postgres(tmp_path, seed, capsys, pg_dsn):
    """PostgreSQL: the same."""
    figures = _rounds(tmp_path, seed, capsys, "postgres")
    assert not figures.failures
    assert figures.counts["refused late writers"] > 0
