"""One rich run after the other: every event is told, and no value of a state is in any of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import pytest_asyncio

from stepwell import Retention, open_saver
from stepwell import observe as public
from stepwell._context import current_task
from stepwell.checkpoint.base import Saver
from stepwell.errors import StaleWriterError, StorageUnavailableError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.observe import (
    CommitFinished,
    Event,
    LoadFinished,
    Meter,
    Pruned,
    RunFinished,
    RunStarted,
    SuperstepFinished,
    TaskFinished,
    TaskStarted,
)
from stepwell.observe.logging import LogObserver
from stepwell.types import Command, RetryPolicy, Send, interrupt
from tests._postgres import fresh_schema, server_dsn

CANARY = "sesame-4711"
KINDS = {
    kind
    for name in public.__all__
    if isinstance(kind := getattr(public, name), type) and issubclass(kind, Event)
} - {Event}


class State(TypedDict, total=False):
    """Secrets, and what to do."""

    act: str
    word: str
    log: Annotated[list[Any], operator.add]


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def watched(request: Any, tmp_path: Path) -> AsyncIterator[tuple[Saver, list[Event]]]:
    """A saver of each driver, and what it has told."""
    events: list[Event] = []
    async with contextlib.AsyncExitStack() as stack:
        options: dict[str, Any] = {"observe": [events.append, Meter(), LogObserver()]}
        if request.param == "memory":
            url = "memory://"
        elif request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/t.db"
        else:
            url, options["schema"] = server_dsn(), await stack.enter_async_context(fresh_schema())
        yield await stack.enter_async_context(open_saver(url, **options)), events


def config(thread_id: str) -> dict[str, Any]:
    """A config of a thread; what it says of the call is a secret too."""
    return {"configurable": {"thread_id": thread_id}, "metadata": {"who": CANARY}}


class Rich:
    """A graph whose second node does what its input says."""

    def __init__(self, saver: Saver) -> None:
        self.saver = saver
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        tries = Counter[str]()

        async def first(state: State) -> dict[str, Any]:
            return {"log": [CANARY]}

        async def act(state: State) -> Any:
            kind = state["act"]
            tries[kind] += 1
            if kind == "ask":
                return {"log": [interrupt(CANARY)]}
            if kind == "wait":
                self.begun.set()
                await self.go.wait()
            if kind == "die" and tries[kind] == 1:
                current_task.get().held[0].outbox.fail(StorageUnavailableError("it is gone"))  # type: ignore[union-attr]
                await asyncio.sleep(60)
            if kind == "lose":
                handle = current_task.get().held[0]  # type: ignore[union-attr]
                journal = await saver.journal()
                await journal.driver.delete(handle.held, journal.worker)
            if kind == "fail" or (kind == "flaky" and tries[kind] == 1):
                raise ConnectionError
            return Command(update={"log": [CANARY]}, goto=[Send("each", {"x": CANARY})] * 2)

        def each(given: dict[str, Any]) -> dict[str, Any]:
            return {"log": [given["x"]]}

        inner = StateGraph(State).add_node("deep", lambda _: {"log": [CANARY]})
        builder = StateGraph(State).add_node("first", first).add_node("each", each)
        quick = RetryPolicy(initial_interval=0.001, max_attempts=2, jitter=False)
        builder.add_node("act", act, retry_policy=quick, destinations=("each",))
        builder.add_node("sub", inner.add_edge(START, "deep").compile())
        builder.add_edge(START, "first").add_edge("first", "act").add_edge("each", "sub")
        self.graph = builder.compile(saver, name="rich")

    async def do(self, kind: str, thread_id: str | None = None, **options: Any) -> Any:
        """One call."""
        given = {"act": kind, "word": CANARY, "log": []}
        return await self.graph.ainvoke(given, config(thread_id or kind), **options)


async def everything(rich: Rich, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes events."""
    saver, graph = rich.saver, rich.graph
    await rich.do("fine", durability="sync")
    await rich.do("flaky")
    with pytest.raises(ConnectionError):
        await rich.do("fail")
    await rich.do("ask")
    await graph.ainvoke(Command(resume=CANARY), config("ask"))
    await graph.aupdate_state(config("ask"), {"log": [CANARY]})

    holds = asyncio.ensure_future(rich.do("wait"))
    await rich.begun.wait()
    waits = asyncio.ensure_future(rich.do("fine", "wait"))
    await asyncio.sleep(0)
    rich.go.set()
    await holds
    await waits

    with pytest.raises(StorageUnavailableError):
        await rich.do("die", durability="sync")
    await graph.arecover()
    with pytest.raises(StaleWriterError):
        await rich.do("lose", durability="sync")

    @task
    async def shout(word: str) -> str:
        return word.upper()

    @entrypoint(checkpointer=saver)
    async def flow(word: str) -> str:
        return await shout(word)

    await flow.ainvoke(CANARY, config("flow"))

    driver = (await saver.journal()).driver
    real, failed = driver.runs, []

    async def once(*args: Any, **options: Any) -> Any:
        if not failed:
            failed.append(True)
            raise StorageUnavailableError("for a moment", outcome="none")
        return await real(*args, **options)

    monkeypatch.setattr(driver, "runs", once)
    assert [run async for run in saver.alist_runs("fine")]
    assert [s async for s in graph.aget_state_history(config("fine"))]
    await saver.aprune(policy=Retention(keep_last=1))
    await saver.aprune(["flaky"], strategy="delete")


