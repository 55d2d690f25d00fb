"""The report that the graph writes: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from survey.sources import replace_file


@dataclass(frozen=True)
class Row:
    """One line of a ranking."""

    name: str
    value: float
    note: str


def percent(part: int, whole: int) -> float:
    """Share in percent, to one decimal; 0 of nothing is 0."""
    return round(100 * part / whole, 1) if whole else 0.0


def write_report(
    stem: Path,
    *,
    title: str,
    folder: str,
    totals: Mapping[str, int],
    rows: Sequence[Row],
    unreadable: Sequence[str],
) -> None:
    """Write `stem`.md and `stem`.json."""
    coverage = percent(totals["documented"], totals["definitions"])
    document = {
        "title": title,
        "folder": folder,
        "totals": {**totals, "coverage_percent": coverage},
        "rows": [asdict(row) for row in rows],
        "unreadable": list(unreadable),
    }
    lines = [
        f"# {title}",
        "",
        f"{totals['files']} files below `{folder}`: {totals['lines']} lines.",
        f"{totals['definitions']} functions and classes, {coverage} % of them documented.",
        f"Total cyclomatic complexity: {totals['complexity']}.",
        "",
        "| | name | value | |",
        "| ---: | :--- | ---: | :--- |",
        *(f"| {i} | `{r.name}` | {r.value:g} | {r.note} |" for i, r in enumerate(rows, 1)),
        "",
    ]
    if unreadable:
        lines += ["Could not be parsed: " + ", ".join(f"`{p}`" for p in unreadable) + ".", ""]
    replace_file(stem.with_suffix(".md"), "\n".join(lines))
    replace_file(stem.with_suffix(".json"), json.dumps(document, indent=2) + "\n")
