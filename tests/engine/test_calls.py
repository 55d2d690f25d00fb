"""Task calls: what only Stepwell promises about them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import operator
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
import pytest_asyncio
from anyio import to_thread

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import TaskOrderError, UnsupportedTypeError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import Command, RetryPolicy, interrupt
from tests._postgres import fresh_schema, server_dsn

AGAIN = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=Exception)


class Place(NamedTuple):
    """A class that only a task's annotation names."""

    name: str
    number: int


def thread(name: str = "t", **top: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}, **top}


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def reopen(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[], Saver]]:
    """Opens a new saver over the same storage, as another process would."""
    if request.param == "sqlite":
        yield lambda: open_saver(f"sqlite:///{tmp_path}/calls.db")
    else:
        async with fresh_schema() as schema:
            yield lambda: open_saver(server_dsn(), schema=schema)


@pytest.fixture
def calls() -> list[Any]:
    """What the tasks of a test did, in order."""
    return []


# -- results are kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_finished_call_is_not_run_again_after_a_failure_elsewhere(
    saver: Saver, calls: list[Any], durability: str
) -> None:
    """After a failure of the caller, in another run over the same storage."""

    @task
    async def work(x: int) -> tuple[int, str]:
        calls.append(x)
        return (x, "done")

    fails = [True]

    @entrypoint(checkpointer=saver, durability=durability)  # type: ignore[arg-type]
    async def flow(_: int) -> Any:
        found = [await work(1), await work(2)]
        if fails.pop() if fails else False:
            raise ConnectionError("elsewhere")
        return [*found, await work(3)]

    with pytest.raises(ConnectionError):
        await flow.ainvoke(0, thread())
    assert await flow.ainvoke(None, thread()) == [(1, "done"), (2, "done"), (3, "done")]
    assert calls == [1, 2, 3]


async def test_a_finished_call_is_not_run_again_by_another_process_s_objects(
    reopen: Callable[[], Saver], calls: list[Any]
) -> None:
    """The result comes from the storage, not from the objects that computed it."""

    def build(saver: Saver) -> Any:
        @task
        async def work(x: int) -> int:
            calls.append(x)
            return x

        @entrypoint(checkpointer=saver)
        async def flow(x: int) -> Any:
            return [await work(x), interrupt("go on?"), await work(x + 1)]

        return flow

    async with reopen() as first:
        await build(first).ainvoke(1, thread())
    async with reopen() as second:
        assert await build(second).ainvoke(Command(resume="yes"), thread()) == [1, "yes", 2]
    assert calls == [1, 2]


async def test_a_retry_of_the_caller_does_not_run_its_calls_again(calls: list[Any]) -> None:
    """With or without a saver: the n-th call of the next attempt is the n-th of the last."""

    @task
    async def work(x: int) -> int:
        calls.append(x)
        return x

    fails = [True, True]

    @entrypoint(retry_policy=AGAIN)
    async def flow(_: int) -> Any:
        first = await work(1)
        if fails:
            fails.pop()
            raise ConnectionError("again")
        return [first, await work(2)]

    assert await flow.ainvoke(0) == [1, 2]
    assert calls == [1, 2]


async def test_a_call_that_failed_runs_again_when_its_caller_is_retried(calls: list[Any]) -> None:
    """Only results are kept, no failures."""

    @task(retry_policy=RetryPolicy(max_attempts=1))
    async def work() -> int:
        calls.append("work")
        if len(calls) < 3:
            raise ConnectionError("down")
        return 7

    @entrypoint(retry_policy=AGAIN)
    async def flow(_: int) -> Any:
        return await work()

    assert await flow.ainvoke(0) == 7
    assert calls == ["work"] * 3


async def test_a_retry_meets_a_call_that_still_runs(calls: list[Any]) -> None:
    """The next attempt waits for it instead of starting a second one."""

    @task
    async def slow() -> str:
        calls.append("begin")
        await asyncio.sleep(0.05)
        calls.append("end")
        return "slow"

    fails = [True]

    @entrypoint(retry_policy=AGAIN)
    async def flow(_: int) -> Any:
        future = slow()
        if fails:
            fails.pop()
            await asyncio.sleep(0.01)
            raise ConnectionError("again")
        return await future

    assert await flow.ainvoke(0) == "slow"
    assert calls == ["begin", "end"]


