"""Who imports whom, where import-linter cannot say it; its contracts stand in pyproject.toml."""

from __future__ import annotations

import re
import tomllib

import grimp

from tests.arch._rules import ROOT

GRAPH = grimp.build_graph("stepwell", exclude_type_checking_imports=True, cache_dir=None)
IMPORTS = {name: GRAPH.find_modules_directly_imported_by(name) for name in GRAPH.modules}
DATABASES = ("memory", "sqlite", "postgres")
FREE = {"stepwell", "stepwell.checkpoint", "stepwell.store", "stepwell.cache"}
"""Packages that only hold modules of several floors, and the package itself."""


def floors() -> list[str]:
    """The names in the contract about floors."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return re.findall(r"stepwell[\w.]*", " ".join(layers))


def outside(modules: set[str], placed: list[str]) -> list[str]:
    """Modules that stand on no floor."""
    return sorted(m for m in modules - FREE if not any(f"{m}.".startswith(f"{p}.") for p in placed))


def test_every_module_stands_on_a_floor():
    assert outside(set(IMPORTS), floors()) == []


def test_a_module_without_a_floor_is_seen():
    assert outside({"stepwell.a.b", "stepwell.ab"}, ["stepwell.a"]) == ["stepwell.ab"]


def strangers(imports: dict[str, set[str]]) -> list[str]:
    """Imports from code for one database to code for another."""
    return sorted(
        f"{importer} -> {imported}"
        for importer, targets in imports.items()
        for imported in targets
        if (mine := _database(importer)) and (other := _database(imported)) and mine != other
    )


def _database(module: str) -> str | None:
    return next((name for name in DATABASES if name in module), None)


def test_code_for_one_database_does_not_know_another():
    assert strangers(IMPORTS) == []


def test_a_planted_acquaintance_is_seen():
    planted = {"stepwell.checkpoint.sqlite._read": {"stepwell.checkpoint.memory._rows"}}
    assert strangers(planted)


def test_no_module_imports_itself_through_others():
    """Zero import cycles at run time, between modules of all packages."""
    graph = grimp.build_graph("stepwell", exclude_type_checking_imports=True, cache_dir=None)
    assert (
        cycles({name: graph.find_modules_directly_imported_by(name) for name in graph.modules})
        == []
    )


def test_a_planted_cycle_is_seen():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def cycles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other: leaves are peeled off both ends, the rest is met."""
    left = {name: set(seen) for name, seen in imports.items()}
    while True:
        imported = set().union(*left.values()) if left else set()
        keep = {name for name, seen in left.items() if seen & left.keys() and name in imported}
        if len(keep) == len(left):
            break
        left = {name: left[name] & keep for name in keep}
    groups = {frozenset(_reach(left, name) & _reached_by(left, name)) for name in left}
    return sorted(sorted(group) for group in groups if group)


def _reach(imports: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        for name in imports[ahead.pop()] - seen:
            seen.add(name)
            ahead.append(name)
    return seen


def _reached_by(imports: dict[str, set[str]], goal: str) -> set[str]:
    return {name for name in imports if goal in _reach(imports, name)}
