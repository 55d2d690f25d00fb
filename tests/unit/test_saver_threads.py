"""Threads and runs as a saver lists them, and their deletion."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from stepwell.checkpoint._looking import listing as _listing
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import RunRow, RunStatus, ThreadChange, ThreadStatus
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.errors import InvalidIdError, ThreadBusyError, UsageError
from tests.unit._saver_records import checkpoint, claimed, every, make_thread


@pytest.fixture(params=["memory", "sqlite"])
async def saver(request, tmp_path):
    made = (
        InMemorySaver()
        if request.param == "memory"
        else SqliteSaver.from_conn_string(tmp_path / "threads.db")
    )
    async with made:
        yield made


def ids(threads):
    return [thread.thread_id for thread in threads]


# --- one thread ---------------------------------------------------------------------------------


async def test_a_thread_is_described_by_its_row_and_its_newest_run(saver):
    before = datetime.now(UTC) - timedelta(seconds=1)
    await make_thread(saver, "a", known={"old": 1})
    await make_thread(
        saver,
        "a",
        known={"user": "u", "n": 2},
        graph="mail",
        status=ThreadStatus.INTERRUPTED,
        fingerprint="f",
        state_version=3,
        next_nodes='["ask","tell"]',
        interrupts=2,
        error="no",
    )
    thread = await saver.aget_thread("a")
    after = datetime.now(UTC) + timedelta(seconds=1)
    assert (thread.thread_id, thread.status, thread.graph) == ("a", "interrupted", "mail")
    assert (thread.fingerprint, thread.state_version) == ("f", 3)
    assert (thread.run_id, thread.metadata) == ("run-a-2", {"user": "u", "n": 2})
    assert (thread.next, thread.interrupts, thread.error) == (("ask", "tell"), 2, "no")
    assert (thread.owner, thread.lease_expires_at, thread.orphaned) == (None, None, False)
    assert thread.checkpoints == 2
    assert thread.bytes > 0
    assert before < thread.created_at <= thread.updated_at < after
    assert thread.created_at.tzinfo is UTC


async def test_a_held_thread_names_its_owner_and_lease(saver):
    async with claimed(saver, "a") as handle:
        thread = await saver.aget_thread("a")
        journal = await saver.journal()
        assert thread.owner == journal.worker.hex()
        left = (thread.lease_expires_at - datetime.now(UTC)).total_seconds()
        assert 5 < left <= 10.5
        assert handle.epoch  # still held
    assert (await saver.aget_thread("a")).owner is None


async def test_a_running_thread_without_live_claim_is_orphaned(saver):
    async with claimed(saver, "a") as handle:
        handle.append_status(
            run_row=RunRow(run=1, run_id="r", status=RunStatus.RUNNING),
            thread=ThreadChange(status=ThreadStatus.RUNNING, run=1),
        )
        await handle.flushed()
        held = await saver.aget_thread("a")
    left = await saver.aget_thread("a")
    assert (held.status, held.orphaned) == ("running", False)
    assert (left.status, left.orphaned) == ("running", True)


async def test_nothing_is_known_of_a_thread_that_is_not_there(saver):
    assert await saver.aget_thread("a") is None
    assert await saver.aget_run("a", "r") is None
    assert await every(saver.alist_threads()) == []
    assert await every(saver.alist_runs()) == []
    assert await every(saver.alist_runs("a")) == []
    assert await saver.aget_thread("a") is None  # and asking has not made it


async def test_results_are_frozen_and_become_json(saver):
    await make_thread(saver, 7, known={"k": 1})
    thread = await saver.aget_thread(7)
    run = await saver.aget_run("7", "run-7-1")
    for result in (thread, run):
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.status = "x"
        assert not hasattr(result, "__dict__")
        told = json.loads(json.dumps(result.to_dict()))
        assert list(told) == [field.name for field in dataclasses.fields(result)]
        assert told["metadata"] == {"k": 1}
    assert datetime.fromisoformat(thread.to_dict()["created_at"]) == thread.created_at
    assert thread.to_dict()["next"] == []


# --- listing threads ----------------------------------------------------------------------------


@pytest.fixture
async def five(saver):
    for number, (status, graph, known) in enumerate(
        [
            (ThreadStatus.DONE, "g", {"n": 1}),
            (ThreadStatus.FAILED, "g", {"n": 1.0, "b": True}),
            (ThreadStatus.DONE, "h", {"n": True}),
            (ThreadStatus.INTERRUPTED, "h", {"b": 1}),
            (ThreadStatus.IDLE, "h", {"x": None}),
        ]
    ):
        await make_thread(saver, f"t{number}", status=status, graph=graph, known=known)
        await asyncio.sleep(0.002)  # so that no two were written at the same moment
    await make_thread(saver, "t1", status=ThreadStatus.FAILED, known={"n": 1.0, "b": True})
    return saver


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["t1", "t4", "t3", "t2", "t0"]),
        ({"descending": False}, ["t0", "t2", "t3", "t4", "t1"]),
        ({"order": "created"}, ["t4", "t3", "t2", "t1", "t0"]),
        ({"order": "thread_id"}, ["t4", "t3", "t2", "t1", "t0"]),
        ({"order": "thread_id", "descending": False}, ["t0", "t1", "t2", "t3", "t4"]),
        ({"status": "done"}, ["t2", "t0"]),
        ({"status": "failed"}, ["t1"]),
        ({"status": "running"}, []),
        ({"graph": "h"}, ["t4", "t3", "t2"]),
        ({"graph": "h", "status": "done"}, ["t2"]),
        ({"metadata": {"n": 1}}, ["t1", "t0"]),
        ({"metadata": {"n": True}}, ["t2"]),
        ({"metadata": {"b": True}}, ["t1"]),
        ({"metadata": {"x": None}}, ["t4"]),
        ({"metadata": {"absent": None}}, []),
        ({"metadata": {"n": 1, "b": True}}, ["t1"]),
        ({"metadata": {"n": 1}, "limit": 1}, ["t1"]),
        ({"limit": 2}, ["t1", "t4"]),
        ({"limit": 0}, []),
    ],
)
async def test_what_a_listing_gives(five, asked, expected):
    assert ids(await every(five.alist_threads(**asked))) == expected


async def test_bounds_in_time(five):
    middle = (await five.aget_thread("t3")).updated_at
    tick = timedelta(microseconds=1)
    assert ids(await every(five.alist_threads(updated_after=middle + tick))) == ["t1", "t4"]
    assert ids(await every(five.alist_threads(updated_before=middle - tick))) == ["t2", "t0"]
    seconds = (middle + tick).timestamp()
    assert ids(await every(five.alist_threads(updated_after=seconds))) == ["t1", "t4"]


@pytest.mark.parametrize("order", ["updated", "created", "thread_id"])
@pytest.mark.parametrize("descending", [True, False])
async def test_a_cursor_goes_on_where_its_thread_stood(five, order, descending):
    whole = await every(five.alist_threads(order=order, descending=descending))
    for place, thread in enumerate(whole):
        rest = five.alist_threads(order=order, descending=descending, after=thread.cursor)
        assert ids(await every(rest)) == ids(whole[place + 1 :])


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("known", [None, {"n": 1}])
async def test_pages_are_seamless(five, monkeypatch, limit, known):
    monkeypatch.setattr(_listing, "PAGE", 2)
    expected = ["t1", "t0"] if known else ["t1", "t4", "t3", "t2", "t0"]
    found = await every(five.alist_threads(limit=limit, metadata=known))
    assert ids(found) == expected[:limit]


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "busy"},
        {"order": "size"},
        {"limit": -1},
        {"metadata": {"k": [1]}},
        {"updated_before": datetime(2026, 1, 1)},  # noqa: DTZ001  # that is the point
        {"updated_after": "2026-01-01"},
        {"after": "nonsense"},
        {"after": '["created",1.0,"a"]'},
        {"after": '["updated","x","a"]'},
        {"after": '["updated",1.0]'},
    ],
)
async def test_what_cannot_be_asked_is_refused_at_once(asked):
    with pytest.raises(UsageError):
        InMemorySaver().alist_threads(**asked)


async def test_a_long_listing_reads_pages_and_not_everything():
    """Asking for the first items of many threads costs what these items cost."""
    driver = MemoryDriver()
    saver = Saver(driver)
    for number in range(250):
        await make_thread(saver, f"t{number:03}")
    calls = []
    real = driver.threads

    async def counted(query):
        calls.append(query.limit)
        return await real(query)

    driver.threads = counted
    assert len(await every(saver.alist_threads(limit=5))) == 5
    assert calls == [5]
    calls.clear()
    assert len(await every(saver.alist_threads())) == 250
    assert calls == [100, 100, 100]
    await saver.aclose()


async def test_a_page_of_a_listing_costs_two_queries(saver):
    """Its rows, and the newest runs of all of them."""
    for number in range(30):
        await make_thread(saver, f"t{number:02}", known={"n": number})
    driver = (await saver.journal()).driver
    calls = []
    for verb in ("threads", "runs", "runs_numbered", "load"):
        real = getattr(driver, verb)

        def counted(*args, verb=verb, real=real, **options):
            calls.append(verb)
            return real(*args, **options)

        setattr(driver, verb, counted)
    listed = await every(saver.alist_threads(order="created", descending=False))
    assert [thread.metadata["n"] for thread in listed] == list(range(30))
    assert calls == ["threads", "runs_numbered"]


async def test_a_filter_is_the_databases(saver):
    """Of 250 threads three match: one page. What says nothing hides nothing; what a database
    cannot compare is compared afterwards."""
    for number in range(250):
        known = {"rare": number % 100 == 7, "odd": "a\0b", "all": "yes"}
        await make_thread(saver, f"t{number:03}", known=known)
    driver = (await saver.journal()).driver
    calls = []
    for verb in ("threads", "described"):
        real = getattr(driver, verb)

        def counted(*args, verb=verb, real=real):
            calls.append(verb)
            return real(*args)

        setattr(driver, verb, counted)
    wanted = {"rare": True, "all": "yes", "odd": "a\0b"}
    found = await every(saver.alist_threads(metadata=wanted))
    assert sorted(thread.thread_id for thread in found) == ["t007", "t107", "t207"]
    assert calls == ["threads"]
    for nobody in ({"odd": "a\0c"}, {"rare": 1}, {"none": None}, {"all": "no"}):
        assert await every(saver.alist_threads(metadata=nobody)) == []


# --- runs ---------------------------------------------------------------------------------------


async def test_runs_of_a_thread_come_newest_first(saver):
    for status in (RunStatus.FAILED, RunStatus.DONE, RunStatus.CANCELLED):
        await make_thread(saver, "a", run_status=status, known={"s": int(status)})
    runs = await every(saver.alist_runs("a"))
    assert [run.run_id for run in runs] == ["run-a-3", "run-a-2", "run-a-1"]
    assert [run.status for run in runs] == ["cancelled", "done", "failed"]
    assert [run.metadata["s"] for run in runs] == [5, 4, 3]
    assert all(run.thread_id == "a" and run.graph == "g" and run.attempts == 1 for run in runs)
    assert all(run.started_at <= run.finished_at for run in runs)
    assert (await saver.aget_run("a", "run-a-2")).status == "done"
    assert await saver.aget_run("a", "run-b-2") is None
    done = await every(saver.alist_runs("a", status="done"))
    assert [run.run_id for run in done] == ["run-a-2"]


@pytest.mark.parametrize("page", [1, 2, 100])
async def test_runs_of_all_threads_go_thread_by_thread(saver, monkeypatch, page):
    monkeypatch.setattr(_listing, "PAGE", page)
    for thread_id in ("a", "b", "a", "c", "a"):
        await make_thread(saver, thread_id)
        await asyncio.sleep(0.002)
    async with claimed(saver, "never run"):
        pass
    whole = await every(saver.alist_runs())
    assert [run.run_id for run in whole] == [
        "run-a-3", "run-a-2", "run-a-1", "run-c-1", "run-b-1",
    ]  # fmt: skip
    for place, run in enumerate(whole):
        rest = await every(saver.alist_runs(after=run.cursor))
        assert rest == whole[place + 1 :]
    assert await every(saver.alist_runs(limit=2)) == whole[:2]
    of_one = await every(saver.alist_runs("a"))
    for place, run in enumerate(of_one):
        rest = await every(saver.alist_runs("a", after=run.cursor, limit=1))
        assert rest == of_one[place + 1 : place + 2]


@pytest.mark.parametrize(
    "asked",
    [
        {"status": "idle"},
        {"limit": -1},
        {"after": '["runs",1.0,"a",1]', "thread_id": "a"},
        {"after": '["run",1]'},
        {"after": '["run","x"]', "thread_id": "a"},
        {"after": '["runs",1.0,"a","x"]'},
    ],
)
async def test_what_cannot_be_asked_of_runs_is_refused_at_once(asked):
    with pytest.raises(UsageError):
        InMemorySaver().alist_runs(**asked)


# --- deleting -----------------------------------------------------------------------------------


async def test_a_deleted_thread_is_gone_and_others_are_not(saver):
    for thread_id in ("a", "b"):
        await make_thread(saver, thread_id)
    await saver.adelete_thread("a")
    assert ids(await every(saver.alist_threads())) == ["b"]
    assert await every(saver.alist_runs("a")) == []
    assert await saver.aget_tuple({"configurable": {"thread_id": "a"}}) is None
    await make_thread(saver, "a")  # and it can be made again
    assert (await saver.aget_thread("a")).checkpoints == 1


async def test_deleting_what_is_not_there_does_nothing(saver):
    await saver.adelete_thread("a")
    assert await saver.aget_thread("a") is None


async def test_a_running_thread_is_not_deleted(saver):
    async with claimed(saver, "a") as handle:
        checkpoint(handle, {"x": ["s", 1]})
        with pytest.raises(ThreadBusyError):
            await saver.adelete_thread("a", lock_timeout=0)
        with pytest.raises(ThreadBusyError):
            await saver.adelete_thread("a", lock_timeout=timedelta(seconds=0.05))
    assert (await saver.aget_thread("a")).checkpoints == 1


async def test_deleting_waits_for_a_run_that_is_about_to_end(saver):
    async with claimed(saver, "a") as handle:
        checkpoint(handle, {"x": ["s", 1]})
        deleting = asyncio.create_task(saver.adelete_thread("a", lock_timeout=None))
        await asyncio.sleep(0.02)
        assert not deleting.done()
    await deleting
    assert await saver.aget_thread("a") is None


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1"])
async def test_a_timeout_is_a_span_of_time(timeout):
    with pytest.raises(UsageError, match="lock_timeout"):
        await InMemorySaver().adelete_thread("a", lock_timeout=timeout)


# --- views --------------------------------------------------------------------------------------


async def test_a_view_sees_its_scope_and_nothing_else(saver):
    view = saver.scoped("tenant")
    for number, each in enumerate((saver, view)):
        await make_thread(each, "a", value=number)
    await make_thread(view, "b")
    assert ids(await every(saver.alist_threads())) == ["a"]
    assert ids(await every(view.alist_threads(order="thread_id"))) == ["b", "a"]
    assert [run.thread_id for run in await every(saver.alist_runs())] == ["a"]
    config = {"configurable": {"thread_id": "a"}}
    assert (await saver.aget(config))["channel_values"] == {"x": 0}
    assert (await view.aget(config))["channel_values"] == {"x": 1}
    await saver.adelete_thread("a")
    assert ids(await every(view.alist_threads(order="thread_id"))) == ["b", "a"]
    assert await every(view.scoped("").alist_threads()) == []


async def test_closing_a_view_closes_nothing(saver):
    async with saver.scoped("tenant") as view:
        await view.aclose()
        await make_thread(view, "a")
    await asyncio.to_thread(view.close)
    with pytest.raises(InvalidIdError):
        view.key("")
    assert ids(await every(view.alist_threads())) == ["a"]
    assert view.home() is saver.home() is asyncio.get_running_loop()


# --- sync twins ---------------------------------------------------------------------------------


def test_every_verb_works_without_a_loop(tmp_path):
    with SqliteSaver.from_conn_string(tmp_path / "a.db") as saver:

        async def make():
            await make_thread(saver, "a", known={"k": 1})
            await make_thread(saver, "b", value=2)

        from stepwell._portal import run_sync

        run_sync(make, loop=saver.home(), name="make")
        assert ids(saver.list_threads(order="thread_id")) == ["b", "a"]
        assert ids(saver.list_threads(metadata={"k": 1}, status="done", graph="g")) == ["a"]
        assert saver.get_thread("a").metadata == {"k": 1}
        assert [run.run_id for run in saver.list_runs("a", limit=1)] == ["run-a-1"]
        assert saver.get_run("a", "run-a-1").status == "done"
        config = {"configurable": {"thread_id": "b"}}
        assert saver.get(config)["channel_values"] == {"x": 2}
        assert saver.get_tuple(config).metadata["source"] == "loop"
        assert len(list(saver.list(None))) == 2
        saver.delete_thread("a", lock_timeout=1)
        assert ids(saver.list_threads()) == ["b"]
