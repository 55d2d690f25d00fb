"""Runs whose worker is gone are found and finished, once, and not for ever."""

from __future__ import annotations

import asyncio
import logging
import operator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell._context import current_task
from stepwell.checkpoint.base import RecoverReport
from stepwell.errors import StorageUnavailableError
from stepwell.graph import START, StateGraph
from stepwell.observe import RunRecovered
from stepwell.types import interrupt


class State(TypedDict, total=False):
    ask: str
    log: Annotated[list[str], operator.add]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def crash() -> None:
    """End this run as the death of its process would: its claim is gone, and nothing more of it
    is written."""
    handle = current_task.get().held[0]
    handle.outbox.fail(StorageUnavailableError("the process is gone"))


class Walk:
    """first -> second; what `second` does is `acts`, by thread."""

    def __init__(self, saver: Any, name: str = "walk", more: bool = False, **options: Any) -> None:
        self.ran: list[str] = []
        self.acts: dict[str, str] = {}
        self.go = asyncio.Event()
        self.begun = asyncio.Event()

        async def first(state: State) -> dict[str, Any]:
            self.ran.append(f"first {state['ask']}")
            return {"log": ["first"]}

        async def second(state: State) -> dict[str, Any]:
            self.ran.append(f"second {state['ask']}")
            act = self.acts.get(state["ask"])
            if act == "crash":
                crash()
                await asyncio.sleep(60)
            elif act == "raise":
                raise ValueError(state["ask"])
            elif act == "ask":
                interrupt("?")
            elif act == "wait":
                self.begun.set()
                await self.go.wait()
            return {"log": ["second"]}

        async def third(state: State) -> dict[str, Any]:
            return {"log": ["third"]}

        nodes: Any = [("first", first), ("second", second)] + ([("third", third)] if more else [])
        builder = StateGraph(State).add_sequence(nodes).add_edge(START, "first")
        self.graph = builder.compile(saver, name=name, **options)

    async def orphan(self, *names: str, **options: Any) -> None:
        """Begin a run on each thread, and lose its worker in `second`."""
        for name in names:
            self.acts[name] = "crash"
            with pytest.raises(StorageUnavailableError):
                await self.graph.ainvoke({"ask": name}, thread(name), durability="sync", **options)
            del self.acts[name]
        self.ran.clear()


async def ids(orphans: Any) -> list[str]:
    return [info.thread_id async for info in orphans]


async def test_orphans_are_found_and_finished(saver):
    """What was durable is not run again; the attempt is counted; there is nothing left."""
    walk = Walk(saver)
    await walk.orphan("b", "a")
    await walk.graph.ainvoke({"ask": "c"}, thread("c"))
    found = [info async for info in saver.aorphans()]
    assert [(i.thread_id, i.status, i.orphaned) for i in found] == [
        ("a", "running", True), ("b", "running", True),
    ]  # fmt: skip
    assert await ids(saver.aorphans(limit=1)) == ["a"]
    walk.ran.clear()
    report = await walk.graph.arecover()
    assert sorted(report.recovered) == ["a", "b"]
    assert report == RecoverReport(recovered=report.recovered)
    assert sorted(walk.ran) == ["second a", "second b"]
    for name in "ab":
        state = await walk.graph.aget_state(thread(name))
        assert state.values == {"ask": name, "log": ["first", "second"]}
        [run] = [r async for r in saver.alist_runs(name)]
        assert (run.status, run.attempts) == ("done", 2)
    assert await ids(saver.aorphans()) == []
    assert await walk.graph.arecover() == RecoverReport()


async def test_only_threads_of_this_graph(saver):
    """By name; `limit` bounds how many."""
    mine, other = Walk(saver, "mine"), Walk(saver, "other")
    await mine.orphan("a", "b")
    await other.orphan("x")
    assert await ids(saver.aorphans(graph="other")) == ["x"]
    assert (await mine.graph.arecover(limit=1)).recovered == ("a",)
    assert (await mine.graph.arecover()).recovered == ("b",)
    assert await ids(saver.aorphans()) == ["x"]
    assert other.ran == []
    assert (await other.graph.arecover(limit=0)) == RecoverReport()


