"""Which supersteps get a row (`checkpoint_when`), and that leaving some out loses nothing."""

from __future__ import annotations

import asyncio
import operator
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.errors import GraphDrained, GraphRecursionError, UnsupportedTypeError, UsageError
from stepwell.func import entrypoint, task
from stepwell.graph import END, START, StateGraph
from stepwell.runtime import RunControl
from stepwell.types import Always, Command, Every, OnExit, RetryPolicy, Send, When, interrupt


class State(TypedDict, total=False):
    """A number and a log."""

    n: int
    log: Annotated[list[Any], operator.add]
    box: Any


def thread(name: str = "t", **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": name, **more}}


async def step(state: State) -> dict[str, Any]:
    n = state.get("n", 0) + 1
    return {"n": n, "log": [n]}


def loop(steps: int, **policy: Any) -> StateGraph:
    """One node, `steps` times."""
    graph = StateGraph(State).add_node("step", step, **policy).add_edge(START, "step")
    graph.add_conditional_edges("step", lambda s: "step" if s["n"] < steps else END)
    return graph


def chain(*nodes: Any, **policies: Any) -> StateGraph:
    """START -> n0 -> n1 ... -> END; `policies` by name."""
    graph = StateGraph(State)
    for i, node in enumerate(nodes):
        graph.add_node(f"n{i}", node, checkpoint_when=policies.get(f"n{i}"))
        graph.add_edge(START if i == 0 else f"n{i - 1}", f"n{i}")
    return graph


async def rows(graph: Any, name: str = "t") -> list[tuple[str, int]]:
    """(source, step) of every row, oldest first."""
    found = [s async for s in graph.aget_state_history(thread(name))]
    return [(s.metadata["source"], s.metadata["step"]) for s in reversed(found)]


async def whole(saver: Saver) -> None:
    """Nothing in the database is damaged, no seq is missing."""
    report = await saver.averify()
    assert report.ok, report


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize(
    ("policy", "steps"),
    [
        (Always(), list(range(-1, 11))),
        (None, list(range(-1, 11))),
        (Every(1), list(range(-1, 11))),
        (Every(3), [-1, 2, 5, 8, 10]),
        (Every(100), [-1, 10]),
        (OnExit(), [-1, 10]),
        (When(lambda delta: delta.get("n", 0) % 4 == 0), [-1, 0, 4, 8, 10]),
        (When(lambda delta: False), [-1, 10]),
    ],
)
async def test_rows_that_are_written(
    saver: Saver, policy: Any, steps: list[int], durability: Any
) -> None:
    """The input, what the policy wants, and the end; the state is the same, and so is a run's
    count of supersteps."""
    graph = loop(10).compile(saver, checkpoint_when=policy)
    out = await graph.ainvoke({"log": []}, thread(), durability=durability)
    assert out == {"n": 10, "log": list(range(1, 11))}
    assert [s for _, s in await rows(graph)] == steps
    assert (await graph.aget_state(thread())).values == out
    [run] = [r async for r in saver.alist_runs("t")]
    assert (run.status, run.supersteps) == ("done", 11)
    info = await saver.aget_thread("t")
    assert info is not None
    assert info.checkpoints == len(steps)
    await whole(saver)


async def test_every_state_of_the_history_is_true(saver: Saver) -> None:
    """Whatever row is looked at has the state of its superstep, its parent, and can be run from."""
    always = loop(9).compile(saver)
    await always.ainvoke({"log": []}, thread("a"))
    known = {
        s.metadata["step"]: (s.values, s.next) async for s in always.aget_state_history(thread("a"))
    }
    graph = loop(9).compile(saver, checkpoint_when=Every(4))
    await graph.ainvoke({"log": []}, thread())
    history = [s async for s in graph.aget_state_history(thread())]
    assert [s.metadata["step"] for s in history] == [9, 7, 3, -1]
    for newer, older in pairwise(history):
        assert newer.parent_config == older.config
    for shown in history:
        assert (shown.values, shown.next) == known[shown.metadata["step"]]
        if shown.next:
            assert (await graph.ainvoke(None, shown.config))["log"] == list(range(1, 10))
    await whole(saver)


async def test_what_a_predicate_is_shown(saver: Saver) -> None:
    """The keys that were written since the last row, with the values that they have now."""
    seen: list[dict[str, Any]] = []

    def look(delta: Any) -> bool:
        seen.append(dict(delta))
        return len(delta.get("log", ())) == 2

    async def first(state: State) -> dict[str, Any]:
        return {"log": ["a"]}

    async def second(state: State) -> dict[str, Any]:
        return {"log": ["b"]}

    async def third(state: State) -> dict[str, Any]:
        return {"n": 1}

    async def last(state: State) -> dict[str, Any]:
        return {"n": 2}

    graph = chain(first, second, third, last).compile(saver, checkpoint_when=When(look))
    await graph.ainvoke({"box": "in"}, thread())
    assert seen == [
        {"box": "in"},
        {"box": "in", "log": ["a"]},
        {"box": "in", "log": ["a", "b"]},
        {"n": 1},
    ]
    assert [s for _, s in await rows(graph)] == [-1, 2, 4]


@pytest.mark.parametrize("kind", ["raises", "awaitable", "truth"])
@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_predicate_that_fails(saver: Saver, kind: str, durability: Any) -> None:
    """The run fails with an error that says so; its superstep is stored, and nothing runs again."""
    ran: list[int] = []
    broken = True

    class Untrue:
        def __bool__(self) -> bool:
            raise ValueError("neither")

    async def later() -> bool:
        return True

    def predicate(delta: Any) -> Any:
        if not broken or delta.get("n") != 2:
            return False
        if kind == "raises":
            raise ValueError("a secret value")
        return later() if kind == "awaitable" else Untrue()

    async def count(state: State) -> dict[str, Any]:
        ran.append(state.get("n", 0) + 1)
        return {"n": ran[-1]}

    graph = chain(*[count] * 4).compile(saver, checkpoint_when=When(predicate))
    with pytest.raises(UsageError, match="checkpoint_when=When") as caught:
        await graph.ainvoke({"log": []}, thread(), durability=durability)
    assert isinstance(caught.value.__cause__, TypeError if kind == "awaitable" else ValueError)
    assert "a secret value" not in str(caught.value)
    shown = await graph.aget_state(thread())
    assert (shown.values["n"], shown.next) == (2, ("n2",))
    info = await saver.aget_thread("t")
    assert info is not None
    assert info.status == "failed"
    broken = False
    assert (await graph.ainvoke(None, thread()))["n"] == 4
    assert ran == [1, 2, 3, 4]
    await whole(saver)


async def test_a_nodes_policy(saver: Saver) -> None:
    """It stands in the place of the graph's, for the supersteps that the node ran in."""
    graph = chain(*[step] * 5, n2=Always()).compile(saver, checkpoint_when=OnExit())
    await graph.ainvoke({"log": []}, thread())
    assert [s for _, s in await rows(graph)] == [-1, 3, 5]
    graph = chain(*[step] * 5, n1=OnExit(), n2=OnExit(), n3=Every(2)).compile(saver)
    await graph.ainvoke({"log": []}, thread("u"))
    assert [s for _, s in await rows(graph, "u")] == [-1, 0, 1, 4, 5]


async def test_one_of_several_nodes_is_enough(saver: Saver) -> None:
    """A superstep gets a row if any node that ran in it wants one."""
    graph = StateGraph(State)
    for name, policy in (("a", OnExit()), ("b", Always()), ("c", None)):
        graph.add_node(name, lambda s: {"log": ["x"]}, checkpoint_when=policy)
        graph.add_edge(START, name)
    graph.add_node("end", step).add_edge(["a", "b", "c"], "end")
    made = graph.compile(saver, checkpoint_when=OnExit())
    await made.ainvoke({}, thread())
    assert [s for _, s in await rows(made)] == [-1, 1, 2]


@pytest.mark.parametrize("policy", [Every(3), OnExit(), When(lambda delta: False)])
async def test_questions_are_always_written(saver: Saver, policy: Any) -> None:
    """A question, what finished beside it, and the state it was asked at are there; nothing that
    had finished runs again when it is answered."""
    ran: list[str] = []

    async def ask(state: State) -> dict[str, Any]:
        ran.append("ask")
        return {"log": [interrupt("well?")]}

    async def beside(state: State) -> dict[str, Any]:
        ran.append("beside")
        return {"log": ["beside"]}

    async def fan(state: State) -> dict[str, Any]:
        ran.append("fan")
        return {"n": 1}

    graph = StateGraph(State).add_node("fan", fan).add_edge(START, "fan")
    for name, node in (("ask", ask), ("beside", beside)):
        graph.add_node(name, node).add_edge("fan", name)
    graph.add_node("end", step).add_edge(["ask", "beside"], "end")
    made = graph.compile(saver, checkpoint_when=policy)
    await made.ainvoke({"log": []}, thread())
    shown = await made.aget_state(thread())
    assert [i.value for i in shown.interrupts] == ["well?"]
    assert shown.next == ("ask",)
    assert shown.values == {"n": 1, "log": ["beside"]}
    ran.clear()
    out = await made.ainvoke(Command(resume="yes"), thread())
    assert out == {"n": 2, "log": ["yes", "beside", 2]}
    assert ran == ["ask"]
    await whole(saver)


@pytest.mark.parametrize(
    ("policies", "second"),
    [({}, 0), ({"graph": OnExit()}, 1), ({"graph": OnExit(), "ask": Always()}, 0)],
)
async def test_an_answer_at_an_old_checkpoint(
    saver: Saver, policies: dict[str, Any], second: int
) -> None:
    """The first answer stands if the superstep it was given in has a row; else the question is
    open at the old checkpoint, and another answer makes a branch."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("well?")]}

    made = chain(step, ask, step, n1=policies.get("ask"))
    graph = made.compile(saver, checkpoint_when=policies.get("graph"))
    await graph.ainvoke({"log": []}, thread())
    asked = (await graph.aget_state(thread())).config
    first = await graph.ainvoke(Command(resume=0), asked)
    again = await graph.ainvoke(Command(resume=1), asked)
    assert (first, again) == ({"n": 2, "log": [1, 0, 2]}, {"n": 2, "log": [1, second, 2]})
    await whole(saver)


async def test_an_error_is_always_written(saver: Saver) -> None:
    """What went before a failing node, and what finished beside it, does not run again."""
    ran: list[str] = []
    fails = True

    async def bad(state: State) -> dict[str, Any]:
        ran.append("bad")
        await asyncio.sleep(0)
        if fails:
            raise ValueError("no")
        return {"log": ["bad"]}

    async def good(state: State) -> dict[str, Any]:
        ran.append("good")
        return {"log": ["good"]}

    async def first(state: State) -> dict[str, Any]:
        ran.append("first")
        return {"n": 1}

    graph = StateGraph(State).add_node("first", first).add_edge(START, "first")
    for name, node in (("bad", bad), ("good", good)):
        graph.add_node(name, node).add_edge("first", name)
    made = graph.compile(saver, checkpoint_when=OnExit())
    with pytest.raises(ValueError, match="no"):
        await made.ainvoke({"log": []}, thread())
    shown = await made.aget_state(thread())
    assert (shown.values, shown.next) == ({"n": 1, "log": ["good"]}, ("bad",))
    assert shown.tasks[0].error is not None
    fails = False
    ran.clear()
    assert (await made.ainvoke(None, thread()))["log"] == ["bad", "good"]
    assert ran == ["bad"]
    await whole(saver)


async def test_a_barrier_that_fails(saver: Saver) -> None:
    """The state before it is stored, whatever an in-place reducer had done already."""
    fails = True

    def add_up(left: list[int], right: list[int]) -> list[int]:
        left.extend(right)
        if fails and 3 in right:
            raise ValueError("not that")
        return left

    graph = StateGraph(TypedDict("Sum", {"total": Annotated[list[int], add_up]}))  # type: ignore[misc]
    for i in range(4):
        graph.add_node(f"n{i}", lambda s, i=i: {"total": [i + 1]})
        graph.add_edge(START if i == 0 else f"n{i - 1}", f"n{i}")
    made = graph.compile(saver, checkpoint_when=OnExit())
    with pytest.raises(ValueError, match="not that"):
        await made.ainvoke({"total": [0]}, thread())
    fails = False
    out = await made.ainvoke(None, thread())
    assert out == {"total": [0, 1, 2, 3, 4]}
    await whole(saver)


async def test_a_drain_and_a_cancellation_are_written(saver: Saver) -> None:
    """What was finished when the run was stopped is there."""
    control = RunControl()
    waiting = asyncio.Event()

    async def stop(state: State) -> dict[str, Any]:
        control.request_drain("deploy")
        return {"log": ["stop"]}

    graph = chain(step, stop, step).compile(saver, checkpoint_when=OnExit())
    with pytest.raises(GraphDrained):
        await graph.ainvoke({"log": []}, thread(), control=control)
    shown = await graph.aget_state(thread())
    assert (shown.values, shown.next) == ({"n": 1, "log": [1, "stop"]}, ("n2",))
    assert await graph.ainvoke(None, thread()) == {"n": 2, "log": [1, "stop", 2]}

    async def hang(state: State) -> dict[str, Any]:
        waiting.set()
        await asyncio.Event().wait()
        return {}

    graph = chain(step, step, hang).compile(saver, checkpoint_when=OnExit())
    run = asyncio.ensure_future(graph.ainvoke({"log": []}, thread("u")))
    await waiting.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    shown = await graph.aget_state(thread("u"))
    assert (shown.values, shown.next) == ({"n": 2, "log": [1, 2]}, ("n2",))
    await whole(saver)


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
async def test_breakpoints_are_written(saver: Saver, where: str) -> None:
    """The run stops where it would with all rows, and goes on from there."""
    stops: dict[str, Any] = {where: ["n2"]}
    graph = chain(*[step] * 5).compile(saver, checkpoint_when=Every(10), **stops)
    await graph.ainvoke({"log": []}, thread())
    shown = await graph.aget_state(thread())
    assert shown.next == (("n2",) if where == "interrupt_before" else ("n3",))
    info = await saver.aget_thread("t")
    assert info is not None
    assert info.status == "interrupted"
    assert (await graph.ainvoke(None, thread()))["n"] == 5
    await whole(saver)


async def test_the_recursion_limit_is_written(saver: Saver) -> None:
    graph = loop(100).compile(saver, checkpoint_when=OnExit())
    with pytest.raises(GraphRecursionError):
        await graph.ainvoke({"log": []}, {**thread(), "recursion_limit": 10})
    shown = await graph.aget_state(thread())
    assert shown.values["n"] == 10
    assert shown.next == ("step",)
    assert (await graph.ainvoke(None, thread()))["n"] == 100


async def test_the_stream_shows_what_is_written(saver: Saver) -> None:
    """Mode "checkpoints": the rows of the history, no others, the one of a question too."""
    graph = chain(*[step] * 5).compile(saver, checkpoint_when=Every(2))
    chunks = [c async for c in graph.astream({"log": []}, thread(), stream_mode="checkpoints")]
    shown = [s async for s in graph.aget_state_history(thread())]
    assert [c["config"] for c in chunks] == [s.config for s in reversed(shown)]
    assert [c["parent_config"] for c in chunks] == [s.parent_config for s in reversed(shown)]
    assert [c["values"] for c in chunks] == [s.values for s in reversed(shown)]

    async def ask(state: State) -> dict[str, Any]:
        return {"box": interrupt("?")}

    graph = chain(step, step, ask).compile(saver, checkpoint_when=OnExit())
    chunks = [c async for c in graph.astream({"log": []}, thread("u"), stream_mode="checkpoints")]
    shown = [s async for s in graph.aget_state_history(thread("u"))]
    assert [c["config"] for c in chunks] == [s.config for s in reversed(shown)]
    assert [c["metadata"]["step"] for c in chunks] == [-1, 2]


async def test_results_of_tasks_are_durable_in_themselves(saver: Saver) -> None:
    """A call that has returned never runs again, whatever was left out before it."""
    ran: list[int] = []

    @task
    async def work(i: int) -> int:
        ran.append(i)
        return i

    async def node(state: State) -> dict[str, Any]:
        got = [await work(i) for i in range(3)]
        return {"log": [*got, interrupt("?")]}

    graph = chain(step, step, node).compile(saver, checkpoint_when=OnExit())
    await graph.ainvoke({"log": []}, thread())
    out = await graph.ainvoke(Command(resume="yes"), thread())
    assert out["log"] == [1, 2, 0, 1, 2, "yes"]
    assert ran == [0, 1, 2]

    @entrypoint(checkpointer=saver, checkpoint_when=OnExit())
    async def flow(given: int) -> list[Any]:
        return [await work(given), interrupt("?")]

    ran.clear()
    await flow.ainvoke(7, thread("flow"))
    assert await flow.ainvoke(Command(resume=8), thread("flow")) == [7, 8]
    assert ran == [7]
    await whole(saver)


def nested(inner_policy: Any, saver: Saver, outer_policy: Any, *, history: bool = False) -> Any:
    inner = loop(4).compile(history or None, checkpoint_when=inner_policy)

    async def call(state: State) -> dict[str, Any]:
        out = await inner.ainvoke({"log": []})
        return {"log": [out["n"]]}

    return chain(step, call, step).compile(saver, checkpoint_when=outer_policy)


async def count_rows(saver: Saver, name: str = "t") -> int:
    info = await saver.aget_thread(name)
    assert info is not None
    return info.checkpoints


async def test_graphs_inside(saver: Saver) -> None:
    """They do as the graph around them, if they do not say themselves; a row of theirs brings
    the one of the graph around them with it."""
    expected = {"n": 2, "log": [1, 4, 2]}
    made = {
        # (input, 0, n0, n1, n2) and (input, 0, 1 ... 4)
        "both": (nested(None, saver, None), 5 + 6),
        "neither": (nested(None, saver, OnExit()), 2),
        # before the first row inside, that of n0 is written
        "inside": (nested(Always(), saver, OnExit()), 2 + 1 + 6),
        "outside": (nested(OnExit(), saver, None), 5),
        # inside: supersteps 2 and 4, of which the input is not one
        "thirds": (nested(Every(2), saver, OnExit()), 2 + 1 + 2),
    }
    for name, (graph, rows_) in made.items():
        assert await graph.ainvoke({"log": []}, thread(name)) == expected
        assert await count_rows(saver, name) == rows_, name
    await whole(saver)


async def test_a_graph_inside_that_finished_before_a_question(saver: Saver) -> None:
    """It does not run again when its node does."""
    ran: list[int] = []

    async def note(state: State) -> dict[str, Any]:
        ran.append(1)
        return {"n": 5}

    inner = chain(note, step).compile()

    async def call(state: State) -> dict[str, Any]:
        out = await inner.ainvoke({"log": []})
        return {"log": [out["n"], interrupt("?")]}

    graph = chain(step, call).compile(saver, checkpoint_when=OnExit())
    await graph.ainvoke({"log": []}, thread())
    out = await graph.ainvoke(Command(resume="a"), thread())
    assert out["log"] == [1, 6, "a"]
    assert ran == [1]
    await whole(saver)


async def test_a_graph_inside_whose_node_is_tried_again(saver: Saver) -> None:
    """The next attempt goes on where the graph inside stood, as with all rows."""
    ran: list[int] = []
    attempts: list[int] = []

    async def note(state: State) -> dict[str, Any]:
        ran.append(1)
        return {"n": 5}

    inner = chain(note, step).compile()

    async def call(state: State) -> dict[str, Any]:
        out = await inner.ainvoke({"log": []})
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError
        return {"log": [out["n"]]}

    graph = StateGraph(State).add_node("n0", step).add_edge(START, "n0").add_edge("n0", "call")
    graph.add_node("call", call, retry_policy=RetryPolicy(initial_interval=0, jitter=False))
    made = graph.compile(saver, checkpoint_when=OnExit())
    out = await made.ainvoke({"log": []}, thread())
    assert out["log"] == [1, 6]
    assert (len(ran), len(attempts)) == (1, 2)
    await whole(saver)


async def test_a_graph_inside_that_keeps_its_history(saver: Saver) -> None:
    """What it remembers from call to call is written each time that it ends."""
    inner = chain(step).compile(checkpointer=True)

    async def call(state: State) -> dict[str, Any]:
        out = await inner.ainvoke({"box": 1})
        return {"log": [out["n"]]}

    graph = chain(call, call).compile(saver, checkpoint_when=OnExit())
    for _ in range(2):
        await graph.ainvoke({"n": 0}, thread())
    shown = await graph.aget_state(thread())
    always = chain(call, call).compile(saver)
    for _ in range(2):
        await always.ainvoke({"n": 0}, thread("a"))
    assert shown.values == (await always.aget_state(thread("a"))).values
    await whole(saver)


async def test_what_is_left_out_travels_with_forks_and_updates(saver: Saver) -> None:
    """An update and a fork are rows of their own, and the next run counts from them."""
    graph = loop(6).compile(saver, checkpoint_when=Every(4))
    await graph.ainvoke({"log": []}, thread())
    first = [s async for s in graph.aget_state_history(thread())][-2]
    forked = await graph.aupdate_state(first.config, {"log": ["by hand"]})
    out = await graph.ainvoke(None, forked)
    assert out["log"] == [1, 2, 3, "by hand", 4, 5, 6]
    assert [kind for kind, _ in await rows(graph)][-2:] == ["update", "loop"]
    await whole(saver)


async def test_a_value_that_cannot_be_stored(saver: Saver) -> None:
    """It is refused where it is written, and what went before is there."""

    async def bad(state: State) -> dict[str, Any]:
        return {"box": object()}

    graph = chain(step, step, bad).compile(saver, checkpoint_when=OnExit())
    with pytest.raises(UnsupportedTypeError):
        await graph.ainvoke({"log": []}, thread())
    shown = await graph.aget_state(thread())
    assert (shown.values, shown.next) == ({"n": 2, "log": [1, 2]}, ("n2",))

    class Odd:
        """Nobody registered it."""

    def odd(left: Any, right: Any) -> Any:
        return Odd()

    reduced = StateGraph(TypedDict("Reduced", {"n": Annotated[Any, odd]}))  # type: ignore[misc]
    for i in range(3):
        reduced.add_node(f"n{i}", lambda s: {"n": 1})
        reduced.add_edge(START if i == 0 else f"n{i - 1}", f"n{i}")
    made = reduced.compile(saver, checkpoint_when=OnExit())
    with pytest.raises(UnsupportedTypeError):
        await made.ainvoke({"n": 0}, thread("u"))
    info = await saver.aget_thread("u")
    assert info is not None
    assert (info.status, info.owner) == ("failed", None)
    await whole(saver)


async def test_sends_and_their_order(saver: Saver) -> None:
    """A fan-out from a superstep without a row gives what it gives with one."""

    async def part(n: int) -> dict[str, Any]:
        return {"log": [n]}

    graph = StateGraph(State).add_node("first", step).add_node("part", part)
    graph.add_node("last", step)
    graph.add_edge(START, "first").add_edge("part", "last")
    graph.add_conditional_edges("first", lambda s: [Send("part", i) for i in range(20)], ["part"])
    results = [
        await graph.compile(saver, checkpoint_when=p).ainvoke({"log": []}, thread(str(i)))
        for i, p in enumerate((Always(), Every(2), OnExit()))
    ]
    assert results[0] == results[1] == results[2]
    await whole(saver)


async def a_coroutine(delta: Any) -> bool:
    return True


async def a_generator(delta: Any) -> Any:
    yield True


class Asynchronous:
    async def __call__(self, delta: Any) -> bool:
        return True


@pytest.mark.parametrize(
    "make",
    [
        lambda: Every(0), lambda: Every(-1), lambda: Every(True), lambda: Every(1.0),  # type: ignore[arg-type]
        lambda: Every("2"), lambda: Every(None),  # type: ignore[arg-type]
        lambda: When(None), lambda: When(3), lambda: When(a_coroutine),  # type: ignore[arg-type]
        lambda: When(a_generator), lambda: When(Asynchronous()),  # type: ignore[arg-type]
        lambda: When(partial(a_coroutine)),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_policies_that_cannot_be(make: Any) -> None:
    with pytest.raises(ValueError, match=r"Every\(n\) takes|When\(predicate\) takes"):
        make()


@pytest.mark.parametrize("given", ["always", 3, True, Always, OnExit, lambda delta: True, []])
def test_what_is_no_policy(given: Any) -> None:
    with pytest.raises(ValueError, match="checkpoint_when must be"):
        loop(1).compile(checkpoint_when=given)
    with pytest.raises(ValueError, match="checkpoint_when must be"):
        loop(1, checkpoint_when=given)
    with pytest.raises(ValueError, match="checkpoint_when must be"):
        entrypoint(checkpoint_when=given)
