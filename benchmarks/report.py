"""Tables of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.suite import Case, Reading
from benchmarks.systems import NAMES

TITLES = {"stepwell": "Stepwell", "langgraph": "LangGraph", "burr": "Burr", "dbos": "DBOS",
          "floor": "floor"}  # fmt: skip
ORDER = ("floor", "stepwell", "langgraph", "burr", "dbos")


def values(results: Sequence[dict[str, Any]], case: Case, metric: str, system: str) -> list[float]:
    """The median of each round."""
    return [
        statistics.median(r["figures"][metric])
        for r in results
        if r["case"] == case.name and r["system"] == system and metric in r["figures"]
    ]


def spread(of: Sequence[float]) -> str:
    """Median, and quartiles where there are enough rounds to speak of them."""
    middle = number(statistics.median(of))
    if len(of) < 3:
        return middle
    low, _, high = statistics.quantiles(of, n=4)
    return f"{middle} ({number(low)}-{number(high)})"


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(over: Sequence[float], under: Sequence[float]) -> float | None:
    """The median of the ratios round by round."""
    pairs = [a / b for a, b in zip(over, under, strict=False) if b]
    return statistics.median(pairs) if pairs else None


def line(
    results: Sequence[dict[str, Any]], case: Case, reading: Reading, *, judged: bool = True
) -> str | None:
    """One row of the table; None if nothing was measured for it."""
    found = {s: values(results, case, reading.metric, s) for s in NAMES}
    mine = found["stepwell"]
    if not mine:
        return None
    cells = [spread(found[s]) if found[s] else "-" for s in ORDER]
    peer, floor = found["langgraph"], found["floor"]
    better = ratio(mine, peer) if reading.more else ratio(peer, mine)
    near = ratio(mine, floor) if reading.more else ratio(floor, mine)
    met = verdict(reading, statistics.median(mine), better, near) if judged else "-"
    cells += ["-" if x is None else number(x) for x in (better, near)]
    return f"| {reading.id} | {reading.title}, {reading.unit} | {' | '.join(cells)} | {met} |"


def verdict(reading: Reading, mine: float, better: float | None, near: float | None) -> str:
    """What is asked, and whether it is there."""
    asked = []
    if reading.goal is not None:
        sign = ">=" if reading.more else "<="
        reached = mine >= reading.goal if reading.more else mine <= reading.goal
        asked.append((f"{sign} {number(reading.goal)}", reached))
    if reading.times is not None and better is not None:
        asked.append((f"{number(reading.times)}x LangGraph", better >= reading.times))
    if reading.share is not None and near is not None:
        asked.append((f"{reading.share} of the floor", near >= reading.share))
    return "; ".join(f"{text} {'yes' if reached else 'NO'}" for text, reached in asked) or "-"


def table(results: Sequence[dict[str, Any]], cases: Sequence[Case], *, smoke: bool = False) -> str:
    """All readings, as Markdown; those of a smoke run are not held against any goal."""
    head = [
        "| # | workload, unit | " + " | ".join(TITLES[s] for s in ORDER)
        + " | better than LangGraph, times | of the floor | goal |",
        "| --- | --- |" + " --- |" * (len(ORDER) + 3),
    ]  # fmt: skip
    rows = [
        line(results, case, reading, judged=not smoke)
        for case in cases
        for reading in case.readings
    ]
    return "\n".join([*head, *(row for row in rows if row is not None)])
