"""Copies of threads: what they hold, and that they go on as their original would."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._journal.handle import ThreadHandle
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Driver, RunRow
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import NotFoundError, StorageError, ThreadBusyError, UsageError
from stepwell.graph import START, StateGraph
from stepwell.testing import FaultPlan, FaultyDriver
from stepwell.types import Command, interrupt
from tests._postgres import fresh_schema, server_dsn


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[Any], operator.add]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def saver(request, tmp_path):
    if request.param == "postgres":
        async with (
            fresh_schema() as schema,
            PostgresSaver.from_conn_string(server_dsn(), schema=schema) as made,
        ):
            yield made
        return
    made = (
        InMemorySaver()
        if request.param == "memory"
        else SqliteSaver.from_conn_string(tmp_path / "copies.db")
    )
    async with made:
        yield made


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def driver(request, tmp_path):
    if request.param == "postgres":
        async with fresh_schema() as schema:
            yield PostgresDriver(server_dsn(), schema=schema)
    elif request.param == "sqlite":
        yield SqliteDriver(str(tmp_path / "driver.db"))
    else:
        yield MemoryDriver()


def broken() -> StorageError:
    return StorageError("The disk is gone.", outcome="none")


def thread(name: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": name, **more}}


def survey(saver: Any, ran: list[str]) -> Any:
    """Two nodes at a time: one is done, one asks; then a graph in the graph asks."""

    async def done(state: State) -> dict[str, Any]:
        ran.append("done")
        return {"log": ["done"]}

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("outer?")]}

    async def ask_inside(state: State) -> dict[str, Any]:
        ran.append("inside")
        return {"log": [interrupt("inner?")]}

    async def first(state: State) -> dict[str, Any]:
        ran.append("first")
        return {"log": ["first"]}

    inner = (
        StateGraph(State).add_sequence([("first", first), ("asks", ask_inside)])
        .add_edge(START, "first").compile()
    )  # fmt: skip
    return (
        StateGraph(State).add_node("done", done).add_node("ask", ask).add_node("inner", inner)
        .add_edge(START, "done").add_edge(START, "ask").add_edge(["done", "ask"], "inner")
        .compile(checkpointer=saver)
    )  # fmt: skip


def shown(states: list[Any]) -> list[Any]:
    return [
        (s.values, s.next, s.config["configurable"]["checkpoint_id"], s.metadata,
         [(t.id, t.name, t.interrupts, t.result) for t in s.tasks])
        for s in states
    ]  # fmt: skip


async def history(graph: Any, name: str) -> list[Any]:
    return shown([s async for s in graph.aget_state_history(thread(name))])


async def test_a_copy_has_the_same_history_and_goes_on_alike(saver):
    ran: list[str] = []
    graph = survey(saver, ran)
    await graph.ainvoke({"log": []}, {**thread("a"), "metadata": {"user": "u"}})
    await saver.acopy_thread("a", "b")
    assert await history(graph, "b") == await history(graph, "a")
    assert (await graph.aget_state(thread("b"))).interrupts[0].value == "outer?"
    for answer in ("yes", "no"):
        outcomes = [await graph.ainvoke(Command(resume=answer), thread(n)) for n in ("a", "b")]
        assert outcomes[0]["log"] == outcomes[1]["log"]
    assert outcomes[1]["log"][:2] == ["yes", "done"]
    assert outcomes[1]["log"][-1] == "no"
    assert ran.count("done") == 1, "what had finished was copied, not run again"


async def test_a_copy_in_the_middle_of_an_inner_graph_goes_on_there(saver):
    ran: list[str] = []
    graph = survey(saver, ran)
    await graph.ainvoke({"log": []}, thread("a"))
    await graph.ainvoke(Command(resume="yes"), thread("a"))
    ran.clear()
    await saver.acopy_thread("a", "b")
    done = await graph.ainvoke(Command(resume="no"), thread("b"))
    assert done["log"][-1] == "no"
    assert ran == ["inside"], "the inner graph's first node is not run again"
    assert (await graph.aget_state(thread("a"))).next == ("inner",), "the original stands still"


async def test_ids_of_a_copy_grow_when_it_goes_on(saver):
    graph = survey(saver, [])
    await graph.ainvoke({"log": []}, thread("a"))
    await saver.acopy_thread("a", "b")
    await graph.ainvoke(Command(resume="yes"), thread("b"))
    ids = [s.config["configurable"]["checkpoint_id"]
           async for s in graph.aget_state_history(thread("b"))]  # fmt: skip
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)
    for name in ids:
        found = await graph.aget_state(thread("b", checkpoint_id=name))
        assert found.config["configurable"]["checkpoint_id"] == name


async def test_a_copy_of_an_old_checkpoint_ends_there(saver):
    graph = survey(saver, [])
    await graph.ainvoke({"log": ["in"]}, thread("a"))
    await graph.ainvoke(Command(resume="yes"), thread("a"))
    old = [s async for s in graph.aget_state_history(thread("a"))][-2]
    await saver.acopy_thread("a", "b", at=old.config["configurable"]["checkpoint_id"])
    state = await graph.aget_state(thread("b"))
    assert (state.values, set(state.next)) == ({"log": ["in"]}, {"done", "ask"})
    assert len(await history(graph, "b")) == 2
    stopped = await graph.ainvoke(None, thread("b"))
    assert [i.value for i in stopped["__interrupt__"]] == ["outer?"]


async def test_a_copy_of_the_newest_checkpoint_is_a_whole_copy(saver):
    graph = survey(saver, [])
    await graph.ainvoke({"log": []}, thread("a"))
    newest = (await graph.aget_state(thread("a"))).config["configurable"]["checkpoint_id"]
    await saver.acopy_thread("a", "b", at=newest)
    assert (await graph.aget_state(thread("b"))).interrupts[0].value == "outer?"


async def test_a_copy_is_listed_as_its_original_is(saver):
    graph = survey(saver, [])
    await graph.ainvoke({"log": []}, {**thread("a"), "metadata": {"user": "u"}})
    await saver.acopy_thread("a", "b")
    mine, other = await saver.aget_thread("b"), await saver.aget_thread("a")
    for name in ("status", "graph", "next", "interrupts", "checkpoints", "metadata", "run_id"):
        assert getattr(mine, name) == getattr(other, name), name
    assert [r.status async for r in saver.alist_runs("b")] == ["interrupted"]


async def test_what_cannot_be_copied_leaves_nothing_behind(saver):
    graph = survey(saver, [])
    await graph.ainvoke({"log": []}, thread("a"))
    await graph.ainvoke({"log": []}, thread("b"))
    before = await history(graph, "b")
    with pytest.raises(UsageError, match="'b' exists already"):
        await saver.acopy_thread("a", "b")
    assert await history(graph, "b") == before
    with pytest.raises(NotFoundError, match="no thread 'x'"):
        await saver.acopy_thread("x", "c")
    for wrong in ("nonsense", "0" * 32, (await history(graph, "b"))[0][2]):
        with pytest.raises(NotFoundError, match="no checkpoint"):
            await saver.acopy_thread("a", "c", at=wrong)
    assert await saver.aget_thread("c") is None


async def test_records_that_left_no_row_keep_their_numbers(saver):
    """Updates, commands and failures count records too; a copy's ids must not fall behind."""
    graph = survey(saver, [])
    await graph.ainvoke({"log": []}, thread("a"))
    for i in range(3):
        await graph.aupdate_state(thread("a"), {"log": [i]}, "done")
    await saver.acopy_thread("a", "b")
    await saver.acopy_thread("b", "c")
    assert await history(graph, "c") == await history(graph, "a")


