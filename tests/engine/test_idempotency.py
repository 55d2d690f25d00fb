"""A call whose idempotency key its thread has seen before is not made again."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.driver import RunStatus
from stepwell.errors import (
    GraphDrained,
    IdempotencyConflictError,
    InvalidIdError,
    RunPreemptedError,
    ThreadBusyError,
    UsageError,
)
from stepwell.graph import END, START, StateGraph
from stepwell.runtime import RunControl
from stepwell.types import Command, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
DURABILITIES = pytest.mark.parametrize("durability", ["sync", "async", "exit"])


class State(TypedDict, total=False):
    ask: str
    log: Annotated[list[str], operator.add]


class Counted:
    """answer -> more, counting what runs; `trouble` is raised by `more` until it is None."""

    def __init__(self, saver: Any, *, migrates: bool = False, **options: Any) -> None:
        self.ran: list[str] = []
        self.trouble: BaseException | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()

        async def answer(state: State) -> dict[str, Any]:
            self.ran.append("answer")
            return {"log": [f"answer {state['ask']}"]}

        async def more(state: State) -> dict[str, Any]:
            self.ran.append("more")
            self.begun.set()
            await self.go.wait()
            if self.trouble is not None:
                raise self.trouble
            return {"log": [f"more {state['ask']}"]}

        builder = StateGraph(State).add_sequence([("answer", answer), ("more", more)])
        if migrates:
            builder.add_migration(0, dict)
        self.graph = builder.add_edge(START, "answer").compile(saver, **options)


@DURABILITIES
async def test_a_finished_run_returns_its_own_output_again(saver, durability):
    """Nothing runs twice, also after later runs have changed the state."""
    made = Counted(saver, durability=durability)
    first = await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    later = await made.graph.ainvoke({"ask": "2"}, CONFIG, idempotency_key="b")
    await made.graph.aupdate_state(CONFIG, {"log": ["by hand"]})
    assert first == {"ask": "1", "log": ["answer 1", "more 1"]}
    assert later["log"][-1] == "more 2"
    assert await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a") == first
    assert await made.graph.ainvoke({"ask": "2"}, CONFIG, idempotency_key="b") == later
    assert made.ran == ["answer", "more"] * 2
    assert await made.graph.ainvoke(
        {"ask": "1"}, CONFIG, idempotency_key="a", output_keys=["ask"]
    ) == {"ask": "1"}
    runs = [r async for r in saver.alist_runs("t")]
    assert [(r.idempotency_key, r.status, r.attempts) for r in runs] == [
        ("b", "done", 1), ("a", "done", 1),
    ]  # fmt: skip


@DURABILITIES
async def test_a_new_process_knows_the_key(tmp_path, durability):
    """The outcome is in the database: another saver, as after a restart, returns it."""
    url = f"sqlite:///{tmp_path}/once.db"
    async with open_saver(url) as saver:
        made = Counted(saver, durability=durability)
        first = await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    async with open_saver(url) as saver:
        again = Counted(saver, durability=durability)
        assert await again.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a") == first
        assert again.ran == []


async def test_the_same_key_on_another_thread_is_another_key(saver):
    made = Counted(saver)
    for thread in ("t1", "t2"):
        config: Any = {"configurable": {"thread_id": thread}}
        await made.graph.ainvoke({"ask": thread}, config, idempotency_key="a")
    assert made.ran == ["answer", "more"] * 2


async def test_another_input_under_the_key_is_a_conflict(saver):
    """The error says both digests; nothing runs; equal inputs are equal in any order."""
    made = Counted(saver)
    await made.graph.ainvoke({"ask": "1", "log": ["x"]}, CONFIG, idempotency_key="a")
    with pytest.raises(IdempotencyConflictError) as caught:
        await made.graph.ainvoke({"ask": "2"}, CONFIG, idempotency_key="a")
    context = caught.value.context
    assert context["known_digest"] != context["given_digest"]
    assert context["known_digest"] in str(caught.value)
    assert context["given_digest"] in str(caught.value)
    with pytest.raises(IdempotencyConflictError):
        await made.graph.ainvoke(Command(update={"ask": "1"}), CONFIG, idempotency_key="a")
    await made.graph.ainvoke({"log": ["x"], "ask": "1"}, CONFIG, idempotency_key="a")
    assert made.ran == ["answer", "more"]


@DURABILITIES
async def test_a_failed_run_goes_on(saver, durability):
    """What had finished does not run again, and the run keeps its row."""
    made = Counted(saver, durability=durability)
    made.trouble = ValueError("not yet")
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    made.trouble = None
    result = await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert result == {"ask": "1", "log": ["answer 1", "more 1"]}
    assert made.ran == ["answer", "more", "more", "more"]
    assert await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a") == result
    [run] = [r async for r in saver.alist_runs("t")]
    assert (run.status, run.attempts, run.error) == ("done", 3, None)
    await made.graph.ainvoke({"ask": "2"}, CONFIG)
    at_once, _ = [r async for r in saver.alist_runs("t")]
    assert run.supersteps == at_once.supersteps


async def test_a_failed_run_that_is_resumed_without_its_key_keeps_it(saver):
    """`ainvoke(None)` finishes the run of the key; the key then knows its output."""
    made = Counted(saver)
    made.trouble = ValueError("not yet")
    with pytest.raises(ValueError, match="not yet"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    made.trouble = None
    result = await made.graph.ainvoke(None, CONFIG)
    assert await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a") == result
    assert made.ran == ["answer", "more", "more"]


async def test_a_failed_run_that_the_thread_has_gone_past_is_a_conflict(saver):
    """Its input is part of the state already: to begin it anew would apply it twice."""
    made = Counted(saver)
    made.trouble = ValueError("not yet")
    with pytest.raises(ValueError, match="not yet"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    made.trouble = None
    await made.graph.ainvoke({"ask": "2"}, CONFIG)
    with pytest.raises(IdempotencyConflictError, match="gone on without it"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert made.ran == ["answer", "more"] * 2


async def cut_off_behind_its_input(made: Counted) -> None:
    """A call whose input is recorded, and no part of the state yet."""
    control = RunControl()
    control.request_drain()
    with pytest.raises(GraphDrained):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a", control=control)
    state = await made.graph.aget_state(CONFIG)
    assert state.metadata is not None
    assert (state.next, state.metadata["source"]) == (("__start__",), "input")


async def test_a_run_whose_input_was_never_applied_goes_on(saver):
    """Nothing else has come: the input is still due."""
    made = Counted(saver)
    await cut_off_behind_its_input(made)
    result = await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert result == {"ask": "1", "log": ["answer 1", "more 1"]}


@pytest.mark.parametrize("without_key_first", [False, True])
async def test_a_run_whose_input_an_update_has_dropped_is_a_conflict(saver, without_key_first):
    """There is nothing left of it that could go on: the call does not succeed without its input,
    nor after `ainvoke(None)` has finished what is there."""
    made = Counted(saver)
    await cut_off_behind_its_input(made)
    await made.graph.aupdate_state(CONFIG, {"log": ["by hand"]}, as_node="more")
    if without_key_first:
        assert await made.graph.ainvoke(None, CONFIG) == {"log": ["by hand"]}
    with pytest.raises(IdempotencyConflictError, match="gone on without it"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert (await made.graph.aget_state(CONFIG)).values == {"log": ["by hand"]}
    assert made.ran == []


@pytest.mark.parametrize("without_key_first", [False, True])
async def test_a_failed_run_that_was_rolled_back_is_a_conflict(saver, without_key_first):
    """The state before it does not have its input. The error says what has happened."""
    made = Counted(saver)
    before = await made.graph.ainvoke({"ask": "0"}, CONFIG)
    made.trouble = ValueError("not yet")
    with pytest.raises(ValueError, match="not yet"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    made.trouble = None
    await made.graph.arollback(CONFIG, where=lambda state: not state.next)
    made.ran.clear()
    if without_key_first:
        assert await made.graph.ainvoke(None, CONFIG) == before
    how = "gone on without it:" if without_key_first else "updated or rolled back"
    with pytest.raises(IdempotencyConflictError, match=how):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert made.ran == []


async def test_a_failed_run_beside_which_a_branch_was_begun_is_a_conflict(saver):
    """An update of the checkpoint before it that changes nothing has left its input behind too."""
    made = Counted(saver)
    await made.graph.ainvoke({"ask": "0"}, CONFIG)
    before = await made.graph.aget_state(CONFIG)
    await cut_off_behind_its_input(made)
    await made.graph.aupdate_state(before.config, None, as_node=END)
    with pytest.raises(IdempotencyConflictError, match="updated or rolled back"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")


@DURABILITIES
async def test_an_answer_that_failed_at_once_goes_on(saver, durability):
    """It has made no checkpoint of its own: the head is still that of the run that asked."""
    trouble = True

    async def ask(state: State) -> dict[str, Any]:
        told = interrupt("which?")
        if trouble:
            raise ValueError("not yet")
        return {"log": [told]}

    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(saver)
    await graph.ainvoke({"ask": "1"}, CONFIG)
    call: Any = {"idempotency_key": "b", "durability": durability}
    with pytest.raises(ValueError, match="not yet"):
        await graph.ainvoke(Command(resume="this"), CONFIG, **call)
    trouble = False
    assert (await graph.ainvoke(Command(resume="this"), CONFIG, **call))["log"] == ["this"]


async def test_a_cancelled_run_goes_on_behind_a_migration(saver):
    """A migration of the state is a checkpoint that no run has made, and drops nothing."""
    made = Counted(saver)
    await cut_off_behind_its_input(made)
    newer = Counted(saver, migrates=True, state_version=1)
    report = await newer.graph.amigrate_states()
    assert (report.migrated, report.waiting) == (("t",), ())
    result = await newer.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert result == {"ask": "1", "log": ["answer 1", "more 1"]}
    assert newer.ran == ["answer", "more"]


@pytest.mark.parametrize("on_conflict", ["wait", "reject", "interrupt", "rollback"])
async def test_a_running_run_is_waited_for(saver, on_conflict):
    """Two calls at once are one run; both get its output, whatever the policy for others."""
    made = Counted(saver, durability="sync")
    made.go.clear()
    call = lambda **o: made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a", **o)  # noqa: E731
    one = asyncio.create_task(call())
    await made.begun.wait()
    two = asyncio.create_task(call(on_conflict=on_conflict))
    with pytest.raises(ThreadBusyError):
        await call(lock_timeout=0.05)
    with pytest.raises(ThreadBusyError):
        await made.graph.ainvoke({"ask": "2"}, CONFIG, idempotency_key="b", on_conflict="reject")
    made.go.set()
    assert await one == await two == {"ask": "1", "log": ["answer 1", "more 1"]}
    assert made.ran == ["answer", "more"]


@pytest.mark.parametrize("on_conflict", ["reject", "interrupt", "rollback"])
async def test_calls_at_the_same_moment_are_one(saver, on_conflict):
    """A client that asked twice at once: nobody is preempted or refused by his own double."""
    made = Counted(saver)
    results = await asyncio.gather(
        *(
            made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a", on_conflict=on_conflict)
            for _ in range(5)
        )
    )
    assert results == [{"ask": "1", "log": ["answer 1", "more 1"]}] * 5
    assert made.ran == ["answer", "more"]


async def test_a_preempted_run_is_a_conflict(saver):
    """Another run has undone it and taken the thread: its key says so, and runs nothing."""
    made = Counted(saver, durability="sync")
    made.go.clear()
    call = asyncio.create_task(made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a"))
    await made.begun.wait()
    other = asyncio.create_task(
        made.graph.ainvoke({"ask": "2"}, CONFIG, idempotency_key="b", on_conflict="rollback")
    )
    with pytest.raises(RunPreemptedError):
        await call
    made.go.set()
    assert (await other)["log"] == ["answer 2", "more 2"]
    made.ran.clear()
    with pytest.raises(IdempotencyConflictError, match="gone on without it"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert await made.graph.ainvoke({"ask": "2"}, CONFIG, idempotency_key="b") == await other
    assert made.ran == []


async def test_a_failed_run_waits_for_nobody_who_is_not_waited_for(saver):
    """The key names a run that failed; another one is busy: `reject` is obeyed."""
    made = Counted(saver)
    made.trouble = ValueError("not yet")
    with pytest.raises(ValueError, match="not yet"):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    made.trouble = None
    made.go.clear()
    made.begun.clear()
    busy = asyncio.create_task(made.graph.ainvoke({"ask": "2"}, CONFIG))
    await made.begun.wait()
    with pytest.raises(ThreadBusyError):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a", on_conflict="reject")
    made.go.set()
    await busy


async def test_a_run_of_another_process_is_waited_for(tmp_path):
    """Two savers on one file are two workers, as two processes are."""
    url = f"sqlite:///{tmp_path}/once.db"
    async with open_saver(url) as here, open_saver(url) as there:
        made, other = Counted(here, durability="sync"), Counted(there, durability="sync")
        made.go.clear()
        one = asyncio.create_task(made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a"))
        await made.begun.wait()
        two = asyncio.create_task(
            other.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a", on_conflict="reject")
        )
        await asyncio.sleep(0.1)
        made.go.set()
        assert await one == await two
        assert (made.ran, other.ran) == (["answer", "more"], [])


async def test_a_cancelled_run_goes_on(saver):
    """A call that was cancelled is made again by the next one with its key."""
    made = Counted(saver)
    made.go.clear()
    call = asyncio.create_task(made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a"))
    await made.begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    made.go.set()
    result = await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert result == {"ask": "1", "log": ["answer 1", "more 1"]}
    assert made.ran == ["answer", "more", "more"]


def asking(saver, **options):
    """Two nodes side by side: one asks, one has an answer at once."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [f"told {interrupt('which?')}"]}

    async def beside(state: State) -> dict[str, Any]:
        return {"log": ["beside"]}

    builder = StateGraph(State).add_node("ask", ask).add_node("beside", beside)
    for name in ("ask", "beside"):
        builder.add_edge(START, name).add_edge(name, END)
    return builder.compile(saver, **options)


