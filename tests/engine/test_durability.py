"""What is durable when, on every driver."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

import stepwell
from stepwell.channels import EphemeralValue, LastValue
from stepwell.checkpoint.base import Saver
from stepwell.constants import TAG_HIDDEN
from stepwell.errors import (
    EmptyInputError,
    InvalidUpdateError,
    NotFoundError,
    ThreadBusyError,
    UnsupportedTypeError,
)
from stepwell.graph import END, START, StateGraph
from stepwell.pregel import NodeBuilder, Pregel
from stepwell.types import Command, Durability, Send, interrupt


class State(TypedDict, total=False):
    """A number, a log, and anything."""

    n: int
    log: Annotated[list[Any], operator.add]
    box: Any


def thread(name: str = "t", **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": name, **more}}


def chain(*nodes: Any) -> StateGraph:
    """START -> nodes in a row -> END."""
    graph = StateGraph(State)
    graph.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    graph.add_edge(START, "n0")
    return graph


async def ok(state: State) -> dict[str, Any]:
    return {"log": ["ok"]}


async def test_input_is_durable_before_the_first_node_starts(saver: Saver) -> None:
    """In sync and async, a node that looks finds claim, status and input in the database."""
    seen = []

    async def look(state: State) -> dict[str, Any]:
        info = await saver.aget_thread("t")
        snapshot = await graph.aget_state(thread())
        seen.append((info.status, info.owner is not None, snapshot.values["n"]))  # type: ignore[union-attr]
        return {}

    graph = chain(look).compile(saver)
    for durability in ("sync", "async"):
        await graph.ainvoke({"n": 7}, thread(), durability=durability)
    assert seen == [("running", True, 7)] * 2
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.owner, info.next) == ("done", None, ())


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_input_is_durable_before_a_router_on_start(
    saver: Saver, durability: Durability
) -> None:
    """A router is the user's code as a node is."""
    seen = []

    async def route(state: State) -> str:
        info = await saver.aget_thread("t")
        seen.append((info.status, info.checkpoints))  # type: ignore[union-attr]
        return "n"

    graph = StateGraph(State).add_node("n", ok)
    graph.add_conditional_edges(START, route, ["n"])
    await graph.compile(saver).ainvoke({"n": 7}, thread(), durability=durability)
    assert seen == [("running", 1)]


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_input_is_durable_before_a_first_node_that_is_hidden(
    saver: Saver, durability: Durability
) -> None:
    """A node that the user keeps off the stream is a node like others."""
    seen = []

    async def look(n: int) -> int:
        info = await saver.aget_thread("t")
        seen.append((info.status, info.checkpoints))  # type: ignore[union-attr]
        return n + 1

    node = NodeBuilder().subscribe_only("n").do(look).write_to("out").meta(TAG_HIDDEN)
    graph = Pregel(
        nodes={"look": node},
        channels={"n": EphemeralValue(int), "out": LastValue(int)},
        input_channels="n", output_channels="out", checkpointer=saver,
    )  # fmt: skip
    assert await graph.ainvoke(7, thread(), durability=durability) == 8
    assert seen == [("running", 1)]


async def test_sync_commits_every_superstep_before_the_next_starts(saver: Saver) -> None:
    """The second node finds what the first one wrote in the database."""
    found = []

    async def write(state: State) -> dict[str, Any]:
        return {"log": ["first"]}

    async def look(state: State) -> dict[str, Any]:
        found.append((await graph.aget_state(thread())).values["log"])
        return {}

    graph = chain(write, look).compile(saver, durability="sync")
    await graph.ainvoke({}, thread())
    assert found == [["first"]]


async def test_exit_leaves_the_thread_as_it_was_until_its_one_record(saver: Saver) -> None:
    """In exit mode nothing shows before the end, and then one checkpoint holds it all."""
    seen = []

    async def look(state: State) -> dict[str, Any]:
        info = await saver.aget_thread("t")
        seen.append((info.status, info.checkpoints))  # type: ignore[union-attr]
        return {"log": [len(state.get("log", []))]}

    graph = chain(look, look, look).compile(saver, durability="exit")
    assert await graph.ainvoke({"n": 1}, thread()) == {"n": 1, "log": [0, 1, 2]}
    assert seen == [("idle", 0)] * 3
    history = [s async for s in graph.aget_state_history(thread())]
    assert [(s.values, s.next) for s in history] == [({"n": 1, "log": [0, 1, 2]}, ())]
    assert (await graph.ainvoke({"n": 2}, thread()))["log"] == [0, 1, 2, 3, 4, 5]


