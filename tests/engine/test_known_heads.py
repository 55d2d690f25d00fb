"""A thread is claimed again by the process that let it go: the state that is kept is the one that
is stored, whatever happened to the thread meanwhile, and whatever became of the values."""

from __future__ import annotations

import operator
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
import pytest_asyncio

from stepwell import Retention, open_saver, register
from stepwell._journal import heads as kept
from stepwell._journal.heads import HEAD_BYTES_MAX, Base, Head, Heads, Trail, head_of
from stepwell._journal.load import Folded
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import CheckpointRow, ThreadKey
from stepwell.graph import START, StateGraph
from stepwell.observe import Event, LoadFinished
from stepwell.types import Command, interrupt
from tests._postgres import fresh_schema, server_dsn


class State(TypedDict, total=False):
    """A list that is appended to, a dict that is written as a whole, a tuple, a number."""

    log: Annotated[list[Any], operator.add]
    box: dict[str, Any]
    pair: tuple[Any, ...]
    n: float


class Watch:
    """Which claims were answered by what was kept, and which states were made of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used: list[bool] = []
        fits = Head.fits

        def watched(head: Head, claim: Any) -> bool:
            self.used.append(fits(head, claim))
            return self.used[-1]

        monkeypatch.setattr(Head, "fits", watched)

    def take(self) -> list[bool]:
        used, self.used = self.used, []
        return used


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def savers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Saver]]:
    """Two workers on one database; of one in memory, twice the same."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield [await stack.enter_async_context(open_saver("memory://"))] * 2
        elif request.param == "sqlite":
            url = f"sqlite:///{tmp_path}/heads.db"
            yield [await stack.enter_async_context(open_saver(url)) for _ in range(2)]
        else:
            schema = await stack.enter_async_context(fresh_schema())
            yield [
                await stack.enter_async_context(open_saver(server_dsn(), schema=schema))
                for _ in range(2)
            ]


