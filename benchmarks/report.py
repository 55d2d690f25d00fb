"""Tables of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.suite import Case, Reading
from benchmarks.systems import NAMES

TITLES = {"stepwell": "Stepwell", "langgraph": "LangGraph", "langgraph-delta": "DeltaChannel",
          "burr": "Burr", "dbos": "DBOS", "floor": "floor"}  # fmt: skip
ORDER = ("floor", "langgraph", "langgraph-delta", "burr", "dbos", "stepwell")
HEAD = ("#", "workload, unit", "goal", *(TITLES[s] for s in ORDER), "times LangGraph",
        "of the floor", "fdatasync, ms", "reached")  # fmt: skip
SCALE_HEAD = ("#", "what", "unit", "memory", "SQLite", "PostgreSQL")
REDUCE: Mapping[str, Callable[[Sequence[float]], float]] = {
    "median": statistics.median, "max": max, "mean": statistics.mean,
}  # fmt: skip

Results = Sequence[dict[str, Any]]


def values(results: Results, case: str, reading: Reading, system: str) -> dict[int, float]:
    """Round -> what its repetitions come to."""
    return {
        r["round"]: REDUCE[reading.of](r["figures"][reading.metric])
        for r in results
        if r["case"] == case and r["system"] == system and r["figures"].get(reading.metric)
    }


def spread(of: Sequence[float], reading: Reading) -> str:
    """Median, and quartiles where there are enough rounds to speak of them; or the worst."""
    if reading.of == "max":
        return number(max(of))
    middle = number(statistics.median(of))
    if len(of) < 3 or len(set(of)) == 1:
        return middle
    low, _, high = statistics.quantiles(of, n=4, method="inclusive")
    return f"{middle} ({number(low)}-{number(high)})"


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(over: Mapping[int, float], under: Mapping[int, float]) -> float | None:
    """The median of the ratios round by round."""
    pairs = [over[r] / under[r] for r in over.keys() & under.keys() if under[r]]
    return statistics.median(pairs) if pairs else None


def better(reading: Reading, mine: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    """How many times better than another system."""
    return ratio(mine, other) if reading.more else ratio(other, mine)


def asked(reading: Reading, medium: str) -> Iterator[tuple[str, str, float]]:
    """What is wanted on this medium: (text, "goal", "floor" or the name of a peer, bound)."""
    here = {kind for kind in ("times", "share") if reading.only_on.get(kind, medium) == medium}
    if reading.goal is not None:
        yield f"{'>=' if reading.more else '<='} {number(reading.goal)}", "goal", reading.goal
    if "times" in here:
        for peer, times in reading.times.items():
            yield f"{number(times)}x {TITLES[peer]}", peer, times
    if reading.share is not None and "share" in here:
        yield f"{reading.share} of the floor", "floor", reading.share


def paced(reading: Reading, found: Mapping[str, Mapping[int, float]]) -> float:
    """How much further away a goal is than on the machine it was set on: 1, or more on a slower
    one, told by what LangGraph takes."""
    theirs = found["langgraph"]
    if reading.paced is None or not theirs:
        return 1.0
    taken = statistics.median(theirs.values()) / reading.paced
    return max(1.0, 1 / taken if reading.more else taken)


def verdict(reading: Reading, found: Mapping[str, Mapping[int, float]], medium: str) -> str:
    """Whether what is wanted is there: "yes", or "NO" and what is missing.

    "yes (/ 2.5)": the value is, for a machine that is 2.5 times slower.
    """
    mine = found["stepwell"]
    middle = max(mine.values()) if reading.of == "max" else statistics.median(mine.values())
    missing, unknown, all_of_it = [], [], list(asked(reading, medium))
    slower = ""
    for text, whom, bound in all_of_it:
        if whom == "goal":
            pace = paced(reading, found)
            here = middle * pace if reading.more else middle / pace
            if here < bound if reading.more else here > bound:
                missing.append(text if pace == 1 else f"{text}: {number(here)}")
            elif middle < bound if reading.more else middle > bound:
                slower = f" (/ {number(pace)})"
            continue
        times = better(reading, mine, found[whom])
        if times is None:
            unknown.append(text)
        elif times < bound:
            missing.append(f"{text}: {number(times)}")
    if missing:
        return f"NO ({'; '.join(missing)})"
    if unknown:
        return f"not measured: {'; '.join(unknown)}"
    return f"yes{slower}" if all_of_it else "-"


def line(
    results: Results, case: Case, reading: Reading, *, judged: bool, medium: str
) -> str | None:
    """One row of the table; None if nothing was measured for it."""
    found = {s: values(results, case.name, reading, s) for s in NAMES}
    if not found["stepwell"]:
        return None
    cells = [spread(list(found[s].values()), reading) if found[s] else "-" for s in ORDER]
    for other in ("langgraph", "floor"):
        times = better(reading, found["stepwell"], found[other])
        cells.append("-" if times is None else number(times))
    probes = [r["fdatasync_ms"] for r in results if r["case"] == case.name]
    durable = case.place in ("sqlite", "postgres")
    cells.append(f"{statistics.median(probes):.2g}" if durable else "-")
    cells.append(verdict(reading, found, medium) if judged else "-")
    goal = "; ".join(text for text, _, _ in asked(reading, medium)) or "-"
    return row(reading.id, f"{reading.title}, {reading.unit}", goal, *cells)


def row(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def head(names: Sequence[str]) -> list[str]:
    """The lines above a table."""
    return [row(*names), row(*("---" for _ in names))]


def table(results: Results, cases: Sequence[Case], *, judged: bool, medium: str) -> str:
    """All readings, as Markdown; those of a smoke run are not held against any goal."""
    rows = [
        line(results, case, reading, judged=judged, medium=medium)
        for case in cases
        for reading in case.readings
    ]
    return "\n".join([*head(HEAD), *(found for found in rows if found is not None)])


def scale_table(results: Results, cases: Sequence[Case]) -> str:
    """Readings of the large sizes, one column for each place."""
    found: dict[tuple[str, str], tuple[Reading, dict[str, str]]] = {}
    for case in cases:
        for reading in case.readings:
            of = values(results, case.name, reading, "stepwell")
            place = case.workload[6:].upper(), reading.metric
            _, cells = found.setdefault(place, (reading, {}))
            if of:
                cells[case.place] = spread(list(of.values()), reading)
    lines = [
        row(name, reading.title.rpartition(", ")[0], reading.unit,
            *(cells.get(p, "-") for p in ("memory", "sqlite", "postgres")))
        for (name, _), (reading, cells) in found.items()
    ]  # fmt: skip
    return "\n".join([*head(SCALE_HEAD), *lines])


def failures_text(failures: Sequence[dict[str, Any]]) -> str:
    """Who did not do what."""
    lines = [f"{f['system']} failed at {f['case']} in round {f['round']}" for f in failures]
    return "\n".join(["FAILED:", *lines])
