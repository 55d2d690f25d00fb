"""Busy threads: a run that is stopped, or undone, by another one of the same process."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.errors import RunPreemptedError, ThreadBusyError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.types import Command, Send, interrupt

DURABILITIES = ("sync", "async", "exit")


class State(TypedDict, total=False):
    ask: str
    log: Annotated[list[str], operator.add]


def config(thread: str = "t", **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread, **more}}


class Gate:
    """Where a node waits until the test lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = 0

    async def __call__(self) -> None:
        self.reached.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def three_steps(saver: Saver, gate: Gate, **options: Any) -> CompiledStateGraph:
    """first -> second (waits at the gate when asked to be slow) -> third."""

    async def first(state: State) -> State:
        return {"log": [f"first {state['ask']}"]}

    async def second(state: State) -> State:
        if "slow" in state["ask"]:
            await gate()
        return {"log": [f"second {state['ask']}"]}

    async def third(state: State) -> State:
        return {"log": [f"third {state['ask']}"]}

    nodes = [("first", first), ("second", second), ("third", third)]
    return StateGraph(State).add_sequence(nodes).add_edge(START, "first").compile(saver, **options)


@asynccontextmanager
async def running(work: Awaitable[Any], gate: Gate) -> AsyncIterator[asyncio.Task[Any]]:
    """A run that has reached the gate."""
    run = asyncio.ensure_future(work)
    await asyncio.wait(
        [run, asyncio.ensure_future(gate.reached.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    assert not run.done(), run.result()
    try:
        yield run
    finally:
        gate.open.set()
        run.cancel()
        await asyncio.wait([run])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def told_to_stop(saver: Saver, thread: str = "t") -> None:
    """Wait until the run that has the thread here knows that it is to stop."""
    handle = (await saver.journal())._opened_core()._handles[saver.key(thread)]
    await until(lambda: handle.stopping)


async def in_line(saver: Saver, count: int, thread: str = "t") -> None:
    """Wait until so many wait in line here for the thread, behind whoever has it."""
    lines = (await saver.journal())._opened_core()._lines._lines
    key = saver.key(thread)
    await until(lambda: key in lines and len(lines[key].waiting) == count)


async def statuses(saver: Saver, thread: str = "t") -> list[str]:
    return [run.status async for run in saver.alist_runs(thread)]


async def seqs(graph: CompiledStateGraph, thread: str = "t") -> list[Any]:
    return [s.metadata["source"] async for s in graph.aget_state_history(config(thread))]


async def preempted(run: asyncio.Task[Any]) -> RunPreemptedError:
    with pytest.raises(RunPreemptedError) as caught:
        await asyncio.wait_for(run, 60)
    assert not run.cancelled()
    return caught.value


# -- interrupt


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_interrupt_keeps_what_is_finished(saver: Saver, durability: Any) -> None:
    """The node that runs is finished, the next superstep does not begin, and the new input is
    applied to what is there."""
    gate = Gate()
    graph = three_steps(saver, gate, durability=durability)
    first = graph.ainvoke({"ask": "slow"}, config())
    async with running(first, gate) as run:
        other = asyncio.ensure_future(
            graph.ainvoke(
                {"ask": "quick"}, {**config(), "run_id": "the-other"}, on_conflict="interrupt"
            )
        )
        await told_to_stop(saver)
        assert not run.done()
        assert not other.done()
        gate.open.set()
        error = await preempted(run)
        result = await asyncio.wait_for(other, 60)
    assert (error.policy, error.by_run_id) == ("interrupt", "the-other")
    assert error.context["thread_id"] == "t"
    assert gate.cancelled == 0
    assert result["log"] == [
        "first slow", "second slow", "first quick", "second quick", "third quick"
    ]  # fmt: skip
    assert await statuses(saver) == ["done", "cancelled"]


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_an_interrupted_run_can_be_resumed(saver: Saver, durability: Any) -> None:
    """Its thread stands idle before what was not begun, and None goes on there."""
    gate = Gate()
    graph = three_steps(saver, gate, durability=durability)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        other = asyncio.ensure_future(graph.ainvoke(None, config(), on_conflict="interrupt"))
        await told_to_stop(saver)
        gate.open.set()
        await preempted(run)
        result = await asyncio.wait_for(other, 60)
    assert result["log"] == ["first slow", "second slow", "third slow"]


async def test_a_run_whose_last_superstep_ends_is_not_stopped(saver: Saver) -> None:
    """Nothing is left to stop: it returns its result, and the other follows."""
    gate = Gate()

    async def only(state: State) -> State:
        if state["ask"] == "slow":
            await gate()
        return {"log": [state["ask"]]}

    graph = StateGraph(State).add_node("only", only).add_edge(START, "only").compile(saver)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        other = asyncio.ensure_future(
            graph.ainvoke({"ask": "b"}, config(), on_conflict="interrupt")
        )
        await told_to_stop(saver)
        gate.open.set()
        assert (await run)["log"] == ["slow"]
        assert (await other)["log"] == ["slow", "b"]
    assert await statuses(saver) == ["done", "done"]


async def test_the_stream_of_an_interrupted_run_raises(saver: Saver) -> None:
    """`astream` yields what was finished, then raises; so does a stream of the new run's."""
    gate = Gate()
    graph = three_steps(saver, gate, on_conflict="interrupt")
    seen: list[Any] = []

    async def consume() -> None:
        async for chunk in graph.astream({"ask": "slow"}, config()):
            seen.append(*chunk)

    async with running(consume(), gate) as run:
        other = asyncio.ensure_future(graph.ainvoke({"ask": "b"}, config()))
        await told_to_stop(saver)
        gate.open.set()
        await preempted(run)
        await other
    assert seen == ["first", "second"]


async def test_of_a_batch_on_one_thread_the_last_input_ends(saver: Saver) -> None:
    """Every input of a batch is kept; all runs but the last are stopped by those behind."""
    gate = Gate()
    graph = three_steps(saver, gate, on_conflict="interrupt")
    batch = graph.abatch(
        [{"ask": f"slow {n}"} for n in range(4)], [config()] * 4, return_exceptions=True
    )
    async with running(batch, gate) as run:
        lines = (await saver.journal())._opened_core()._lines._lines
        key, came = saver.key("t"), 0
        async with asyncio.timeout(60):
            while came < 3:  # in line, or stopped before they came to the gate
                await asyncio.sleep(0.01)
                came = len(lines[key].waiting) if key in lines else 0
                came += (await statuses(saver)).count("cancelled")
        gate.open.set()
        results = await asyncio.wait_for(run, 60)
    assert sorted(type(r).__name__ for r in results) == ["RunPreemptedError"] * 3 + ["dict"]
    state = await graph.aget_state(config())
    last = next(r["ask"] for r in results if isinstance(r, dict))
    assert state.values["ask"] == last
    assert state.values["log"][-3:] == [f"first {last}", f"second {last}", f"third {last}"]
    asked = [s.values.get("ask") async for s in graph.aget_state_history(config())]
    assert {f"slow {n}" for n in range(4)} <= set(asked)
    assert sorted(await statuses(saver)) == ["cancelled"] * 3 + ["done"]


# -- rollback


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_rollback_leads_back(saver: Saver, durability: Any) -> None:
    """The run is cancelled at once, the new one starts from where the thread stood before, and
    nothing is deleted."""
    gate = Gate()
    graph = three_steps(saver, gate, durability=durability)
    await graph.ainvoke({"ask": "a"}, config())
    before = await graph.aget_state(config())
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        result = await asyncio.wait_for(
            graph.ainvoke(
                {"ask": "b"}, {**config(), "run_id": "the-other"}, on_conflict="rollback"
            ),
            20,
        )
        error = await preempted(run)
    assert (error.policy, error.by_run_id) == ("rollback", "the-other")
    assert gate.cancelled == 1
    assert result["log"] == ["first a", "second a", "third a", "first b", "second b", "third b"]
    assert await statuses(saver) == ["done", "superseded", "done"]
    history = [s async for s in graph.aget_state_history(config())]
    ids = [s.config["configurable"]["checkpoint_id"] for s in history]
    assert len(set(ids)) == len(ids)
    if durability != "exit":
        assert [s for s in history if s.values.get("ask") == "slow"]
        (fork,) = (s for s in history if s.metadata["source"] == "fork")
        assert fork.values == before.values
        assert fork.parent_config == before.config


async def test_rollback_of_a_first_run_leads_to_nothing(saver: Saver) -> None:
    """The thread is as empty as it was: nothing can be resumed, the next input is the first."""
    for _ in range(2):  # undone twice it is as empty
        gate = Gate()
        graph = three_steps(saver, gate)
        async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
            with pytest.raises(Exception, match="nothing to resume"):
                await asyncio.wait_for(graph.ainvoke(None, config(), on_conflict="rollback"), 60)
            await preempted(run)
    state = await graph.aget_state(config())
    assert (state.values, state.next) == ({"log": []}, ())
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.next, info.interrupts) == ("idle", (), 0)
    result = await graph.ainvoke({"ask": "b"}, config())
    assert result["log"] == ["first b", "second b", "third b"]
    steps = [s.metadata["step"] async for s in graph.aget_state_history(config(), limit=5)]
    assert steps == [3, 2, 1, 0, -1]


@pytest.mark.parametrize("quick", ["quick", "fails", "asks"])
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_who_is_told_that_his_run_was_undone_finds_nothing_of_it(
    saver: Saver, durability: Any, quick: str
) -> None:
    """A run in front of one that rolls back is stopped before its first await, or has ended by
    then: one or the other, and its caller is told which."""
    gate = Gate()

    async def first(state: State) -> State:
        if state["ask"] == "slow":
            await gate()
        return {"log": [f"first {state['ask']}"]}

    async def second(state: State) -> State:
        if state["ask"] == "fails":
            msg = "no"
            raise LookupError(msg)
        if state["ask"] == "asks":
            interrupt("which?")
        return {"log": [f"second {state['ask']}"]}

    for shape in ([("first", first)], [("second", second)], [("first", first), ("second", second)]):
        thread = "-".join(name for name, _ in shape)
        graph = StateGraph(State).add_sequence(shape).add_edge(START, shape[0][0])
        compiled = graph.compile(saver, durability=durability)
        blocker = StateGraph(State).add_node("first", first).add_edge(START, "first").compile(saver)
        gate = Gate()
        async with running(blocker.ainvoke({"ask": "slow"}, config(thread)), gate) as run:
            between = asyncio.ensure_future(compiled.ainvoke({"ask": quick}, config(thread)))
            await in_line(saver, 1, thread)
            last = asyncio.ensure_future(
                compiled.ainvoke({"ask": "b"}, config(thread), on_conflict="rollback")
            )
            await preempted(run)
            [told] = await asyncio.wait_for(asyncio.gather(between, return_exceptions=True), 60)
            log = (await asyncio.wait_for(last, 60))["log"]
        asked = [s.values.get("ask") async for s in _line(compiled, config(thread))]
        assert (quick in asked) != isinstance(told, RunPreemptedError), (asked, told)
        assert log[-1] == f"{shape[-1][0]} b"


async def _line(graph: CompiledStateGraph, where: Any) -> AsyncIterator[Any]:
    """The states of a thread from its head back to its beginning."""
    state = await graph.aget_state(where)
    while True:
        yield state
        if state.parent_config is None:
            return
        state = await graph.aget_state(state.parent_config)


def asking(saver: Saver, gate: Gate) -> tuple[CompiledStateGraph, list[str]]:
    """Two nodes at once: one counts its runs, the other asks; then one that may be slow."""
    ran: list[str] = []

    async def count(state: State) -> State:
        ran.append("count")
        return {"log": ["counted"]}

    async def ask(state: State) -> State:
        return {"log": [f"answer {interrupt('which?')}"]}

    async def after(state: State) -> State:
        if "answer slow" in state["log"]:
            await gate()
        return {"log": ["after"]}

    graph = StateGraph(State).add_node("count", count).add_node("ask", ask)
    graph.add_node("after", after)
    graph.add_edge(START, "count").add_edge(START, "ask")
    graph.add_edge(["count", "ask"], "after")
    return graph.compile(saver), ran


@pytest.mark.parametrize("by_id", [True, False])
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_rollback_of_an_answer_leads_to_the_question(
    saver: Saver, durability: Any, by_id: bool
) -> None:
    """The question waits again under its old id, what stood finished beside it is not run
    again, and another answer is given."""
    gate = Gate()
    graph, ran = asking(saver, gate)
    await graph.ainvoke({"ask": "x"}, config())
    before = await graph.aget_state(config())
    slow = graph.ainvoke(Command(resume="slow"), config(), durability=durability)
    async with running(slow, gate) as run:
        answer: Any = {before.interrupts[0].id: "b"} if by_id else "b"
        other = asyncio.ensure_future(
            graph.ainvoke(
                Command(resume=answer), config(), on_conflict="rollback", durability=durability
            )
        )
        await preempted(run)
        result = await asyncio.wait_for(other, 60)
    assert sorted(result["log"]) == ["after", "answer b", "counted"]
    assert ran == ["count"]


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_thread_that_was_rolled_back_shows_what_it_showed(
    saver: Saver, durability: Any
) -> None:
    """Values, next, questions, status: as before the run that was undone."""
    gate = Gate()
    graph, ran = asking(saver, gate)
    await graph.ainvoke({"ask": "x"}, config())
    before = await graph.aget_state(config())
    was = await saver.aget_thread("t")
    slow = graph.ainvoke(Command(resume="slow"), config(), durability=durability)
    async with running(slow, gate) as run:
        with pytest.raises(Exception, match="empty Command"):
            await graph.ainvoke(Command(), config(), on_conflict="rollback")
        await preempted(run)
    after = await graph.aget_state(config())
    assert (after.values, after.next, after.interrupts) == (
        before.values, before.next, before.interrupts
    )  # fmt: skip
    now = await saver.aget_thread("t")
    assert was is not None
    assert now is not None
    assert (now.status, now.next, now.interrupts) == (was.status, was.next, was.interrupts)
    assert ran == ["count"]


# -- who is stopped, and who is not


async def test_a_thread_that_waits_for_an_answer_is_free(saver: Saver) -> None:
    """Nothing runs there, so nothing is stopped: the new input comes at once."""
    for policy in ("interrupt", "rollback"):
        graph, _ = asking(saver, Gate())
        await graph.ainvoke({"ask": "x"}, config(policy))
        result = await graph.ainvoke({"ask": "y"}, config(policy), on_conflict=policy)
        assert len(result["__interrupt__"]) == 1
        assert await statuses(saver, policy) == ["interrupted", "superseded"]


async def test_those_in_line_before_are_stopped_as_well(saver: Saver) -> None:
    """Whoever gets the thread before a run that interrupts is stopped: its input is kept. With
    rollback, not even that."""
    for policy, log in (("interrupt", True), ("rollback", False)):
        gate = Gate()
        graph = three_steps(saver, gate)
        async with running(graph.ainvoke({"ask": "slow"}, config(policy)), gate) as run:
            line = asyncio.ensure_future(graph.ainvoke({"ask": "slow line"}, config(policy)))
            await in_line(saver, 1, policy)
            last = asyncio.ensure_future(
                graph.ainvoke({"ask": "last"}, config(policy), on_conflict=policy)
            )
            await told_to_stop(saver, policy)
            gate.open.set()
            await preempted(run)
            await preempted(line)
            result = await asyncio.wait_for(last, 60)
        assert ("second slow" in result["log"]) is log
        assert "first slow line" not in result["log"]
        asked = [s.values.get("ask") async for s in graph.aget_state_history(config(policy))]
        assert ("slow line" in asked) is log


@pytest.mark.parametrize("policy", ["interrupt", "rollback"])
async def test_lock_timeout_bounds_the_wait_for_a_run_to_stop(saver: Saver, policy: Any) -> None:
    """A run that does not stop in time keeps the thread: `ThreadBusyError`. 0 asks nothing."""
    gate = Gate()
    graph = three_steps(saver, gate)

    async def stubborn(state: State) -> State:
        gate.reached.set()
        while not gate.open.is_set():
            try:
                await gate.open.wait()
            except asyncio.CancelledError:
                gate.cancelled += 1
        return {"log": ["stubborn"]}

    graph = StateGraph(State).add_node("stubborn", stubborn).add_edge(START, "stubborn")
    graph = graph.compile(saver)
    async with running(graph.ainvoke({"ask": "x"}, config()), gate) as run:
        with pytest.raises(ThreadBusyError):
            await graph.ainvoke({"ask": "y"}, config(), on_conflict=policy, lock_timeout=0)
        assert gate.cancelled == 0
        with pytest.raises(ThreadBusyError):
            await graph.ainvoke({"ask": "y"}, config(), on_conflict=policy, lock_timeout=0.2)
        assert gate.cancelled == (policy == "rollback")
        gate.open.set()
        await asyncio.wait([run])


async def test_an_unknown_policy_is_refused(saver: Saver) -> None:
    with pytest.raises(ValueError, match="on_conflict"):
        three_steps(saver, Gate(), on_conflict="interupt")
    with pytest.raises(ValueError, match="on_conflict"):
        await three_steps(saver, Gate()).ainvoke({"ask": "x"}, config(), on_conflict="never")  # type: ignore[arg-type]


async def test_cancelling_the_caller_while_its_run_is_undone(saver: Saver) -> None:
    """The undoing is finished all the same; the caller sees its own cancellation."""
    gate, cleaning, clean = Gate(), asyncio.Event(), asyncio.Event()

    async def slow(state: State) -> State:
        try:
            await gate()
        except asyncio.CancelledError:
            cleaning.set()
            await clean.wait()
            raise
        return {}

    graph = StateGraph(State).add_node("slow", slow).add_edge(START, "slow").compile(saver)
    async with running(graph.ainvoke({"ask": "x"}, config()), gate) as run:
        other = asyncio.ensure_future(
            graph.aupdate_state(config(), {"ask": "later"}, as_node="slow")
        )
        third = asyncio.ensure_future(
            graph.ainvoke({"ask": "y"}, config(), on_conflict="rollback", lock_timeout=0.2)
        )
        await cleaning.wait()
        clean.set()
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises((asyncio.CancelledError, RunPreemptedError)):
            await run
        with pytest.raises((ThreadBusyError, asyncio.CancelledError)) as caught:
            gate.open.set()
            await third
            raise ThreadBusyError("it came in time")
        assert caught.type is ThreadBusyError
        await other
    assert (await statuses(saver))[-1] == "superseded"


# -- graphs inside graphs, and workflows


class Outer(TypedDict, total=False):
    ask: str
    log: Annotated[list[str], operator.add]


def nested(saver: Saver, gate: Gate, beside: Gate, **inner: Any) -> CompiledStateGraph:
    """A graph of three steps in a node, and another node beside it that waits."""
    graph = three_steps(None, gate, **inner)  # type: ignore[arg-type]

    async def other(state: Outer) -> Outer:
        if "slow" in state["ask"]:
            await beside()
        return {"log": ["beside"]}

    async def inside(state: Outer) -> Outer:
        result = await graph.ainvoke({"ask": state["ask"]})
        return {"log": [f"inside {len(result['log'])}"]}

    outer = StateGraph(Outer).add_node("inside", inside).add_node("other", other)
    outer.add_edge(START, "inside").add_edge(START, "other")
    return outer.compile(saver)


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_graph_inside_stops_at_its_own_barrier(saver: Saver, durability: Any) -> None:
    """It begins no superstep more; what runs beside it is finished, not cancelled; and the
    thread is resumed in the middle of it."""
    gate, beside = Gate(), Gate()
    graph = nested(saver, gate, beside)
    first = graph.ainvoke({"ask": "slow"}, config(), durability=durability)
    async with running(first, gate) as run:
        await beside.reached.wait()
        other = asyncio.ensure_future(
            graph.ainvoke(None, config(), on_conflict="interrupt", durability=durability)
        )
        await told_to_stop(saver)
        gate.reached.clear()
        gate.open.set()
        await asyncio.sleep(0.05)
        assert not run.done()
        beside.open.set()
        await preempted(run)
        result = await asyncio.wait_for(other, 60)
    assert beside.cancelled == gate.cancelled == 0
    assert not gate.reached.is_set()  # the second node inside did not run again
    assert sorted(result["log"]) == ["beside", "inside 3"]


async def test_a_graph_inside_is_undone_with_its_root(saver: Saver) -> None:
    """At once, on all levels."""
    gate, beside = Gate(), Gate()
    graph = nested(saver, gate, beside)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        await beside.reached.wait()
        result = await asyncio.wait_for(
            graph.ainvoke({"ask": "b"}, config(), on_conflict="rollback"), 20
        )
        await preempted(run)
    assert (gate.cancelled, beside.cancelled) == (1, 1)
    assert sorted(result["log"]) == ["beside", "inside 3"]


async def test_a_history_that_a_graph_inside_keeps_goes_back_too(saver: Saver) -> None:
    """A graph inside with one history per thread forgets what the undone run did in it."""
    gate = Gate()
    inner = three_steps(True, Gate())  # type: ignore[arg-type]

    async def inside(state: Outer) -> Outer:
        result = await inner.ainvoke({"ask": state["ask"].replace("slow", "s")})
        return {"log": [",".join(result["log"])]}

    async def after(state: Outer) -> Outer:
        if "slow" in state["ask"]:
            await gate()
        return {}

    graph = StateGraph(Outer).add_sequence([("inside", inside), ("after", after)])
    compiled = graph.add_edge(START, "inside").compile(saver)
    await compiled.ainvoke({"ask": "a"}, config())
    async with running(compiled.ainvoke({"ask": "slow"}, config()), gate) as run:
        result = await asyncio.wait_for(
            compiled.ainvoke({"ask": "b"}, config(), on_conflict="rollback"), 20
        )
        await preempted(run)
    assert result["log"] == [
        "first a,second a,third a",
        "first a,second a,third a,first b,second b,third b",
    ]
    gate.reached.clear()
    gate.open.clear()
    async with running(compiled.ainvoke({"ask": "slow"}, config("new")), gate) as run:
        result = await compiled.ainvoke({"ask": "b"}, config("new"), on_conflict="rollback")
    assert result["log"] == ["first b,second b,third b"]


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_workflow_stops_before_its_next_task(saver: Saver, durability: Any) -> None:
    """The task that runs is finished and recorded; resumed, the workflow is given its result."""
    gate, ran = Gate(), []

    @task
    async def step(n: int) -> int:
        ran.append(n)
        if n == 2:
            await gate()
        return n * 10

    @entrypoint(saver, durability=durability)
    async def work(given: int) -> list[int]:
        return [await step(n) for n in range(1, given)]

    async with running(work.ainvoke(5, config()), gate) as run:
        other = asyncio.ensure_future(work.ainvoke(None, config(), on_conflict="interrupt"))
        await told_to_stop(saver)
        gate.open.set()
        await preempted(run)
        assert await asyncio.wait_for(other, 60) == [10, 20, 30, 40]
    assert ran == [1, 2, 3, 4]


async def test_a_workflow_with_sync_tasks_stops_before_its_next_task(saver: Saver) -> None:
    """The same where the tasks and the workflow run in worker threads."""
    ran: list[int] = []
    loop = asyncio.get_running_loop()
    asked, stopped = asyncio.Event(), asyncio.Event()

    @task
    def step(n: int) -> int:
        ran.append(n)
        if n == 2:
            loop.call_soon_threadsafe(asked.set)
            asyncio.run_coroutine_threadsafe(stopped.wait(), loop).result(60)
        return n * 10

    @entrypoint(saver)
    def work(given: int) -> list[int]:
        return [step(n).result() for n in range(1, given)]

    run = asyncio.ensure_future(work.ainvoke(5, config()))
    await asyncio.wait_for(asked.wait(), 60)
    other = asyncio.ensure_future(work.ainvoke(None, config(), on_conflict="interrupt"))
    await told_to_stop(saver)
    stopped.set()
    await preempted(run)
    assert await asyncio.wait_for(other, 60) == [10, 20, 30, 40]
    assert ran == [1, 2, 3, 4]


async def test_an_undone_workflow_gives_back_what_it_had_saved(saver: Saver) -> None:
    """`previous` is that of the run before."""
    gate = Gate()

    @entrypoint(saver, on_conflict="rollback")
    async def work(given: int, *, previous: int | None) -> int:
        if given == 0:
            await gate()
        return (previous or 0) + given

    assert await work.ainvoke(1, config()) == 1
    async with running(work.ainvoke(0, config()), gate) as run:
        assert await asyncio.wait_for(work.ainvoke(10, config()), 60) == 11
        error = await preempted(run)
    assert error.policy == "rollback"


# -- going back to an unfinished superstep


async def test_results_of_task_calls_survive_a_rollback(saver: Saver) -> None:
    """A workflow that waited for an answer waits for it again, and the tasks it had called are
    not called again: neither those that had finished, nor the question's own place."""
    gate, ran = Gate(), []

    @task
    async def step(name: str) -> str:
        ran.append(name)
        return name

    @task
    async def ask(name: str) -> str:
        return f"{name}={interrupt(name)}"

    @entrypoint(saver)
    async def work(given: str) -> list[str]:
        parts = [await step("one"), await ask("which"), interrupt("own")]
        if "slow" in parts[2]:
            await gate()
        return [*parts, await step("two")]

    await work.ainvoke("x", config())
    await work.ainvoke(Command(resume="this"), config())
    before = await work.aget_state(config())
    async with running(work.ainvoke(Command(resume="slow"), config()), gate) as run:
        answer = {before.interrupts[0].id: "fast"}
        result = await asyncio.wait_for(
            work.ainvoke(Command(resume=answer), config(), on_conflict="rollback"), 20
        )
        await preempted(run)
    assert result == ["one", "which=this", "fast", "two"]
    assert ran == ["one", "two"]


async def test_sends_that_had_finished_survive_a_rollback(saver: Saver) -> None:
    """Tasks made by `Send` are told apart by their places."""
    gate, ran = Gate(), []

    async def each(state: dict[str, Any]) -> State:
        ran.append(state["n"])
        if state["n"] == 1:
            return {"log": [f"1 {interrupt('?')}"]}
        return {"log": [str(state["n"])]}

    async def after(state: State) -> State:
        if "1 slow" in state["log"]:
            await gate()
        return {}

    graph = StateGraph(State).add_node("each", each).add_node("after", after)
    graph.add_conditional_edges(START, lambda _: [Send("each", {"n": n}) for n in range(3)])
    graph.add_edge("each", "after")
    compiled = graph.compile(saver)
    await compiled.ainvoke({"ask": "x"}, config())
    async with running(compiled.ainvoke(Command(resume="slow"), config()), gate) as run:
        again = compiled.ainvoke(Command(resume="b"), config(), on_conflict="rollback")
        result = await asyncio.wait_for(again, 60)
        await preempted(run)
    assert result["log"] == ["0", "1 b", "2"]
    assert sorted(ran) == [0, 1, 1, 1, 2]


async def test_a_failed_thread_is_failed_again(saver: Saver) -> None:
    """A run that went on after a failure is undone: the failure stands as it stood, and the
    task that had finished beside it is not run again."""
    gate, ran, healthy = Gate(), [], asyncio.Event()

    async def good(state: State) -> State:
        ran.append("good")
        return {"log": ["good"]}

    async def bad(state: State) -> State:
        ran.append("bad")
        await asyncio.sleep(0.02)
        if not healthy.is_set():
            msg = "not yet"
            raise ValueError(msg)
        return {"log": ["bad"]}

    async def after(state: State) -> State:
        await gate()
        return {"log": ["after"]}

    graph = StateGraph(State).add_node("good", good).add_node("bad", bad).add_node("after", after)
    graph.add_edge(START, "good").add_edge(START, "bad").add_edge(["good", "bad"], "after")
    compiled = graph.compile(saver)
    with pytest.raises(ValueError, match="not yet"):
        await compiled.ainvoke({"ask": "x"}, config())
    was = await saver.aget_thread("t")
    healthy.set()
    async with running(compiled.ainvoke(None, config()), gate) as run:
        gate.open.clear()
        with pytest.raises(Exception, match="empty Command"):
            await compiled.ainvoke(Command(), config(), on_conflict="rollback")
        await preempted(run)
    now = await saver.aget_thread("t")
    assert was is not None
    assert now is not None
    assert (now.status, now.next, now.error) == (was.status, was.next, was.error)
    assert now.status == "failed"
    gate.open.set()
    assert sorted((await compiled.ainvoke(None, config()))["log"]) == ["after", "bad", "good"]
    assert sorted(ran) == ["bad", "bad", "bad", "good"]


async def test_rollback_of_a_run_from_the_past(saver: Saver) -> None:
    """A run that started at an old checkpoint is undone: the head is what it was before, not the
    checkpoint that the run started from."""
    gate = Gate()
    slow = False

    async def first(state: State) -> State:
        return {"log": [f"first {state['ask']}"]}

    async def second(state: State) -> State:
        if slow:
            await gate()
        return {"log": [f"second {state['ask']}"]}

    graph = StateGraph(State).add_sequence([("first", first), ("second", second)])
    compiled = graph.add_edge(START, "first").compile(saver)
    for ask in ("a", "b"):
        await compiled.ainvoke({"ask": ask}, config())
    history = [s async for s in compiled.aget_state_history(config())]
    old = next(s for s in history if s.next == ("second",) and s.values["ask"] == "a")
    slow = True
    async with running(compiled.ainvoke(None, old.config), gate) as run:  # type: ignore[arg-type]
        slow = False
        result = await asyncio.wait_for(
            compiled.ainvoke({"ask": "c"}, config(), on_conflict="rollback"), 20
        )
        await preempted(run)
    assert result["log"] == [f"{n} {ask}" for ask in "abc" for n in ("first", "second")]


async def test_stopping_again_and_again_loses_nothing(saver: Saver) -> None:
    """A thread whose runs are interrupted one after the other keeps all inputs, and ends with
    the last; one whose runs are undone has only the last."""
    for policy in ("interrupt", "rollback"):
        graph = three_steps(saver, Gate(), on_conflict=policy)
        calls = [graph.ainvoke({"ask": str(n)}, config(policy)) for n in range(12)]
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        kinds = [type(r) for r in results]
        assert set(kinds) <= {dict, RunPreemptedError}
        assert kinds[-1] is dict
        assert results[-1]["log"][-3:] == ["first 11", "second 11", "third 11"]
        info = await saver.aget_thread(policy)
        assert info is not None
        assert (info.status, info.owner) == ("done", None)
        if policy == "rollback":
            done = [n for n, kind in enumerate(kinds) if kind is dict]
            assert [line.split()[1] for line in results[-1]["log"][::3]] == [str(n) for n in done]


async def test_cancelled_at_any_moment_an_undone_run_is_undone(saver: Saver) -> None:
    """However far the undoing has come when its caller is cancelled: it is finished, the other
    run starts from where the thread stood before, and the thread is free in the end."""
    for moment in range(0, 40, 3):
        gate, thread = Gate(), f"t{moment}"
        graph = three_steps(saver, gate)
        await graph.ainvoke({"ask": "a"}, config(thread))
        run = asyncio.ensure_future(graph.ainvoke({"ask": "slow"}, config(thread)))
        await gate.reached.wait()
        other = asyncio.ensure_future(
            graph.ainvoke({"ask": "b"}, config(thread), on_conflict="rollback")
        )
        for _ in range(moment + 1):
            await asyncio.sleep(0)
        run.cancel()
        async with asyncio.timeout(60):
            ended, result = await asyncio.gather(run, other, return_exceptions=True)
        assert isinstance(ended, (RunPreemptedError, asyncio.CancelledError))
        assert [line.split()[1] for line in result["log"]] == ["a"] * 3 + ["b"] * 3
        info = await saver.aget_thread(thread)
        assert info is not None
        assert (info.status, info.owner) == ("done", None)
        assert await statuses(saver, thread) == ["done", "superseded", "done"]