@DURABILITIES
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_an_interrupted_run_asks_again(saver, durability, version):
    """The same questions, with what had finished beside them; also when they were answered."""
    graph = asking(saver, durability=durability)
    call: Any = {"idempotency_key": "a", "version": version}
    first = await graph.ainvoke({"ask": "1"}, CONFIG, **call)
    assert await graph.ainvoke({"ask": "1"}, CONFIG, **call) == first
    answer: Any = Command(resume="this")
    done = await graph.ainvoke(answer, CONFIG, idempotency_key="b")
    assert sorted(done["log"]) == ["beside", "told this"]
    assert await graph.ainvoke(answer, CONFIG, idempotency_key="b") == done
    with pytest.raises(IdempotencyConflictError):
        await graph.ainvoke(Command(resume="that"), CONFIG, idempotency_key="b")
    assert await graph.ainvoke({"ask": "1"}, CONFIG, **call) == first
    await graph.ainvoke({"ask": "2"}, CONFIG)
    assert await graph.ainvoke({"ask": "1"}, CONFIG, **call) == first


async def test_a_breakpoint_is_an_interrupt_too(saver):
    """A run that stopped before a node is not gone on with by its key."""
    made = Counted(saver, interrupt_before=["more"])
    first = await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a")
    assert first == {"ask": "1", "log": ["answer 1"]}
    assert await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a") == first
    await made.graph.ainvoke(None, CONFIG)
    assert made.ran == ["answer", "more"]
    assert await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key="a") == first


