"""What is asked of a driver, counted: per superstep, per turn, and what it does not grow with.

That a call of a driver is one hop to SQLite's thread, or a fixed number of round trips to
PostgreSQL, is tested beside those drivers.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import pytest_asyncio

from stepwell import Retention, open_saver
from stepwell.checkpoint._looking import listing
from stepwell.checkpoint.base import PruneReport, Saver
from stepwell.checkpoint.driver import Slice
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.graph import END, START, StateGraph
from stepwell.types import Send
from tests._postgres import fresh_schema, server_dsn

VERBS = (
    "claim", "renew", "release", "unlock", "want", "ask", "delete", "landed", "load", "history",
    "page", "layout", "write_segments", "prune", "threads", "namespaces", "runs", "keyed_run",
    "runs_numbered", "described",
)  # fmt: skip


class Costs:
    """What was asked of drivers since the last `take`."""

    def __init__(self) -> None:
        self._counted: Counter[str] = Counter()
        self.unlocks = 0

    def call(self, verb: str) -> None:
        self._counted[verb] += 1

    def commit(self, batch: Sequence[Slice]) -> None:
        counted = self._counted
        counted["commit"] += 1
        counted["slices"] += len(batch)
        for piece in batch:
            counted["checkpoints"] += len(piece.checkpoints)
            counted["writes"] += len(piece.writes)
            counted["drops"] += len(piece.drop_writes)
            counted["runs"] += len(piece.runs)
            counted["bytes"] += sum(len(row.body) for row in piece.checkpoints)
            counted["bytes"] += sum(len(row.body) for row in piece.writes)
            counted["bytes"] += sum(len(row.metadata or b"") for row in piece.checkpoints)

    def take(self) -> dict[str, int]:
        taken, self._counted = dict(self._counted), Counter()
        self.unlocks += taken.pop("unlock", 0)  # they come when the loop has time for them
        return {what: count for what, count in taken.items() if count}


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    """Counts from the moment a saver is opened: to be asked for before it."""
    found = Costs()

    def counting(kind: type, name: str, verb: str) -> None:
        original = getattr(kind, name)

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            if verb == "commit":
                found.commit(args[0])
            elif args and not args[0] and verb in ("claim", "unlock"):
                pass  # asked for nothing
            else:
                found.call(verb)
            return original(self, *args, **options)

        monkeypatch.setattr(kind, name, counted)

    for kind in (MemoryDriver, SqliteDriver, PostgresDriver):
        now = "_now" if kind is MemoryDriver else ""
        for verb in (*VERBS, "commit"):
            counting(kind, verb + (now if verb in ("claim", "commit") else ""), verb)
    return found


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def saver(
    request: pytest.FixtureRequest, tmp_path: Path, costs: Costs
) -> AsyncIterator[Saver]:
    """An empty saver of each driver, watched; it renews no lease while it is."""
    options: dict[str, Any] = {"lease_ttl_s": 3600.0}
    if request.param == "memory":
        async with open_saver("memory://", **options) as opened:
            yield opened
    elif request.param == "sqlite":
        async with open_saver(f"sqlite:///{tmp_path}/costs.db", **options) as opened:
            yield opened
    else:
        async with (
            fresh_schema() as schema,
            open_saver(server_dsn(), schema=schema, **options) as opened,
        ):
            yield opened


class State(TypedDict, total=False):
    """A number that is overwritten and a list that grows."""

    n: int
    log: Annotated[list[str], operator.add]


def thread(name: str = "t") -> dict[str, Any]:
    return {"configurable": {"thread_id": name}, "recursion_limit": 1000}


async def step(state: State) -> dict[str, Any]:
    return {"n": 7}


async def say(state: State) -> dict[str, Any]:
    return {"log": ["said"]}


def chain(saver: Saver, length: int, *, others: int = 0, keys: int = 0, node: Any = step) -> Any:
    """START -> `length` nodes -> END; beside them `others` that nothing leads to, and `keys` more
    keys of the state."""
    kind: Any = State
    if keys:
        kind = TypedDict("Keys", {"n": int, **{f"k{i}": str for i in range(keys)}})  # type: ignore[operator]
    graph: Any = StateGraph(kind)
    names = [f"node{i:03}" for i in range(length)]
    for name in names:
        graph.add_node(name, node)
    for start, end in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(start, end)
    for i in range(others):
        graph.add_node(f"other{i}", node)
        graph.add_edge(f"other{i}", END)
    return graph.compile(checkpointer=saver)


async def cost(costs: Costs, call: Any) -> dict[str, int]:
    costs.take()
    await call
    return costs.take()


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_superstep_is_one_row_and_with_sync_one_commit(
    costs: Costs, saver: Saver, durability: Any
) -> None:
    found = []
    for length in (10, 20, 30):
        call = chain(saver, length).ainvoke({"n": 7}, thread(f"t{length}"), durability=durability)
        found.append(await cost(costs, call))
    first, second, third = found
    assert second["checkpoints"] - first["checkpoints"] == 10
    assert second["bytes"] - first["bytes"] == third["bytes"] - second["bytes"]
    assert second["bytes"] - first["bytes"] <= 10 * 140
    for counted in found:
        assert counted["runs"] == 2  # it runs; it is done
        assert counted["claim"] == 1
        assert set(counted) == {"claim", "commit", "slices", "checkpoints", "runs", "bytes"}
        if durability == "sync":
            # The input and what takes it in are one commit, where a commit costs anything.
            shared = 0 if isinstance(saver, InMemorySaver) else 1
            assert counted["commit"] == counted["slices"] == counted["checkpoints"] - shared
        else:
            assert counted["commit"] <= counted["checkpoints"]
    assert costs.unlocks <= 3


async def test_a_run_kept_until_its_end_is_one_row(costs: Costs, saver: Saver) -> None:
    for length in (3, 30):
        call = chain(saver, length).ainvoke({"n": 7}, thread(f"t{length}"), durability="exit")
        counted = await cost(costs, call)
        assert (counted["claim"], counted["commit"], counted["checkpoints"]) == (1, 1, 1)


async def test_a_turn_costs_the_same_whatever_came_before(costs: Costs, saver: Saver) -> None:
    """The thirtieth turn asks of the driver what the second did, and writes as much."""
    graph = chain(saver, 1, node=say)
    turns = [
        await cost(costs, graph.ainvoke({"log": ["word"]}, thread(), durability="sync"))
        for _ in range(30)
    ]
    assert turns[1]["checkpoints"] == 3
    assert all(turn == turns[1] for turn in turns[1:])


async def test_a_turn_costs_the_same_beside_idle_threads(costs: Costs, saver: Saver) -> None:
    graph = chain(saver, 2)
    alone = await cost(costs, graph.ainvoke({"n": 7}, thread("one"), durability="sync"))
    for i in range(60):
        await graph.ainvoke({"n": 7}, thread(f"idle{i}"), durability="exit")
    beside = await cost(costs, graph.ainvoke({"n": 7}, thread("two"), durability="sync"))
    assert beside == alone


async def test_nodes_that_are_not_triggered_cost_nothing(costs: Costs, saver: Saver) -> None:
    few = await cost(costs, chain(saver, 3).ainvoke({"n": 7}, thread("a"), durability="sync"))
    graph = chain(saver, 3, others=60)
    many = await cost(costs, graph.ainvoke({"n": 7}, thread("b"), durability="sync"))
    assert many == few


async def test_keys_that_are_not_touched_cost_nothing(costs: Costs, saver: Saver) -> None:
    """Of a state with sixty more keys, a turn that changes one writes that one."""
    found = []
    for keys in (1, 60):
        graph, name = chain(saver, 5, keys=keys), thread(f"keys{keys}")
        everything = {"n": 7, **{f"k{i}": "some text of its own" * 5 for i in range(keys)}}
        await graph.ainvoke(everything, name, durability="sync")
        found.append(await cost(costs, graph.ainvoke({"n": 7}, name, durability="sync")))
    assert found[0] == found[1]


async def test_a_long_list_costs_what_is_appended(costs: Costs, saver: Saver) -> None:
    graph = chain(saver, 1, node=say)
    found = []
    for length in (1, 1000):
        name = thread(f"long{length}")
        await graph.ainvoke({"log": ["word"] * length}, name, durability="sync")
        found.append(await cost(costs, graph.ainvoke({"log": ["more"]}, name, durability="sync")))
    assert found[0] == found[1]


async def test_branches_that_end_together_are_one_row(costs: Costs, saver: Saver) -> None:
    """Results of tasks are not filed one by one where their barrier is in the same commit."""

    async def many(state: State) -> dict[str, Any]:
        return {"log": ["x"]}

    graph: Any = StateGraph(State)
    graph.add_node("many", many)
    graph.add_conditional_edges(START, lambda _: [Send("many", {}) for _ in range(40)])
    compiled = graph.compile(checkpointer=saver)
    counted = await cost(costs, compiled.ainvoke({"n": 1}, thread(), durability="sync"))
    assert counted["checkpoints"] == 3
    assert counted.get("writes", 0) == counted.get("drops", 0) == 0


async def test_a_crowd_shares_its_commits(costs: Costs, saver: Saver) -> None:
    """Thirty threads in step with each other need the commits of one; in memory, where nothing
    is gained by it, each has its own."""
    graph = chain(saver, 6)
    calls = (graph.ainvoke({"n": 7}, thread(f"c{i}"), durability="sync") for i in range(30))
    counted = await cost(costs, asyncio.gather(*calls))
    assert counted["checkpoints"] == 30 * 8
    if not isinstance(saver, InMemorySaver):
        assert counted["slices"] == 30 * 7
        assert counted["claim"] == 1
        assert counted["commit"] == 7


@pytest.mark.parametrize("pages", [1, 3])
async def test_idle_threads_cost_pages_not_threads(
    saver: Saver, costs: Costs, pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their listing tells that nothing can go; of those that were pruned before, one look at a
    page does, and only what has grown is read."""
    monkeypatch.setattr(listing, "PAGE", 4)
    count = 4 * pages - 1
    for i in range(count):
        await chain(saver, 2).ainvoke({"n": 0}, thread(f"t{i}"))
    await asyncio.sleep(0)
    costs.take()
    for dry_run in (True, False):
        report = await saver.aprune(policy=Retention(keep_last=4), dry_run=dry_run)
        assert report == PruneReport()
        assert costs.take() == {"threads": pages}
    assert (await saver.aprune(policy=Retention(thread_ttl=3600))) == PruneReport()
    assert costs.take() == {"threads": pages}

    policy = Retention(keep_last=2)
    planned = await saver.aprune(policy=policy, dry_run=True)
    assert costs.take() == {"threads": pages, "load": pages, "history": count}
    assert planned == await saver.aprune(policy=policy)
    assert planned.checkpoints == 2 * count  # of four each
    done = costs.take()
    assert (done["threads"], done["load"], done["history"]) == (pages, pages, count)

    for dry_run in (True, False):
        assert await saver.aprune(policy=policy, dry_run=dry_run) == PruneReport()
        assert costs.take() == {"threads": pages, "load": pages}
    asked: list[str] = []
    gone = Retention(thread_ttl=0, where=lambda info: asked.append(info.thread_id) or True)
    assert (await saver.aprune(policy=gone, dry_run=True)).threads == count
    assert len(asked) == count
    assert costs.take() == {
        "threads": pages,
        "load": pages,
        "runs_numbered": pages,
        "described": pages,
    }


async def test_young_threads_are_not_read_for_their_age(saver: Saver, costs: Costs) -> None:
    """A thread that began after what may go has nothing that may; the others are read."""
    for i in range(3):
        await chain(saver, 2).ainvoke({"n": 0}, thread(f"t{i}"))
    await asyncio.sleep(0)
    costs.take()
    for policy in (Retention(max_age=3600), Retention(max_age=3600, keep=lambda _: False)):
        assert await saver.aprune(policy=policy) == PruneReport()
        assert costs.take() == {"threads": 1}
    planned = await saver.aprune(policy=Retention(max_age=0), dry_run=True)
    assert planned.checkpoints == 9
    assert costs.take() == {"threads": 1, "load": 1, "history": 3}


async def test_three_hundred_idle_threads_cost_four_calls(saver: Saver, costs: Costs) -> None:
    """A hundred are listed at once."""
    graph = chain(saver, 1)
    await asyncio.gather(*(graph.ainvoke({"n": 0}, thread(f"t{i}")) for i in range(300)))
    costs.take()
    for dry_run in (True, False):
        assert await saver.aprune(policy=Retention(keep_last=9), dry_run=dry_run) == PruneReport()
        assert costs.take() == {"threads": 4}