@pytest.mark.parametrize(
    ("name", "policy", "fits"),
    [("walk", "refuse", False), ("walk", "accept", True), ("LangGraph", "accept", False)],
)
async def test_a_thread_that_does_not_fit_is_skipped(saver, name, policy, fits):
    """Another shape: the policy decides; without a name it is another graph for all we know."""
    await Walk(saver, name).orphan("a")
    changed = Walk(saver, name, more=True, on_mismatch=policy)
    report = await changed.graph.arecover()
    assert (report.recovered, report.skipped) == ((("a",), ()) if fits else ((), ("a",)))
    assert len(await ids(saver.aorphans())) == (not fits)


async def test_what_becomes_of_them_is_reported(saver, caplog):
    walk = Walk(saver)
    await walk.orphan("fails", "asks", "ends")
    walk.acts = {"fails": "raise", "asks": "ask"}
    report = await walk.graph.arecover(concurrency=2)
    assert (sorted(report.recovered), report.failed) == (["asks", "ends"], ("fails",))
    assert "The orphaned run of thread 'fails' failed: ValueError" in caplog.text
    assert "ValueError('fails')" not in caplog.text  # an error may name values
    status = {i.thread_id: i.status async for i in saver.alist_threads()}
    assert status == {"fails": "failed", "asks": "interrupted", "ends": "done"}


async def test_a_run_that_ends_its_workers_is_given_up(saver, caplog):
    """Three workers, then it is marked, without running; by hand it goes on."""
    walk = Walk(saver)
    await walk.orphan("a")
    walk.acts["a"] = "crash"
    for _ in range(2):
        assert (await walk.graph.arecover()).failed == ("a",)
        assert await ids(saver.aorphans()) == ["a"]
    assert walk.ran == ["second a"] * 2
    report = await walk.graph.arecover()
    assert report.poisoned == ("a",)
    assert walk.ran == ["second a"] * 2
    [run] = [r async for r in saver.alist_runs("a")]
    info = await saver.aget_thread("a")
    assert (run.status, run.attempts, info.status, info.next) == (
        "failed",
        3,
        "failed",
        ("second",),
    )
    assert run.error == info.error
    assert info.error.startswith("poisoned: ")
    assert "ainvoke(None, config)" in info.error
    assert "poisoned" in caplog.text
    assert await walk.graph.arecover() == RecoverReport()
    walk.acts.clear()
    assert await walk.graph.ainvoke(None, thread("a")) == {"ask": "a", "log": ["first", "second"]}


async def test_the_attempt_is_durable_before_a_node_runs(saver):
    """A node that looks finds itself counted, whatever the graph's durability."""
    seen = []
    for durability in ("sync", "async", "exit"):
        walk = Walk(saver, durability)
        await walk.orphan(durability)

        async def look(state: State, seen: list[int] = seen) -> dict[str, Any]:
            [run] = [r async for r in saver.alist_runs(state["ask"])]
            seen.append(run.attempts)
            return {}

        async def first(state: State) -> dict[str, Any]:
            return {}

        builder = StateGraph(State).add_sequence([("first", first), ("second", look)])
        graph = builder.add_edge(START, "first").compile(
            saver, name=durability, durability=durability, on_mismatch="accept"
        )
        assert (await graph.arecover()).recovered == (durability,)
    assert seen == [2, 2, 2]


async def test_whoever_takes_over_counts(saver):
    """A caller with new input finishes the run first: that is an attempt as well."""
    walk = Walk(saver)
    await walk.orphan("a")
    await walk.graph.ainvoke({"ask": "b"}, thread("a"))
    newest, oldest = [r async for r in saver.alist_runs("a")]
    assert (oldest.attempts, oldest.status, newest.attempts) == (2, "done", 1)