async def test_async_returns_only_when_everything_is_durable(saver: Saver) -> None:
    """After the call, every superstep is in the database."""
    graph = chain(*[ok] * 40).compile(saver, durability="async")
    await graph.ainvoke({}, thread())
    assert len([s async for s in graph.aget_state_history(thread())]) == 42


async def test_state_changed_in_place_is_recorded(
    saver: Saver, caplog: pytest.LogCaptureFixture
) -> None:
    """What a node changes behind the engine's back is in the database after the run."""

    async def meddle(state: State) -> dict[str, Any]:
        state["box"]["deep"].append(2)
        state["log"].append("smuggled")
        return {"n": 1}

    graph = chain(ok, meddle).compile(saver)
    result = await graph.ainvoke({"box": {"deep": [1]}}, thread())
    loaded = (await graph.aget_state(thread())).values
    assert loaded == result == {"n": 1, "log": ["ok", "smuggled"], "box": {"deep": [1, 2]}}
    assert "in place" in caplog.text
    assert len([r for r in caplog.records if "in place" in r.message]) == 1


async def test_a_value_mutated_and_returned_again_is_recorded(saver: Saver) -> None:
    """Returning the same list object with more in it loses nothing."""

    async def grow(state: State) -> dict[str, Any]:
        state["box"].append(len(state["box"]))
        return {"box": state["box"]}

    graph = chain(grow, grow, grow).compile(saver)
    await graph.ainvoke({"box": ["x" * 400]}, thread())
    assert (await graph.aget_state(thread())).values["box"] == ["x" * 400, 1, 2, 3]
    sizes = [
        len(s.values["box"])
        async for s in graph.aget_state_history(thread())
        if s.values.get("box")
    ]
    assert sizes == [4, 3, 2, 1]


async def test_strict_refuses_changes_in_place(saver: Saver) -> None:
    """With strict=True a change in place is an error that names the channel."""

    async def meddle(state: State) -> dict[str, Any]:
        state["log"].append("smuggled")
        return {"n": 1}

    graph = chain(ok, meddle).compile(saver, strict=True)
    with pytest.raises(InvalidUpdateError, match="log"):
        await graph.ainvoke({}, thread())


@pytest.mark.parametrize("claimed_before", [False, True])
async def test_what_a_reducer_starts_from_is_not_changed_in_place_unnoticed(
    saver: Saver, *, claimed_before: bool
) -> None:
    """A list that nothing was ever written to is looked at as well: found, stored or refused."""
    many = iter(range(2))

    async def meddle(state: State) -> dict[str, Any]:
        if next(many) or not claimed_before:
            state["log"].append("smuggled")
        return {"n": 1}

    graph = chain(meddle).compile(saver)
    for _ in range(1 + claimed_before):
        shown = await graph.ainvoke({"n": 0}, thread())
    assert shown["log"] == ["smuggled"]
    assert (await graph.aget_state(thread())).values["log"] == ["smuggled"]

    many = iter(range(2))
    strict = chain(meddle).compile(saver, strict=True)
    other = thread("strict")
    if claimed_before:
        await strict.ainvoke({"n": 0}, other)
    with pytest.raises(InvalidUpdateError, match="log"):
        await strict.ainvoke({"n": 0}, other)


async def test_a_value_that_cannot_be_stored_is_refused_by_name(saver: Saver) -> None:
    """The error names channel and path; the task counts as failed and can be run again."""
    values: list[Any] = [{"a": [object()]}, {"a": ["fine"]}]

    async def bad(state: State) -> dict[str, Any]:
        return {"box": values.pop(0)}

    graph = chain(ok, bad).compile(saver)
    with pytest.raises(UnsupportedTypeError, match="box") as caught:
        await graph.ainvoke({}, thread())
    assert (caught.value.channel, caught.value.path) == ("box", "$['a'][0]")
    state = await graph.aget_state(thread())
    assert (state.next, state.values) == (("n1",), {"log": ["ok"]})
    assert "UnsupportedTypeError" in state.tasks[0].error
    assert (await graph.ainvoke(None, thread()))["box"] == {"a": ["fine"]}


