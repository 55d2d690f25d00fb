"""Cancel a run at its k-th await, for every k, and see what it leaves.

The graph has all that can be under way when a cancellation comes: tasks side by side, a fan-out,
a graph inside a node, a retry, a question. Whatever the place, the thread can go on and comes to
the same end; and no task, claim, lock or connection is left behind.
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from stepwell.checkpoint.base import Saver
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, RetryPolicy, Send, interrupt

INPUT = {"log": ["in"]}
END_LOG = [
    "in", "a", "b", "w0", "w1", "inside(x.y)", "flaky", "ask=yes", "end",
]  # fmt: skip
_TRIES = 12


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Inner(TypedDict, total=False):
    items: Annotated[list[str], operator.add]


class CancelAt:
    """Await something, but cancel the running task at its k-th suspension, counted from 1; and,
    `times` being more than 1, at those that follow while it cleans up."""

    def __init__(self, inner: Awaitable[Any], k: int, times: int = 1) -> None:
        self.inner = inner
        self.k = k
        self.times = times
        self.awaits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self.inner.__await__()
        resume: Callable[[Any], Any] = steps.send
        value: Any = None
        while True:
            try:
                waits_for = resume(value)
            except StopIteration as end:
                return end.value
            self.awaits += 1
            if self.k <= self.awaits < self.k + self.times:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waits_for
                resume = steps.send
            except BaseException as error:
                resume, value = steps.throw, error


@dataclass
class Bench:
    """A graph on a saver, and how to see what a cancelled run has left."""

    saver: Saver
    locks: Callable[[], Awaitable[int]]
    """How many advisory locks are held now."""
    active: Counter[str] = field(default_factory=Counter)
    """Nodes that are being executed."""
    failed: Counter[str] = field(default_factory=Counter)
    graph: Any = None
    threads: int = 0

    def __post_init__(self) -> None:
        self.graph = self._build().compile(self.saver)

    def _node(self, name: str, body: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
        async def run(state: Any) -> Any:
            self.active[name] += 1
            try:
                await asyncio.sleep(0)
                found = body(state)
                found = await found if isinstance(found, Awaitable) else found
                await asyncio.sleep(0)
                return {"log": [found]}
            finally:
                self.active[name] -= 1

        return run

    def _build(self) -> Any:
        async def x(_: Inner) -> Inner:
            await asyncio.sleep(0)
            return {"items": ["x"]}

        async def y(_: Inner) -> Inner:
            await asyncio.sleep(0)
            return {"items": ["y"]}

        inner = StateGraph(Inner).add_sequence([("x", x), ("y", y)]).add_edge(START, "x").compile()

        async def inside(_: State) -> str:
            found = await inner.ainvoke({"items": []})
            return f"inside({'.'.join(found['items'])})"

        def flaky(_: State) -> str:
            self.failed["flaky"] += 1
            if self.failed["flaky"] % 2:
                raise ValueError("now and then")
            return "flaky"

        graph = StateGraph(State)
        bodies: dict[str, Callable[[Any], Any]] = {
            "a": lambda _: "a", "b": lambda _: "b", "end": lambda _: "end",
            "w": lambda number: f"w{number}", "inside": inside, "flaky": flaky,
            "ask": lambda _: f"ask={interrupt('q')}",
        }  # fmt: skip
        for name, body in bodies.items():
            retry = RetryPolicy(initial_interval=0.001) if name == "flaky" else None
            if retry is not None:
                retry = retry._replace(retry_on=ValueError, jitter=False)
            graph.add_node(name, self._node(name, body), retry_policy=retry)
        graph.add_edge(START, "a").add_edge(START, "b")
        graph.add_conditional_edges("a", lambda _: [Send("w", n) for n in range(2)], ["w"])
        graph.add_edge("w", "inside").add_edge("inside", "flaky")
        graph.add_edge("flaky", "ask").add_edge("ask", "end").add_edge("end", END)
        return graph

    def new_thread(self) -> dict[str, Any]:
        self.threads += 1
        return {"configurable": {"thread_id": f"t{self.threads}"}}

    # -- what is done to a thread

    async def invoke(self, given: Any, config: Any, durability: str, k: int) -> int | None:
        """`ainvoke`, cancelled at its k-th await. Returns how many awaits it had if it ended."""
        call = CancelAt(self.graph.ainvoke(given, config, durability=durability), k)
        return await self._cancelled(call)

    async def impatient(self, given: Any, config: Any, durability: str, k: int) -> int | None:
        """`ainvoke`, cancelled at its k-th await, and again twice before it has ended."""
        call = CancelAt(self.graph.ainvoke(given, config, durability=durability), k, times=3)
        return await self._cancelled(call)

    async def stream(self, given: Any, config: Any, durability: str, k: int) -> int | None:
        """The same of somebody who reads `astream`."""

        async def read() -> None:
            chunks = self.graph.astream(given, config, durability=durability, stream_mode="values")
            async with aclosing(chunks) as stream:
                async for _ in stream:
                    pass

        return await self._cancelled(CancelAt(read(), k))

    async def leave(self, given: Any, config: Any, durability: str, k: int) -> int | None:
        """Read k chunks of `astream`, and go away."""
        read = 0
        chunks = self.graph.astream(
            given, config, durability=durability, stream_mode=["values", "tasks"]
        )
        async with aclosing(chunks) as stream:
            async for _ in stream:
                read += 1
                if read == k:
                    return None
        return read

    async def _cancelled(self, call: CancelAt) -> int | None:
        async def run() -> None:
            await call

        task = asyncio.ensure_future(run())
        await asyncio.wait([task])
        if task.cancelled():
            return None
        task.result()
        assert call.awaits < call.k, f"a cancellation at await {call.k} was swallowed"
        return call.awaits

    async def complete(self, config: Any) -> list[str]:
        """Go on with a thread until nothing is left to do; its log."""
        for _ in range(_TRIES):
            state = await self.graph.aget_state(config)
            if state.created_at is None:
                await self.graph.ainvoke(INPUT, config)
            elif state.interrupts:
                await self.graph.ainvoke(Command(resume="yes"), config)
            elif state.next:
                await self.graph.ainvoke(None, config)
            else:
                return state.values["log"]
        raise AssertionError(f"{config} never comes to an end: {state}")

    # -- what it must have left

    async def nothing_left(self, config: Any, tasks_max: int) -> None:
        """No node runs, nobody holds the thread or waits for it, no lock or task is left."""
        assert not +self.active, f"{self.active} run on after their run was cancelled"
        row = await self.saver.aget_thread(config["configurable"]["thread_id"])
        core = (await self.saver.journal())._opened_core()

        def left() -> list[Any]:
            return [
                *core._handles, *core._lines._lines, *core._tasks, *core._claimer._tasks,
                *core._lane._tasks, *core._lane._ready,
                *sorted(map(str, asyncio.all_tasks()))[tasks_max:],
            ]  # fmt: skip

        for pause in (0, 0, 0.001, 0.01, 0.1, 1, 5):
            if not left() and not await self.locks():
                break
            await asyncio.sleep(pause)
        assert not left()
        assert await self.locks() == 0
        row = await self.saver.aget_thread(config["configurable"]["thread_id"])
        assert row is None or row.owner is None, row
        assert row is None or row.status != "running", row


VERBS: tuple[Callable[[Bench, Any, Any, str, int], Awaitable[int | None]], ...] = (
    Bench.invoke, Bench.impatient, Bench.stream, Bench.leave,
)  # fmt: skip


async def cancel_everywhere(
    bench: Bench,
    verb: Callable[[Bench, Any, Any, str, int], Awaitable[int | None]],
    durability: str,
    *,
    first: int = 1,
    stride: int = 1,
) -> int:
    """Cancel the first call of a thread, and then the one that answers its question, at every
    `stride`-th place from `first` on. Returns how many cancelled calls there were."""
    await bench.complete(bench.new_thread())  # everything is opened, and beats
    tasks_max = len(asyncio.all_tasks())
    cases = 0
    for answers in (False, True):
        ended, k = None, first
        while ended is None:
            config = bench.new_thread()
            if answers:
                await bench.graph.ainvoke(INPUT, config)
            given = Command(resume="yes") if answers else INPUT
            ended = await verb(bench, given, config, durability, k)
            await bench.nothing_left(config, tasks_max)
            found = await bench.complete(config)
            assert found == END_LOG, f"{verb.__name__} {durability}, cancelled at {k}: {found}"
            await bench.nothing_left(config, tasks_max)
            cases += ended is None
            k += stride
    return cases