async def test_a_key_knows_what_was_recovered(saver):
    """The caller whose process died asks again, and is told what the recovery brought about."""
    walk = Walk(saver)
    await walk.orphan("a", idempotency_key="k")
    await walk.graph.arecover()
    assert await walk.graph.ainvoke({"ask": "a"}, thread("a"), idempotency_key="k") == {
        "ask": "a", "log": ["first", "second"],
    }  # fmt: skip
    assert walk.ran == ["second a"]
    await walk.orphan("b", idempotency_key="k")
    assert await walk.graph.ainvoke({"ask": "b"}, thread("b"), idempotency_key="k") == {
        "ask": "b", "log": ["first", "second"],
    }  # fmt: skip
    assert walk.ran == ["second b"]


async def test_at_exit_a_key_that_was_cut_off_is_not_known(saver):
    """Nothing is stored before the end: there is no orphan, and the call is made anew."""
    walk = Walk(saver, durability="exit")
    walk.acts["a"] = "crash"
    call: Any = {"idempotency_key": "k", "durability": "exit"}
    with pytest.raises(StorageUnavailableError):
        await walk.graph.ainvoke({"ask": "a"}, thread("a"), **call)
    walk.acts.clear()
    assert await ids(saver.aorphans()) == []
    assert await walk.graph.ainvoke({"ask": "a"}, thread("a"), **call) == {
        "ask": "a", "log": ["first", "second"],
    }  # fmt: skip
    assert walk.ran == ["first a", "second a"] * 2


async def test_recoveries_at_the_same_time_run_each_thread_once(tmp_path):
    """Two savers on one file are two workers, as two processes are."""
    url, names = f"sqlite:///{tmp_path}/two.db", [f"t{n}" for n in range(12)]
    async with open_saver(url) as here, open_saver(url) as there:
        one, two = Walk(here), Walk(there)
        await one.orphan(*names)
        reports = await asyncio.gather(
            *(walk.graph.arecover(concurrency=3) for walk in (one, two, one))
        )
        assert sorted(name for r in reports for name in r.recovered) == sorted(names)
        assert sorted(one.ran + two.ran) == sorted(f"second {name}" for name in names)
        assert not any(r.failed or r.poisoned for r in reports)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # it looks into a database
            await asyncio.sleep(0.02)


async def test_a_sweeper_finds_them_in_the_background(saver):
    walk = Walk(saver)
    await walk.orphan("a")

    async def over() -> bool:
        return await ids(saver.aorphans()) == [] and len(walk.ran) == expected

    async with walk.graph.sweeper(interval_s=0.05):
        expected = 1
        await until(over)
        walk.ran.clear()
        await Walk(saver).orphan("b")
        await until(over)
    tasks = asyncio.all_tasks()
    assert not any(task.get_name() == "stepwell sweeper" for task in tasks)


async def test_a_sweeper_that_ends_leaves_what_it_has_to_others(saver, monkeypatch):
    """The run is an orphan again, and the attempt that was stopped does not count."""
    monkeypatch.setattr("stepwell._engine.recover._STOP_S", 0.05)
    walk = Walk(saver)
    await walk.orphan("a")
    walk.acts["a"] = "wait"
    async with walk.graph.sweeper(interval_s=0.05):
        await walk.begun.wait()
        assert await ids(saver.aorphans()) == []
    assert await ids(saver.aorphans()) == ["a"]
    [run] = [r async for r in saver.alist_runs("a")]
    assert (run.status, run.attempts) == ("running", 1)
    walk.go.set()
    assert (await walk.graph.arecover()).recovered == ("a",)
    [run] = [r async for r in saver.alist_runs("a")]
    assert (run.status, run.attempts) == ("done", 2)


