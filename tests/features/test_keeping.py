"""A11, A17, A18: which threads there are, how large they may become, what they may be called."""

from __future__ import annotations

import asyncio
import operator
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.errors import InvalidIdError, StateTooLargeError
from stepwell.graph import START, StateGraph
from stepwell.types import interrupt
from tests.features.conftest import Place


class State(TypedDict, total=False):
    """What is to become of a run, and what it leaves."""

    fate: str
    log: Annotated[list[str], operator.add]


def at(thread: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}}


def build(saver: Saver, name: str = "fates", begun: asyncio.Event | None = None) -> Any:
    """A graph of one node that does as it is told."""

    async def work(state: State) -> dict[str, Any]:
        if state["fate"] == "fail":
            raise ValueError("told to")
        if state["fate"] == "wait":
            interrupt("and now?")
        if begun is not None and state["fate"] == "run":
            begun.set()
            await asyncio.Event().wait()
        return {"log": [state["fate"]]}

    return (
        StateGraph(State).add_node("work", work).add_edge(START, "work").compile(saver, name=name)
    )


async def test_threads_are_listed_with_all_that_is_known_of_them(saver: Saver) -> None:
    """A11: each status; by status and graph; in pages; with times, checkpoints and bytes."""
    began, begun = datetime.now(UTC), asyncio.Event()
    graph, other = build(saver, begun=begun), build(saver, "others")
    await graph.ainvoke({"fate": "end"}, at("done"))
    await other.ainvoke({"fate": "wait"}, at("interrupted"))
    with pytest.raises(ValueError, match="told to"):
        await graph.ainvoke({"fate": "fail"}, at("failed"))
    await graph.aupdate_state(at("idle"), {"fate": "end"}, as_node=START)
    running = asyncio.create_task(graph.ainvoke({"fate": "run"}, at("running"), durability="sync"))
    await begun.wait()
    try:
        threads = {t.thread_id: t async for t in saver.alist_threads()}
        assert {name: t.status for name, t in threads.items()} == {name: name for name in threads}
        assert set(threads) == {"done", "interrupted", "failed", "idle", "running"}
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert threads["interrupted"].graph == "others"
    assert threads["interrupted"].next == ("work",)
    assert "told to" in str(threads["failed"].error)
    done = threads["done"]
    assert (done.checkpoints, done.bytes > 0) == (3, True)
    assert done.created_at <= done.updated_at
    assert abs((done.created_at - began).total_seconds()) < 3600
    for wanted, names in (
        ({"status": "failed"}, {"failed"}),
        ({"graph": "others"}, {"interrupted"}),
        ({"updated_after": done.updated_at, "status": "done"}, set()),
    ):
        assert {t.thread_id async for t in saver.alist_threads(**wanted)} == names
    pages: list[str] = []
    after = None
    while page := [t async for t in saver.alist_threads(order="thread_id", after=after, limit=2)]:
        assert len(page) <= 2
        pages += [t.thread_id for t in page]
        after = page[-1].cursor
    assert pages == sorted(threads, reverse=True)


async def test_states_have_a_limit_and_a_warning(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """A17: a large state is told of, one that is too large is refused; the thread stays usable."""
    async with place.saver(state_bytes_warn=500, state_bytes_max=2000, compress="zlib") as saver:
        graph = build(saver)
        await graph.ainvoke({"fate": "x" * 600}, at("t"))
        assert "600" not in caplog.text
        assert any("'t'" in r.getMessage() for r in caplog.records if r.levelname == "WARNING")
        before = await graph.aget_state(at("t"))
        with pytest.raises(StateTooLargeError):
            await graph.ainvoke({"fate": "x" * 3000}, at("t"))
        assert (await graph.aget_state(at("t"))).values == before.values
        assert (await graph.ainvoke({"fate": "end"}, at("t")))["log"][-1] == "end"
        by_channel = (await saver.astats(deep=True)).by_channel
        assert by_channel is not None
        assert by_channel["fate"] > 600


async def test_ids_of_threads_have_a_rule(place: Place) -> None:
    """A18: what the user's rule does not allow is refused before anything is read or written."""
    async with place.saver(thread_id_rule=r"[a-z]+-\d+") as saver:
        graph = build(saver)
        await graph.ainvoke({"fate": "end"}, at("chat-1"))
        for bad in ("chat", "../chat-1", "chat-1\n", "Chat-1"):
            with pytest.raises(InvalidIdError):
                await graph.ainvoke({"fate": "end"}, at(bad))
            with pytest.raises(InvalidIdError):
                await graph.aget_state(at(bad))
        assert [t.thread_id async for t in saver.alist_threads()] == ["chat-1"]
