"""Checkpoints in LangGraph's shape: `get_tuple`, `get`, `list`."""

from __future__ import annotations

import datetime as dt
import itertools
import operator
import zlib
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._ids import checkpoint_id
from stepwell._journal.record import SLOT_ERROR, SLOT_INTERRUPT, SLOT_RESUME
from stepwell.checkpoint._looking import reading as _reading
from stepwell.checkpoint.driver import RunRow, RunStatus, Source, ThreadChange, ThreadStatus
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.errors import CorruptRecordError, InvalidIdError, UsageError
from stepwell.graph import END, START, StateGraph
from stepwell.types import Interrupt
from tests.unit._saver_records import (
    body,
    checkpoint,
    claimed,
    every,
    make_thread,
    metadata,
    write,
)


@pytest.fixture(params=["memory", "sqlite"])
async def saver(request, tmp_path):
    made = (
        InMemorySaver()
        if request.param == "memory"
        else SqliteSaver.from_conn_string(tmp_path / "threads.db")
    )
    async with made:
        yield made


def config(thread_id="a", **more):
    return {"configurable": {"thread_id": thread_id, **more}}


def values(tuples):
    return [found.checkpoint["channel_values"] for found in tuples]


@pytest.fixture
async def branched(saver):
    """x: 1 - 12 - 123, and a branch 1 - 19 that is head; 100 in namespace "sub"."""
    async with claimed(saver, "a") as handle:
        run = RunRow(run=1, run_id="r", status=RunStatus.DONE, metadata=metadata({"u": 1, "n": 0}))
        done = ThreadChange(status=ThreadStatus.DONE, run=1)
        checkpoint(
            handle, {"x": ["s", [1]]}, step=-1, source=Source.INPUT, run_row=run, thread=done
        )
        checkpoint(handle, {"x": ["a", [2]]}, step=0)
        checkpoint(handle, {"x": ["a", [3]]}, step=1, metadata=metadata({"n": 1}))
        checkpoint(handle, {"y": ["s", 100]}, step=0, ns="sub")
        checkpoint(handle, {"x": ["a", [9]]}, step=0, parent=1, source=Source.FORK)
    return saver


async def test_the_newest_checkpoint_of_a_branch(branched):
    found = await branched.aget_tuple(config())
    assert found.checkpoint["channel_values"] == {"x": [1, 9]}
    assert found.metadata == {"u": 1, "n": 0, "source": "fork", "step": 0, "parents": {}}
    first = (await every(branched.alist(config(checkpoint_ns=""))))[-1]
    assert found.parent_config == first.config
    assert first.parent_config is None
    assert found.pending_writes == []


async def test_the_checkpoint_has_langgraph_s_keys(branched):
    found = (await branched.aget_tuple(config())).checkpoint
    assert set(found) == {
        "v", "id", "ts", "channel_values", "channel_versions", "versions_seen", "updated_channels",
    }  # fmt: skip
    assert found["channel_versions"] == {"x": 2}
    assert found["updated_channels"] == ["x"]
    assert dt.datetime.fromisoformat(found["ts"]).tzinfo is not None
    assert await branched.aget(config()) == found


async def test_every_checkpoint_is_found_by_its_own_config(branched):
    listed = await every(branched.alist(config()))
    assert len(listed) == 5
    for each in listed:
        assert await branched.aget_tuple(each.config) == each
        assert await every(branched.alist(each.config)) == [each]
        configurable = each.config["configurable"]
        assert configurable["checkpoint_id"] == each.checkpoint["id"]
        assert configurable["thread_id"] == "a"


async def test_a_listing_goes_over_branches_and_namespaces_newest_first(branched):
    listed = await every(branched.alist(config()))
    assert values(listed) == [
        {"x": [1, 9]}, {"y": 100}, {"x": [1, 2, 3]}, {"x": [1, 2]}, {"x": [1]},
    ]  # fmt: skip
    names = [each.checkpoint["id"] for each in listed]
    assert names == sorted(names, reverse=True)
    spaces = [each.config["configurable"]["checkpoint_ns"] for each in listed]
    assert spaces == ["", "sub", "", "", ""]
    only = await every(branched.alist(config(checkpoint_ns="sub")))
    assert values(only) == [{"y": 100}]
    assert await every(branched.alist(config(checkpoint_ns="absent"))) == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"limit": 2}, [{"x": [1, 9]}, {"y": 100}]),
        ({"limit": 0}, []),
        ({"filter": {"source": "input"}}, [{"x": [1]}]),
        ({"filter": {"n": 1}}, [{"x": [1, 2, 3]}]),
        ({"filter": {"n": True}}, []),
        ({"filter": {"u": 1, "step": 1}}, [{"x": [1, 2, 3]}]),
        ({"filter": {"u": 1}, "limit": 1}, [{"x": [1, 9]}]),
        ({"filter": {"absent": None}}, []),
    ],
)
async def test_what_a_listing_leaves_out(branched, asked, expected):
    assert values(await every(branched.alist(config(), **asked))) == expected


async def test_before_means_written_before(branched):
    listed = await every(branched.alist(config()))
    for place, each in enumerate(listed):
        older = await every(branched.alist(config(), before=each.config))
        assert older == listed[place + 1 :]


async def test_without_a_config_all_threads_are_listed(branched):
    await make_thread(branched, "b", value=5)
    assert values(await every(branched.alist(None, limit=2))) == [{"x": 5}, {"x": [1, 9]}]
    assert len(await every(branched.alist(None))) == 6
    assert values(await every(branched.alist(None, filter={"n": 1}))) == [{"x": [1, 2, 3]}]


