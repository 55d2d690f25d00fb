"""Cancelling runs, waiting for runs, and taking a thread back to an earlier state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell import open_saver
from stepwell._engine import cancel
from stepwell._engine.run import Run
from stepwell._ids import RandomIds
from stepwell.checkpoint.base import Saver
from stepwell.errors import IdempotencyConflictError, NotFoundError, ThreadBusyError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import Command
from tests.engine.test_busy import (
    DURABILITIES,
    Gate,
    Outer,
    State,
    asking,
    config,
    in_line,
    preempted,
    running,
    statuses,
    three_steps,
    told_to_stop,
)
from tests.simulation._journal_world import Database, Process
from tests.simulation._virtual import LoopClock, simulated

# -- cancel


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_cancel_stops_at_the_barrier(saver: Saver, durability: Any) -> None:
    """The node that runs is finished; the thread is idle, the run cancelled, None resumes it."""
    gate = Gate()
    graph = three_steps(saver, gate, durability=durability)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        stopping = asyncio.ensure_future(graph.acancel(config(), reason="too dear"))
        await told_to_stop(saver)
        assert not stopping.done()
        gate.open.set()
        assert await asyncio.wait_for(stopping, 60) is True
        error = await preempted(run)
    assert (error.policy, error.by_run_id) == ("cancel", None)
    assert "too dear" in str(error)
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.next, info.owner) == ("idle", ("third",), None)
    assert await statuses(saver) == ["cancelled"]
    result = await graph.ainvoke(None, config())
    assert result["log"] == ["first slow", "second slow", "third slow"]


async def test_cancel_of_what_does_not_run_is_false(saver: Saver) -> None:
    """No thread, a thread that is done, one that waits for an answer: nothing is to be stopped,
    and nothing changes."""
    graph, _ = asking(saver, Gate())
    assert await graph.acancel(config("none")) is False
    assert await saver.aget_thread("none") is None
    await graph.ainvoke({"ask": "x"}, config())
    before = await saver.aget_thread("t")
    assert await graph.acancel(config()) is False
    assert await saver.aget_thread("t") == before
    await graph.ainvoke(Command(resume="y"), config())
    assert await graph.acancel(config()) is False


async def test_cancel_that_is_not_obeyed_in_time_is_false(saver: Saver) -> None:
    """The time is over, the run goes on; but it was asked, and stops when it can."""
    gate = Gate()
    graph = three_steps(saver, gate)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        assert await graph.acancel(config(), timeout=0) is False
        assert await graph.acancel(config(), timeout=0.2) is False
        assert not run.done()
        gate.open.set()
        await preempted(run)


async def test_cancel_leaves_those_in_line_alone(saver: Saver) -> None:
    """Only the run that has the thread is stopped; the next one runs to its end."""
    gate = Gate()
    graph = three_steps(saver, gate)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        line = asyncio.ensure_future(graph.ainvoke({"ask": "next"}, config()))
        await in_line(saver, 1)
        stopping = asyncio.ensure_future(graph.acancel(config()))
        await told_to_stop(saver)
        gate.open.set()
        await preempted(run)
        assert await asyncio.wait_for(stopping, 60)
        result = await asyncio.wait_for(line, 60)
    assert result["log"][-1] == "third next"
    assert await statuses(saver) == ["done", "cancelled"]


async def test_a_run_that_ends_by_itself_counts_as_stopped(saver: Saver) -> None:
    """Its caller has its result."""
    gate = Gate()

    async def only(state: State) -> State:
        await gate()
        return {"log": [state["ask"]]}

    graph = StateGraph(State).add_node("only", only).add_edge(START, "only").compile(saver)
    async with running(graph.ainvoke({"ask": "x"}, config()), gate) as run:
        stopping = asyncio.ensure_future(graph.acancel(config()))
        await told_to_stop(saver)
        gate.open.set()
        assert await asyncio.wait_for(stopping, 60) is True
        assert (await run)["log"] == ["x"]


async def test_a_run_cannot_wait_for_itself(saver: Saver) -> None:
    """Cancelling, awaiting, rolling back or running its own thread: refused at once, under
    every policy, and through a run on another thread in between."""
    refused: list[str] = []

    async def selfish(state: State) -> State:
        calls = [
            lambda: graph.acancel(config()),
            lambda: graph.await_run(config()),
            lambda: graph.arollback(config(), where=lambda _: True),
            lambda: graph.aupdate_state(config(), {"ask": "y"}),
            *(
                lambda policy=policy: graph.ainvoke({"ask": "z"}, config(), on_conflict=policy)
                for policy in ("wait", "reject", "interrupt", "rollback")
            ),
        ]
        for call in calls:
            with pytest.raises(ThreadBusyError) as caught:
                await asyncio.wait_for(call(), 60)
            refused.append(caught.value.context["code"])
        return {"log": ["done"]}

    async def through(state: State) -> State:
        result = await inner.ainvoke({"ask": "x"}, config("between"))
        return {"log": result["log"]}

    inner = StateGraph(State).add_node("selfish", selfish).add_edge(START, "selfish").compile(saver)
    graph = StateGraph(State).add_node("through", through).add_edge(START, "through").compile(saver)
    assert (await graph.ainvoke({"ask": "x"}, config()))["log"] == ["done"]
    assert refused == ["reentrant"] * 8
    direct = StateGraph(State).add_node("selfish", selfish).add_edge(START, "selfish")
    graph = direct.compile(saver)  # type: ignore[assignment]
    refused.clear()
    assert (await graph.ainvoke({"ask": "x"}, config()))["log"] == ["done", "done"]
    assert refused == ["reentrant"] * 8


@pytest.mark.parametrize("policy", ["wait", "interrupt", "rollback"])
async def test_runs_that_would_wait_for_each_other(saver: Saver, policy: Any) -> None:
    """A waits for B and B for A: the second is refused at once, whoever asks whom to stop; with
    rollback it is not there any more."""
    both = asyncio.Barrier(2)
    caught: list[str] = []
    plain = three_steps(saver, Gate())

    def crossing_to(other: str) -> Any:
        async def crossing(state: State) -> State:
            await both.wait()
            try:
                await plain.ainvoke({"ask": "in"}, config(other), on_conflict=policy)
            except ThreadBusyError as error:
                caught.append(error.context["code"])
            return {"log": ["crossed"]}

        graph = StateGraph(State).add_node("crossing", crossing).add_edge(START, "crossing")
        return graph.compile(saver, on_mismatch="accept")

    async with asyncio.timeout(25):
        results = await asyncio.gather(
            crossing_to("two").ainvoke({"ask": "x"}, config("one")),
            crossing_to("one").ainvoke({"ask": "x"}, config("two")),
            return_exceptions=True,
        )
    kinds = sorted(type(r).__name__ for r in results)
    if policy == "rollback":
        assert (caught, kinds) == ([], ["RunPreemptedError", "dict"])
    else:
        assert (caught, kinds) == (["cycle"], ["dict", "dict"])


async def test_cancel_of_a_workflow_and_a_graph_inside(saver: Saver) -> None:
    """A workflow stops before its next task, a graph inside before its next superstep."""
    gate = Gate()

    @task
    async def step(n: int) -> int:
        if n == 1:
            await gate()
        return n

    @entrypoint(saver)
    async def work(given: int) -> list[int]:
        return [await step(n) for n in range(given)]

    async with running(work.ainvoke(4, config("w")), gate) as run:
        stopping = asyncio.ensure_future(work.acancel(config("w")))
        await told_to_stop(saver, "w")
        gate.open.set()
        assert await asyncio.wait_for(stopping, 60)
        await preempted(run)
    assert await work.ainvoke(None, config("w")) == [0, 1, 2, 3]
    inner_gate = Gate()
    inner = three_steps(None, inner_gate)  # type: ignore[arg-type]
    outer = StateGraph(Outer).add_node("inner", inner).add_edge(START, "inner").compile(saver)
    async with running(outer.ainvoke({"ask": "slow"}, config("o")), inner_gate) as run:
        stopping = asyncio.ensure_future(outer.acancel(config("o")))
        await told_to_stop(saver, "o")
        inner_gate.open.set()
        assert await asyncio.wait_for(stopping, 60)
        await preempted(run)
    inner_gate.reached.clear()
    assert (await outer.ainvoke(None, config("o")))["log"][-1] == "third slow"
    assert not inner_gate.reached.is_set()


async def test_what_ends_last_beside_a_graph_that_has_stopped_is_filed(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not due again, and the thread's row agrees with the state."""
    gate, stopped, ran, stop = Gate(), asyncio.Event(), [], Run._stop

    def stops(run: Run, due: Any) -> None:
        if run.nested:
            stopped.set()
        stop(run, due)

    monkeypatch.setattr(Run, "_stop", stops)

    async def last(state: Outer) -> Outer:
        ran.append("last")
        await stopped.wait()
        for _ in range(50):  # the graph beside it has ended for good
            await asyncio.sleep(0)
        return {"log": ["last"]}

    outer = StateGraph(Outer).add_node("inner", three_steps(None, gate)).add_node("last", last)  # type: ignore[arg-type]
    graph = outer.add_edge(START, "inner").add_edge(START, "last").compile(saver)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        stopping = asyncio.ensure_future(graph.acancel(config()))
        await told_to_stop(saver)
        gate.open.set()
        assert await asyncio.wait_for(stopping, 60)
        await preempted(run)
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.next) == ("idle", ("inner",))
    assert (await graph.aget_state(config())).next == ("inner",)
    assert "last" in (await graph.ainvoke(None, config()))["log"]
    assert ran == ["last"]


