"""`runtime.idempotency_key`: the same each time a task is tried, and no other task's."""

from __future__ import annotations

import operator
from collections import defaultdict
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.runtime import get_runtime
from stepwell.types import RetryPolicy, Send


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Keys:
    """Which keys each activation was given, by a name that the test knows it by."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, list[str]] = defaultdict(list)
        self.trouble: set[str] = set()

    def note(self, name: str) -> None:
        self.seen[name].append(get_runtime().idempotency_key)
        if name in self.trouble:
            raise ValueError(name)

    def check(self, tries: dict[str, int]) -> None:
        assert {name: len(keys) for name, keys in self.seen.items()} == tries
        assert all(len(set(keys)) == 1 for keys in self.seen.values()), "stable"
        assert len({keys[0] for keys in self.seen.values()}) == len(self.seen), "distinct"


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def build(saver: Any, keys: Keys, **options: Any) -> Any:
    """plan -> Send(part) x 2 beside a nested graph and a handled failure -> last."""

    def noting(name: str) -> Any:
        async def run(state: Any) -> dict[str, Any]:
            keys.note(name)
            return {"log": [name]}

        return run

    async def part(packet: Any) -> dict[str, Any]:
        keys.note(f"part {packet['i']}")
        return {"log": ["part"]}

    async def fails(state: State) -> dict[str, Any]:
        keys.note("fails")
        raise KeyError("handled")

    inner = StateGraph(State).add_sequence([("one", noting("one")), ("two", noting("two"))])
    inner.add_edge(START, "one")
    builder = StateGraph(State).add_node("plan", noting("plan")).add_node("part", part)
    builder.add_node("nested", inner.compile()).add_node("last", noting("last"), defer=True)
    builder.add_node("fails", fails, error_handler=noting("handler"))
    builder.add_node(
        "retried",
        noting("retried"),
        retry_policy=RetryPolicy(
            initial_interval=0.001, jitter=False, max_attempts=2, retry_on=ValueError
        ),
    )
    builder.add_edge(START, "plan")
    builder.add_conditional_edges(
        "plan", lambda _: [Send("part", {"i": i}) for i in range(2)], ["part"]
    )
    for name in ("nested", "fails", "retried"):
        builder.add_edge("plan", name).add_edge(name, "last")
    return builder.add_edge("part", "last").compile(saver, **options)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_over_attempts_and_executions(saver, durability):
    """A retried node, a resumed run: every task keeps its key; sends, tasks of nested graphs and
    error handlers have keys of their own."""
    keys = Keys()
    graph = build(saver, keys, durability=durability)
    keys.trouble = {"retried", "two", "part 1"}
    with pytest.raises(ValueError):
        await graph.ainvoke({"log": []}, thread())
    keys.trouble = {"last"}
    with pytest.raises(ValueError, match="last"):
        await graph.ainvoke(None, thread())
    keys.trouble = set()
    await graph.ainvoke(None, thread())
    assert len(keys.seen["last"]) == 2
    assert len(keys.seen["part 1"]) == 2
    assert len(keys.seen["retried"]) >= 2
    keys.check({name: len(found) for name, found in keys.seen.items()})
    assert set(keys.seen) == {
        "plan", "part 0", "part 1", "one", "two", "fails", "handler", "retried", "last",
    }  # fmt: skip


async def test_another_process_has_the_same_keys(tmp_path):
    """They follow from what is stored."""
    url, keys = f"sqlite:///{tmp_path}/keys.db", Keys()
    keys.trouble = {"last"}
    async with open_saver(url) as saver:
        with pytest.raises(ValueError):
            await build(saver, keys).ainvoke({"log": []}, thread())
    keys.trouble = set()
    async with open_saver(url) as saver:
        await build(saver, keys).ainvoke(None, thread())
    keys.check({name: len(found) for name, found in keys.seen.items()})
    assert len(keys.seen["last"]) == 2


async def test_another_run_and_another_thread_have_others(saver):
    """The same node of the same graph is another task each time it is planned."""
    keys = Keys()

    async def node(state: State) -> dict[str, Any]:
        keys.note(f"run {len(keys.seen)}")
        return {"log": ["x"]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver)
    for config in (thread("t"), thread("t"), thread("u")):
        await graph.ainvoke({"log": []}, config)
    keys.check({"run 0": 1, "run 1": 1, "run 2": 1})


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_task_calls(saver, durability):
    """Each call of a task has a key of its own; made again by a re-executed caller, the same."""
    keys = Keys()

    @task
    async def call(name: str) -> str:
        keys.note(name)
        return name

    @entrypoint(saver, durability=durability)
    async def flow(names: list[str]) -> list[str]:
        keys.note("flow")
        return [await call(name) for name in names]

    keys.trouble = {"b"}
    with pytest.raises(ValueError, match="b"):
        await flow.ainvoke(["a", "b", "c"], thread())
    keys.trouble = set()
    assert await flow.ainvoke(None, thread()) == ["a", "b", "c"]
    keys.check({"flow": 2, "a": 1, "b": 2, "c": 1})