async def test_a_stream_of_a_finished_run_yields_its_last_values(saver):
    made = Counted(saver)
    streamed = [
        c
        async for c in made.graph.astream(
            {"ask": "1"}, CONFIG, stream_mode="values", idempotency_key="a"
        )
    ]
    again = [
        c
        async for c in made.graph.astream(
            {"ask": "1"}, CONFIG, stream_mode=["values", "updates"], idempotency_key="a"
        )
    ]
    assert again == [("values", streamed[-1])]
    graph, other = asking(saver), {"configurable": {"thread_id": "asked"}}
    first = [
        c
        async for c in graph.astream({"ask": "1"}, other, stream_mode="values", idempotency_key="a")
    ]
    modes: Any = ["values", "updates"]
    asked = [
        c async for c in graph.astream({"ask": "1"}, other, stream_mode=modes, idempotency_key="a")
    ]
    question = first[-1].get("__interrupt__") or first[-2]["__interrupt__"]
    assert asked[0] == ("updates", {"__interrupt__": question})
    assert asked[1][1]["__interrupt__"] == question


async def test_batch_takes_one_key_or_one_each(saver):
    made = Counted(saver)
    configs: Any = [{"configurable": {"thread_id": t}} for t in ("t1", "t2")]
    first = await made.graph.abatch([{"ask": "1"}, {"ask": "2"}], configs, idempotency_key="a")
    again = await made.graph.abatch(
        [{"ask": "1"}, {"ask": "2"}], configs, idempotency_key=["a", "a"]
    )
    assert first == again
    assert made.ran.count("more") == 2


