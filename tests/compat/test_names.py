"""The table of names says what the cases show.

    STEPWELL_WRITE_NAMES=1 python -m pytest tests/compat/test_names.py

writes docs/names.md anew.
"""

import importlib.metadata
import os

import pytest

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from tests.compat import inventory, names, test_cases
from tests.compat.differences import difference
from tests.compat.touched import Touched, resolved

pytestmark = [pytest.mark.compat, pytest.mark.timeout(600)]

AGAIN = "STEPWELL_WRITE_NAMES=1 python -m pytest tests/compat/test_names.py writes it anew"


def record_of_all_cases(*, served: bool) -> Touched:
    """What the cases that hold touch; a case that fails is no evidence.

    Args:
        served: Whether those on a PostgreSQL server count.
    """
    record = Touched()
    for label in test_cases.CASES:
        if label in test_cases.SERVED and not served:
            continue
        try:
            seen, touched = test_cases.subject(label)
            holds = difference(label) is not None or seen == test_cases.reference(label)
        except Exception:  # reported by the test of that case
            continue
        if holds:
            record.add(touched)
    return record


def test_every_name_langgraph_exports_is_in_the_inventory() -> None:
    new, known = inventory.read(), inventory.load()
    added, gone = sorted(new.keys() - known), sorted(known.keys() - new)
    changed = sorted(k for k in new.keys() & known if new[k] != known[k])
    assert [added, gone, changed] == [[], [], []], (
        f"see the diff after `python -m {inventory.__name__}`"
    )


def test_every_verdict_is_about_some_name() -> None:
    everything = inventory.load()
    for position, (pattern, _, why) in enumerate(names.VERDICTS):
        matched = [n for n in everything if names.verdict(n) == names.VERDICTS[position][1:]]
        assert matched, f"{pattern}: no name, or an earlier pattern takes them all"
        assert why


def test_what_is_not_planned_is_not_there() -> None:
    there = [r.name for r in names.rows(Touched()) if r.status == names.N and r.name in resolved()]
    assert not there, "these exist after all: take them off VERDICTS"


@pytest.mark.postgres
def test_the_table_of_names_is_what_the_cases_show() -> None:
    if not test_cases.can_serve():
        pytest.skip("no PostgreSQL server, or no psycopg")
    table = names.rows(record_of_all_cases(served=True))
    release = importlib.metadata.version("langgraph").rpartition(".")[0]
    wanted = names.text(table, release)
    if os.environ.get("STEPWELL_WRITE_NAMES"):
        names.TABLE.write_text(wanted)
    shown = names.TABLE.read_text() if names.TABLE.exists() else ""
    assert shown == wanted, AGAIN


def test_without_a_server_the_rest_of_the_table_is_what_the_cases_show() -> None:
    """What only cases on a PostgreSQL server call is left out."""
    rows = names.rows(record_of_all_cases(served=False))
    shown = [line for line in names.TABLE.read_text().splitlines() if line.startswith("| `")]
    stale = [
        row.name
        for row, line in zip(rows, shown, strict=True)
        if line != names.line(row) and not names.served(row.name)
    ]
    assert not stale, f"{AGAIN} (that needs a PostgreSQL server)"
