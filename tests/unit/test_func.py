"""What `@task` and `@entrypoint` make of what they are given."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pytest

from stepwell import open_saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import GraphDefinitionError, GraphMismatchError, TaskOrderError
from stepwell.func import entrypoint, task
from stepwell.observe import Event, RunFinished, TaskFinished, TaskStarted
from stepwell.pregel.main import Pregel
from stepwell.runtime import Runtime, get_runtime
from stepwell.types import Command, RetryPolicy, TimeoutPolicy, interrupt
from stepwell.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10

THREAD = {"configurable": {"thread_id": "t"}}


def plain(x: int) -> int:
    """Adds nothing."""
    return x


# -- options ------------------------------------------------------------------------------------


def test_a_task_keeps_what_it_was_given() -> None:
    """Attributes as in LangGraph's task object."""
    policy = RetryPolicy(max_attempts=2)

    async def work() -> None:
        """Does nothing."""

    made = task(name="n", retry_policy=policy, timeout=2)(work)
    assert (made.__name__, made.__doc__, made.func) == ("n", "Does nothing.", work)
    assert (made.retry_policy, made.timeout) == ((policy,), TimeoutPolicy(run_timeout=2.0))
    assert work.__name__ == "work"


def test_an_entrypoint_is_a_graph() -> None:
    """And keeps its options as attributes before that."""
    saver = InMemorySaver()
    maker: Any = entrypoint(saver, durability="sync", strict=True, timeout=3)
    assert (maker.checkpointer, maker.durability, maker.strict) == (saver, "sync", True)
    assert maker.timeout == TimeoutPolicy(run_timeout=3.0)
    graph = entrypoint(saver)(plain)
    assert isinstance(graph, Pregel)
    assert (graph.checkpointer, graph.stream_mode, graph.name) == (saver, "updates", "LangGraph")


@pytest.mark.parametrize(
    "options",
    [
        {"on_conflict": "fight"},
        {"on_mismatch": "shrug"},
        {"durability": "maybe"},
        {"lock_timeout": -1},
        {"state_version": -1},
        {"timeout": 0},
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any]) -> None:
    """Not when the workflow runs."""
    with pytest.raises(ValueError, match=next(iter(options))):
        entrypoint(**options)


def test_unknown_options_are_a_type_error() -> None:
    """As for any function."""
    with pytest.raises(TypeError, match="nonsense"):
        entrypoint(nonsense=1)
    with pytest.raises(TypeError, match="nonsense"):
        task(nonsense=1)


def test_former_names_of_options_still_work() -> None:
    """With LangGraph's warnings."""
    policy = RetryPolicy(max_attempts=2)
    with pytest.warns(LangGraphDeprecatedSinceV05, match="retry_policy"):
        assert task(retry=policy)(plain).retry_policy == (policy,)
    with pytest.warns(LangGraphDeprecatedSinceV05, match="retry_policy"):
        assert entrypoint(retry=policy).retry_policy == policy
    with pytest.warns(LangGraphDeprecatedSinceV10, match="context_schema"):
        assert entrypoint(config_schema=dict).context_schema is dict


def test_what_is_no_function_is_no_task() -> None:
    """Said when it is decorated."""
    with pytest.raises(GraphDefinitionError, match="takes a function"):
        task(5)  # type: ignore[call-overload]


def test_something_that_is_no_saver_is_refused() -> None:
    """By the decorator."""
    with pytest.raises(TypeError, match="saver"):
        entrypoint(checkpointer=object())(plain)


def test_callables_of_all_kinds_are_tasks() -> None:
    """Partials, objects with `__call__`, builtins without a signature, methods of both kinds."""

    class Thing:
        def __call__(self, x: int) -> int:
            return x + 10

        async def method(self, x: int) -> int:
            return x + 20

        @classmethod
        def of_class(cls, x: int) -> int:
            return x + 30

    tasks = [task(functools.partial(pow, 2)), task(Thing()), task(Thing().method),
             task(Thing.of_class), task(max)]  # fmt: skip

    @entrypoint()
    async def flow(x: int) -> Any:
        return [await t(x) for t in tasks[:4]] + [await tasks[4](1, x)]

    assert flow.invoke(3) == [8, 13, 23, 33, 3]
    assert [c for c in flow.stream(3) if "flow" not in c] == [
        {"pow": 8}, {"Thing": 13}, {"method": 23}, {"of_class": 33}, {"max": 3},
    ]  # fmt: skip


