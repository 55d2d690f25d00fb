"""Whatever fails on the way, both engines come to the same end.

How they get there may differ, on purpose: here a handler that has finished does not run again,
and no handler is dropped.
"""

import asyncio
import warnings
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from tests.compat.engines import Api
from tests.compat.random_failures import Story

pytestmark = pytest.mark.compat


async def end_of(package: str, seed: int) -> tuple[Any, list[str]]:
    api = Api(package)
    try:
        story = Story(api, seed)
        return await story.play(), story.runs
    finally:
        await api.close()


def observed(package: str, seed: int) -> tuple[Any, list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(end_of(package, seed))


def as_lists(value: Any) -> Any:
    """LangGraph stores tuples as lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}


@pytest.mark.parametrize("seed", range(60))
def test_the_end_is_the_same(seed: int) -> None:
    """Run with more seeds when failures, handlers or caching change."""
    expected, _ = observed("langgraph", seed)
    actual, runs = observed("stepwell", seed)
    assert as_lists(actual) == as_lists(expected), f"seed {seed}: {runs}"


def test_the_graphs_have_what_they_are_meant_to_have() -> None:
    """Failures, handlers that fail, hits: else the comparison shows little."""
    runs = [observed("stepwell", seed)[1] for seed in range(60)]
    handlers = [[r for r in story if r.startswith("handler")] for story in runs]
    assert sum(bool(h) for h in handlers) > 20
    assert sum(len(h) > len(set(h)) for h in handlers) > 5
    assert sum(len(story) > len(set(story)) for story in runs) > 30
