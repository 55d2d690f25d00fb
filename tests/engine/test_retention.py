"""Retention: what goes, what stays, and that what stays is what it was, on every driver."""

from __future__ import annotations

import asyncio
import operator
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import Retention, open_saver
from stepwell.checkpoint.base import PruneReport, Saver
from stepwell.errors import NotFoundError, UsageError
from stepwell.graph import END, START, StateGraph
from stepwell.observe import Pruned
from stepwell.types import Command, interrupt
from tests.engine.test_folding import stored

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}, "recursion_limit": 5000}


class State(TypedDict, total=False):
    """A counter, its trace, and how far it is to go."""

    n: int
    log: Annotated[list[int], operator.add]
    goal: int
    answer: str


def build(saver: Saver) -> Any:
    """Counts up to the goal."""

    async def add(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "log": [state["n"] + 1]}

    graph = StateGraph(State).add_node("add", add).add_edge(START, "add")
    graph.add_conditional_edges("add", lambda s: END if s["n"] >= s["goal"] else "add")
    return graph.compile(saver)


async def history(graph: Any, config: dict[str, Any] = CONFIG) -> dict[str, Any]:
    """Snapshots by checkpoint id, newest first."""
    return {
        s.config["configurable"]["checkpoint_id"]: s async for s in graph.aget_state_history(config)
    }


def shown(snapshot: Any) -> Any:
    """What of a snapshot must not change when others go."""
    return (
        snapshot.values, snapshot.next, snapshot.config, snapshot.metadata, snapshot.created_at,
        snapshot.interrupts, [(t.id, t.name, t.interrupts) for t in snapshot.tasks],
    )  # fmt: skip


async def counters_are_right(saver: Saver, thread_id: str = "t") -> None:
    """The thread row counts what is stored."""
    journal, key = await saver.journal(), saver.key(thread_id)
    info = await saver.aget_thread(thread_id)
    assert info is not None
    rows = size = 0
    for name in ("", *await journal.namespaces(key)):
        layout = await journal.driver.layout(key, name)
        rows += len(layout.rows) + sum(s.seq_to - s.seq_from + 1 for s in layout.segments)
        size += await stored(journal, key, name)
    assert (info.checkpoints, info.bytes) == (rows, size)