async def test_a_result_is_durable_before_its_caller_gets_it(
    reopen: Callable[[], Saver],
) -> None:
    """durability="sync": what the caller was given is in the storage."""
    seen: list[Any] = []
    async with reopen() as saver, reopen() as other:

        @task
        async def work() -> int:
            return 5

        @entrypoint(checkpointer=saver, durability="sync")
        async def flow(_: int) -> Any:
            await work()
            found = await other.aget_tuple(thread())
            assert found is not None
            seen.extend(w[1:] for w in found.pending_writes or ())
            return "end"

        await flow.ainvoke(0, thread())
    assert ("__return__", 5) in seen


async def test_records_of_calls_go_with_their_superstep(saver: Saver) -> None:
    """After the barrier nothing of them stays behind, also when a question came between."""

    @task
    async def work(x: int) -> int:
        return x

    @entrypoint(checkpointer=saver, durability="sync")
    async def flow(x: int) -> Any:
        await work(x)
        interrupt("?")
        return await work(x)

    await flow.ainvoke(1, thread())
    before = (await flow.aget_state(thread())).config
    await flow.ainvoke(Command(resume=1), thread())
    found = await saver.aget_tuple(before)
    assert found is not None
    assert not [w for w in found.pending_writes or () if w[1] == "__return__"]


# -- the order ----------------------------------------------------------------------------------


async def test_another_order_is_refused(saver: Saver, calls: list[Any]) -> None:
    """The n-th call is another task than was recorded: an error, never a wrong result."""

    @task
    async def first() -> str:
        calls.append("first")
        return "first"

    @task
    async def second() -> str:
        calls.append("second")
        return "second"

    order = [first, second]

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        found = [await each() for each in order]
        interrupt("?")
        return found

    await flow.ainvoke(0, thread())
    order.reverse()
    with pytest.raises(TaskOrderError, match="Call 1 of 'flow' is 'second' now and was 'first'"):
        await flow.ainvoke(Command(resume=1), thread())
    order.reverse()
    assert await flow.ainvoke(Command(resume=1), thread()) == ["first", "second"]
    assert calls == ["first", "second"]


async def test_an_order_error_that_is_swallowed_fails_the_caller_all_the_same(
    saver: Saver,
) -> None:
    """What was computed after it would rest on a call that was never made."""

    @task
    async def first() -> str:
        return "first"

    @task
    async def second() -> str:
        return "second"

    order = [first]

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        try:
            await order[0]()
        except Exception:
            return "swallowed"
        return interrupt("?")

    await flow.ainvoke(0, thread())
    order[0] = second
    with pytest.raises(TaskOrderError):
        await flow.ainvoke(Command(resume=1), thread())


async def test_a_task_that_failed_may_be_replaced(saver: Saver) -> None:
    """A failure left no result that the task in its place could be given."""

    @task
    async def broken() -> str:
        raise ConnectionError("broken")

    @task
    async def repaired() -> str:
        return "fine"

    order = [broken]

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        return await order[0]()

    with pytest.raises(ConnectionError):
        await flow.ainvoke(0, thread())
    order[0] = repaired
    assert await flow.ainvoke(None, thread()) == "fine"


async def test_a_retry_may_take_another_way_after_a_failure(calls: list[Any]) -> None:
    """But not where a call had finished: that is another order."""

    @task(retry_policy=RetryPolicy(max_attempts=1))
    async def primary() -> str:
        raise ConnectionError("down")

    @task
    async def spare() -> str:
        return "spare"

    @task
    async def other() -> str:
        return "other"

    @entrypoint(retry_policy=AGAIN)
    async def falls_back(_: int) -> Any:
        calls.append("attempt")
        return await (primary if len(calls) == 1 else spare)()

    @entrypoint(retry_policy=AGAIN)
    async def changes_its_mind(_: int) -> Any:
        calls.append("attempt")
        await (spare if len(calls) == 1 else other)()
        raise ConnectionError("again")

    assert await falls_back.ainvoke(0) == "spare"
    calls.clear()
    with pytest.raises(TaskOrderError):
        await changes_its_mind.ainvoke(0)


