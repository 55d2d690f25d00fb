"""No value of a state is in a log line: of an error its class, never its text."""

from __future__ import annotations

import ast
import asyncio
import logging
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

import stepwell
from stepwell.cache.memory import InMemoryCache
from stepwell.checkpoint.base import Saver
from stepwell.errors import UsageError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import CachePolicy, RetryPolicy

SECRET = "4711-0815"
CONFIG = {"configurable": {"thread_id": "t"}}

OURS = {("_engine/open.py", "exc"), ("_engine/recover.py", "exc"), ("_engine/recover.py", "why")}
"""Errors whose text is the library's own, wherever they are from: of the database, of a sweep."""


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[str], operator.add]


def fails(*_: Any) -> Any:
    raise ValueError(SECRET)


async def test_errors_of_user_code(saver: Saver, caplog: pytest.LogCaptureFixture) -> None:
    """Retries, a broken cache, task calls that nobody waits for: all of them are logged."""
    caplog.set_level(logging.DEBUG, logger="stepwell")
    quick = RetryPolicy(initial_interval=0, jitter=False, retry_on=ValueError)
    graph = StateGraph(State).add_node("retried", fails, retry_policy=quick)
    graph.add_edge(START, "retried")
    with pytest.raises(ValueError, match=SECRET):
        await graph.compile(saver).ainvoke({"log": []}, CONFIG)

    class Broken(InMemoryCache[Any]):
        async def aget(self, keys: Any) -> Any:
            fails()

    cached = StateGraph(State).add_edge(START, "cached")
    cached.add_node("cached", lambda _: {"log": ["x"]}, cache_policy=CachePolicy())
    await cached.compile(cache=Broken()).ainvoke({"log": []})

    over = asyncio.Event()

    @task
    async def late() -> None:
        await over.wait()
        fails()

    @entrypoint()
    async def flow(_: int) -> str:
        late()
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, over.set)
        return "over"

    await flow.ainvoke(1)
    await asyncio.sleep(0)
    said = [record.getMessage() for record in caplog.records]
    for part in ("Retrying task retried", "Nothing is cached", "nobody waited for it any more"):
        assert any(part in line and "ValueError" in line for line in said), part
    assert not any(SECRET in line for line in said)
    assert not any(record.exc_info for record in caplog.records)


def _names(node: ast.AST) -> set[str]:
    """Names that are used as they are, not asked for their class alone."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type":
        return set()
    found = {node.id} if isinstance(node, ast.Name) else set()
    if isinstance(node, ast.Attribute):
        found.add(node.attr)
    return found.union(*(_names(child) for child in ast.iter_child_nodes(node)))


def test_no_line_is_given_an_error() -> None:
    """In the sources: what stands for an error is passed to no logger."""
    root = Path(stepwell.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "logger"):
                continue
            given = [*node.args, *(k.value for k in node.keywords)]
            names = set[str]().union(*(_names(arg) for arg in given))
            place = str(path.relative_to(root))
            found |= {(place, n) for n in names & {"exc", "error", "failure", "why", "cause"}}
    assert found - {("_engine/recover.py", "error")} == OURS  # that one is made there


async def test_a_call_on_a_saver_that_is_being_closed(saver: Saver) -> None:
    """It says what happened, and what to do."""
    journal = await saver.journal()
    await saver.aclose()
    with pytest.raises(UsageError, match=r"The saver was closed.*on an open saver"):
        await journal.folded()