@pytest.mark.parametrize("compacted", [False, True])
async def test_the_newest_are_kept(saver: Saver, *, compacted: bool) -> None:
    """So many of them, each as it was, whether in rows or in segments; a dry run says the same
    and does nothing; the thread goes on; pruned again, nothing happens."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": [], "goal": 150}, CONFIG)
    if compacted:
        await saver.acompact()
    await (await saver.journal()).folded()
    before = await history(graph)
    policy = Retention(keep_last=40)
    planned = await saver.aprune(policy=policy, dry_run=True)
    assert await history(graph) == before
    report = await saver.aprune(policy=policy, batch_rows=17)
    assert (planned.checkpoints, planned.threads, planned.skipped) == (152 - 40, 0, 0)
    assert report == planned
    after = await history(graph)
    assert list(after) == list(before)[:40]
    for name, snapshot in after.items():
        assert shown(snapshot) == shown(before[name])
        assert shown(await graph.aget_state(snapshot.config)) == shown(before[name])
    oldest = list(after.values())[-1]
    assert oldest.parent_config is None
    await counters_are_right(saver)
    assert await saver.aprune(policy=policy) == PruneReport()
    gone = list(before.values())[-1]
    assert (await graph.aget_state(gone.config)).values == {}
    assert await saver.aget_tuple(gone.config) is None
    await graph.ainvoke({"goal": 160}, CONFIG)
    assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 161))


async def test_keep_wins(saver: Saver) -> None:
    """Every rule must let a checkpoint go; where branches that stay meet stays too, and what
    stays extends what stays."""
    graph = build(saver)
    await graph.ainvoke({"n": 0, "log": [], "goal": 8}, CONFIG)
    first = await history(graph)
    middle = next(s for s in first.values() if s.values.get("n") == 3)
    await graph.ainvoke({"goal": 9}, middle.config)
    before = await history(graph)
    assert await saver.aprune(policy=Retention(keep_last=2, max_age=3600)) == PruneReport()
    kept_old = next(s for s in first.values() if s.values.get("n") == 6)
    wanted = kept_old.config["configurable"]["checkpoint_id"]
    asked = []

    def keep(checkpoint: Any) -> bool:
        asked.append(checkpoint)
        return bool(checkpoint.checkpoint_id == wanted)

    await saver.aprune(policy=Retention(keep_last=1, max_age=timedelta(0), keep=keep))
    after = await history(graph)
    assert [s.values["n"] for s in after.values()] == [9, 6, 3]
    for name, snapshot in after.items():
        assert shown(snapshot) == shown(before[name])
    newest, old, meeting = after.values()
    assert newest.parent_config == old.parent_config == meeting.config
    assert meeting.parent_config is None
    assert {c.source for c in asked} == {"input", "loop"}
    assert {c.thread_id for c in asked} == {"t"}
    await counters_are_right(saver)
    await graph.ainvoke(None, {**CONFIG, **old.config})
    assert (await graph.aget_state(CONFIG)).values["log"] == list(range(1, 9))


async def test_an_open_question_stays(saver: Saver) -> None:
    """With its interrupted task and what its finished sibling left; it can be answered after."""

    async def ask(_: State) -> dict[str, Any]:
        return {"answer": interrupt("well?")}

    ran = []

    async def beside(_: State) -> dict[str, Any]:
        ran.append(1)
        return {"log": [7]}

    graph = StateGraph(State).add_node("ask", ask).add_node("beside", beside)
    graph.add_edge(START, "ask")
    graph.add_edge(START, "beside")
    app = graph.compile(saver)
    for _ in range(3):
        await app.ainvoke({"log": [1]}, CONFIG)
        await app.ainvoke(Command(resume="yes"), CONFIG)
    await app.ainvoke({"log": [1]}, CONFIG)
    before = await app.aget_state(CONFIG)
    times = len(ran)
    assert (await saver.aprune(policy=Retention(keep_last=1))).checkpoints > 3
    assert shown(await app.aget_state(CONFIG)) == shown(before)
    assert before.next == ("ask",)
    out = await app.ainvoke(Command(resume="no"), CONFIG)
    assert (out["answer"], out["log"]) == ("no", [1, 7] * 4)
    assert len(ran) == times


async def test_what_ran_inside_goes_with_what_led_to_it(saver: Saver) -> None:
    """Namespaces of finished tasks whose checkpoints are gone are emptied; LangGraph's strategy
    leaves the newest of each."""

    async def step(state: State) -> dict[str, Any]:
        return {"log": [len(state.get("log", []))]}

    inner = StateGraph(State).add_node("step", step).add_edge(START, "step").compile()
    outer = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(saver)
    for _ in range(4):
        await outer.ainvoke({"n": 1}, CONFIG)
    journal, key = await saver.journal(), saver.key("t")
    names = await journal.namespaces(key)

    async def rows() -> list[int]:
        return [len((await journal.driver.layout(key, name)).rows) for name in names]

    assert min(await rows()) > 1
    state = await outer.aget_state(CONFIG)
    report = await saver.aprune(["t"])
    assert await rows() == [1] * len(names)
    assert report.checkpoints > 4
    await counters_are_right(saver)
    await saver.aprune(policy=Retention(keep_last=1))
    assert await rows() == [0] * len(names)
    await counters_are_right(saver)
    assert shown(await outer.aget_state(CONFIG)) == shown(state)
    await outer.ainvoke({"n": 2}, CONFIG)
    assert (await outer.aget_state(CONFIG)).values["n"] == 2


async def test_threads_go_by_status_time_and_predicate(saver: Saver) -> None:
    """All three; a time of its own comes before the policy's; interrupted threads stay."""

    async def ask(_: State) -> dict[str, Any]:
        return {"answer": interrupt("well?")}

    graph = build(saver)
    asking = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(saver)

    def config(name: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": name}, "metadata": {"who": name}}

    for name in ("old", "dear", "own"):
        await graph.ainvoke({"n": 0, "log": [], "goal": 2}, config(name))
    await asking.ainvoke({"n": 1}, config("asking"))
    await saver.aset_ttl("own", timedelta(hours=1))
    policy = Retention(thread_ttl=0, where=lambda thread: thread.metadata["who"] != "dear")

    async def names() -> set[str]:
        return {t.thread_id async for t in saver.alist_threads()}

    await asyncio.sleep(0.01)
    planned = await saver.aprune(policy=policy, dry_run=True)
    assert await names() == {"old", "dear", "own", "asking"}
    info = await saver.aget_thread("old")
    assert info is not None
    assert planned == PruneReport(threads=1, checkpoints=info.checkpoints, bytes=info.bytes)
    assert await saver.aprune(policy=policy) == planned
    assert await names() == {"dear", "own", "asking"}
    await saver.aset_ttl("own", 0)
    assert (await saver.aprune()).threads == 1
    assert await names() == {"dear", "asking"}
    await saver.aset_ttl("dear", 0)
    await saver.aset_ttl("dear", None)
    assert (await saver.aprune()).threads == 0
    with pytest.raises(NotFoundError, match="no thread 'none'"):
        await saver.aset_ttl("none", 1)


async def test_running_threads_are_left_alone(saver: Saver) -> None:
    """And are pruned by a later pass."""
    go = asyncio.Event()
    started = asyncio.Event()

    async def wait(_: State) -> dict[str, Any]:
        started.set()
        await go.wait()
        return {"log": [1]}

    graph = StateGraph(State).add_node("wait", wait).add_edge(START, "wait").compile(saver)
    run = asyncio.ensure_future(graph.ainvoke({"n": 1}, CONFIG))
    await started.wait()
    policy = Retention(keep_last=1, thread_ttl=0)
    assert await saver.aprune(policy=policy) == PruneReport(skipped=1)
    assert await saver.aprune(policy=policy, dry_run=True) == PruneReport(skipped=1)
    go.set()
    assert (await run)["log"] == [1]
    assert (await saver.aprune(policy=Retention(keep_last=1))).checkpoints > 0
    assert (await graph.aget_state(CONFIG)).values["log"] == [1]


async def test_a_pruner_in_the_background(saver: Saver) -> None:
    """It prunes what grows while the block lasts."""
    graph = build(saver)
    async with saver.pruning(Retention(keep_last=3), interval_s=0.02):
        for goal in (10, 20):
            await graph.ainvoke({"n": 0, "log": [], "goal": goal}, CONFIG)
            async with asyncio.timeout(60):
                while len(await history(graph)) > 3:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0.02)
    await counters_are_right(saver)
    with pytest.raises(UsageError, match="interval_s"):
        async with saver.pruning(interval_s=0):
            pass