async def test_cancel_through_another_saver(tmp_path: Path) -> None:
    """Two savers on one SQLite file are two workers: the owner learns by its next commit, or by
    its heartbeat when it has none; so do interrupt and rollback."""
    url = f"sqlite:///{tmp_path}/two.db"
    async with (
        open_saver(url, lease_ttl_s=6.0) as one,
        open_saver(url, lease_ttl_s=6.0) as other,
    ):
        gate = Gate()
        # Without waiting for commits, a short run is over before it hears of anything.
        graph, there = three_steps(one, gate, durability="sync"), three_steps(other, Gate())
        async with running(graph.ainvoke({"ask": "slow"}, config("c")), gate) as run:
            stopping = asyncio.ensure_future(there.acancel(config("c"), reason="from there"))
            await told_to_stop(one, "c")  # it hears of it by its heartbeat
            gate.open.set()
            error = await preempted(run)
            assert (error.policy, await asyncio.wait_for(stopping, 60)) == ("cancel", True)
        for policy in ("interrupt", "rollback"):
            gate.open.clear()
            gate.reached.clear()
            async with running(graph.ainvoke({"ask": "slow"}, config(policy)), gate) as run:
                other_run = asyncio.ensure_future(
                    there.ainvoke({"ask": "b"}, config(policy), on_conflict=policy)
                )
                if policy == "interrupt":
                    await told_to_stop(one, policy)
                    assert not run.done()
                    gate.open.set()
                error = await preempted(run)
                result = await asyncio.wait_for(other_run, 60)
            assert error.policy == policy
            assert ("second slow" in result["log"]) is (policy == "interrupt")


