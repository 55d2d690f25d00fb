"""T15, small: one race for an empty database on each of SQLite and PostgreSQL."""

from __future__ import annotations

import pytest

from tests.torture import t15_setup
from tests.torture._figures import Budget

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _race(tmp_path, place: str) -> None:
    budget = Budget(folder=tmp_path, cases=1, places=frozenset({place}))
    assert t15_setup.run(0, budget).failures == []


def test_sixteen_processes_make_one_sqlite_database(tmp_path):
    """All of them migrate at once: all succeed, each writes and reads, the schema is made once."""
    _race(tmp_path, "sqlite")


@pytest.mark.postgres
def test_sixteen_processes_make_one_postgres_database(tmp_path, pg_dsn):
    """PostgreSQL: the same."""
    _race(tmp_path, "postgres")