async def test_what_has_settled_is_not_read_again() -> None:
    """Observers are told what went; a thread that nobody writes is looked at by its row only."""
    seen: list[Any] = []
    reads = 0
    async with open_saver(
        "memory://", retention=Retention(keep_last=3), observe=seen.append
    ) as saver:
        graph = build(saver)
        driver = (await saver.journal()).driver
        real = driver.history

        async def history_counted(*args: Any, **options: Any) -> Any:
            nonlocal reads
            reads += 1
            return await real(*args, **options)

        driver.history = history_counted  # type: ignore[method-assign]
        await graph.ainvoke({"n": 0, "log": [], "goal": 10}, CONFIG)
        passes = 0
        real_threads = driver.threads

        async def threads_counted(*args: Any) -> Any:
            nonlocal passes
            passes += 1
            return await real_threads(*args)

        driver.threads = threads_counted  # type: ignore[method-assign]
        async with saver.pruning(interval_s=0.01), asyncio.timeout(60):
            while passes < 10:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)
    told = [event for event in seen if isinstance(event, Pruned)]
    assert [(e.thread_id, e.checkpoints, e.threads) for e in told] == [("t", 9, 0)]
    assert reads == 1


async def test_what_was_written_since_its_page_was_looked_at(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again, and pruned as it is then; nothing new is lost."""
    graph = build(saver)

    def config(name: str) -> dict[str, Any]:
        return {"configurable": {"thread_id": name}}

    for name in ("a", "b"):
        await graph.ainvoke({"n": 0, "log": [], "goal": 5}, config(name))
    journal = await saver.journal()
    real, written = journal.history, []

    async def history_read(key: Any, *args: Any, **options: Any) -> Any:
        if key.thread_id == "a" and not written:
            written.append(await graph.ainvoke({"goal": 8}, config("b")))
        return await real(key, *args, **options)

    monkeypatch.setattr(journal, "history", history_read)
    report = await saver.aprune(policy=Retention(keep_last=2))
    assert written[0]["log"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert report.skipped == 0
    for name, goal in (("a", 5), ("b", 8)):
        after = await history(graph, config(name))
        assert [s.values["n"] for s in after.values()] == [goal, goal - 1]
        await counters_are_right(saver, name)


async def test_langgraphs_forms(saver: Saver) -> None:
    """Strategies by name; ids without a strategy keep the newest; the rest is refused."""
    graph = build(saver)
    for name in ("a", "b"):
        config = {"configurable": {"thread_id": name}}
        await graph.ainvoke({"n": 0, "log": [], "goal": 5}, config)
    assert (await saver.aprune(["a", "unknown"])).checkpoints == 6
    assert (await saver.aprune(["b"], strategy="keep_latest")).checkpoints == 6
    assert (await graph.aget_state(config)).values["log"] == [1, 2, 3, 4, 5]
    assert (await saver.aprune(["b"], strategy="delete")).threads == 1
    assert [t.thread_id async for t in saver.alist_threads()] == ["a"]
    with pytest.raises(ValueError, match="strategy"):
        await saver.aprune(["a"], strategy="some")
    with pytest.raises(TypeError, match="thread_ids"):
        await saver.aprune("a")  # type: ignore[arg-type]  # the mistake
    for mistake in (
        {"strategy": "keep_latest"},
        {"thread_ids": ["a"], "strategy": "delete", "policy": Retention()},
        {"batch_rows": 0},
    ):
        with pytest.raises(UsageError):
            await saver.aprune(**mistake)  # type: ignore[arg-type]  # mistakes


@pytest.mark.parametrize(
    "mistake",
    [
        {"keep_last": 0},
        {"keep_last": True},
        {"max_age": "x"},
        {"thread_ttl": -1},
        {"statuses": ("running",)},
        {"statuses": "done"},
        {"where": 1},
        {"keep": "x"},
    ],
    ids=str,
)
def test_a_policy_is_checked(mistake: dict[str, Any]) -> None:
    """When it is made, not when it is used."""
    with pytest.raises(UsageError):
        Retention(**mistake)
