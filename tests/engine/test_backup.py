"""Backups: what arrives is what was there, between every two kinds of database."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import RowKind
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import StorageError, StorageUnavailableError, UsageError
from stepwell.graph import END, START, StateGraph
from stepwell.testing import FaultPlan, FaultyDriver
from tests.engine._whole import KINDS, State, config, graph_of, logical, populate, step


async def states(saver: Saver) -> dict:
    graph = graph_of(saver)
    return {
        info.thread_id: [
            (s.values, s.next, s.metadata, s.config, s.parent_config, s.created_at, s.tasks)
            async for s in graph.aget_state_history(config(info.thread_id))
        ]
        async for info in saver.alist_threads()
    }


def without_times(all_states: dict) -> dict:
    return {name: [s[:5] for s in each] for name, each in all_states.items()}


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("of", KINDS)
async def test_what_arrives_is_what_was_there(database, of, into):
    source, target = await database(of), await database(into)
    await populate(source)
    seen = []
    report = await source.abackup(target, progress=seen.append)
    before = await logical(source)
    assert await logical(target) == before
    assert len(before) == report.threads == report.copied == 6
    assert report.segments
    assert report.writes
    assert not report.resumed
    assert (seen[-1].threads, seen[-1].threads_total) == (6, 6)
    assert without_times(await states(target)) == without_times(await states(source))

    # Back into a third, and it is used like any other.
    third = await database(of)
    back = await third.arestore(target)
    assert await logical(third) == before
    assert back.to_dict() == report.to_dict()
    graph = graph_of(third)
    assert (await graph.ainvoke({"log": ["on"], "goal": 40}, config("long")))["goal"] == 40
    assert [info.orphaned async for info in third.alist_threads()] == [False] * 5


@pytest.mark.parametrize("into", KINDS)
async def test_a_run_under_way_arrives_as_an_orphan_and_is_finished_there(database, into):
    source, target = await database("sqlite"), await database(into)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(state: State) -> dict:
        if not go_on.is_set():
            reached.set()
            await go_on.wait()
        return {"log": ["waited"]}

    def build(saver: Saver):
        builder = StateGraph(State).add_node("step", step).add_node("wait", wait)
        builder.add_edge(START, "step").add_edge("step", "wait").add_edge("wait", END)
        return builder.compile(checkpointer=saver, name="waits")

    run = asyncio.ensure_future(
        build(source).ainvoke({"log": [], "goal": 1}, config("a"), durability="sync")
    )
    await reached.wait()
    report = await source.abackup(target)
    assert report.running == 1
    go_on.set()
    whole = await run
    assert [info.thread_id async for info in target.aorphans()] == ["a"]
    recovered = await build(target).arecover()
    assert recovered.recovered == ("a",)
    assert (await build(target).aget_state(config("a"))).values == whole


@pytest.mark.parametrize("of", KINDS)
async def test_a_backup_under_load_holds_a_prefix_of_every_thread(database, of):
    source, target = await database(of), await database("sqlite")
    graph, started = graph_of(source), asyncio.Event()

    async def work(i: int) -> None:
        async for _ in graph.astream({"log": [], "goal": 12}, config(f"t{i}"), durability="sync"):
            started.set()

    running = [asyncio.ensure_future(work(i)) for i in range(12)]
    await started.wait()
    await source.abackup(target)
    await asyncio.gather(*running)
    final, found = await logical(source), await logical(target)
    assert found
    for key, (_, kinds) in found.items():
        rows, later = kinds[RowKind.CHECKPOINTS], final[key][1][RowKind.CHECKPOINTS]
        assert all(row in later for row in rows)
        seqs = Counter(ns for ns, *_ in rows)
        assert all(seq <= seqs[ns] for ns, seq, *_ in rows)  # so none is missing
    other = graph_of(target)
    for key in found:
        end = await other.ainvoke(None, config(key.thread_id))
        assert end == (await graph.aget_state(config(key.thread_id))).values


@pytest.mark.parametrize("into", ["memory", "sqlite"])
async def test_cut_off_anywhere_it_says_so_and_is_gone_on_with(
    database, into, tmp_path, monkeypatch
):
    """Before and after every verb of the target, in turn."""
    monkeypatch.setattr("stepwell._journal.copying._ROWS", 9)
    source = await database("memory")
    await populate(source)
    expected, files = await logical(source), iter(range(1000))

    def fresh():
        if into == "memory":
            return MemoryDriver()
        return SqliteDriver(str(tmp_path / f"cut{next(files)}.db"), synchronous="normal")

    async def attempt(driver, plan: FaultPlan) -> None:
        async with AsyncExitStack() as stack:
            target = Saver(FaultyDriver(driver, plan))
            stack.push_async_callback(target.aclose)
            await source.abackup(target)

    smooth = FaultPlan()
    await attempt(fresh(), smooth)
    marked = 0
    for verb in ("migrate", "mark", "snapshot", "restore"):
        for at in range(1, smooth.calls[verb] + 1):
            for plan in (FaultPlan().fail(verb, at), FaultPlan().commit_then_fail(verb, at)):
                driver = fresh()
                with pytest.raises(StorageUnavailableError):
                    await attempt(driver, plan)
                again = Saver(driver)
                whole = verb == "mark" and at == 2 and plan.fired[0][2] == "commit_then_fail"
                begun = driver.unfinished is not None
                if begun:
                    marked += 1
                    with pytest.raises(StorageError, match="not whole"):
                        await again.aget_thread("t0")
                elif not whole:  # nothing had been written
                    assert await logical(again) == {}
                if not whole:
                    report = await source.abackup(again)
                    assert report.resumed == begun
                assert await logical(again) == expected
                await again.aclose()
    assert marked > 20


async def test_killed_it_says_so_and_is_gone_on_with(tmp_path, monkeypatch):
    """A process that dies by SIGKILL after the k-th transaction."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    async with open_saver(f"sqlite:///{source}") as saver:
        await populate(saver)
    program = """
import os, signal, sys
from stepwell import _journal, open_saver
from stepwell._journal import copying
copying._ROWS = 9
left = int(sys.argv[3])
def progress(_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
with open_saver("sqlite:///" + sys.argv[1]) as saver:
    saver.backup(sys.argv[2], progress=progress)
"""
    for k in (1, 3):
        command = (sys.executable, "-c", program, str(source), str(target), str(k))
        child = await asyncio.create_subprocess_exec(*command)
        assert await child.wait() == -signal.SIGKILL
        with pytest.raises(StorageError, match="not whole"):
            async with open_saver(f"sqlite:///{target}"):
                pass
    async with open_saver(f"sqlite:///{source}") as saver:
        report = await saver.abackup(target)
        assert report.resumed
        assert report.kept
        async with open_saver(f"sqlite:///{target}") as other:
            assert await logical(other) == await logical(saver)


