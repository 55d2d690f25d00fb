"""A4 to A10 and A15: looking at a thread's past, going back to it, and getting over errors."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.channels import UntrackedValue
from stepwell.checkpoint.base import Saver
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, interrupt
from tests.engine._canary import holds

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "ada"}}
SECRET = "correct horse battery staple"


class State(TypedDict, total=False):
    """A list that grows, and a value that is replaced."""

    log: Annotated[list[str], operator.add]
    n: int


def chain(saver: Saver, *names: str) -> Any:
    """Nodes one after the other; each says its name and counts."""

    def node(name: str) -> Any:
        return lambda state: {"log": [name], "n": state.get("n", 0) + 1}

    builder = StateGraph(State)
    for before, name in zip((START, *names), names, strict=False):
        builder.add_node(name, node(name)).add_edge(before, name)
    return builder.add_edge(names[-1], END).compile(checkpointer=saver)


async def past(graph: Any, **options: Any) -> list[Any]:
    return [state async for state in graph.aget_state_history(CONFIG, **options)]


async def test_a_history_tells_everything_newest_first(saver: Saver) -> None:
    """A4: values, step, source, moment, what is due, parent; by filter, before, limit; in pages."""
    graph = chain(saver, "one", "two")
    begun = datetime.now(UTC)
    await graph.ainvoke({"log": ["a"]}, {**CONFIG, "metadata": {"turn": 1}})
    await graph.ainvoke({"log": ["b"]}, {**CONFIG, "metadata": {"turn": 2}})
    states = await past(graph)
    assert [s.metadata["step"] for s in states] == [6, 5, 4, 3, 2, 1, 0, -1]
    assert [s.metadata["source"] for s in states] == [*["loop"] * 3, "input"] * 2
    assert [s.next for s in states[:4]] == [(), ("two",), ("one",), ("__start__",)]
    assert states[0].values == {"log": ["a", "one", "two", "b", "one", "two"], "n": 4}
    assert states[1].tasks[0].name == "two"
    assert [s.parent_config for s in states[:-1]] == [s.config for s in states[1:]]
    assert states[-1].parent_config is None
    moments = [datetime.fromisoformat(s.created_at) for s in states]
    assert moments == sorted(moments, reverse=True)
    assert abs((moments[0] - begun).total_seconds()) < 3600

    assert await past(graph, filter={"turn": 1}) == states[4:]
    assert await past(graph, filter={"step": 2}) == states[4:5]
    assert await past(graph, before=states[2].config) == states[3:]
    paged = await past(graph, limit=3)
    while page := await past(graph, before=paged[-1].config, limit=3):
        paged += page
    assert paged == states


async def test_time_travel(saver: Saver) -> None:
    """A5: a checkpoint is found by its id, read, restored, forked and replayed."""
    graph = chain(saver, "one", "two", "three")
    await graph.ainvoke({"log": ["a"]}, CONFIG)
    states = await past(graph)
    middle = next(s for s in states if s.next == ("two",))
    by_id = {
        "configurable": {
            **CONFIG["configurable"],
            "checkpoint_id": middle.config["configurable"]["checkpoint_id"],
        }
    }
    assert await graph.aget_state(by_id) == middle

    replayed = await graph.ainvoke(None, by_id)
    assert replayed == {"log": ["a", "one", "two", "three"], "n": 3}
    forked = await graph.ainvoke({"log": ["b"]}, by_id)
    assert forked["log"] == ["a", "one", "b", "one", "two", "three"]
    restored = await graph.aupdate_state(middle.config, {"log": ["by hand"]}, as_node="one")
    head = await graph.aget_state(CONFIG)
    assert head.config == restored
    assert (head.values, head.next) == ({"log": ["a", "one", "by hand"], "n": 1}, ("two",))
    assert (await graph.ainvoke(None, CONFIG))["log"] == ["a", "one", "by hand", "two", "three"]
    after = [s.config for s in await past(graph)]
    assert all(s.config in after for s in states)  # nothing of the past was lost


class Careful(TypedDict, total=False):
    """One value that is never stored, and one that a filter hides."""

    token: Annotated[str, UntrackedValue]
    password: str
    said: str


async def test_secrets_stay_off_the_disk(saver: Saver) -> None:
    """A6: an untracked channel, and a rule of the saver; searched for in all that is stored."""
    seen = []

    async def log_in(state: Careful) -> dict[str, Any]:
        seen.append((state.get("token"), state.get("password")))
        return {"said": "hello"}

    async def again(state: Careful) -> dict[str, Any]:
        return {"said": f"hello {interrupt('again?')}"}

    builder = StateGraph(Careful).add_sequence([log_in, again]).add_edge(START, "log_in")
    graph = builder.compile(checkpointer=saver.with_filter(omit=["password"]))
    await graph.ainvoke({"token": SECRET, "password": SECRET[::-1]}, CONFIG)
    assert seen == [(SECRET, SECRET[::-1])]
    assert (await graph.aget_state(CONFIG)).values == {"said": "hello"}
    assert not await holds(saver, SECRET)
    assert not await holds(saver, SECRET[::-1])
    assert await holds(saver, "hello")
    # Without rule and annotation, the search finds it.
    await chain(saver, "one").ainvoke({"log": [SECRET]}, {"configurable": {"thread_id": "bob"}})
    assert await holds(saver, SECRET)


async def test_metadata_of_runs_and_updates_is_kept_and_searched(saver: Saver) -> None:
    """A7."""
    graph = chain(saver, "one")
    await graph.ainvoke({"log": []}, {**CONFIG, "metadata": {"user": "ada", "turn": 1}})
    await graph.aupdate_state(CONFIG, {"log": ["x"]}, metadata={"by": "support"})
    assert [s.values["log"] for s in await past(graph, filter={"by": "support"})] == [["one", "x"]]
    assert len(await past(graph, filter={"user": "ada", "turn": 1})) == 3
    assert await past(graph, filter={"user": "bob"}) == []
    await graph.ainvoke(
        {"log": []}, {"configurable": {"thread_id": "bob"}, "metadata": {"vip": True}}
    )
    found = [t.thread_id async for t in saver.alist_threads(metadata={"vip": True})]
    assert found == ["bob"]


async def test_an_unknown_thread_is_empty_and_can_be_started(saver: Saver) -> None:
    """A8."""
    graph = chain(saver, "one")
    state = await graph.aget_state(CONFIG)
    assert (state.values, state.next, state.metadata, state.tasks) == ({}, (), None, ())
    assert await saver.aget_thread("ada") is None
    for turn in ("a", "b"):
        state = await graph.aget_state(CONFIG)
        given = {"log": ["hello"]} if state.created_at is None else {"log": [turn]}
        out = await graph.ainvoke(given, CONFIG)
    assert out["log"] == ["hello", "one", "b", "one"]


class Work(TypedDict, total=False):
    """What three nodes did side by side, and what one of them needs."""

    done: Annotated[list[str], operator.add]
    needed: str


async def test_errors_are_recovered_from(saver: Saver) -> None:
    """A9: the error is told, siblings are kept; after an edit only what failed runs again."""
    began: list[str] = []

    def node(name: str) -> Any:
        async def work(state: Work) -> dict[str, Any]:
            began.append(name)
            if name == "bad" and "needed" not in state:
                raise ValueError("there is nothing to work with")
            return {"done": [name]}

        return work

    builder = StateGraph(Work)
    for name in ("good", "bad", "fine"):
        builder.add_node(name, node(name)).add_edge(START, name)
    graph = builder.compile(checkpointer=saver)
    for attempt in (1, 2):
        with pytest.raises(ValueError, match="nothing to work with"):
            await graph.ainvoke({"done": ["input"]} if attempt == 1 else None, CONFIG)
        state = await graph.aget_state(CONFIG)
        [failed] = [task for task in state.tasks if task.error]
        assert (failed.name, state.next) == ("bad", ("bad",))
        assert "nothing to work with" in str(failed.error)
        thread = await saver.aget_thread("ada")
        assert thread is not None
        assert thread.status == "failed"
        [run] = [run async for run in saver.alist_runs("ada", limit=1)]
        assert run.attempts >= 1
    out = await graph.ainvoke(Command(update={"needed": "a tool"}), CONFIG)
    assert sorted(out["done"]) == ["bad", "fine", "good", "input"]
    assert [began.count(name) for name in ("good", "fine", "bad")] == [1, 1, 3]


async def test_going_back_to_the_last_good_state(saver: Saver) -> None:
    """A10: by a predicate, and by hand."""
    graph = chain(saver, "one")
    for n in (1, 2, 40):
        await graph.ainvoke({"log": [f"turn {n}"], "n": n}, CONFIG)

    def good(state: Any) -> bool:
        return not state.next and state.values["n"] < 10

    head = await graph.arollback(CONFIG, where=good)
    state = await graph.aget_state(CONFIG)
    assert (state.config, state.values["n"]) == (head, 3)
    assert state.values["log"] == ["turn 1", "one", "turn 2", "one"]

    await graph.ainvoke({"log": ["turn 4"], "n": 50}, CONFIG)
    by_hand = next(s for s in await past(graph) if good(s))
    await graph.aupdate_state(by_hand.config, None, as_node=END)
    out = await graph.ainvoke({"log": ["turn 5"]}, CONFIG)
    assert out["log"] == ["turn 1", "one", "turn 2", "one", "turn 5", "one"]


async def test_a_checkpoint_shows_its_structure(saver: Saver) -> None:
    """A15: the snapshot, and the tuple that needs no graph."""
    graph = chain(saver, "one", "two")
    await graph.ainvoke(
        {"log": ["a"]}, {**CONFIG, "metadata": {"user": "ada"}}, interrupt_before=["two"]
    )
    state = await graph.aget_state(CONFIG)
    assert state.config["configurable"] == {
        "thread_id": "ada", "checkpoint_ns": "",
        "checkpoint_id": state.config["configurable"]["checkpoint_id"],
    }  # fmt: skip
    assert state.values == {"log": ["a", "one"], "n": 1}
    assert {k: state.metadata[k] for k in ("step", "source", "user")} == {
        "step": 1, "source": "loop", "user": "ada",
    }  # fmt: skip
    assert datetime.fromisoformat(state.created_at).tzinfo is not None
    assert state.parent_config is not None
    assert (state.next, [task.name for task in state.tasks]) == (("two",), ["two"])
    found = await saver.aget_tuple(CONFIG)
    assert found is not None
    assert (found.config, found.parent_config) == (state.config, state.parent_config)
    assert found.checkpoint["channel_values"]["log"] == ["a", "one"]