async def test_a_long_history_is_listed_in_bounded_portions(saver, monkeypatch):
    """What is held at a time does not grow with the thread, and each state is right."""
    monkeypatch.setattr(_reading, "page_sizes", lambda limit: itertools.repeat(4))
    kept = []
    real = _reading.Sheet.states

    def counted(self, wanted, *more):
        kept.append(len(wanted))
        return real(self, wanted, *more)

    monkeypatch.setattr(_reading.Sheet, "states", counted)
    async with claimed(saver, "a") as handle:
        for number in range(10):
            checkpoint(handle, {"x": ["a", [number]]}, step=number)
    listed = await every(saver.alist(config()))
    assert values(listed) == [{"x": list(range(n))} for n in range(10, 0, -1)]
    assert kept == [4, 4, 2]


async def test_pending_writes_have_their_tasks_and_channels(saver):
    task, name = b"\x01" * 16, "01010101-0101-0101-0101-010101010101"
    async with claimed(saver, "a") as handle:
        checkpoint(handle, {"x": ["s", 1]})
        write(handle, 1, task=task, document={"w": [["x", 2], ["y", {"$tuple": [3]}, 1]]})
        write(handle, 1, task=task, idx=SLOT_ERROR, document={"v": "E"})
        asked = [["sure?", "i" * 32, None]]
        write(handle, 1, task=task, idx=SLOT_INTERRUPT, document={"v": asked})
        write(handle, 1, task=task, idx=SLOT_RESUME, document={"v": ["yes"]})
    expected = [
        (name, "x", 2),
        (name, "y", (3,)),
        (name, "__error__", "E"),
        (name, "__interrupt__", [Interrupt("sure?", "i" * 32)]),
        (name, "__resume__", ["yes"]),
    ]
    assert (await saver.aget_tuple(config())).pending_writes == expected
    (listed,) = await every(saver.alist(config()))
    assert listed.pending_writes == expected


async def test_what_is_not_there_is_none(branched):
    assert await branched.aget_tuple(config("b")) is None
    assert await branched.aget(config("b")) is None
    assert await branched.aget_tuple(config(checkpoint_ns="absent")) is None
    assert await branched.aget_tuple(config(checkpoint_id="no id of ours")) is None
    foreign = checkpoint_id(b"another thread's", "", 2, 2)
    assert await branched.aget_tuple(config(checkpoint_id=foreign)) is None
    assert await every(branched.alist(config(checkpoint_id=foreign))) == []
    assert await every(branched.alist(config("b"))) == []


@pytest.mark.parametrize("wrong", [{}, {"configurable": {}}, {"configurable": {"thread_id": None}}])
async def test_a_config_without_thread_is_refused(wrong):
    with pytest.raises(UsageError, match="names no thread"):
        await InMemorySaver().aget_tuple(wrong)
    with pytest.raises(UsageError, match="names no thread"):
        InMemorySaver().alist(wrong)


async def test_ids_are_checked_as_everywhere():
    saver = InMemorySaver(thread_id_rule="[a-z]")
    for wrong in ("", "a\0", "A"):
        with pytest.raises(InvalidIdError):
            await saver.aget_tuple(config(wrong))


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": -1},
        {"filter": {"k": []}},
        {"before": config()},
        {"before": config(checkpoint_id=1)},
    ],
)
async def test_what_cannot_be_asked_is_refused_at_once(asked):
    with pytest.raises(UsageError):
        InMemorySaver().alist(config(), **asked)


async def test_a_damaged_record_is_reported_and_not_skipped(saver):
    data = body({"x": ["s", 1]})
    async with claimed(saver, "a") as handle:
        handle.append_checkpoint(
            0, parent=None, step=0, source=Source.LOOP, run=0, format=1,
            crc=zlib.crc32(data) ^ 1, body=data,
        )  # fmt: skip
    with pytest.raises(CorruptRecordError):
        await saver.aget_tuple(config())
    with pytest.raises(CorruptRecordError):
        await every(saver.alist(config()))


class State(TypedDict):
    words: Annotated[list[str], operator.add]
    pair: Any


def speak(state):
    return {"words": ["said"], "pair": (len(state["words"]), {1})}


async def test_what_a_graph_wrote_is_read_without_it(saver):
    """States are folded from stored differences: the saver never sees the graph."""
    graph = StateGraph(State).add_node("speak", speak).add_edge(START, "speak")
    compiled = graph.add_edge("speak", END).compile(checkpointer=saver)
    for word in ("one", "two"):
        await compiled.ainvoke({"words": [word]}, {**config(), "metadata": {"who": word}})
    snapshots = [each async for each in compiled.aget_state_history(config())]
    tuples = await every(saver.alist(config()))
    shown = [{k: v for k, v in found.items() if k in ("words", "pair")} for found in values(tuples)]
    # A reduced key is shown by the graph before anything was written to it.
    assert [{"words": [], **each} for each in shown] == [s.values for s in snapshots]
    assert shown[0] == {"words": ["one", "said", "two", "said"], "pair": (3, {1})}
    assert [t.config for t in tuples] == [s.config for s in snapshots]
    assert [t.parent_config for t in tuples] == [s.parent_config for s in snapshots]
    assert [t.metadata for t in tuples] == [s.metadata for s in snapshots]
    thread = await saver.aget_thread("a")
    assert (thread.status, thread.metadata, thread.next) == ("done", {"who": "two"}, ())
    assert [run.status for run in await every(saver.alist_runs("a"))] == ["done", "done"]
