"""Threads whose subgraphs have made more namespaces than a claim comes with."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._journal.handle import ThreadHandle
from stepwell._journal.journal import Journal
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import NAMESPACES_MAX, Claim, Loaded, LoadRequest
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.types import Command, Send, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
TURNS = 300
AT_ONCE = NAMESPACES_MAX + 16


class State(TypedDict, total=False):
    """What was done, and whether the subgraph asks."""

    log: Annotated[list[Any], operator.add]
    asks: bool
    i: int


class Log(TypedDict):
    """What was done."""

    log: Annotated[list[Any], operator.add]


class Outer(TypedDict, total=False):
    """As State, but what a subgraph returns takes the place of what was there."""

    log: list[Any]
    asks: bool


async def note(state: State) -> dict[str, Any]:
    return {"log": ["noted"]}


async def ask(state: State) -> dict[str, Any]:
    return {"log": [interrupt(state.get("i", "q"))] if state.get("asks") else ["told"]}


def chain(*nodes: tuple[str, Any], schema: Any = State) -> StateGraph:
    """START -> nodes in a row -> END."""
    graph = StateGraph(schema)
    graph.add_sequence(list(nodes))
    return graph.add_edge(START, nodes[0][0])


def build(saver: Saver, **options: Any) -> CompiledStateGraph:
    """A node that is a graph of two nodes, the second of which may ask."""
    inner = chain(("note", note), ("ask", ask)).compile(**options)
    return chain(("sub", inner), schema=Outer).compile(saver)


class Counts:
    """What claims came with, and how many loads there were beside them."""

    def __init__(self) -> None:
        self.claimed: list[int] = []
        """Namespaces that each claim came with."""
        self.loads = 0


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Counts what is read from now on."""
    counts = Counts()
    made, load = ThreadHandle.__init__, Journal.load

    def make(handle: ThreadHandle, claim: Claim, outbox: Any, **others: Any) -> None:
        if claim.loaded.thread is not None:
            counts.claimed.append(len(claim.loaded.thread.namespaces))
        made(handle, claim, outbox, **others)

    async def read(journal: Journal, request: LoadRequest) -> Loaded:
        counts.loads += 1
        return await load(journal, request)

    monkeypatch.setattr(ThreadHandle, "__init__", make)
    monkeypatch.setattr(Journal, "load", read)
    return counts


async def turns(graph: CompiledStateGraph, count: int = TURNS) -> None:
    for _ in range(count):
        await graph.ainvoke({"log": []}, CONFIG)


async def test_a_claim_comes_with_a_bounded_number_of_namespaces(
    saver: Saver, counts: Counts
) -> None:
    """After 300 turns that each made a namespace, a claim brings 64 of them, and a turn reads
    nothing beside its claim, since its own namespace is a new one."""
    graph = build(saver)
    await turns(graph)
    assert max(counts.claimed) <= 1 + NAMESPACES_MAX
    assert counts.claimed[-1] == 1 + NAMESPACES_MAX
    assert counts.loads == 0
    names = [name async for name in _names(saver)]
    assert len(names) == len(set(names)) == TURNS


async def _names(saver: Saver) -> Any:
    key = saver.key("t")
    for name in await (await saver.journal()).namespaces(key):
        yield name


async def test_old_namespaces_are_looked_into_and_updated(saver: Saver) -> None:
    """State, deep state, history and update of a subgraph whose namespace is no new one."""
    graph = build(saver)
    await graph.ainvoke({"log": [], "asks": True}, CONFIG)
    (task,) = (await graph.aget_state(CONFIG, subgraphs=True)).tasks
    asked = (await graph.aget_state(CONFIG)).config
    first: Any = task.state
    await graph.ainvoke(Command(resume="a", update={"asks": False}), CONFIG)
    await turns(graph, 2 * NAMESPACES_MAX)
    shown = await graph.aget_state(asked, subgraphs=True)
    assert shown.tasks[0].state.config == _newest(first.config, shown.tasks[0].state)
    assert shown.tasks[0].state.values["log"] == ["noted", "a"]
    ns = first.config["configurable"]["checkpoint_ns"]
    inside: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ns}}
    history = [s.values.get("log") async for s in graph.aget_state_history(inside)]
    assert history == [["noted", "a"], ["noted"], [], []]
    await graph.aupdate_state(inside, {"log": ["by hand"]}, as_node="ask")
    assert (await graph.aget_state(inside)).values["log"] == ["noted", "a", "by hand"]
    listed = [
        t async for t in saver.alist({"configurable": {"thread_id": "t"}})
        if t.config["configurable"]["checkpoint_ns"] == ns
    ]  # fmt: skip
    assert len(listed) == 5