async def test_finished_siblings_are_not_run_again(saver: Saver) -> None:
    """After a failure, going on runs only what failed; attempts are seen from outside."""
    ran: list[str] = []

    def node(name: str, fails: int) -> Any:
        async def run(state: State) -> dict[str, Any]:
            ran.append(name)
            if ran.count(name) <= fails:
                await asyncio.sleep(0.01)
                msg = "not yet"
                raise RuntimeError(msg)
            return {"log": [name]}

        return run

    builder = StateGraph(State)
    for name, fails in (("a", 0), ("b", 2), ("c", 0)):
        builder.add_node(name, node(name, fails))
        builder.add_edge(START, name)
    graph = builder.compile(saver)
    for given in ({"n": 1}, None):
        with pytest.raises(RuntimeError, match="not yet"):
            await graph.ainvoke(given, thread())
    state = await graph.aget_state(thread())
    assert (state.next, state.values["log"]) == (("b",), ["a", "c"])
    assert state.tasks[1].error == "RuntimeError('not yet')"
    assert (await saver.aget_thread("t")).status == "failed"  # type: ignore[union-attr]
    assert (await graph.ainvoke(None, thread()))["log"] == ["a", "b", "c"]
    assert sorted(ran) == ["a", "b", "b", "b", "c"]


async def test_a_cancelled_run_can_be_resumed(saver: Saver) -> None:
    """Cancelling ainvoke leaves an idle thread that goes on where it stood."""
    started = asyncio.Event()

    async def slow(state: State) -> dict[str, Any]:
        if not started.is_set():
            started.set()
            await asyncio.sleep(60)
        return {"log": ["slow"]}

    graph = chain(ok, slow).compile(saver)
    run = asyncio.create_task(graph.ainvoke({}, thread()))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.owner, info.next) == ("idle", None, ("n1",))
    assert (await graph.ainvoke(None, thread()))["log"] == ["ok", "slow"]


async def test_an_abandoned_stream_leaves_a_resumable_thread(saver: Saver) -> None:
    """Leaving `astream` early cancels the run, waits for it, and loses nothing."""
    graph = chain(ok, ok, ok).compile(saver)
    stream = graph.astream({}, thread(), stream_mode="updates", durability="sync")
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await saver.aget_thread("t")).owner is None  # type: ignore[union-attr]
    assert (await graph.ainvoke(None, thread()))["log"] == ["ok"] * 3


async def test_interrupts_wait_in_the_database(saver: Saver) -> None:
    """Questions are stored with their ids, answered one by one, and shown in history."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt({"q": 1}), interrupt({"q": 2})]}

    graph = chain(ok, ask).compile(saver)
    first = await graph.ainvoke({}, thread())
    assert [i.value for i in first["__interrupt__"]] == [{"q": 1}]
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.next, info.interrupts) == ("interrupted", ("n1",), 1)
    second = await graph.ainvoke(Command(resume=(1, 2)), thread())
    assert [i.value for i in second["__interrupt__"]] == [{"q": 2}]
    answered = {second["__interrupt__"][0].id: "b"}
    result = await graph.ainvoke(Command(resume=answered), thread())
    assert result["log"] == ["ok", (1, 2), "b"]
    history = [s async for s in graph.aget_state_history(thread())]
    assert [i.value for i in history[1].interrupts] == [{"q": 2}]


async def test_a_run_on_its_own_thread_is_refused(saver: Saver) -> None:
    """A node that runs, updates or deletes its own thread is told so at once."""
    codes: list[str] = []

    async def recurse(state: State) -> dict[str, Any]:
        for call in (
            lambda: graph.ainvoke({}, thread()),
            lambda: graph.aupdate_state(thread(), {"n": 1}, as_node="n0"),
            lambda: saver.adelete_thread("t"),
        ):
            with pytest.raises(ThreadBusyError) as caught:
                await call()
            codes.append(caught.value.context["code"])
        return {"n": (await graph.aget_state(thread())).values.get("n", 0)}

    graph = chain(recurse).compile(saver)
    await asyncio.wait_for(graph.ainvoke({}, thread()), 60)
    assert codes == ["reentrant"] * 3


async def test_busy_threads_reject_or_time_out(saver: Saver) -> None:
    """on_conflict="reject" and lock_timeout answer with ThreadBusyError, and harm nobody."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def hold(state: State) -> dict[str, Any]:
        entered.set()
        await leave.wait()
        return {"log": ["held"]}

    graph = chain(hold).compile(saver)
    run = asyncio.create_task(graph.ainvoke({}, thread()))
    await entered.wait()
    for options in ({"on_conflict": "reject"}, {"lock_timeout": 0}, {"lock_timeout": 0.05}):
        with pytest.raises(ThreadBusyError) as caught:
            await graph.ainvoke({}, thread(), **options)
        assert caught.value.retryable
    leave.set()
    assert (await run)["log"] == ["held"]