def test_the_sync_twins_take_it(tmp_path):
    with open_saver(f"sqlite:///{tmp_path}/once.db") as saver:
        made = StateGraph(State).add_node("n", lambda state: {"log": ["n"]})
        graph = made.add_edge(START, "n").compile(saver)
        first = graph.invoke({"ask": "1"}, CONFIG, idempotency_key="a")
        assert graph.invoke({"ask": "1"}, CONFIG, idempotency_key="a") == first
        [chunk] = graph.stream({"ask": "1"}, CONFIG, idempotency_key="a", stream_mode="values")
        assert chunk == first
        assert graph.batch([{"ask": "1"}], CONFIG, idempotency_key="a") == [first]
        assert first == {"ask": "1", "log": ["n"]}


@pytest.mark.parametrize("key", ["", "x" * 513, "a\0b", "\ud800", 7, b"a"])
async def test_what_is_no_key_is_refused(saver, key):
    made = Counted(saver)
    with pytest.raises(InvalidIdError):
        await made.graph.ainvoke({"ask": "1"}, CONFIG, idempotency_key=key)
    assert made.ran == []


async def test_a_key_needs_a_thread_of_its_own(saver):
    """Without a checkpointer there is none; a graph inside a node shares its caller's."""
    with pytest.raises(UsageError, match="checkpointer"):
        await Counted(None).graph.ainvoke({"ask": "1"}, idempotency_key="a")
    inner = Counted(None)

    async def outer(state: State) -> Any:
        return await inner.graph.ainvoke(state, idempotency_key="a")

    graph = StateGraph(State).add_node("outer", outer).add_edge(START, "outer").compile(saver)
    with pytest.raises(UsageError, match="outermost"):
        await graph.ainvoke({"ask": "1"}, CONFIG)