def test_the_sync_twin_copies(tmp_path):
    with SqliteSaver.from_conn_string(tmp_path / "sync.db") as saver:
        graph = survey(saver, [])
        graph.invoke({"log": []}, thread("a"))
        saver.copy_thread("a", "b")
        assert graph.get_state(thread("b")).values == graph.get_state(thread("a")).values


async def test_threads_go_with_all_of_their_runs(saver):
    graph = survey(saver, [])
    for name, run in (("a", "r1"), ("b", "r2"), ("c", "r3"), ("c", "r4")):
        await graph.ainvoke({"log": []}, {**thread(name), "run_id": run})
    with pytest.raises(UsageError, match="'c' has runs that are not named"):
        await saver.adelete_for_runs(["r1", "r3"])
    assert await saver.aget_thread("a") is not None, "nothing is deleted then"
    await saver.adelete_for_runs(["r1", "unknown"])
    assert [t.thread_id async for t in saver.alist_threads(order="thread_id")] == ["c", "b"]
    await saver.adelete_for_runs(["r3", "r4"])
    assert [t.thread_id async for t in saver.alist_threads()] == ["b"]
    await saver.adelete_for_runs([])
    with pytest.raises(TypeError, match="list of ids"):
        await saver.adelete_for_runs("r2")


async def test_pruning_by_strategy_deletes(saver):
    graph = survey(saver, [])
    for name in ("a", "b"):
        await graph.ainvoke({"log": []}, thread(name))
    await saver.aprune(["a", "unknown"], strategy="delete")
    assert [t.thread_id async for t in saver.alist_threads()] == ["b"]
    with pytest.raises(ValueError, match="Unknown prune strategy"):
        await saver.aprune(["b"], strategy="some")
    with pytest.raises(TypeError, match="list of ids"):
        await saver.aprune("b", strategy="delete")