async def test_nothing_to_resume_is_said(saver: Saver) -> None:
    """None or an empty command on a thread without state is EmptyInputError, not silence."""
    graph = chain(ok).compile(saver)
    for given in (None, Command()):
        with pytest.raises(EmptyInputError, match=r"input|update"):
            await graph.ainvoke(given, thread("new"))
    state = await graph.aget_state(thread("new"))
    assert (state.values, state.next, state.metadata) == ({}, (), None)


async def test_unknown_checkpoints_are_named(saver: Saver) -> None:
    """Running at a checkpoint that the thread does not have is NotFoundError."""
    graph = chain(ok).compile(saver)
    await graph.ainvoke({}, thread())
    await graph.ainvoke({}, thread("other"))
    foreign = (await graph.aget_state(thread("other"))).config["configurable"]["checkpoint_id"]
    for name in (foreign, "not an id", "00000000-0000-8fff-8000-00ff00000000"):
        with pytest.raises(NotFoundError, match="checkpoint"):
            await graph.ainvoke(None, thread(checkpoint_id=name))
        assert (await graph.aget_state(thread(checkpoint_id=name))).values == {}


async def test_metadata_of_runs_and_updates_can_be_filtered(saver: Saver) -> None:
    """Metadata given to a run or an update is stored and finds the checkpoints again."""
    graph = chain(ok).compile(saver)
    await graph.ainvoke({}, {**thread(), "metadata": {"user": "ann", "tags": ["x"]}})
    await graph.aupdate_state(thread(), {"n": 3}, as_node="n0", metadata={"reason": "fix\0ed"})
    found = [s async for s in graph.aget_state_history(thread(), filter={"user": "ann"})]
    assert [s.metadata["step"] for s in found] == [1, 0, -1]  # type: ignore[index]
    assert found[0].metadata["tags"] == ["x"]  # type: ignore[index]
    found = [s async for s in graph.aget_state_history(thread(), filter={"reason": "fix\0ed"})]
    assert [s.metadata["source"] for s in found] == ["update"]  # type: ignore[index]


async def test_forks_are_branches_of_one_history(saver: Saver) -> None:
    """Going on at an old checkpoint leaves the old branch, and the new one is the latest."""

    async def roll(state: State) -> dict[str, Any]:
        return {"log": [state["n"]]}

    graph = chain(roll, ok).compile(saver)
    await graph.ainvoke({"n": 1}, thread())
    history = [s async for s in graph.aget_state_history(thread())]
    target = next(s for s in history if s.next == ("n0",))
    changed = await graph.aupdate_state(target.config, {"n": 2}, as_node=START)
    assert (await graph.ainvoke(None, changed))["log"] == [2, "ok"]
    assert (await graph.aget_state(thread())).values == {"n": 2, "log": [2, "ok"]}
    assert (await graph.aget_state(history[0].config)).values == {"n": 1, "log": [1, "ok"]}
    after = [s async for s in graph.aget_state_history(thread())]
    ids = [s.config["configurable"]["checkpoint_id"] for s in after]
    assert ids == sorted(ids, reverse=True)
    assert len(after) == len(history) + 3
    assert END not in {n for s in after for n in s.next}


