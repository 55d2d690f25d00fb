"""Caching of node results where Stepwell decides for itself: what cannot be cached, what fails."""

from __future__ import annotations

import logging
import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.cache.base import BaseCache
from stepwell.cache.memory import InMemoryCache
from stepwell.cache.sqlite import SqliteCache
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.types import CachePolicy, Send


@dataclass
class Money:
    """Known to the graphs whose schema names it, and to no one else."""

    cents: int


class State(TypedDict, total=False):
    """Anything, money, and a log."""

    box: Any
    price: Money
    log: Annotated[list[Any], operator.add]


def cached(node: Any, cache: Any, policy: Any = None, saver: Any = None) -> Any:
    graph = StateGraph(State).add_node("f", node, cache_policy=policy or CachePolicy())
    return graph.add_edge(START, "f").compile(saver, cache=cache)


class Broken(InMemoryCache[Any]):
    """Fails where it is told to."""

    def __init__(self, *verbs: str) -> None:
        super().__init__()
        self.verbs = verbs

    async def aget(self, keys: Any) -> Any:
        if "get" in self.verbs:
            raise OSError("the cache is down")
        return await super().aget(keys)

    async def aset(self, pairs: Any) -> None:
        if "set" in self.verbs:
            raise OSError("the cache is down")
        await super().aset(pairs)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("verbs", [("get",), ("set",), ("get", "set")])
