"""Supersteps of very many branches: linear in their number, and others have a turn meanwhile."""

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest

from stepwell import open_saver
from stepwell._codec import Encoded
from stepwell._engine import fanout, task_records
from stepwell._engine.task_records import TaskRecords
from stepwell._journal.contributions import shown_places
from stepwell.errors import NodeCancelledError
from stepwell.graph import START, StateGraph
from stepwell.types import Send

AT_ONCE, BRANCHES = 10, 95


class Wide(TypedDict):
    found: Annotated[list, operator.add]


def wide(work, saver=None):
    builder = StateGraph(Wide).add_node("work", work)
    builder.add_conditional_edges(
        START, lambda state: [Send("work", i) for i in range(BRANCHES)], ["work"]
    )
    return builder.compile(checkpointer=saver)


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self):
        self.number = 0
        self._ended = False

    def __enter__(self):
        self._count()
        return self

    def __exit__(self, *_):
        self._ended = True

    def _count(self):
        self.number += 1
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._count)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    monkeypatch.setattr(fanout, "_STARTED_AT_ONCE", AT_ONCE)


async def test_very_many_branches_begin_in_several_turns():
    begun = []
    with Turns() as turns:

        async def work(number):
            begun.append(turns.number)
            return {"found": [number]}

        out = await wide(work).ainvoke({"found": []})
    assert out["found"] == list(range(BRANCHES))
    assert len(begun) == BRANCHES
    assert max(begun.count(turn) for turn in set(begun)) == AT_ONCE


async def test_all_run_at_the_same_time_nevertheless():
    everybody = asyncio.Barrier(BRANCHES)

    async def work(number):
        await everybody.wait()
        return {"found": [number]}

    out = await wide(work).ainvoke({"found": []})
    assert out["found"] == list(range(BRANCHES))


async def test_after_a_failure_no_more_begin():
    begun, ended = [], []

    async def work(number):
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(ValueError, match="three"):
        await wide(work).ainvoke({"found": []})
    assert len(begun) <= 2 * AT_ONCE
    assert sorted([*ended, 3]) == sorted(begun)


async def test_a_run_that_is_cancelled_while_branches_begin_leaves_none_behind():
    begun, ended = [], []

    async def work(number):
        begun.append(number)
        if number == 3:
            run.cancel()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    run = asyncio.create_task(wide(work).ainvoke({"found": []}))
    with pytest.raises(asyncio.CancelledError):
        await run
    assert 0 < len(begun) <= 2 * AT_ONCE
    assert sorted(ended) == sorted(begun)


async def test_many_writes_of_one_task_are_encoded_aside(monkeypatch):
    monkeypatch.setattr(task_records, "_MANY_WRITES", BRANCHES)
    aside, encode = [], TaskRecords.encode_aside

    async def noted(self, writes):
        aside.append(len(writes))
        return await encode(self, writes)

    monkeypatch.setattr(TaskRecords, "encode_aside", noted)

    async def work(number):
        return {"found": [number]}

    config = {"configurable": {"thread_id": "wide"}}
    async with open_saver("memory://") as saver:
        graph = wide(work, saver)
        await graph.ainvoke({"found": []}, config)
        state = await graph.aget_state(config)
    assert state.values["found"] == list(range(BRANCHES))
    assert len(aside) == 1  # the router's; a branch writes once
    assert aside[0] >= BRANCHES


class Looked(list):
    """Knows how often it was gone through."""

    times = 0

    def __contains__(self, item):
        self.times += 1
        return super().__contains__(item)

    def __iter__(self):
        self.times += 1
        return super().__iter__()


def test_the_writes_of_one_task_are_gone_through_once():
    stored = Encoded(b"1", tagged=False)
    encodings = [Looked([stored, None, stored, stored, None, stored]), Looked([stored])]
    sources = [(0, 0), (0, 2), (0, 3), (0, 5), (1, 0)]
    assert shown_places(encodings, sources) == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]
    assert [each.times for each in encodings] == [1, 0]
    # Each of them came before only if it is stored itself: the first need not be.
    assert shown_places([[None, stored]], [(0, 1)]) == [[0, 0]]


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_branch_that_cancels_what_it_runs_in_fails_its_superstep(durability, limit):
    """As in LangGraph: the others are stopped. Nobody waits for it for ever."""

    async def gives_up(_):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    async def waits(_):
        await asyncio.sleep(60)

    graph = StateGraph(Wide)
    for node in (gives_up, waits):
        graph.add_node(node)
        graph.add_edge(START, node.__name__)
    config = {"configurable": {"thread_id": "t"}, "max_concurrency": limit}
    async with open_saver("memory://") as saver:
        kept = graph.compile(checkpointer=saver)
        with pytest.raises(NodeCancelledError, match="gives_up"):
            await asyncio.wait_for(graph.compile().ainvoke({"found": []}, config), 10)
        with pytest.raises(NodeCancelledError, match="gives_up"):
            run = kept.ainvoke({"found": []}, config, durability=durability)
            await asyncio.wait_for(run, 10)
        assert (await kept.aget_state(config)).next == ("gives_up", "waits")