def test_the_signature_of_a_task_is_its_functions() -> None:
    """For documentation and editors."""
    assert str(inspect.signature(task(plain))) == str(inspect.signature(plain))


# -- in a run -----------------------------------------------------------------------------------


async def test_the_idempotency_key_of_a_call_is_its_own_and_stays() -> None:
    """The same at every attempt and execution, another for every call."""
    seen: dict[str, set[str]] = {}
    tries = [0]

    @task(retry_policy=RetryPolicy(initial_interval=0.001, jitter=False, retry_on=Exception))
    async def work(name: str, runtime: Runtime[Any]) -> str:
        seen.setdefault(name, set()).add(runtime.idempotency_key)
        assert runtime == get_runtime()
        tries[0] += 1
        if tries[0] % 2:
            raise ConnectionError("again")
        return interrupt("?") if name == "asks" else name

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(_: int) -> Any:
        return [await work("first"), await work("asks")]

    await flow.ainvoke(0, THREAD)
    assert await flow.ainvoke(Command(resume="yes"), THREAD) == ["first", "yes"]
    assert [len(keys) for keys in seen.values()] == [1, 1]
    assert len(set.union(*seen.values())) == 2


async def test_observers_hear_of_calls() -> None:
    """Each begins and ends, with its own duration; state values are not told."""
    events: list[Event] = []

    @task
    async def slow() -> str:
        await asyncio.sleep(0.02)
        return "secret"

    @task
    async def fails() -> None:
        raise ConnectionError

    async with open_saver("memory://", observe=events.append) as saver:

        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> Any:
            await slow()
            try:
                await fails()
            except ConnectionError:
                return "end"

        await flow.ainvoke(0, THREAD)
    assert isinstance(events[-2], RunFinished) or isinstance(events[-1], RunFinished)
    started = [e.node for e in events if isinstance(e, TaskStarted)]
    ended = [(e.node, e.outcome) for e in events if isinstance(e, TaskFinished)]
    assert started == ["flow", "slow", "fails"]
    assert ended == [("slow", "ok"), ("fails", "error"), ("flow", "ok")]
    took = {e.node: e.duration_s for e in events if isinstance(e, TaskFinished)}
    assert took["slow"] >= 0.015
    assert took["slow"] + took["fails"] <= took["flow"]
    assert "secret" not in repr(events)


async def test_state_of_a_workflow_is_checked_against_its_thread() -> None:
    """Options of ours reach the engine: a newer state version is refused."""
    saver = InMemorySaver()
    await entrypoint(saver, state_version=2)(plain).ainvoke(1, THREAD)
    with pytest.raises(GraphMismatchError):
        await entrypoint(saver, state_version=1)(plain).ainvoke(1, THREAD)


async def test_another_workflow_does_not_take_a_call_for_its_own() -> None:
    """A stored result is found under its caller and the number of the call only."""
    saver = InMemorySaver()

    @task
    async def one() -> str:
        return "one"

    @task
    async def two() -> str:
        return "two"

    def build(made: Any) -> Any:
        @entrypoint(checkpointer=saver, on_mismatch="accept")
        async def flow(_: int) -> Any:
            return [await made(), interrupt("?")]

        return flow

    await build(one).ainvoke(0, THREAD)
    with pytest.raises(TaskOrderError, match="'two' now and was 'one'"):
        await build(two).ainvoke(Command(resume=1), THREAD)


async def test_calls_of_a_nested_workflow_are_counted_by_themselves() -> None:
    """They belong to it, not to the workflow around it."""
    seen: list[str] = []

    @task
    async def work(name: str) -> str:
        seen.append(name)
        return name

    @entrypoint()
    async def inner(name: str) -> Any:
        return [await work(f"{name} 1"), interrupt(name), await work(f"{name} 2")]

    @entrypoint(checkpointer=InMemorySaver())
    async def outer(_: int) -> Any:
        return [await work("before"), await inner.ainvoke("in"), await work("after")]

    await outer.ainvoke(0, THREAD)
    found = await outer.ainvoke(Command(resume="yes"), THREAD)
    assert found == ["before", ["in 1", "yes", "in 2"], "after"]
    assert seen == ["before", "in 1", "in 2", "after"]
