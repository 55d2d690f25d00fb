"""What was run in all: a file of JSON per recorded run, and a table made of all of them."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.torture._figures import Figures
from tests.torture._registry import TITLES, Torture

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "docs" / "torture"
PAGE = ROOT / "docs" / "torture.md"
_PLACES = re.compile(r"(/[\w.-]+)+/((src|tests)/|\w+\.db)")
"""Paths of the machine at hand, which say nothing to others."""
IN_FULL = {"T2": "tests/contract", "T16": "tests/golden"}
"""What has no chance in it, so that more rounds would show nothing more."""

HEAD = """# Torture

What `nox -s torture` did to Stepwell so far, added up over all recorded runs. The page is written
by `python -m tests.torture --table` from the files in `docs/torture/`; nothing in it is typed.

    nox -s torture -- --minutes 30 --record
    nox -s torture -- --only T5 --seed 4711 --rounds 1      # replays one round

A *case* is one kill, one fault, one image of a disk, one race, as the row says. Kill instants and
faults are drawn from the seed, evenly over the run. Every commit runs a small part of each row in
the ordinary tests.

| id | what is done | rounds | cases | failed | minutes | last run |
| --- | --- | --- | --- | --- | --- | --- |
"""


def told(what: str) -> str:
    """A failure without the paths of the machine at hand; of a traceback, what was raised."""
    before, mark, trace = what.partition("Traceback (most recent call last)")
    return _PLACES.sub(r"\2", before + trace.strip().rpartition("\n")[2] if mark else what)


@dataclass
class Tally:
    """One test id in one run of the harness, or in all."""

    rounds: int = 0
    seconds: float = 0.0
    figures: Figures = field(default_factory=Figures)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, seed: int, figures: Figures, seconds: float) -> None:
        """One more round."""
        self.rounds += 1
        self.seconds += seconds
        self.failures += [{"seed": seed, "what": told(what)} for what in figures.failures]
        self.figures.add(figures)

    def as_json(self) -> dict[str, Any]:
        told = self.figures.as_json()
        told["failures"] = self.failures
        return {"rounds": self.rounds, "seconds": round(self.seconds, 1), **told}


def save(seed: int, tallies: dict[str, Tally], left_out: list[str], folder: Path = RUNS) -> Path:
    """Write one run of the harness down."""
    now = time.gmtime()
    told = {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", now),
        "seed": seed,
        "left_out": left_out,
        "tests": {id: tally.as_json() for id, tally in tallies.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-{seed}.json"
    path.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return path


def page(found: dict[str, Torture], folder: Path = RUNS) -> str:
    """The table over all recorded runs, as Markdown."""
    runs = [orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    by_id: defaultdict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for run in runs:
        for id, told in run["tests"].items():
            by_id[id].append((run["when"], told))
    parts = [HEAD, *(_row(id, by_id[id]) for id in TITLES)]
    parts.append("\n## Figures\n\n")
    parts += [_figures(id, by_id[id], found.get(id)) for id in TITLES if by_id[id]]
    parts.append(_failures(runs))
    parts.append("\n## Runs\n\n| when | seed | minutes | rounds | left out |\n")
    parts.append("| --- | --- | --- | --- | --- |\n")
    parts += [_run(run) for run in runs]
    return "".join(parts)


def _row(id: str, told: list[tuple[str, dict[str, Any]]]) -> str:
    if not told:
        where = f"in full at every commit: `{IN_FULL[id]}`" if id in IN_FULL else "not recorded yet"
        return f"| {id} | {TITLES[id]} | - | - | - | - | {where} |\n"
    rounds, cases = (sum(t[name] for _, t in told) for name in ("rounds", "cases"))
    failed = sum(len(t["failures"]) for _, t in told)
    minutes = sum(t["seconds"] for _, t in told) / 60
    return (
        f"| {id} | {TITLES[id]} | {rounds} | {cases:,} | {failed} | {minutes:.1f} | "
        f"{told[-1][0]} |\n"
    )


def _figures(id: str, told: list[tuple[str, dict[str, Any]]], torture: Torture | None) -> str:
    figures = Figures()
    for _, one in told:
        figures.add(Figures.from_json({**one, "failures": []}))
    parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in _ordered(figures.counts)]
    parts += [f"worst {name} {value:g}" for name, value in sorted(figures.worst.items())]
    text = f"- **{id}**: {', '.join(parts) or f'{figures.cases:,} cases'}."
    if figures.stages:
        spread = ", ".join(f"{name} {count:,}" for name, count in _ordered(figures.stages))
        text += f" Where they fell: {spread}."
    if torture is not None and torture.per_commit:
        text += f" Per commit: `{torture.per_commit}`."
    return text + "\n"


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items())


def _failures(runs: list[dict[str, Any]]) -> str:
    """Each failure stays in the record; `note` in its file says what became of it."""
    lines = [
        f"- {run['when']}, {id}, seed {failure['seed']}: {_one_line(failure['what'])} "
        f"*{failure.get('note', 'not looked into yet')}*\n"
        for run in runs
        for id, told in run["tests"].items()
        for failure in told["failures"]
    ]
    return "\n## Failures\n\n" + ("".join(lines) or "None.\n")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"...{line[-300:]}"


def _run(run: dict[str, Any]) -> str:
    tests = run["tests"].values()
    minutes = sum(t["seconds"] for t in tests) / 60
    return (
        f"| {run['when']} | {run['seed']} | {minutes:.1f} | {sum(t['rounds'] for t in tests)} | "
        f"{', '.join(run['left_out']) or '-'} |\n"
    )
