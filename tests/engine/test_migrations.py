"""Threads of an older state version: what the graph of today makes of them."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import register
from stepwell._engine import entry
from stepwell.errors import (
    EmptyInputError,
    GraphDefinitionError,
    GraphMismatchError,
    RunPreemptedError,
)
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, Overwrite, Send, interrupt

CONFIG = {"configurable": {"thread_id": "t"}}
SENT = {"configurable": {"thread_id": "sent"}}


class Old(TypedDict, total=False):
    name: str
    notes: Annotated[list, operator.add]
    count: int


class New(TypedDict, total=False):
    first: str
    last: str
    notes: Annotated[list, operator.add]


def split(values: dict[str, Any]) -> dict[str, Any]:
    """Version 0 to 1: `name` becomes two keys, notes become dicts, `count` goes."""
    first, _, last = values.pop("name", "").partition(" ")
    values.pop("count", None)
    return {
        **values,
        "first": first,
        "last": last,
        "notes": [{"text": note} for note in values.get("notes", [])],
    }


def greet(state: Old) -> dict[str, Any]:
    return {"notes": [f"hello {state['name']}"], "count": 1}


def greet_new(state: New) -> dict[str, Any]:
    return {"notes": [{"text": f"hello {state['first']}/{state['last']}"}]}


def old_graph(saver, node=greet):
    return StateGraph(Old).add_node("greet", node).add_edge(START, "greet").compile(saver, name="g")


def new_builder(node=greet_new):
    builder = StateGraph(New).add_node("greet", node).add_edge(START, "greet")
    return builder.add_migration(0, split)


def new_graph(saver, node=greet_new):
    return new_builder(node).compile(saver, name="g", state_version=1, on_mismatch="refuse")


async def test_an_old_thread_is_read_and_goes_on_as_one_of_today(saver):
    await old_graph(saver).ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    graph = new_graph(saver)
    before = await graph.aget_state(CONFIG)
    assert before.values == {
        "first": "Ada", "last": "Byron", "notes": [{"text": "a"}, {"text": "hello Ada Byron"}],
    }  # fmt: skip
    out = await graph.ainvoke({"notes": [{"text": "b"}]}, CONFIG)
    assert out["notes"][-2:] == [{"text": "b"}, {"text": "hello Ada/Byron"}]
    again = await new_graph(saver).aget_state(CONFIG)
    assert again.values == out
    assert (await saver.aget_thread("t")).state_version == 1


async def test_reading_writes_nothing_and_a_reader_of_the_old_version_is_not_disturbed(saver):
    await old_graph(saver).ainvoke({"name": "Ada Byron"}, CONFIG)
    known = await saver.aget_thread("t")
    await new_graph(saver).aget_state(CONFIG)
    assert await saver.aget_thread("t") == known
    assert (await old_graph(saver).aget_state(CONFIG)).values["name"] == "Ada Byron"


async def test_a_thread_that_was_migrated_is_refused_by_the_old_graph(saver):
    await old_graph(saver).ainvoke({"name": "Ada Byron"}, CONFIG)
    await new_graph(saver).ainvoke({}, CONFIG)
    with pytest.raises(GraphMismatchError, match="deploy the newer graph"):
        await old_graph(saver).ainvoke({"name": "x"}, CONFIG)
    with pytest.raises(GraphMismatchError, match="deploy the newer graph"):
        await old_graph(saver).aget_state(CONFIG)


async def test_history_shows_every_state_as_one_of_today(saver):
    await old_graph(saver).ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    await new_graph(saver).ainvoke({"first": "Grace"}, CONFIG)
    states = [s async for s in new_graph(saver).aget_state_history(CONFIG)]
    assert [s.values.get("first") for s in states] == ["Grace", "Grace", "Ada", "Ada", "Ada", ""]
    assert all("name" not in s.values and "count" not in s.values for s in states)
    done = [t.result for s in states for t in s.tasks if t.name == "greet"]
    assert done == [
        {"notes": [{"text": "hello Grace/Byron"}]},
        {"notes": [{"text": "hello Ada Byron"}]},
    ]


async def test_a_fork_of_an_old_checkpoint_starts_from_the_migrated_state(saver):
    await old_graph(saver).ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    graph = new_graph(saver)
    await graph.ainvoke({"first": "Grace"}, CONFIG)
    states = [s async for s in graph.aget_state_history(CONFIG)]
    first = next(s for s in states if s.next == ("greet",) and s.values["first"] == "Ada")
    out = await graph.ainvoke(None, first.config)
    assert out["notes"] == [{"text": "a"}, {"text": "hello Ada/Byron"}]
    assert (await graph.aget_state(CONFIG)).values == out


async def test_an_update_of_an_old_thread_is_recorded_beside_its_migration(saver):
    await old_graph(saver).ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    await new_graph(saver).aupdate_state(CONFIG, {"notes": [{"text": "u"}]}, as_node="greet")
    values = (await new_graph(saver).aget_state(CONFIG)).values
    assert values["first"] == "Ada"
    assert values["notes"][-1] == {"text": "u"}
    assert len(values["notes"]) == 3


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_every_durability_records_the_migration(saver, durability):
    await old_graph(saver).ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    out = await new_graph(saver).ainvoke({"last": "L"}, CONFIG, durability=durability)
    plain = StateGraph(New).add_node("greet", greet_new).add_edge(START, "greet")
    bare = plain.compile(saver, name="g", state_version=1)
    assert (await bare.aget_state(CONFIG)).values == out


# --- open supersteps ----------------------------------------------------------------------------


def asking(builder):
    """Two nodes side by side: one that finishes and one that asks."""
    first = builder.nodes["greet"]
    assert first

    def ask(state):
        return {"notes": [interrupt("who?")]}

    return builder.add_node("ask", ask).add_edge(START, "ask")


async def test_what_finished_tasks_left_is_migrated_with_the_state(saver):
    old = asking(StateGraph(Old).add_node("greet", greet).add_edge(START, "greet"))
    await old.compile(saver, name="g").ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    graph = asking(new_builder()).compile(saver, name="g", state_version=1)
    state = await graph.aget_state(CONFIG)
    assert state.next == ("ask",)
    assert state.values["notes"] == [{"text": "a"}, {"text": "hello Ada Byron"}]
    (question,) = state.interrupts
    out = await graph.ainvoke(Command(resume={question.id: {"text": "me"}}), CONFIG)
    assert out["notes"] == [{"text": "a"}, {"text": "me"}, {"text": "hello Ada Byron"}]


async def test_what_a_new_worker_left_is_not_migrated_again(saver):
    """The chain is of version 0 and the pending write of version 1 until the barrier."""
    old = asking(StateGraph(Old).add_node("greet", greet).add_edge(START, "greet"))
    compiled = old.compile(saver, name="g", interrupt_before=["greet", "ask"])
    await compiled.ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    graph = asking(new_builder()).compile(saver, name="g", state_version=1)
    await graph.ainvoke(None, CONFIG)
    again = asking(new_builder()).compile(saver, name="g", state_version=1)
    assert (await again.aget_state(CONFIG)).values["notes"] == [
        {"text": "a"}, {"text": "hello Ada/Byron"},
    ]  # fmt: skip
    out = await again.ainvoke(Command(resume={"text": "me"}), CONFIG)
    assert out["notes"] == [{"text": "a"}, {"text": "me"}, {"text": "hello Ada/Byron"}]


async def test_an_overwrite_that_waits_is_migrated_as_one(saver):
    def replace(state):
        return {"notes": Overwrite(["only"])}

    old = asking(StateGraph(Old).add_node("greet", replace).add_edge(START, "greet"))
    await old.compile(saver, name="g").ainvoke({"name": "A B", "notes": ["a"]}, CONFIG)
    graph = asking(new_builder()).compile(saver, name="g", state_version=1)
    assert (await graph.aget_state(CONFIG)).values["notes"] == [{"text": "only"}]


async def test_a_write_of_what_is_there_already_reaches_the_key_it_has_become(saver):
    class Renamed(TypedDict, total=False):
        log: Annotated[list, operator.add]

    def same(state):
        return {"notes": ["a"]}

    def ask(state):
        return {"log": [interrupt("?")]}

    old = asking(StateGraph(Old).add_node("greet", same).add_edge(START, "greet"))
    await old.compile(saver, name="g").ainvoke({"notes": ["a"]}, CONFIG)
    new = StateGraph(Renamed).add_node("greet", same).add_node("ask", ask)
    new.add_edge(START, "greet").add_edge(START, "ask")
    new.add_migration(0, lambda values: {"log": values.get("notes", [])})
    graph = new.compile(saver, name="g", state_version=1)
    assert (await graph.aget_state(CONFIG)).values == {"log": ["a", "a"]}
    assert await graph.ainvoke(Command(resume="b"), CONFIG) == {"log": ["a", "b", "a"]}


async def test_a_write_whose_fate_cannot_be_known_is_refused_and_nothing_is_lost(saver):
    class Renamed(TypedDict, total=False):
        log: Annotated[list, operator.add]

    old = asking(
        StateGraph(Old).add_node("greet", lambda s: {"notes": ["a"]}).add_edge(START, "greet")
    )
    await old.compile(saver, name="g").ainvoke({"notes": ["a"]}, CONFIG)
    new = StateGraph(Renamed).add_node("greet", greet).add_node("ask", greet)
    new.add_edge(START, "greet").add_edge(START, "ask")
    new.add_migration(0, lambda values: {"log": values["notes"]})
    with pytest.raises(GraphMismatchError, match="'notes' once more"):
        await new.compile(saver, name="g", state_version=1).ainvoke(Command(resume="x"), CONFIG)
    out = await old.compile(saver, name="g").ainvoke(Command(resume="x"), CONFIG)
    assert out["notes"] == ["a", "x", "a"]


# --- nodes with other names ---------------------------------------------------------------------


def renamed(*, new: bool):
    """START -> a, b -> (join) c; a sends to w. In the new graph they are called otherwise."""
    a, b, c, w = ("a2", "b", "c2", "w2") if new else ("a", "b", "c", "w")

    class State(TypedDict, total=False):
        log: Annotated[list, operator.add]

    def note(name):
        def node(state):
            return {"log": [name]}

        return node

    def spread(state):
        return Command(update={"log": [a]}, goto=[Send(w, {"log": [1]}), Send(w, {"log": [2]})])

    def ask(state):
        return {"log": [interrupt("?")]}

    builder = StateGraph(State).add_node(a, spread).add_node(b, ask).add_node(c, note(c))
    builder.add_node(w, lambda packet: {"log": [(w, packet["log"])]})
    builder.add_edge(START, a).add_edge(START, b).add_edge([a, b], c).add_edge(c, END)
    if new:
        builder.add_migration(0, lambda values: values, nodes={"a": "a2", "c": "c2", "w": "w2"})
    return builder


async def test_a_thread_goes_on_at_nodes_that_were_renamed(saver):
    old = renamed(new=False).compile(saver, name="g")
    await old.ainvoke({"log": []}, CONFIG)
    graph = renamed(new=True).compile(saver, name="g", state_version=1)
    assert (await graph.aget_state(CONFIG)).next == ("b",)
    out = await graph.ainvoke(Command(resume="me"), CONFIG)
    assert out["log"] == ["a", "me", "c2", ("w2", [1]), ("w2", [2])]
    assert (await graph.aget_state(CONFIG)).next == ()
    again = renamed(new=True).compile(saver, state_version=1)
    assert (await again.aget_state(CONFIG)).values == out


async def test_a_half_full_join_and_open_sends_know_the_new_names(saver):
    old = renamed(new=False).compile(saver, name="g", interrupt_before=["c", "w"])
    await old.ainvoke({"log": []}, CONFIG)
    await old.ainvoke(Command(resume="me"), CONFIG)
    assert (await old.aget_state(CONFIG)).next == ("w", "w", "c")
    graph = renamed(new=True).compile(saver, name="g", state_version=1)
    assert (await graph.aget_state(CONFIG)).next == ("w2", "w2", "c2")
    out = await graph.ainvoke(None, CONFIG)
    assert out["log"] == ["a", "me", "c2", ("w2", [1]), ("w2", [2])]


async def test_a_node_that_is_gone_without_a_word_is_refused(saver):
    old = renamed(new=False).compile(saver, name="g", interrupt_before=["a", "b"])
    await old.ainvoke({"log": []}, CONFIG)
    graph = renamed(new=True)
    graph.migrations.clear()
    with pytest.raises(GraphMismatchError, match="'a'"):
        await graph.compile(saver, name="g").ainvoke(None, CONFIG)


# --- chains -------------------------------------------------------------------------------------


async def test_a_chain_is_walked_from_the_version_that_is_stored(saver):
    class State(TypedDict, total=False):
        path: list

    def graph(version):
        builder = StateGraph(State).add_node("n", lambda s: {}).add_edge(START, "n")
        for step in range(version):
            builder.add_migration(step, lambda v, step=step: {"path": [*v["path"], step]})
        return builder.compile(saver, name="g", state_version=version)

    await graph(0).ainvoke({"path": []}, CONFIG)
    assert (await graph(2).aget_state(CONFIG)).values == {"path": [0, 1]}
    await graph(1).aupdate_state(CONFIG, {}, as_node="n")
    assert (await graph(3).ainvoke(None, CONFIG))["path"] == [0, 1, 2]
    await graph(3).aupdate_state(CONFIG, {}, as_node="n")
    assert (await graph(3).aget_state(CONFIG)).values == {"path": [0, 1, 2]}


def test_gaps_and_surplus_migrations_are_found_when_the_graph_is_compiled():
    def graph():
        return StateGraph(New).add_node("n", lambda s: {}).add_edge(START, "n")

    with pytest.raises(GraphDefinitionError, match="from state version 1 to 2"):
        graph().add_migration(0, dict).compile(state_version=2)
    with pytest.raises(GraphDefinitionError, match="state_version=3"):
        graph().add_migration(2, dict).compile(state_version=2)
    with pytest.raises(GraphDefinitionError, match="already"):
        graph().add_migration(0, dict).add_migration(0, dict)
    for bad in ((-1, dict), ("0", dict), (0, None), (True, dict)):
        with pytest.raises(GraphDefinitionError):
            graph().add_migration(*bad)
    for nodes in ({"a": "c", "b": "c"}, {"a+b": "c"}, {"a": 1}):
        with pytest.raises(GraphDefinitionError):
            graph().add_migration(0, dict, nodes=nodes)
    graph().add_migration(1, dict).compile(state_version=2)


async def test_a_thread_older_than_the_chain_is_refused(saver):
    await old_graph(saver).ainvoke({"name": "Ada"}, CONFIG)
    builder = StateGraph(New).add_node("greet", greet_new).add_edge(START, "greet")
    graph = builder.add_migration(1, dict).compile(saver, name="g", state_version=2)
    with pytest.raises(GraphMismatchError, match="begin at 1"):
        await graph.ainvoke({}, CONFIG)


@pytest.mark.parametrize(
    ("migrate", "text"),
    [
        (lambda values: 1 / 0, "ZeroDivisionError"),
        (lambda values: None, "NoneType"),
        (lambda values: {**values, "unheard": 1}, "'unheard'"),
    ],
)
async def test_a_migration_that_fails_leaves_the_thread_as_it_was(saver, migrate, text):
    await old_graph(saver).ainvoke({"name": "Ada"}, CONFIG)
    known = await saver.aget_thread("t")
    builder = StateGraph(Old).add_node("greet", greet).add_edge(START, "greet")
    graph = builder.add_migration(0, migrate).compile(saver, name="g", state_version=1)
    with pytest.raises(GraphMismatchError, match=text):
        await graph.ainvoke({}, CONFIG)
    after = await saver.aget_thread("t")
    assert (after.checkpoints, after.state_version, after.status) == (
        known.checkpoints, 0, known.status,
    )  # fmt: skip
    assert (await old_graph(saver).aget_state(CONFIG)).values["name"] == "Ada"


async def test_a_migration_may_change_the_values_it_is_given(saver):
    """It is given its own: what else refers to the state does not see it."""

    def rough(values):
        values["notes"].append("more")
        return values

    await old_graph(saver).ainvoke({"name": "Ada", "notes": ["a"]}, CONFIG)
    builder = StateGraph(Old).add_node("greet", greet).add_edge(START, "greet")
    graph = builder.add_migration(0, rough).compile(saver, name="g", state_version=1)
    for _ in range(2):
        assert (await graph.aget_state(CONFIG)).values["notes"] == ["a", "hello Ada", "more"]
    out = await graph.ainvoke({}, CONFIG)
    assert out["notes"] == ["a", "hello Ada", "more", "hello Ada"]


async def test_a_new_thread_is_of_todays_version_from_its_first_record(saver):
    await new_graph(saver).ainvoke({"first": "Ada", "last": "B"}, CONFIG)
    state = await new_graph(saver).aget_state(CONFIG)
    assert state.values == {"first": "Ada", "last": "B", "notes": [{"text": "hello Ada/B"}]}


async def test_versions_of_a_graph_inside_are_its_own(saver):
    class Inner(TypedDict, total=False):
        total: int

    def inner(version):
        def count(state):
            return {"total": state.get("total", 0) + 1}

        builder = StateGraph(Inner).add_node("count", count).add_edge(START, "count")
        if version:
            builder.add_migration(0, lambda values: {"total": values["total"] * 100})
        return builder.compile(True, state_version=version)

    def outer(version):
        inside = inner(version)

        async def call(state):
            return {"count": (await inside.ainvoke({}))["total"]}

        return StateGraph(Old).add_node("call", call).add_edge(START, "call").compile(saver)

    await outer(0).ainvoke({"name": "x"}, CONFIG)
    assert (await outer(1).ainvoke({"name": "x"}, CONFIG))["count"] == 101
    assert (await outer(1).ainvoke({"name": "x"}, CONFIG))["count"] == 102


# --- many threads at once -----------------------------------------------------------------------


async def three_threads(saver):
    """One that is done, one whose question waits, one of another graph."""
    await old_graph(saver).ainvoke({"name": "Ada Byron", "notes": ["a"]}, CONFIG)
    old = asking(StateGraph(Old).add_node("greet", greet).add_edge(START, "greet"))
    waits = {"configurable": {"thread_id": "waits"}}
    await old.compile(saver, name="g").ainvoke({"name": "Ada Byron"}, waits)
    other = StateGraph(Old).add_node("greet", greet).add_edge(START, "greet")
    await other.compile(saver, name="other").ainvoke(
        {"name": "x"}, {"configurable": {"thread_id": "other"}}
    )


async def test_all_threads_of_a_graph_are_migrated_at_once(saver):
    await three_threads(saver)
    graph = asking(new_builder()).compile(saver, name="g", state_version=1)
    planned = await graph.amigrate_states(dry_run=True)
    assert (planned.migrated, planned.waiting, planned.failed) == (("t",), ("waits",), {})
    assert (await saver.aget_thread("t")).state_version == 0
    report = await graph.amigrate_states()
    assert report.to_dict() == {**planned.to_dict(), "dry_run": False}
    thread = await saver.aget_thread("t")
    assert (thread.state_version, thread.status) == (1, "done")
    assert (await saver.aget_thread("other")).state_version == 0
    # From here on nothing needs the migration any more.
    plain = StateGraph(New).add_node("greet", greet_new).add_edge(START, "greet")
    state = await plain.compile(saver, name="g", state_version=1).aget_state(CONFIG)
    assert state.values["first"] == "Ada"
    assert state.metadata["migrated"] == {"from": 0, "to": 1}
    assert (await graph.amigrate_states()).migrated == ()


@pytest.mark.parametrize("dies", [False, True])
async def test_a_run_that_came_to_no_barrier_leaves_its_thread_to_be_migrated(saver, dies):
    """The state is of the old version still, so the thread's row does not say otherwise; whether
    the run was cancelled, or closed for a worker that had died."""
    begun, old = asyncio.Event(), StateGraph(Old).add_node("greet", greet)
    await (
        old.add_edge(START, "greet")
        .compile(saver, name="g", interrupt_before=["greet"])
        .ainvoke({"name": "Ada Byron"}, CONFIG)
    )

    async def hangs(state: New) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    graph = new_graph(saver, hangs)
    run = asyncio.ensure_future(graph.ainvoke(None, CONFIG))
    await begun.wait()
    with pytest.MonkeyPatch.context() as patch:
        if dies:
            patch.setattr(entry, "end", lambda *_: None)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    if dies:
        assert (await saver.aget_thread("t")).orphaned
        assert await graph.acancel(CONFIG)
    thread = await saver.aget_thread("t")
    assert (thread.status, thread.next, thread.state_version) == ("idle", ("greet",), 0)
    assert (await graph.amigrate_states()).migrated == ("t",)
    thread = await saver.aget_thread("t")
    assert (thread.status, thread.next, thread.state_version) == ("idle", ("greet",), 1)
    plain = StateGraph(New).add_node("greet", greet_new).add_edge(START, "greet")
    out = await plain.compile(saver, name="g", state_version=1).ainvoke(None, CONFIG)
    assert out["notes"] == [{"text": "hello Ada/Byron"}]


async def test_a_bulk_migration_stops_at_its_limit_and_names_what_failed(saver):
    for name in "abc":
        config = {"configurable": {"thread_id": name}}
        await old_graph(saver).ainvoke({"name": name, "notes": [name]}, config)

    def picky(values):
        if values["name"] == "a":
            raise ValueError("no a")
        return values

    builder = StateGraph(Old).add_node("greet", greet).add_edge(START, "greet")
    graph = builder.add_migration(0, picky).compile(saver, name="g", state_version=1)
    report = await graph.amigrate_states(limit=1)
    assert report.migrated == ("b",)
    assert "no a" in report.failed["a"]
    assert (await graph.amigrate_states()).migrated == ("c",)


async def test_a_thread_that_runs_is_left_alone(saver):
    inside: list[Any] = []

    async def look(state):
        inside.append(await new_graph(saver).amigrate_states())
        return {}

    await old_graph(saver, look).ainvoke({"name": "Ada"}, CONFIG)
    assert inside[0].busy == ("t",)


class Colour:
    """A class that needs hooks to be stored."""

    def __init__(self, name: str) -> None:
        self.name = name


register(Colour, encode=lambda c: c.name, decode=Colour)


async def test_values_of_registered_classes_reach_a_migration_as_they_are(saver):
    class State(TypedDict, total=False):
        colour: Any

    def builder():
        return StateGraph(State).add_node("n", lambda s: {}).add_edge(START, "n")

    await builder().compile(saver, name="g").ainvoke({"colour": Colour("red")}, CONFIG)
    graph = builder().add_migration(0, lambda v: {"colour": v["colour"].name})
    state = await graph.compile(saver, name="g", state_version=1).aget_state(CONFIG)
    assert state.values == {"colour": "red"}


# --- and going back -----------------------------------------------------------------------------


async def test_what_older_tasks_had_left_survives_a_rollback(saver):
    """A thread of version 0 waits for an answer, and a task beside the question has finished. A run
    of version 1, whose nodes and keys have other names, is undone: the question is asked again,
    and what the task had written is there, under today's names; it does not run again."""
    ran, reached = [], asyncio.Event()

    def graph(*, new):
        key = "journal" if new else "log"
        done, ask = ("done2", "ask2") if new else ("done", "ask")

        async def finish(state):
            ran.append("done")
            return {key: ["done"]}

        async def question(state):
            answer = interrupt("?")
            if answer == "slow":
                reached.set()
                await asyncio.sleep(60)
            return {key: [answer]}

        kind = Annotated[list, operator.add]
        schema = TypedDict("State", {key: kind}, total=False)
        builder = StateGraph(schema).add_node(done, finish).add_node(ask, question)
        builder.add_edge(START, done).add_edge(START, ask)
        if new:
            builder.add_migration(
                0,
                lambda values: {"journal": values["log"]},
                nodes={"done": "done2", "ask": "ask2"},
            )
        return builder.compile(saver, name="g", state_version=int(new))

    await graph(new=False).ainvoke({"log": ["in"]}, CONFIG)
    today = graph(new=True)
    before = await today.aget_state(CONFIG)
    slow = asyncio.create_task(today.ainvoke(Command(resume="slow"), CONFIG))
    await asyncio.wait_for(reached.wait(), 60)
    with pytest.raises(EmptyInputError):  # it only undoes
        await asyncio.wait_for(today.ainvoke(Command(), CONFIG, on_conflict="rollback"), 60)
    with pytest.raises(RunPreemptedError):
        await slow
    after = await today.aget_state(CONFIG)
    assert (after.values, after.next) == (before.values, before.next)
    assert after.values == {"journal": ["in", "done"]}
    assert [i.value for i in after.interrupts] == ["?"]
    info = await saver.aget_thread("t")
    assert (info.status, info.next, info.interrupts) == ("interrupted", ("ask2",), 1)
    assert info.state_version == 1
    out = await today.ainvoke(Command(resume="me"), CONFIG)
    assert out == {"journal": ["in", "me", "done"]}
    assert ran == ["done"]


async def test_nodes_that_exchanged_their_names(saver):
    """What the one had left is not taken for what the other did: a result, and a question."""
    ran = []

    def graph(*, new):
        async def quick(state):
            ran.append("quick")
            return {"log": ["quick"]}

        async def ask(state):
            return {"log": [interrupt("?")]}

        class State(TypedDict, total=False):
            log: Annotated[list, operator.add]

        first, second = ("b", "a") if new else ("a", "b")
        builder = StateGraph(State).add_node(first, quick).add_node(second, ask)
        builder.add_edge(START, first).add_edge(START, second)
        if new:
            builder.add_migration(0, lambda values: values, nodes={"a": "b", "b": "a"})
        return builder.compile(saver, name="g", state_version=int(new))

    await graph(new=False).ainvoke({"log": []}, CONFIG)
    today = graph(new=True)
    state = await today.aget_state(CONFIG)
    assert (state.next, state.values) == (("a",), {"log": ["quick"]})
    assert [i.value for i in state.interrupts] == ["?"]
    assert await today.ainvoke(Command(resume="me"), CONFIG) == {"log": ["me", "quick"]}
    assert ran == ["quick"]