def thread(**more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": "t", **more}}


class Program:
    """A graph whose node notes the state that it is given."""

    def __init__(self, saver: Saver) -> None:
        self.seen: list[str] = []
        self.saver = saver

        async def work(state: State) -> dict[str, Any]:
            log = state["log"]
            self.seen.append(repr(dict(state)))
            said = log[-1]
            if said == "ask":
                said = interrupt("well?")
            if said == "mutate":
                log.append("in place")
                state.get("box", {})["in place"] = len(log)
                return {"n": 1}
            return {
                "log": [(said, len(log))],
                "box": {"of": said, "x" * 300: [len(log)] * 40},
                "pair": (said, {1, 2}, datetime(2026, 1, 1, tzinfo=UTC), -0.0),
                "n": float(len(log)),
            }

        builder = StateGraph(State).add_node("work", work).add_edge(START, "work")
        self.graph: Any = builder.compile(checkpointer=saver)

    async def say(self, what: Any, **options: Any) -> Any:
        """A turn, in which the node must be given what is stored."""
        stored = (await self.graph.aget_state(thread())).values
        answer = await self.graph.ainvoke({"log": [what]}, thread(), **options)
        assert self.seen[-1] == repr({**stored, "log": [*stored.get("log", []), what]})
        return answer


async def test_a_second_turn_is_given_what_the_first_has_left(
    savers: list[Saver], watch: Watch
) -> None:
    program = Program(savers[0])
    for durability in ("sync", "async", "exit") * 2:
        await program.say("hello", durability=durability)
    assert watch.take() == [True] * 5


@pytest.mark.parametrize(
    "what", ["other worker", "deleted", "pruned", "updated", "branch", "rewound", "compacted"]
)
async def test_what_happened_meanwhile_is_seen(
    savers: list[Saver], watch: Watch, what: str
) -> None:
    one, two = map(Program, savers)
    for said in ("a", "b", "c"):
        await one.say(said)
    assert watch.take() == [True, True]
    if what == "other worker":
        await two.say("foreign")
    elif what == "deleted":
        await savers[1].adelete_thread("t")
        for said in ("x", "y", "z"):
            await two.say(said)
    elif what == "pruned":
        report = await savers[1].aprune(["t"], Retention(keep_last=1))
        assert report.checkpoints
    elif what == "compacted":
        await savers[1].acompact(["t"])
    elif what == "updated":
        await two.graph.aupdate_state(thread(), {"log": ["edited"], "n": 5})
    else:
        old = [s.config async for s in one.graph.aget_state_history(thread())][4]
        if what == "branch":
            await two.graph.aupdate_state(old, {"log": ["branched"]})
        else:
            await two.graph.ainvoke({"log": ["again"]}, old)
    watch.take()
    await one.say("next")
    await one.say("and next")
    if savers[0] is not savers[1]:
        assert watch.take()[-2:] == [what == "compacted", True]  # there was too little to compact


async def test_values_that_were_handed_out_are_not_what_is_kept(
    savers: list[Saver], watch: Watch
) -> None:
    program = Program(savers[0])
    answers = [await program.say("a")]
    for said in ("b", "mutate", "c", "d"):
        for answer in answers:
            answer["log"].append("mine")
            answer["box"]["of"] = ["mine"]
        answers.append(await program.say(said))
    assert watch.take() == [True] * 4
    stored = (await program.graph.aget_state(thread())).values
    assert stored["log"].count("in place") == 1


class Drawer:
    """Something whose `decode` takes apart what it is handed."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


def drawer_of(state: dict[str, Any]) -> Drawer:
    items = state.pop("items")
    items.append(len(items))
    return Drawer(items)


register(Drawer, encode=lambda drawer: {"items": drawer.items}, decode=drawer_of)


async def test_a_channel_that_a_graph_does_not_have_is_kept_as_it_is_stored(
    savers: list[Saver], watch: Watch
) -> None:
    """Reviving it may change the tree that it is revived from."""
    seen: list[Any] = []

    class Wide(TypedDict, total=False):
        log: Annotated[list[Any], operator.add]
        drawer: Any

    class Narrow(TypedDict, total=False):
        log: Annotated[list[Any], operator.add]

    async def fill(state: Wide) -> dict[str, Any]:
        if "drawer" not in state:
            return {"drawer": Drawer([1, 2])}
        seen.append(state["drawer"].items)
        return {"log": ["seen"]}

    async def pass_by(state: Narrow) -> dict[str, Any]:
        return {"log": ["passed"]}

    wide: Any = StateGraph(Wide).add_node("n", fill).add_edge(START, "n")
    narrow: Any = StateGraph(Narrow).add_node("n", pass_by).add_edge(START, "n")
    for builder in (wide, narrow, wide):
        await builder.compile(checkpointer=savers[0]).ainvoke({"log": ["in"]}, thread())
    assert seen == [[1, 2, 2]]
    assert watch.take() == [True, True]


async def test_a_question_is_answered_from_what_is_kept(savers: list[Saver], watch: Watch) -> None:
    program = Program(savers[0])
    await program.say("a")
    await program.say("ask")
    answer = await program.graph.ainvoke(Command(resume="yes"), thread())
    assert answer["log"][-1][0] == "yes"
    await program.say("b")
    assert watch.take() == [True] * 3


async def test_a_run_that_leaves_no_checkpoint_leaves_what_it_was_given(
    savers: list[Saver], watch: Watch
) -> None:
    """The newest row is of an earlier run then."""
    asked: list[int] = []

    async def work(state: State) -> dict[str, Any]:
        answers = [interrupt(1), interrupt(2), interrupt(3)]
        asked.append(len(state["log"]))
        if len(asked) < 3:
            raise ZeroDivisionError
        return {"log": answers}

    builder = StateGraph(State).add_node("work", work).add_edge(START, "work")
    graph: Any = builder.compile(checkpointer=savers[0])
    await graph.ainvoke({"log": ["in"]}, thread())
    for answer in "ab":
        await graph.ainvoke(Command(resume=answer), thread())
    for given in (Command(resume="c"), None):
        with pytest.raises(ZeroDivisionError):
            await graph.ainvoke(given, thread())
    assert (await graph.ainvoke(None, thread()))["log"] == ["in", "a", "b", "c"]
    assert watch.take() == [True] * 5


async def test_folding_goes_on(savers: list[Saver], watch: Watch) -> None:
    """Claims that read one row count those that are not folded all the same."""
    program = Program(savers[0])
    for number in range(80):
        await program.say(str(number))
    used = watch.take()
    journal = await savers[0].journal()
    if journal.driver.name == "memory":
        assert False not in used  # it folds nothing
        return
    assert 0 < used.count(False) <= 6
    layout = await journal.driver.layout(savers[0].key("t"), "")
    assert len(layout.segments) >= 1
    assert len(layout.rows) < 200


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_each_turn_is_given_what_is_stored(
    savers: list[Saver], watch: Watch, seed: int
) -> None:
    draw = random.Random(seed)
    programs = list(map(Program, savers))
    await programs[0].say("first")
    for number in range(40):
        program, saver = draw.choice(list(zip(programs, savers, strict=True)))
        what = draw.choice(["turn"] * 8 + ["old", "update", "delete", "prune", "fold", "copy"])
        if what == "turn":
            durability = draw.choice(["sync", "async", "exit"])
            await program.say(draw.choice(["a", "mutate", number]), durability=durability)
        elif what == "old":
            configs = [s.config async for s in program.graph.aget_state_history(thread())]
            await program.graph.ainvoke({"log": ["old"]}, draw.choice(configs))
        elif what == "update":
            await program.graph.aupdate_state(thread(), {"log": ["edit"], "box": {"edit": number}})
        elif what == "delete":
            await saver.adelete_thread("t")
            await program.say("anew")
        elif what == "prune":
            await saver.aprune(["t"], Retention(keep_last=2))
        elif what == "fold":
            await saver.acompact(["t"])
        else:
            await saver.adelete_thread("copy")
            await saver.acopy_thread("t", "copy")
            await saver.adelete_thread("t")
            await saver.acopy_thread("copy", "t")
    assert True in watch.take()


async def test_a_row_is_read_of_what_is_known(tmp_path: Path) -> None:
    read: list[tuple[int, int]] = []

    def loads(event: Event) -> None:
        if isinstance(event, LoadFinished) and event.verb == "claim":
            read.append((event.rows, event.segments))

    async with open_saver(f"sqlite:///{tmp_path}/one.db", observe=[loads]) as saver:
        program = Program(saver)
        for said in "abcde":
            await program.say(said)
    assert read == [(0, 0), *[(1, 0)] * 4]


async def test_a_database_put_back_is_read_whole(tmp_path: Path, watch: Watch) -> None:
    """Uid, epoch, record and layout are as they were left, but another day wrote them."""
    async with open_saver(f"sqlite:///{tmp_path}/one.db") as saver:
        program = Program(saver)
        await program.say("a")
        await program.say("b")
        await (await saver.journal()).driver.database.write(  # type: ignore[attr-defined]
            lambda cursor: cursor.execute("UPDATE stepwell_run SET run_id = 'another' || run")
        )
        watch.take()
        await program.say("c")
        assert watch.take() == [False]
        await program.say("d")
        assert watch.take() == [True]


async def test_of_what_is_sealed_nothing_is_kept(tmp_path: Path, watch: Watch) -> None:
    async with open_saver(f"sqlite:///{tmp_path}/one.db", compress="zlib") as saver:
        program = Program(saver)
        for said in "abc":
            await program.say(said)
    assert watch.take() == []


# -- what is kept --------------------------------------------------------------------------------


def row(seq: int, body: bytes = b'{"t":[],"c":{}}') -> CheckpointRow:
    return CheckpointRow(0, seq, None, 0, 1, 1, 7, seq, 1, 0, body)


def head(size: int = 0, rows: int = 1) -> Head | None:
    folded = Folded()
    folded.values = {"text": "x" * size}
    trail = Trail(Base(folded, {}, row=row(1), parent=None, tail=1))
    for seq in range(2, 2 + rows):
        trail.rows.append(row(seq))
    return head_of(trail, uid=b"u", epoch=7, record_no=9, layout_no=1, run_id=None)


def test_heads_are_bounded_in_bytes_and_the_oldest_go() -> None:
    heads = Heads()
    keys = [ThreadKey("", str(number)) for number in range(200)]
    for key in keys:
        one = head(size=HEAD_BYTES_MAX - 4096)
        assert one is not None
        heads.keep(key, one)
        assert sum(h.size for h in heads._heads.values()) == heads._size <= kept.HEADS_BYTES_MAX
    assert heads.take(keys[0]) is None
    assert heads.take(keys[-1]) is not None
    assert heads.take(keys[-1]) is None


def test_a_large_state_is_not_kept() -> None:
    assert head(size=HEAD_BYTES_MAX) is None


def test_only_a_line_is_kept() -> None:
    base = Base(Folded(), {}, row=None, parent=None, tail=0)
    told: dict[str, Any] = {"uid": b"u", "epoch": 7, "record_no": 9, "layout_no": 1, "run_id": None}
    trail = Trail(base)
    assert head_of(trail, **told) is None
    trail.rows += [row(1), row(2)]
    found = head_of(trail, **told)
    assert found is not None
    assert (found.known.seq, found.tail, found.parent) == (2, 2, row(1))
    trail.rows.append(row(3)._replace(parent=1))
    assert head_of(trail, **told) is None