@stepwell.register
@dataclass(frozen=True)
class Parcel:
    """A class that only the global registry knows."""

    size: int


async def test_registered_classes_come_back_as_themselves(saver: Saver) -> None:
    """A class given to `stepwell.register` survives storage in a channel typed Any."""

    async def pack(state: State) -> dict[str, Any]:
        return {"box": Parcel(3)}

    graph = chain(pack).compile(saver)
    await graph.ainvoke({}, thread())
    assert (await graph.aget_state(thread())).values["box"] == Parcel(3)


async def test_sync_loses_no_more_tasks_than_run_at_once(saver: Saver) -> None:
    """With sync and max_concurrency=2, at most two tasks of a fan-out are begun and not durable."""
    begun = 0
    behind: list[int] = []

    async def work(n: int) -> dict[str, Any]:
        nonlocal begun
        begun += 1
        so_far = begun
        state = await graph.aget_state(thread())
        behind.append(so_far - sum(t.result is not None for t in state.tasks))
        return {"log": [n]}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_conditional_edges(START, lambda _: [Send("work", i) for i in range(12)])
    graph = builder.compile(saver, durability="sync")
    await graph.ainvoke({"n": 1}, {**thread(), "max_concurrency": 2})
    assert len(behind) == 12
    assert max(behind) <= 2


def extend(old: list[Any], new: list[Any]) -> list[Any]:
    """A reducer that works in place, as many are."""
    old.extend(new)
    return old


class InPlace(TypedDict, total=False):
    """State whose reducer works in place."""

    seen: Annotated[list[str], extend]
    asked: str


async def test_reducers_that_work_in_place_fold_once(saver: Saver) -> None:
    """Looking at a superstep, closing it, or asking routers folds no write a second time."""

    async def ask(state: InPlace) -> dict[str, Any]:
        return {"asked": interrupt("?")}

    async def done(state: InPlace) -> dict[str, Any]:
        return {"seen": ["done"]}

    def look(state: InPlace) -> str:
        assert state["seen"][-1] == "done"
        return END

    def look_again(state: InPlace) -> str:
        return look(state)

    builder = StateGraph(InPlace)
    builder.add_node("ask", ask).add_node("done", done)
    builder.add_edge(START, "ask").add_edge(START, "done")
    builder.add_conditional_edges("done", look, [END])
    builder.add_conditional_edges("done", look_again, [END])
    graph = builder.compile(saver)
    await graph.ainvoke({"seen": ["in"]}, thread())
    for _ in range(2):
        assert (await graph.aget_state(thread())).values["seen"] == ["in", "done"]
    result = await graph.ainvoke({"seen": ["again"]}, thread())
    assert result["seen"] == ["in", "done", "again", "done"]
    await graph.aupdate_state(thread(), None, as_node=END)
    state = await graph.aget_state(thread())
    assert (state.values["seen"], state.next) == (["in", "done", "again", "done"], ())


