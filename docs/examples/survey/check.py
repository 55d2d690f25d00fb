"""Is what the survey says true? Its final states and reports, held against the recount."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from stepwell.types import StateSnapshot
from survey import show, supervisor
from survey.graph import Decision
from survey.report import percent
from survey.supervisor import Branches, Killed
from survey.verify import Recount

TOP = 10


def compare(end: StateSnapshot, expected: Recount, out: Path) -> list[str]:
    """What in a final state, or in the report made of it, is not as it was counted."""
    values = end.values
    found = [
        f"{label}: {got} instead of {want}"
        for label, got, want in pairs(values, expected)
        if got != want
    ]
    if len({fact.path for fact in values["facts"]}) != len(values["facts"]):
        found.append("a file was counted twice")
    if values["imports"] != dict(expected.imports):
        found.append("the counts of imports differ")
    if end.next:
        found.append(f"the run did not end: next is {end.next}")
    decision: Decision = values["decision"]
    if not decision.publish:
        return found
    report = json.loads((out / f"report-{decision.ranking}.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in report["rows"]]
    if names != expected.top(decision.ranking, decision.rows):
        found.append(f"the published ranking {decision.ranking!r} is another one")
    if report["totals"]["complexity"] != expected.complexity:
        found.append("the published complexity is another one")
    return found


def pairs(values: dict[str, Any], expected: Recount) -> Iterator[tuple[str, Any, Any]]:
    """Figure by figure: label, what the graph has, what was counted."""
    totals = values["totals"]
    for label in ("files", "unreadable", "lines", "definitions", "documented", "complexity"):
        yield label, totals[label], getattr(expected, label)
    share = Fraction(100 * expected.documented, max(expected.definitions, 1))
    yield (
        "docstring coverage, %",
        percent(totals["documented"], totals["definitions"]),
        round(float(share), 1),
    )
    for ranking, rows in values["rankings"].items():
        yield f"{ranking}, top {TOP}", [r.name for r in rows[:TOP]], expected.top(ranking, TOP)


def figures(end: StateSnapshot, expected: Recount) -> str:
    """The comparison as a table."""
    rows = []
    for label, got, want in pairs(end.values, expected):
        shown = [", ".join(v[:2]) + ", ..." if isinstance(v, list) else str(v) for v in (got, want)]
        rows.append((label, *shown, "same" if got == want else "DIFFERENT"))
    return show.table(("figure", "graph", "recount", ""), rows)


def outcome(killed: Killed | None, branches: Branches, problems: list[str]) -> str:
    """The result for programs, as JSON."""
    document = {
        "problems": problems,
        "kill": None
        if killed is None
        else {
            "total": killed.total,
            "durable": len(killed.durable),
            "durable_ran_again": len(killed.repeated),
            "in_flight": len(killed.in_flight),
            "in_flight_ran_again": len(killed.in_flight & killed.again.keys()),
        },
        "history": [
            {
                "step": (s.metadata or {}).get("step"),
                "source": (s.metadata or {}).get("source"),
                "next": show.due(s),
                "branch": branches.branch(s),
                "checkpoint_id": supervisor.name(s),
            }
            for s in branches.history
        ],
        "reports": {"main": branches.main.values.get("reports", []),
                    "fork": branches.fork.values.get("reports", [])},
    }  # fmt: skip
    return json.dumps(document, indent=2) + "\n"
