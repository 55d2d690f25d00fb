"""docs/features.md: every feature has a row, and its tests are there, on each database."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable

import pytest

from tests.arch._rules import ROOT

PAGE = ROOT / "docs" / "features.md"
FEATURES = [f"A{n}" for n in range(1, 25)]
EVERYWHERE = frozenset({"memory", "sqlite", "postgres"})
PLACES = {
    "Everywhere": EVERYWHERE,
    "memory": frozenset({"memory"}),
    "SQLite": frozenset({"sqlite"}),
    "PostgreSQL": frozenset({"postgres"}),
}
_ROW = re.compile(r"^## (A\d+)\. ", re.MULTILINE)
_PROOF = re.compile(r"^- (.*?):((?: |\n  )`tests/.*?)(?=^- |^\n|\Z)", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"`(tests/[^`\s]+)`")


def rows(text: str) -> dict[str, str]:
    """What the page says of each feature."""
    parts = _ROW.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def proofs(row: str) -> list[tuple[frozenset[str], list[str]]]:
    """Databases, and the tests that are to show it on all of these together."""
    found = []
    for where, names in _PROOF.findall(row):
        words = re.findall(r"Everywhere|memory|SQLite|PostgreSQL", where)
        places = frozenset().union(*(PLACES[word] for word in words))
        found.append((places, _NAME.findall(names)))
    return found


def places_of(node: str) -> set[str]:
    """Databases that a collected test is about: its file or class is named after one, or its
    parameters are."""
    base, _, parameters = node.partition("[")
    said = f"{base.rpartition('::')[0]} {parameters}".lower()
    return {place for place in EVERYWHERE if place in said}


def complaints(text: str, collected: Iterable[str]) -> list[str]:
    """What is wrong with a page, if these tests are there."""
    known: dict[str, set[str]] = defaultdict(set)
    for node in collected:
        known[node.partition("[")[0]] |= places_of(node)
    found = rows(text)
    wrong = [] if list(found) == FEATURES else [f"the rows are {', '.join(found)}"]
    for feature, row in found.items():
        told = proofs(row)
        if not told:
            wrong.append(f"{feature}: no test is named")
        for places, names in told:
            wrong += [f"{feature}: there is no {name}" for name in names if name not in known]
            shown: set[str] = set().union(*(known.get(name, set()) for name in names))
            wrong += [f"{feature}: not shown on {p}" for p in sorted(places - shown)]
            if not places:
                wrong.append(f"{feature}: it does not say on which databases")
    return wrong


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """Ids of all tests in the files that the page names."""
    text = PAGE.read_text(encoding="utf-8")
    files = sorted({name.partition("::")[0] for name in _NAME.findall(text)})
    assert [file for file in files if not (ROOT / file).is_file()] == []
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return [line for line in done.stdout.splitlines() if line.startswith("tests/")]


def test_every_feature_is_shown_where_the_page_says(collected: list[str]) -> None:
    assert complaints(PAGE.read_text(encoding="utf-8"), collected) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("test_time_travel`", "test_time_travels`", "A5: there is no tests/features"),
        ("## A7. ", "## B7. ", "the rows are A1, A2"),
        ("- On memory: ", "- Everywhere: ", "A1: not shown on postgres"),
        ("- On PostgreSQL: ", "- Somewhere: ", "A3: it does not say on which databases"),
        ("test_streams.py", "test_starting.py", "A22: there is no"),
    ],
)
def test_a_wrong_page_is_told(collected: list[str], old: str, new: str, says: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert old in text
    if "not shown" in says:  # a test that runs in memory only
        collected = [node for node in collected if "TestThreeWays" not in node or "Mem" in node]
    assert any(found.startswith(says) for found in complaints(text.replace(old, new), collected))


def test_verbs_of_the_program_are_verbs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    program = (ROOT / "docs" / "program.md").read_text(encoding="utf-8")
    verbs = re.findall(r"`stepwell ([a-z]+)", text)
    assert len(verbs) > 10
    assert [verb for verb in verbs if f"`stepwell {verb}" not in program] == []
