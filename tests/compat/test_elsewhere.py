"""The cases once more on the databases, and at each durability."""

import asyncio
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

import stepwell
from tests._postgres import execute, fresh_name, server_dsn
from tests.compat.differences import difference
from tests.compat.test_cases import CASES, SERVED, compare, observe, reference

pytestmark = pytest.mark.compat

EVERYWHERE = ["sqlite-async", "sqlite-sync", "memory-sync", "memory-exit", "postgres-async"]
PLACES = os.environ.get("STEPWELL_COMPAT_PLACES", "sqlite-async").split()
"""Which of EVERYWHERE to run on: one per commit, all in `nox -s compat -- everywhere`."""


EXIT_DIFFERENCES = {
    "graphs_inside_workflows": "a question inside that was answered is not asked again",
    "reducer_that_raises": "a superstep whose barrier failed is still to run",
    "two_writers_on_one_last_value": "a superstep whose barrier failed is still to run",
    "two_overwrites_in_one_superstep": "a state that a failed barrier has half changed is not kept",
    "sub_one_history_in_a_loop": "nothing is written before the root ends",
    "conversation_in_a_delta_channel": "no empty checkpoint is needed to hang writes on",
    "step_timeout": "a task that was cancelled says so",
    "chunks_of_siblings_that_are_cancelled": "a task that was cancelled says so",
    "drain_from_a_node_inside_a_subgraph": "what a drained graph inside had finished is kept",
}
"""Cases that differ at durability="exit" alone, on purpose."""


@cache
def reference_at(label: str, durability: str) -> Any:
    """What LangGraph observes at that durability (in memory)."""
    if durability == "async":
        return reference(label)
    return observe(label, "langgraph", durability=durability)


def saver_maker(driver: str, folder: Path) -> tuple[Callable[[], Any] | None, list[str]]:
    """What makes savers of one test, and the schemas it has made on PostgreSQL."""
    schemas: list[str] = []

    def sqlite() -> Any:
        number = len(list(folder.glob("*.db")))
        return stepwell.open_saver(f"sqlite:///{folder}/{number}.db")

    def postgres() -> Any:
        schemas.append(fresh_name())
        return stepwell.open_saver(server_dsn(), schema=schemas[-1])

    return {"sqlite": sqlite, "postgres": postgres}.get(driver), schemas


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("label", [c for c in CASES if c not in SERVED])
def test_stepwell_observes_the_same_elsewhere(label: str, place: str, tmp_path: Path) -> None:
    driver, durability = place.split("-")
    mode = None if durability == "async" else durability
    make, schemas = saver_maker(driver, tmp_path)
    try:
        try:
            actual = observe(label, "stepwell", durability=mode, make_saver=make)
        except Exception as error:
            actual = error  # where LangGraph can run it, this is a difference
    finally:
        for schema in schemas:
            asyncio.run(execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))
    try:
        expected = reference_at(label, durability)
    except Exception as error:
        pytest.skip(f"LangGraph cannot run it so: {type(error).__name__}")
    case = label.rpartition("-")[0]
    if mode == "exit" and difference(label) is not None:
        pytest.skip("the table tells of histories that are not kept")
    if mode == "exit" and case in EXIT_DIFFERENCES:
        assert actual != expected, "no longer a difference: take it off the table"
        return
    compare(label, actual, expected)


def test_the_places_are_known() -> None:
    """A misspelt place would run nothing."""
    assert set(PLACES) <= set(EVERYWHERE)