async def test_names_with_odd_characters_do_not_confuse_the_order(saver: Saver) -> None:
    """A task's name is not a part of its place, whatever is in it."""
    names = ["a:b/0", "@x/1:y", "ü €", "%3A"]

    def named(name: str) -> Any:
        @task(name=name)
        async def work() -> str:
            return name

        return work

    tasks = [named(n) for n in names]

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        found = [await each() for each in tasks]
        return [found, interrupt("?")]

    await flow.ainvoke(0, thread())
    assert await flow.ainvoke(Command(resume=1), thread()) == [names, 1]


# -- room to run --------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_waiting_caller_holds_no_slot(limit: int) -> None:
    """max_concurrency counts what runs: with 1 a caller and its call do not wait for each
    other, and no more tasks than allowed run at once."""
    running, most = [0], [0]

    @task
    async def leaf(x: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.002)
        running[0] -= 1
        return x

    @task
    async def branch(x: int) -> list[int]:
        return await asyncio.gather(leaf(x), leaf(x + 1), leaf(x + 2))

    @entrypoint()
    async def flow(_: int) -> Any:
        return await asyncio.gather(branch(0), branch(10), leaf(99))

    async with asyncio.timeout(60):
        found = await flow.ainvoke(0, {"max_concurrency": limit})
    assert found == [[0, 1, 2], [10, 11, 12], 99]
    assert most[0] == limit


async def test_nodes_that_wait_for_calls_leave_their_slots_to_them() -> None:
    """Two nodes beside each other, one slot: both get their results."""

    class State(TypedDict):
        log: Annotated[list[str], operator.add]

    @task
    def work(x: str) -> str:
        return x

    def node(name: str) -> Any:
        def run(_: State) -> Any:
            return {"log": [work(name).result(), work(name).result()]}

        return run

    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, node(name)).add_edge(START, name)
    async with asyncio.timeout(60):
        found = await graph.compile().ainvoke({"log": []}, {"max_concurrency": 1})
    assert found["log"] == ["a", "a", "b", "b"]


async def test_blocked_threads_do_not_starve_the_tasks_they_wait_for() -> None:
    """More sync callers than there are worker threads, each blocked on a sync task."""
    limiter = to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 2
    try:

        @task
        def leaf(x: int) -> int:
            return x

        @task
        def caller(x: int) -> int:
            return leaf(x).result() + leaf(x).result()

        @entrypoint()
        async def flow(_: int) -> Any:
            return await asyncio.gather(*(caller(i) for i in range(12)))

        async with asyncio.timeout(60):
            assert await flow.ainvoke(0) == [2 * i for i in range(12)]
        assert limiter.total_tokens == 2
    finally:
        limiter.total_tokens = before


async def test_futures_of_threads_are_futures_of_the_standard_library() -> None:
    """`wait` and `as_completed` take them."""

    @task
    def work(x: int) -> int:
        return x

    @entrypoint()
    def flow(_: int) -> Any:
        futures = [work(i) for i in range(4)]
        done, waiting = concurrent.futures.wait(futures, timeout=60)
        assert not waiting
        return sorted(f.result() for f in concurrent.futures.as_completed(done))

    assert await flow.ainvoke(0) == [0, 1, 2, 3]


async def test_a_thread_that_a_node_starts_can_call_tasks() -> None:
    """The context goes with it, and so does the run."""

    @task
    def work(x: int) -> int:
        return x * 2

    @entrypoint()
    def flow(_: int) -> Any:
        context = contextvars.copy_context()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(context.run, lambda: work(4).result(timeout=60)).result()

    assert await flow.ainvoke(0) == 8