@pytest.mark.parametrize("of", KINDS)
async def test_what_progress_raises_comes_out_as_it_is(database, of):
    source, target = await database(of), await database("memory")
    await populate(source)

    def stop(_) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        await source.abackup(target, progress=stop)
    assert (await source.abackup(target)).resumed
    with pytest.raises(UsageError, match="holds threads already"):
        await source.abackup(target)


async def test_what_changed_between_two_calls_is_made_good(database):
    source, target = await database("memory"), await database("sqlite")
    await populate(source)
    calls = 0

    def stop(progress) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        await source.abackup(target, progress=stop)
    with pytest.raises(StorageError, match="not whole"):
        await target.aget_thread("t0")
    with pytest.raises(StorageError, match="not whole"):
        await (await database("memory")).arestore(target)
    await source.adelete_thread("asked")
    await graph_of(source).ainvoke({"log": ["more"], "goal": 20}, config("t1"))
    report = await source.abackup(target)
    assert report.resumed
    assert report.removed == 1
    assert report.kept == 4
    assert await logical(target) == await logical(source)
    with pytest.raises(UsageError, match="holds threads already"):
        await source.abackup(target)


async def test_large_threads_are_copied_in_pages(database, monkeypatch):
    monkeypatch.setattr("stepwell._journal.copying._ROWS", 7)
    monkeypatch.setattr("stepwell._journal.copying._THREADS", 2)
    for into in ("memory", "sqlite"):
        source, target = await database("memory"), await database(into)
        await populate(source)
        await source.abackup(target)
        assert await logical(target) == await logical(source)


