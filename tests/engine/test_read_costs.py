"""What reading costs, counted: rows, segments and calls, which do not grow with a thread."""

from __future__ import annotations

import operator
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
import pytest_asyncio

from stepwell import open_saver
from stepwell._journal.folded import Folded
from stepwell._journal.layouts import FOLD_ROWS, KEPT_ROWS
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import HistoryPage, Loaded
from stepwell.graph import END, START, StateGraph
from stepwell.observe import LoadFinished
from tests._postgres import fresh_schema, server_dsn

SHORT, LONG = 150, 1500
ROWS_MAX = 2 * FOLD_ROWS + KEPT_ROWS
"""What is not folded yet, and one segment taken apart."""
SEGMENTS_MAX = 20
"""Of 1,500 checkpoints: those of a thousand, and of a hundred."""
CALLS_MAX = 62
"""Python calls for an entry of a history."""
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}, "recursion_limit": 10_000}


class Read(NamedTuple):
    """What drivers gave: rows, segments, and how many of them with their detail."""

    calls: list[str]
    rows: int
    segments: int
    detailed: int


class Reads:
    """Counts what a driver is asked to read."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: list[Loaded | HistoryPage] = []

    def watch(self, driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for verb in ("load", "history", "page", "runs_numbered"):
            monkeypatch.setattr(driver, verb, self._counted(verb, getattr(driver, verb)))

    def _counted(self, verb: str, real: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*args: Any, **options: Any) -> Any:
            found = await real(*args, **options)
            self._take(verb, found if isinstance(found, list) else [found])
            return found

        return counted

    def _take(self, verb: str, found: list[Any]) -> None:
        self.calls.append(verb)
        self.answers += [a for a in found if isinstance(a, Loaded | HistoryPage)]

    def take(self) -> Read:
        answers, calls = self.answers, self.calls
        self.answers, self.calls = [], []
        segments = [s for a in answers for s in a.segments]
        return Read(
            calls, sum(len(a.rows) for a in answers), len(segments),
            sum(1 for s in segments if s.detail),
        )  # fmt: skip


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def saver(
    request: pytest.FixtureRequest, tmp_path: Path, events: list[Any]
) -> AsyncIterator[Saver]:
    if request.param == "postgres":
        async with (
            fresh_schema() as schema,
            open_saver(server_dsn(), schema=schema, observe=events.append) as opened,
        ):
            yield opened
        return
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/reads.db"
    async with open_saver(url, observe=events.append) as opened:
        yield opened


class State(TypedDict, total=False):
    """A number that is overwritten and a list that grows."""

    n: int
    log: Annotated[list[str], operator.add]
    goal: int


async def step(state: State) -> dict[str, Any]:
    return {"n": state.get("n", 0) + 1, "log": [f"entry number {state.get('n', 0)}"]}


def more(state: State) -> str:
    return "step" if state["n"] < state["goal"] else END


def build(saver: Saver) -> Any:
    graph = StateGraph(State).add_node("step", step).add_edge(START, "step")
    return graph.add_conditional_edges("step", more).compile(checkpointer=saver)


async def grow(saver: Saver, graph: Any, goal: int) -> None:
    """Let the thread have so many supersteps, folded as they are in the background."""
    await graph.ainvoke({"goal": goal}, CONFIG)
    journal = await saver.journal()
    await journal.folded()


async def named(graph: Any, n: int) -> dict[str, Any]:
    """The config of the checkpoint at which `n` is this; it reads the whole history."""
    async for state in graph.aget_state_history(CONFIG):
        if state.values.get("n") == n:
            config: dict[str, Any] = state.config
            return config
    raise AssertionError(n)


@pytest.mark.parametrize("length", [SHORT, LONG])
async def test_what_is_read_does_not_follow_the_length(
    saver: Saver, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """The newest state, one in the middle, and ten entries: a call each, and rows of a tail."""
    graph = build(saver)
    await grow(saver, graph, length)
    middle = await named(graph, length // 2)
    reads = Reads()
    reads.watch((await saver.journal()).driver, monkeypatch)

    newest = await graph.aget_state(CONFIG)
    assert len(newest.values["log"]) == length
    read = reads.take()
    assert (read.calls, read.detailed if read.segments else 0) == (["load"], read.detailed)
    assert read.rows <= ROWS_MAX
    assert read.segments <= SEGMENTS_MAX

    old = await graph.aget_state(middle)
    assert (old.values["n"], len(old.values["log"])) == (length // 2, length // 2)
    assert old.tasks[0].result == {"n": length // 2 + 1, "log": [f"entry number {length // 2}"]}
    read = reads.take()
    assert read.calls in (["page"], ["page", "runs_numbered"])
    assert read.rows <= ROWS_MAX
    assert read.segments <= SEGMENTS_MAX

    page = [s async for s in graph.aget_state_history(CONFIG, limit=10)]
    assert [s.values["n"] for s in page] == list(range(length, length - 10, -1))
    assert [len(s.values["log"]) for s in page] == [s.values["n"] for s in page]
    read = reads.take()
    assert read.calls == ["page"]
    assert read.rows <= ROWS_MAX
    assert read.segments <= SEGMENTS_MAX

    given = [t async for t in saver.alist(CONFIG, limit=10)]
    values = [t.checkpoint["channel_values"] for t in given]
    assert [v["n"] for v in values] == [s.values["n"] for s in page]
    assert [v["log"] for v in values] == [s.values["log"] for s in page]
    read = reads.take()
    assert read.rows <= ROWS_MAX
    assert read.segments <= SEGMENTS_MAX


async def test_a_state_in_the_middle_folds_a_piece(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a segment of a thousand rows and more, no more are folded one by one than a hundred."""
    graph = build(saver)
    await grow(saver, graph, LONG)
    configs = [s.config async for s in graph.aget_state_history(CONFIG)]
    folded = 0
    real = Folded.add

    def add(self: Folded, document: dict[str, Any]) -> None:
        nonlocal folded
        folded += 1
        real(self, document)

    monkeypatch.setattr(Folded, "add", add)
    for at in range(100, LONG, 271):
        folded = 0
        old = await graph.aget_state(configs[-at])
        assert len(old.values["log"]) == at - 2
        assert folded <= FOLD_ROWS + 1