async def test_a_future_of_a_thread_can_be_awaited_on_another_loop() -> None:
    """Both ways of use, wherever the call was made."""

    @task
    async def work(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def elsewhere() -> int:
        return await work(1) + await work(2)

    @entrypoint()
    def flow(_: int) -> Any:
        return asyncio.run(elsewhere())

    assert await flow.ainvoke(0) == 5


async def test_context_variables_of_the_caller_are_seen_by_the_call() -> None:
    """And what the call sets stays its own."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    @task
    async def work() -> str:
        found = variable.get()
        variable.set("of the call")
        return found

    @entrypoint()
    async def flow(_: int) -> Any:
        variable.set("of the caller")
        return [await work(), variable.get()]

    assert await flow.ainvoke(0) == ["of the caller", "of the caller"]


# -- ends ---------------------------------------------------------------------------------------


async def test_cancelling_the_run_cancels_its_calls(saver: Saver, calls: list[Any]) -> None:
    """On all levels, and before the run ends."""

    @task
    async def inner() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            calls.append("inner")
            raise

    @task
    async def outer() -> None:
        inner()  # nobody waits for it
        try:
            await asyncio.sleep(30)
        finally:
            calls.append("outer")

    started = asyncio.Event()

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        future = outer()
        await asyncio.sleep(0.02)
        started.set()
        await future

    run = asyncio.create_task(flow.ainvoke(0, thread()))
    await asyncio.wait_for(started.wait(), 60)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert sorted(calls) == ["inner", "outer"]
    assert (await flow.aget_state(thread())).next == ("flow",)


async def test_a_call_made_after_its_node_has_ended_is_refused() -> None:
    """A stray coroutine of a node cannot start tasks in a later superstep."""
    failed: list[BaseException] = []
    strays: list[asyncio.Task[None]] = []

    @task
    async def work() -> None:
        """Never runs."""

    async def stray() -> None:
        await asyncio.sleep(0.05)
        try:
            await work()
        except RuntimeError as exc:
            failed.append(exc)

    @entrypoint()
    async def flow(_: int) -> Any:
        strays.append(asyncio.create_task(stray()))
        return "end"

    assert await flow.ainvoke(0) == "end"
    await asyncio.gather(*strays)
    assert "had ended" in str(failed[0])


async def test_a_sync_caller_whose_run_is_cancelled_does_not_block_its_thread() -> None:
    """Its call is cancelled, and `result()` says so."""
    ended = threading.Event()
    waiting = threading.Event()

    @task
    async def work() -> None:
        await asyncio.sleep(30)

    @entrypoint()
    def flow(_: int) -> Any:
        future = work()
        waiting.set()
        try:
            future.result()
        except concurrent.futures.CancelledError:
            ended.set()
            raise

    run = asyncio.create_task(flow.ainvoke(0))
    assert await to_thread.run_sync(waiting.wait, 5)
    await asyncio.sleep(0.02)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await to_thread.run_sync(ended.wait, 5)


async def test_questions_of_a_task_group_are_questions(saver: Saver) -> None:
    """`asyncio.TaskGroup` wraps signals in a group: they are asked all the same."""

    @task
    async def ask(q: str) -> Any:
        return interrupt(q)

    async def wait_for(future: Any) -> Any:
        return await future

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(wait_for(ask(q))) for q in "ab"]
        return [w.result() for w in waiting]

    found = await flow.ainvoke(0, thread())
    answers = {i.id: i.value.upper() for i in found["__interrupt__"]}
    while answers and "__interrupt__" in found:
        found = await flow.ainvoke(Command(resume=answers), thread())
        if isinstance(found, dict):
            answers = {i.id: i.value.upper() for i in found["__interrupt__"]}
        else:
            break
    assert found == ["A", "B"]


async def test_a_result_that_cannot_be_stored_is_its_callers_error(saver: Saver) -> None:
    """The call has not finished: its result would not be there the next time."""

    class Odd:
        pass

    @task
    async def work() -> Any:
        return Odd()

    @entrypoint(checkpointer=saver)
    async def flow(_: int) -> Any:
        try:
            await work()
        except UnsupportedTypeError as exc:
            return type(exc).__name__

    assert await flow.ainvoke(0, thread()) == "UnsupportedTypeError"


async def test_classes_named_by_a_task_s_annotation_are_stored_and_come_back(
    reopen: Callable[[], Saver],
) -> None:
    """A graph learns them when the task is called, also when it is called for a stored result."""

    def build(saver: Saver) -> Any:
        @task
        async def work() -> Place:
            return Place("home", 3)

        @entrypoint(checkpointer=saver)
        async def flow(_: int) -> Any:
            found = await work()
            interrupt("?")
            return [type(found).__name__, found.number]

        return flow

    async with reopen() as first:
        await build(first).ainvoke(0, thread())
    async with reopen() as second:
        assert await build(second).ainvoke(Command(resume=1), thread()) == ["Place", 3]


async def test_many_calls_are_made_in_little_time() -> None:
    """A thousand calls of one node cost no more than their number (nothing is quadratic)."""

    @task
    async def work(x: int) -> int:
        return x

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(n: int) -> Any:
        return sum(await asyncio.gather(*(work(i) for i in range(n))))

    started = time.perf_counter()
    assert await flow.ainvoke(1000, thread()) == 499500
    assert time.perf_counter() - started < 60