async def test_the_lookup_is_one_call_for_the_whole_thread(saver):
    """It does not grow with the number of runs: one look before the claim, one under it."""
    made = Counted(saver)
    for n in range(5):
        await made.graph.ainvoke({"ask": str(n)}, CONFIG, idempotency_key=f"k{n}")
    journal = await saver.journal()
    calls: list[str] = []
    driver = journal.driver
    for verb in ("runs", "keyed_run", "history"):
        known = getattr(driver, verb)

        def counting(*args: Any, verb: str = verb, known: Any = known, **named: Any) -> Any:
            calls.append(verb)
            return known(*args, **named)

        setattr(driver, verb, counting)
    await made.graph.ainvoke({"ask": "new"}, CONFIG, idempotency_key="new")
    assert calls == ["keyed_run"] * 2
    await made.graph.ainvoke({"ask": "0"}, CONFIG, idempotency_key="k0")
    assert calls == ["keyed_run"] * 3
    row = await journal.keyed_run(saver.key("t"), "k0")
    assert row.status == RunStatus.DONE


async def test_an_output_outlives_folding(saver):
    """Checkpoints that were folded into segments still tell what their runs returned."""
    made = Counted(saver)
    outputs = [
        await made.graph.ainvoke({"ask": str(n)}, CONFIG, idempotency_key=f"k{n}")
        for n in range(40)
    ]
    report = await saver.acompact()
    assert report.rows > 0
    made.ran.clear()
    for n in (0, 17, 39):
        again = await made.graph.ainvoke({"ask": str(n)}, CONFIG, idempotency_key=f"k{n}")
        assert again == outputs[n]
    assert made.ran == []