async def test_runs_that_made_no_checkpoint_are_copied(saver: Any) -> None:
    """A call that went on with a finished thread is a run too; runs are numbered without a gap."""

    async def node(state: State) -> dict[str, Any]:
        return {"log": ["node"]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver)
    for given in (None, {"log": ["in"]}, None, None, {"log": ["in"]}, None):
        if given is not None or await saver.aget_thread("source"):
            await graph.ainvoke(given, thread("source"))
    await saver.acopy_thread("source", "target")
    copied = [run.run_id async for run in saver.alist_runs("target")]
    assert copied == [run.run_id async for run in saver.alist_runs("source")]
    assert len(copied) == 5
    before, after = [
        [s async for s in graph.aget_state_history(thread(t))] for t in ("source", "target")
    ]
    assert [s.values for s in after] == [s.values for s in before]
    names = [[s.config["configurable"]["checkpoint_id"] for s in h] for h in (before, after)]
    assert names[0] == names[1]
    assert (await graph.ainvoke({"log": ["more"]}, thread("target")))["log"][-2:] == [
        "more",
        "node",
    ]
    oldest = after[-1].config["configurable"]["checkpoint_id"]
    await saver.acopy_thread("source", "beginning", at=oldest)
    assert [run.run_id async for run in saver.alist_runs("beginning")] == copied[-1:]


async def test_of_a_copy_that_fails_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last record is one that no driver can write, and its claim has failed by then."""
    saver = InMemorySaver()

    async def node(state: State) -> dict[str, Any]:
        return {"log": ["node"]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver)
    await graph.ainvoke({"log": ["in"]}, thread("source"))
    append = ThreadHandle.append_status

    def broken(self: ThreadHandle, **fields: Any) -> Any:
        if fields.get("let_go"):
            fields["run_row"] = RunRow(99, "no such run", 1)
        return append(self, **fields)

    monkeypatch.setattr(ThreadHandle, "append_status", broken)
    with pytest.raises(StorageError):
        await saver.acopy_thread("source", "target")
    assert await saver.aget_thread("target") is None


@pytest.mark.parametrize("k", range(1, 4))
async def test_a_copy_that_is_cut_off_is_there_whole_or_not_at_all(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """The process can write k - 1 times more, then never again: not even to clean up. The copy
    can be made again, by whoever comes."""
    plan = FaultPlan()
    async with Saver(FaultyDriver(driver, plan), batch_rows_max=1) as saver:
        graph = survey(saver, [])
        await graph.ainvoke({"log": []}, thread("a"))
        await graph.ainvoke(Command(resume="answer"), thread("a"))
        begun = plan.calls["commit"]
        plan.fail("commit", at=begun + k, times=20, error=broken).fail("delete", at=1, error=broken)
        cut_off = False
        try:
            await saver.acopy_thread("a", "b")
        except StorageError:
            cut_off = True
            assert await history(graph, "b") == []
        plan._rules.clear()
        if cut_off:
            await saver.acopy_thread("a", "b")
        assert cut_off is (k == 1), "it is one commit"
        assert await history(graph, "b") == await history(graph, "a")


async def test_of_a_thread_that_is_written_meanwhile_no_more_is_read_than_needed(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of many namespaces: the reading begins anew with the first that tells of it, and is
    given up in words when it never comes to an end. Once it is quiet, it is copied."""

    async def deep(state: State) -> dict[str, Any]:
        return {"log": ["deep"]}

    inner = StateGraph(State).add_node("deep", deep).add_edge(START, "deep").compile()
    builder = StateGraph(State).add_node("inner", inner).add_edge(START, "inner")
    graph = builder.compile(saver)
    config = {"configurable": {"thread_id": "busy"}}
    for _ in range(6):
        await graph.ainvoke({"log": ["in"]}, config)
    journal = await saver.journal()
    assert len(list(await journal.namespaces(saver.key("busy")))) == 6
    real, read = journal.history, []

    async def history(key: Any, ns: str, *rest: Any, **options: Any) -> Any:
        page = await real(key, ns, *rest, **options)
        read.append(ns)
        if not ns:
            await graph.aupdate_state(config, {"log": ["meanwhile"]}, as_node="inner")
        return page

    monkeypatch.setattr(journal, "history", history)
    with pytest.raises(ThreadBusyError, match="written all the time"):
        await saver.acopy_thread("busy", "copy")
    attempts = read.count("")
    assert len(read) == 2 * attempts
    assert await saver.aget_thread("copy") is None
    monkeypatch.undo()
    await saver.acopy_thread("busy", "copy")
    assert (await saver.aget_tuple({"configurable": {"thread_id": "copy"}})) is not None