async def test_updates_keep_what_had_been_shown(saver: Saver) -> None:
    """Updating a thread loses neither a finished sibling's writes nor an earlier command's."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("?")]}

    async def done(state: State) -> dict[str, Any]:
        return {"log": ["done"]}

    builder = StateGraph(State)
    builder.add_node("ask", ask).add_node("done", done)
    builder.add_edge(START, "ask").add_edge(START, "done")
    graph = builder.compile(saver)
    await graph.ainvoke({}, thread())
    await graph.aupdate_state(thread(), {"log": ["update"]}, as_node="ask")
    state = await graph.aget_state(thread())
    assert (state.values["log"], state.next) == (["done", "update"], ())
    await graph.ainvoke(Command(update={"log": ["command"]}), thread())
    await graph.aupdate_state(thread(), {"log": ["again"]}, as_node="done")
    final = (await graph.aget_state(thread())).values["log"]
    assert final == ["done", "update", "command", "again"]


async def test_an_update_beside_what_is_due_leaves_it_due(saver: Saver) -> None:
    """A full join is due; its member speaks once more, which fills nothing. The thread's row says
    that there is work left, as the state does: retention and listings go by the row."""
    builder = StateGraph(State).add_node("a", ok).add_node("b", ok).add_node("join", ok)
    builder.add_edge(START, "a").add_edge(START, "b").add_edge(["a", "b"], "join")
    graph = builder.compile(saver, interrupt_before=["join"])
    await graph.ainvoke({}, thread())
    await graph.aupdate_state(thread(), {"log": ["again"]}, as_node="b")
    info = await saver.aget_thread("t")
    assert info is not None
    assert (await graph.aget_state(thread())).next == ("join",)
    assert (info.status, info.next) == ("idle", ("join",))
    assert (await graph.ainvoke(None, thread()))["log"] == ["ok", "ok", "again", "ok"]


async def test_refused_input_leaves_no_thread_behind(saver: Saver) -> None:
    """Bad input is refused before anything is written: not even the thread is there."""
    graph = chain(ok).compile(saver)
    with pytest.raises(UnsupportedTypeError):
        await graph.ainvoke({"box": object()}, thread("new"))
    with pytest.raises(UnsupportedTypeError):
        await graph.ainvoke({}, {**thread("new"), "metadata": {"x": object()}})
    with pytest.raises(EmptyInputError):
        await graph.ainvoke(None, thread("new"))
    assert await saver.aget_thread("new") is None
    assert (await graph.ainvoke({}, thread("new")))["log"] == ["ok"]


async def test_runs_that_something_else_followed_are_superseded(saver: Saver) -> None:
    """New input, or an update, closes a run that waits for an answer; listings say so."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("?")]}

    graph = chain(ask).compile(saver)
    await graph.ainvoke({}, {**thread(), "run_id": "first"})
    await graph.ainvoke({}, {**thread(), "run_id": "second"})
    await graph.aupdate_state(thread(), {"n": 1}, as_node="n0")
    await graph.ainvoke({}, {**thread(), "run_id": "third"})
    runs = {r.run_id: r.status async for r in saver.alist_runs("t")}
    assert runs == {"first": "superseded", "second": "superseded", "third": "interrupted"}


@pytest.mark.parametrize("size", [3 << 20, 5 << 20])
async def test_more_than_fits_into_one_batch_follows_in_the_next(saver: Saver, size: int) -> None:
    """Runs that commit in the same moment more than `batch_bytes_max` all end: what had no
    room is not forgotten."""

    async def large(state: State) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"log": ["x" * size]}

    graph = chain(large, ok).compile(checkpointer=saver)
    runs = (graph.ainvoke({"log": []}, thread(f"t{i}")) for i in range(3))
    async with asyncio.timeout(30):
        results = await asyncio.gather(*runs)
    assert [[len(entry) for entry in result["log"]] for result in results] == [[size, 2]] * 3


@pytest.mark.parametrize("bound", ["batch_rows_max", "batch_bytes_max", "queue_rows_max"])
@pytest.mark.parametrize("url", ["memory://", "sqlite"])
async def test_the_smallest_bounds_only_slow_runs_down(tmp_path: Any, url: str, bound: str) -> None:
    """One row, or one byte, at a time: fifty runs at once still all end."""
    url = f"sqlite:///{tmp_path}/s.db" if url == "sqlite" else url
    async with stepwell.open_saver(url, **{bound: 1}) as saver:  # type: ignore[misc]
        graph = chain(ok, ok).compile(checkpointer=saver)
        runs = (graph.ainvoke({"log": []}, thread(f"t{i}")) for i in range(50))
        async with asyncio.timeout(30):
            results = await asyncio.gather(*runs)
    assert results == [{"log": ["ok", "ok"]}] * 50


async def test_sync_shows_the_values_of_a_superstep_once_they_are_durable(saver: Saver) -> None:
    """A reader of stream mode `values` finds in the database what it was shown."""
    graph = chain(ok, ok, ok).compile(checkpointer=saver)
    seen = []
    parts = graph.astream({"log": []}, thread(), stream_mode="values", durability="sync")
    async for part in parts:
        stored = await graph.aget_state(thread())
        seen.append((len(part["log"]), len(stored.values["log"])))
    assert [shown for shown, _ in seen] == [0, 1, 2, 3]
    assert all(shown <= durable for shown, durable in seen), seen