async def test_a_sweeper_lets_runs_come_to_their_barrier(saver):
    """What a node has done meanwhile is kept: the next worker does not run it again."""
    walk = Walk(saver, more=True)
    await walk.orphan("a")
    walk.acts["a"] = "wait"
    async with walk.graph.sweeper(interval_s=0.05):
        await walk.begun.wait()
        asyncio.get_running_loop().call_later(0.1, walk.go.set)
    assert (await walk.graph.aget_state(thread("a"))).next == ("third",)
    assert await ids(saver.aorphans()) == ["a"]
    assert (await walk.graph.arecover()).recovered == ("a",)
    assert walk.ran == ["second a"]


@asynccontextmanager
async def _many(graph: Any) -> Any:
    async with graph.sweeper(interval_s=0.01), graph.sweeper(interval_s=0.01):
        yield


async def test_sweepers_do_not_get_in_each_others_way(saver):
    walk = Walk(saver)
    names = [f"t{n}" for n in range(5)]
    await walk.orphan(*names)

    async def over() -> bool:
        return len(walk.ran) >= len(names) and not await ids(saver.aorphans())

    async with _many(walk.graph):
        await until(over)
    assert sorted(walk.ran) == sorted(f"second {name}" for name in names)


async def test_what_goes_wrong_is_logged_and_the_next_sweep_comes(saver, caplog, monkeypatch):
    walk = Walk(saver)
    await walk.orphan("a")
    journal = await saver.journal()
    known, times = journal.driver.threads, []

    async def threads(query: Any) -> Any:
        times.append(1)
        if len(times) <= 2:
            raise (RuntimeError("a mistake"), _lasting())[len(times) - 1]
        return await known(query)

    monkeypatch.setattr(journal.driver, "threads", threads)

    async def over() -> bool:
        return walk.ran == ["second a"]

    with caplog.at_level(logging.WARNING):
        async with walk.graph.sweeper(interval_s=0.02):
            await until(over)
    assert "a mistake" in caplog.text
    assert "A sweep for orphaned runs failed: for good" in caplog.text


def _lasting() -> Exception:
    error = StorageUnavailableError("for good")
    error.retryable = False
    return error


async def test_observers_are_told():
    heard: list[Any] = []
    async with open_saver("memory://", observe=heard.append) as saver:
        walk = Walk(saver)
        await walk.orphan("a")
        await walk.graph.arecover()
    [event] = [e for e in heard if isinstance(e, RunRecovered)]
    assert (event.thread_id, event.graph, event.attempt) == ("a", "walk", 2)


def test_the_sync_twins(tmp_path):
    with open_saver(f"sqlite:///{tmp_path}/sync.db") as saver:
        graph = Walk(saver).graph
        assert graph.recover() == RecoverReport()
        assert list(saver.orphans()) == []


async def test_an_input_that_was_not_in_the_state_yet_is_kept_by_an_interrupt(saver):
    """The worker dies between the input's record and the first superstep's. Who interrupts the
    run keeps what it was given, as he would have if it had lived."""
    dies = [True]

    async def route(state: State) -> str:
        if dies.pop() if dies else False:
            crash()
            await asyncio.sleep(60)
        return "last"

    async def last(state: State) -> dict[str, Any]:
        return {"log": [f"last {state['ask']}"]}

    builder = StateGraph(State).add_node("last", last).add_conditional_edges(START, route)
    graph = builder.compile(saver)
    with pytest.raises(StorageUnavailableError):
        await graph.ainvoke({"ask": "one", "log": ["one"]}, thread("t"))
    assert (await graph.aget_state(thread("t"))).next == (START,)
    given = {"ask": "two", "log": ["two"]}
    result = await graph.ainvoke(given, thread("t"), on_conflict="interrupt")
    assert result == {"ask": "two", "log": ["one", "two", "last two"]}
    assert [run.status async for run in saver.alist_runs("t")] == ["done", "cancelled"]