async def test_a_cache_that_fails_does_not_fail_the_run(
    verbs: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Nodes are executed, and one warning says why."""
    runs: list[Any] = []

    async def node(state: State) -> dict[str, Any]:
        runs.append(1)
        return {"log": ["f"]}

    graph = cached(node, Broken(*verbs))
    for _ in range(3):
        assert await graph.ainvoke({}) == {"log": ["f"]}
    assert len(runs) == 3
    (said,) = warnings_of(caplog)
    assert "Nothing is cached" in said
    assert "OSError" in said
    assert "the cache is down" not in said  # an error's text may hold values


async def test_an_input_without_a_key_is_not_cached(caplog: pytest.LogCaptureFixture) -> None:
    """The default key needs an input that the codec knows; one warning per node says so."""
    runs: list[Any] = []

    async def node(state: State) -> dict[str, Any]:
        runs.append(1)
        return {"log": ["f"]}

    graph = cached(node, InMemoryCache())
    for _ in range(3):
        await graph.ainvoke({"box": object()})
    assert len(runs) == 3
    (said,) = warnings_of(caplog)
    assert "Results of 'f' are not cached" in said
    assert "key_func" in said
    by_name = cached(node, InMemoryCache(), CachePolicy(key_func=lambda state: "same"))
    for _ in range(3):
        await by_name.ainvoke({"box": object()})
    assert len(runs) == 4


async def test_a_result_that_cannot_be_stored_is_not_cached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The run goes on with the value; one warning names the node and the type."""
    value = object()

    async def node(state: State) -> dict[str, Any]:
        return {"box": value}

    graph = cached(node, InMemoryCache())
    for _ in range(2):
        assert (await graph.ainvoke({}))["box"] is value
    (said,) = warnings_of(caplog)
    assert "Results of 'f' are not cached" in said
    assert "object" in said


async def test_a_key_func_must_return_text_or_bytes() -> None:
    async def node(state: State) -> None:
        raise AssertionError("it must not run")

    graph = cached(node, InMemoryCache(), CachePolicy(key_func=lambda state: 1))  # type: ignore[type-var]
    with pytest.raises(TypeError, match="key_func of the cache policy of 'f'"):
        await graph.ainvoke({})


async def test_classes_of_the_schema_are_cached(tmp_path: Path) -> None:
    """The graph's own codec encodes: what its schema names need not be registered."""
    runs: list[Any] = []

    async def node(state: State) -> dict[str, Any]:
        runs.append(1)
        return {"price": Money(state["price"].cents + 1), "box": (1, {2})}

    with SqliteCache[Any](path=str(tmp_path / "cache.db")) as cache:
        for _ in range(2):
            result = await cached(node, cache).ainvoke({"price": Money(1)})
            assert result == {"price": Money(2), "box": (1, {2}), "log": []}
    assert len(runs) == 1


async def test_an_entry_that_cannot_be_read_is_computed_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Foreign or damaged entries are a miss with one warning, and are replaced."""
    runs: list[Any] = []

    async def node(state: State) -> dict[str, Any]:
        runs.append(1)
        return {"log": ["f"]}

    cache: InMemoryCache[Any] = InMemoryCache()
    graph = cached(node, cache)
    await graph.ainvoke({})
    ((namespace, kept),) = cache._kept.items()
    (key,) = kept
    for damaged in (b"no json", b'[["log"]]', b"7"):
        cache.set({(namespace, key): (damaged, None)})
        assert await graph.ainvoke({}) == {"log": ["f"]}
    assert len(runs) == 4
    assert len(warnings_of(caplog)) == 1
    await graph.ainvoke({})
    assert len(runs) == 4


async def test_equal_sends_of_one_superstep_all_take_the_kept_result() -> None:
    """And none shares its values with another."""
    runs: list[Any] = []

    async def node(state: Any) -> dict[str, Any]:
        runs.append(1)
        return {"log": [["f"]]}

    graph = StateGraph(State).add_node("f", node, cache_policy=CachePolicy())
    graph.add_conditional_edges(START, lambda state: [Send("f", 1)] * state["box"], ["f"])
    compiled = graph.compile(cache=InMemoryCache())
    await compiled.ainvoke({"box": 1})
    result = await compiled.ainvoke({"box": 3})
    assert result["log"] == [["f"]] * 3
    assert len({id(item) for item in result["log"]}) == 3
    assert len(runs) == 1


async def test_a_cached_result_is_recorded_like_any_other(saver: Saver) -> None:
    """History shows it, and a run that fails beside it does not lose it."""
    runs: list[str] = []

    async def a(state: State) -> dict[str, Any]:
        runs.append("a")
        return {"log": ["a"]}

    async def b(state: State) -> dict[str, Any]:
        runs.append("b")
        if len(runs) < 4:
            raise ValueError("no")
        return {"log": ["b"]}

    graph = StateGraph(State).add_node("a", a, cache_policy=CachePolicy()).add_node("b", b)
    compiled = graph.add_edge(START, "a").add_edge(START, "b").compile(saver, cache=InMemoryCache())
    for name in ("one", "two"):
        with pytest.raises(ValueError, match="no"):
            await compiled.ainvoke({}, {"configurable": {"thread_id": name}})
    config: Any = {"configurable": {"thread_id": "two"}}
    state = await compiled.aget_state(config)
    assert (state.values, state.next) == ({"log": ["a"]}, ("b",))
    assert await compiled.ainvoke(None, config) == {"log": ["a", "b"]}
    assert runs == ["a", "b", "b", "b"]


async def test_the_key_is_the_same_in_every_process() -> None:
    """A digest of a canonical encoding: this very key is part of what a release promises."""
    cache: InMemoryCache[Any] = InMemoryCache()

    async def node(state: State) -> None:
        return None

    await cached(node, cache).ainvoke({"box": {"b": {3, 1, 2}, "a": (1,)}})
    ((namespace, kept),) = cache._kept.items()
    assert namespace[0] == "__pregel_ns_writes"
    assert namespace[1].endswith(
        "test_cache.test_the_key_is_the_same_in_every_process.<locals>.node"
    )
    assert namespace[2] == "f"
    assert list(kept) == ["fa65dcde3d004c73dcdcc5c7c5ec761a"]


def test_what_is_no_cache_is_refused() -> None:
    graph = StateGraph(State).add_node("f", lambda state: None).add_edge(START, "f")
    with pytest.raises(TypeError, match="BaseCache"):
        graph.compile(cache={})  # type: ignore[arg-type]
    assert isinstance(graph.compile(cache=InMemoryCache()).cache, BaseCache)
    assert graph.compile().cache is None