# -- waiting


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_await_run(saver: Saver, durability: Any) -> None:
    """It returns the run that was under way, when that has ended; by name or without."""
    gate = Gate()
    graph = three_steps(saver, gate, durability=durability)
    named = {**config(), "run_id": "the-run"}
    async with running(graph.ainvoke({"ask": "slow"}, named), gate) as run:
        waiting = [
            asyncio.ensure_future(graph.await_run(config())),
            asyncio.ensure_future(graph.await_run(config(), run_id="the-run")),
        ]
        await asyncio.sleep(0.1)
        assert not any(w.done() for w in waiting)
        with pytest.raises(ThreadBusyError) as caught:
            await graph.await_run(config(), timeout=0.1)
        assert caught.value.context["code"] == "timeout"
        gate.open.set()
        found = await asyncio.wait_for(asyncio.gather(*waiting), 60)
        await run
    assert [(i.run_id, i.status) for i in found] == [("the-run", "done")] * 2
    assert (await graph.await_run(config())).run_id == "the-run"


async def test_await_run_of_nothing(saver: Saver) -> None:
    """A thread or a run that is not there is an error, not a wait."""
    graph, _ = asking(saver, Gate())
    with pytest.raises(NotFoundError):
        await graph.await_run(config())
    await graph.ainvoke({"ask": "x"}, config())
    with pytest.raises(NotFoundError, match="no-such-run"):
        await graph.await_run(config(), run_id="no-such-run")
    assert (await graph.await_run(config())).status == "interrupted"