def _newest(config: Any, state: Any) -> Any:
    """The config of another checkpoint in the same place."""
    found = state.config["configurable"]
    assert found["checkpoint_ns"] == config["configurable"]["checkpoint_ns"]
    return state.config


async def test_an_old_checkpoint_is_resumed_inside_its_subgraph(saver: Saver) -> None:
    """Answering a question that was passed over long ago, by the checkpoint that asked it, goes
    on inside the subgraph: its first node does not run again."""
    graph = build(saver)
    await graph.ainvoke({"log": [], "asks": True}, CONFIG)
    asked = (await graph.aget_state(CONFIG)).config
    await graph.aupdate_state(CONFIG, {"asks": False, "log": []}, as_node="sub")
    await turns(graph, NAMESPACES_MAX + 6)
    seen = [
        (ns, chunk)
        async for ns, chunk in graph.astream(
            Command(resume="late"), asked, stream_mode="updates", subgraphs=True
        )
    ]
    assert [list(chunk) for _, chunk in seen] == [["ask"], ["sub"]]
    assert (await graph.aget_state(CONFIG)).values["log"] == ["noted", "late"]


def fan(saver: Saver, durability: Any) -> CompiledStateGraph:
    """More subgraphs at once than a claim shows namespaces; all of them ask."""
    inner = StateGraph(State, output_schema=Log)
    inner.add_sequence([("note", note), ("ask", ask)]).add_edge(START, "note")

    async def start(state: State) -> dict[str, Any]:
        return {"log": ["start"]}

    graph = StateGraph(State)
    graph.add_node("start", start)
    graph.add_node("sub", inner.compile())
    graph.add_edge(START, "start")
    graph.add_conditional_edges(
        "start", lambda s: [Send("sub", {"asks": True, "i": i}) for i in range(AT_ONCE)], ["sub"]
    )
    return graph.compile(saver, durability=durability)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_each_of_many_interrupted_subgraphs_goes_on(saver: Saver, durability: Any) -> None:
    """80 subgraphs ask at once; answered by id, in two portions, each goes on where it asked,
    whether or not its namespace came with the claim."""
    graph = fan(saver, durability)
    given: Any = {"log": [], "i": 0}
    result: Any = await graph.ainvoke(given, CONFIG)
    asked = result["__interrupt__"]
    assert sorted(q.value for q in asked) == list(range(AT_ONCE))
    for part in (asked[::2], asked[1::2]):
        result = await graph.ainvoke(Command(resume={q.id: -q.value for q in part}), CONFIG)
    answers = [entry for entry in result["log"] if isinstance(entry, int)]
    assert answers == [-i for i in range(AT_ONCE)]
    assert result["log"].count("noted") == AT_ONCE
    assert not (await graph.aget_state(CONFIG)).next


async def test_a_graph_with_one_history_is_found_again(saver: Saver, counts: Counts) -> None:
    """A subgraph with checkpointer=True keeps its namespace while others make hundreds; each
    claim that reaches it reads it once, and it goes on from its state."""
    keeps = chain(("note", note)).compile(checkpointer=True)
    makes = chain(("note", note)).compile()

    async def keep(state: Any) -> dict[str, Any]:
        inside: Any = await keeps.ainvoke({"log": ["in"]})
        return {"log": [len(inside["log"])]}

    async def make(state: Any) -> dict[str, Any]:
        for _ in range(NAMESPACES_MAX + 1):
            await makes.ainvoke({"log": []})
        return {}

    graph = chain(("keep", keep), ("make", make), schema=Outer).compile(saver)
    for turn in range(1, 4):
        counts.loads = 0
        result: Any = await graph.ainvoke({"log": []}, CONFIG)
        assert result["log"] == [2 * turn]
        assert counts.loads == (turn > 1)