async def test_every_event_is_told_and_none_holds_a_value(
    watched: tuple[Saver, list[Event]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On every driver; nor does any line of a log, at any level."""
    saver, events = watched
    with caplog.at_level(logging.DEBUG):
        await everything(Rich(saver), monkeypatch)
    told = Counter(type(event) for event in events)
    assert set(told) == KINDS
    assert CANARY not in repr(events)
    assert CANARY.upper() not in repr(events)
    assert {record.event for record in caplog.records if hasattr(record, "event")} >= {
        "run_started", "run_finished", "task_finished", "commit_finished", "load_finished",
        "lock_waited", "lease_lost", "storage_retried", "run_recovered", "pruned",
    }  # fmt: skip
    assert CANARY not in caplog.text
    assert CANARY.upper() not in caplog.text
    assert all(CANARY not in repr(vars(record)) for record in caplog.records)


async def test_what_begins_ends(
    watched: tuple[Saver, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run that is told to start is told to end, and so is each task, once; commits name their
    threads; durations are no less than nothing."""
    saver, events = watched
    await everything(Rich(saver), monkeypatch)
    started = Counter(_run(e) for e in events if isinstance(e, RunStarted))
    assert started == Counter(_run(e) for e in events if isinstance(e, RunFinished))
    ways = Counter(e.status for e in events if isinstance(e, RunFinished))
    assert set(ways) == {"done", "failed", "interrupted", "cancelled"}
    begun = Counter(_task(e) for e in events if isinstance(e, TaskStarted))
    ended = Counter(_task(e) for e in events if isinstance(e, TaskFinished))
    assert ended - begun == Counter()
    lost = {node for *_, node in (begun - ended)}
    assert lost <= {"act"}  # whose worker was gone
    attempts = {e.attempt for e in events if isinstance(e, TaskFinished) and e.node == "act"}
    assert attempts == {1, 2}
    for event in events:
        for field in ("duration_s", "waited_s", "delay_s"):
            assert getattr(event, field, 0.0) >= 0.0
    commits = [e for e in events if isinstance(e, CommitFinished)]
    assert all(len(e.thread_ids) == e.threads - e.refused for e in commits)
    assert {name for e in commits for name in e.thread_ids} >= {"fine", "ask", "flow"}
    assert {e.verb for e in events if isinstance(e, LoadFinished)} == {"claim", "load", "history"}
    steps = [e for e in events if isinstance(e, SuperstepFinished) and e.thread_id == "fine"]
    seqs = [e.seq for e in steps if not e.ns]
    assert seqs == list(range(2, 2 + len(seqs)))
    pruned = [e for e in events if isinstance(e, Pruned)]
    assert {(e.thread_id, e.threads) for e in pruned} >= {("flaky", 1), ("fine", 0)}


def _run(event: Event) -> tuple[Any, ...]:
    return event.thread_id, event.run_id


def _task(event: Any) -> tuple[Any, ...]:
    return event.thread_id, event.run_id, event.ns, event.task_id, event.node