async def test_what_an_entry_of_a_history_costs(saver: Saver) -> None:
    """Calls, counted in the loop's thread: the difference of two lengths, by entry."""
    graph = build(saver)
    await grow(saver, graph, LONG)
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    async def made(limit: int) -> int:
        nonlocal calls
        calls = 0
        sys.setprofile(count)
        try:
            entries = [s async for s in graph.aget_state_history(CONFIG, limit=limit)]
        finally:
            sys.setprofile(None)
        assert len(entries) == limit
        return calls

    few, many = await made(200), await made(400)
    assert (many - few) / 200 <= CALLS_MAX


async def test_a_turn_reads_what_is_not_folded(saver: Saver, events: list[Any]) -> None:
    """A turn is one claim that brings the state along, early and late in a conversation."""
    graph = build(saver)
    for length in (10, LONG):
        await grow(saver, graph, length)
        events.clear()
        await graph.ainvoke({"goal": length}, CONFIG)
        (read,) = [event for event in events if isinstance(event, LoadFinished)]
        assert read.verb == "claim"
        assert read.rows <= ROWS_MAX
        assert read.segments <= SEGMENTS_MAX


async def test_a_long_listing_reads_every_row_once(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 entries are a few pages; each brings what it is made of, and none of it twice."""
    graph = build(saver)
    await grow(saver, graph, LONG)
    reads = Reads()
    reads.watch((await saver.journal()).driver, monkeypatch)
    entries = [s async for s in graph.aget_state_history(CONFIG, limit=1000)]
    assert [s.values["n"] for s in entries] == list(range(LONG, LONG - 1000, -1))
    read = reads.take()
    assert read.calls.count("page") == 2
    assert "history" not in read.calls
    assert read.rows <= ROWS_MAX * 2


async def test_who_stops_early_reads_little(saver: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit the first page is small, and the next are larger."""
    graph = build(saver)
    await grow(saver, graph, SHORT)
    reads = Reads()
    driver = (await saver.journal()).driver
    reads.watch(driver, monkeypatch)
    sizes: list[int] = []
    real = driver.page

    async def page(*args: Any, **options: Any) -> HistoryPage:
        found: HistoryPage = await real(*args, **options)
        sizes.append(found.last - found.first + 1)
        return found

    monkeypatch.setattr(driver, "page", page)
    async for state in graph.aget_state_history(CONFIG):
        assert state.values["n"] == SHORT
        break
    assert sizes == [20]
    sizes.clear()
    entries = [s async for s in graph.aget_state_history(CONFIG)]
    assert len(entries) == SHORT + 2
    assert sizes == [20, 80, SHORT + 2 - 100]