async def test_await_run_tells_a_stopped_run(saver: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits learns that it was cancelled, and which run it was, whatever came after."""
    gate, looked, look = Gate(), asyncio.Event(), cancel._look

    async def seen(*of: Any) -> Any:
        found = await look(*of)
        looked.set()
        return found

    monkeypatch.setattr(cancel, "_look", seen)
    graph = three_steps(saver, gate)
    async with running(graph.ainvoke({"ask": "slow"}, {**config(), "run_id": "1"}), gate) as run:
        waiting = asyncio.ensure_future(graph.await_run(config()))
        await looked.wait()
        other = asyncio.ensure_future(
            graph.ainvoke({"ask": "b"}, config(), on_conflict="interrupt")
        )
        await told_to_stop(saver)
        gate.open.set()
        await preempted(run)
        await other
        info = await asyncio.wait_for(waiting, 60)
    assert (info.run_id, info.status) == ("1", "cancelled")


# -- rollback to a state


async def test_arollback(saver: Saver) -> None:
    """The newest state that fits becomes the head, by a row beside what came after it."""
    graph = three_steps(saver, Gate())
    for ask in ("a", "b", "c"):
        await graph.ainvoke({"ask": ask}, config())
    before = [s async for s in graph.aget_state_history(config())]
    asked: list[Any] = []

    def where(state: Any) -> bool:
        asked.append(state.metadata["step"])
        return bool(state.values.get("ask") == "b" and not state.next)

    head = await graph.arollback(config(), where=where)
    assert asked == sorted(asked, reverse=True)
    state = await graph.aget_state(config())
    assert state.config == head
    assert (state.values["ask"], state.values["log"][-1]) == ("b", "third b")
    assert (state.next, state.metadata["source"]) == ((), "fork")
    history = [s async for s in graph.aget_state_history(config())]
    assert [s.config for s in history[1:]] == [s.config for s in before]
    assert state.parent_config in [s.config for s in before]
    info = await saver.aget_thread("t")
    assert info is not None
    assert info.status == "done"
    result = await graph.ainvoke({"ask": "d"}, config())
    assert [line.split()[1] for line in result["log"]] == list("aaabbbddd")


async def test_arollback_to_the_head_changes_nothing(saver: Saver) -> None:
    """And so it can be repeated."""
    graph = three_steps(saver, Gate())
    await graph.ainvoke({"ask": "a"}, config())
    head = (await graph.aget_state(config())).config
    assert await graph.arollback(config(), where=lambda _: True) == head
    once = await graph.arollback(config(), where=lambda s: s.next == ("third",))
    assert await graph.arollback(config(), where=lambda s: s.next == ("third",)) == once
    assert (await graph.aget_state(config())).next == ("third",)
    assert (await graph.ainvoke(None, config()))["log"] == ["first a", "second a", "third a"]


async def test_arollback_finds_nothing(saver: Saver) -> None:
    """Nothing fits, or there is no thread: an error, and nothing was made."""
    graph = three_steps(saver, Gate())
    with pytest.raises(NotFoundError):
        await graph.arollback(config("none"), where=lambda _: True)
    assert await saver.aget_thread("none") is None
    await graph.ainvoke({"ask": "a"}, config())
    with pytest.raises(NotFoundError, match="no state"):
        await graph.arollback(config(), where=lambda _: False)
    with pytest.raises(ZeroDivisionError):
        await graph.arollback(config(), where=lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="where"):
        await graph.arollback(config(), where="a")  # type: ignore[arg-type]
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.owner) == ("done", None)


async def test_arollback_to_a_question(saver: Saver) -> None:
    """Before an answer was given, the question is asked again; one that never was answered
    still waits, and what had finished beside it has not to run again."""
    graph, ran = asking(saver, Gate())
    await graph.ainvoke({"ask": "x"}, config())
    question = (await graph.aget_state(config())).interrupts[0]
    await graph.aupdate_state(config(), {"ask": "edited"}, as_node="count")
    await graph.arollback(config(), where=lambda s: bool(s.interrupts))
    state = await graph.aget_state(config())
    assert state.interrupts == (question,)
    result = await graph.ainvoke(Command(resume={question.id: "1"}), config())
    assert sorted(result["log"]) == ["after", "answer 1", "counted"]
    assert ran == ["count"]
    await graph.arollback(config(), where=lambda s: set(s.next) == {"count", "ask"})
    result = await graph.ainvoke(None, config())
    assert len(result["__interrupt__"]) == 1
    assert ran == ["count", "count"]


async def test_arollback_waits_for_a_run(saver: Saver) -> None:
    """It claims the thread as any write does, and obeys `lock_timeout`."""
    gate = Gate()
    graph = three_steps(saver, gate)
    async with running(graph.ainvoke({"ask": "slow"}, config()), gate) as run:
        with pytest.raises(ThreadBusyError):
            await graph.arollback(config(), where=lambda _: True, lock_timeout=0.05)
        back = asyncio.ensure_future(
            graph.arollback(config(), where=lambda s: s.next == ("second",))
        )
        gate.open.set()
        await run
        await asyncio.wait_for(back, 60)
    assert (await graph.aget_state(config())).values["log"] == ["first slow"]


async def test_a_history_inside_goes_back_with_arollback(saver: Saver) -> None:
    """A graph inside that keeps one history per thread goes back to what it was then."""
    inner = three_steps(True, Gate())  # type: ignore[arg-type]

    async def inside(state: Outer) -> Outer:
        result = await inner.ainvoke({"ask": state["ask"]})
        return {"log": [str(len(result["log"]))]}

    graph = StateGraph(Outer).add_node("inside", inside).add_edge(START, "inside").compile(saver)
    for ask in ("a", "b"):
        await graph.ainvoke({"ask": ask}, config())
    await graph.arollback(config(), where=lambda s: s.values.get("log") == ["3"] and not s.next)
    assert (await graph.ainvoke({"ask": "c"}, config()))["log"] == ["3", "6"]


def test_the_sync_twins(tmp_path: Path) -> None:
    """`cancel`, `wait_run` and `rollback` without a loop."""
    with open_saver(f"sqlite:///{tmp_path}/sync.db") as saver:
        graph = three_steps(saver, Gate())
        for ask in ("a", "b"):
            graph.invoke({"ask": ask}, config())
        assert graph.cancel(config()) is False
        assert graph.wait_run(config()).status == "done"
        head = graph.rollback(config(), where=lambda s: s.values.get("ask") == "a")
        assert graph.get_state(config()).config == head
        assert graph.get_state(config()).values["ask"] == "a"


# -- calls with an idempotency key


async def test_a_cancelled_call_with_a_key_goes_on_when_it_is_made_again(saver: Saver) -> None:
    """The key names the run that was stopped: the same call finishes it."""
    gate = Gate()
    graph = three_steps(saver, gate)
    async with running(graph.ainvoke({"ask": "slow"}, config(), idempotency_key="k"), gate) as run:
        stopping = asyncio.ensure_future(graph.acancel(config()))
        await told_to_stop(saver)
        gate.open.set()
        await preempted(run)
        assert await stopping
        result = await graph.ainvoke({"ask": "slow"}, config(), idempotency_key="k")
    assert result["log"] == ["first slow", "second slow", "third slow"]
    assert await statuses(saver) == ["done"]


@pytest.mark.parametrize("policy", ["interrupt", "rollback"])
async def test_a_call_with_a_key_that_made_way_is_not_made_again(saver: Saver, policy: Any) -> None:
    """Another run has come in its place: to run it once more would be a surprise, so the caller
    is told."""
    gate = Gate()
    graph = three_steps(saver, gate)
    async with running(graph.ainvoke({"ask": "slow"}, config(), idempotency_key="k"), gate) as run:
        other = asyncio.ensure_future(graph.ainvoke({"ask": "b"}, config(), on_conflict=policy))
        await told_to_stop(saver)
        if policy == "interrupt":
            gate.open.set()
        await preempted(run)
        before = await asyncio.wait_for(other, 60)
        with pytest.raises(IdempotencyConflictError):
            await graph.ainvoke({"ask": "slow"}, config(), idempotency_key="k")
    assert (await graph.aget_state(config())).values == before


async def test_a_call_with_a_key_does_not_stop_itself(saver: Saver) -> None:
    """Made twice at the same time, with a policy that stops runs: the second waits for the
    first, and both return the same."""
    gate = Gate()
    graph = three_steps(saver, gate, on_conflict="rollback")
    async with running(graph.ainvoke({"ask": "slow"}, config(), idempotency_key="k"), gate) as run:
        again = asyncio.ensure_future(graph.ainvoke({"ask": "slow"}, config(), idempotency_key="k"))
        await asyncio.sleep(0.05)
        gate.open.set()
        assert await asyncio.wait_for(again, 60) == await run
    assert await statuses(saver) == ["done"]


@simulated
async def test_time_is_that_of_the_saver() -> None:
    """Stopping, and waiting, give up by the clock that was injected, not by the machine's."""
    loop, process = asyncio.get_running_loop(), Process(Database())
    async with Saver(process, clock=LoopClock(), ids=RandomIds(seed=1)) as saver:

        async def slow(_: State) -> State:
            await asyncio.sleep(60)
            return {}

        graph = StateGraph(State).add_node("slow", slow).add_edge(START, "slow").compile(saver)
        run = asyncio.ensure_future(graph.ainvoke({"log": []}, config()))
        await asyncio.sleep(1)
        began = loop.time()
        assert not await graph.acancel(config(), timeout=5)
        assert loop.time() - began == pytest.approx(5)
        with pytest.raises(ThreadBusyError):
            await graph.await_run(config(), timeout=5)
        assert loop.time() - began == pytest.approx(10)
        await run