@pytest.mark.postgres
async def test_large_threads_are_copied_in_pages_on_postgres(database, monkeypatch):
    monkeypatch.setattr("stepwell._journal.copying._ROWS", 7)
    source, target, back = [await database(k) for k in ("memory", "postgres", "memory")]
    await populate(source)
    await source.abackup(target)
    await back.arestore(target)
    assert await logical(back) == await logical(source)


async def test_a_view_backs_up_its_own_threads_only(database):
    source, target = await database("memory"), await database("sqlite")
    await populate(source)
    report = await source.scoped("other/€").abackup(target)
    assert report.threads == 1
    assert [key.scope for key in await logical(target)] == ["other/€"]
    with pytest.raises(UsageError, match="view"):
        await source.scoped("x").arestore(target)


async def test_targets_by_path_and_by_url(database, tmp_path):
    source = await database("memory")
    await populate(source)
    await source.abackup(tmp_path / "a.db")
    await source.abackup(f"sqlite:///{tmp_path}/b.db")
    async with open_saver(f"sqlite:///{tmp_path}/a.db") as a:
        assert await logical(a) == await logical(source)
    fresh = await database("memory")
    await fresh.arestore(tmp_path / "b.db")
    assert await logical(fresh) == await logical(source)


async def test_what_cannot_be_a_target_is_refused(database, tmp_path):
    source = await database("memory")
    with pytest.raises(UsageError, match="would be gone"):
        await source.abackup("memory://")
    with pytest.raises(UsageError, match="names no database"):
        await source.abackup("")
    with pytest.raises(UsageError, match="by URL or path"):
        await source.abackup(3)
    with pytest.raises(UsageError, match="another database"):
        await source.abackup(source)
    with pytest.raises(UsageError, match="no file"):
        await source.arestore(tmp_path / "none.db")
    with pytest.raises(UsageError, match="no file"):
        await source.arestore(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(UsageError, match="progress"):
        await source.abackup(tmp_path / "a.db", progress=3)


def test_the_sync_twins(tmp_path):
    with open_saver("memory://") as source, open_saver("memory://") as other:
        graph_of(source).invoke({"log": [], "goal": 5}, config("a"))
        assert source.backup(tmp_path / "a.db").threads == 1
        assert other.restore(tmp_path / "a.db").threads == 1
        assert other.get_thread("a").checkpoints == source.get_thread("a").checkpoints


@pytest.mark.postgres
async def test_who_writes_the_copy_may_take_his_time(pg_dsn, pg_schema, tmp_path):
    """The server ends transactions in which nothing happens; not the one that a backup reads."""
    async with open_saver(pg_dsn, schema=pg_schema) as saver:
        await populate(saver)
    impatient = {"server_settings": {"idle_in_transaction_session_timeout": "300"}}
    async with open_saver(pg_dsn, schema=pg_schema, connect=impatient) as saver:
        report = await saver.abackup(tmp_path / "copy.db", progress=lambda _: time.sleep(1.0))
        async with (await saver.journal()).driver.snapshot() as shown:
            (row,) = await shown._link.fetch("SHOW idle_in_transaction_session_timeout")
    assert report.threads == 6
    assert row[0] == "1h"
