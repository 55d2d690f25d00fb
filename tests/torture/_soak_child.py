"""A process that does a bit of everything: `_soak_child.py URL FOLDER ME SEED`.

It obeys words on its input: `pause` (what has begun ends, then it says `quiet`), `go`, and `drain`.
What a call has returned is on the disk, in a log outside the database, before the next one begins;
so is whatever should not have happened.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell import Retention, open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import (
    GraphDrained,
    NotFoundError,
    StaleWriterError,
    ThreadBusyError,
    UnknownInterruptError,
)
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, interrupt
from tests.crash._workload import Log
from tests.torture._upkeep import text_of

SHARED = 8
"""Threads that all processes run on."""
LANES = 4
"""Acts of one process at the same time."""
KEPT = 20
"""Checkpoints of a namespace that pruning leaves."""
TAIL = 16
EXPECTED = (
    ThreadBusyError, NotFoundError, StaleWriterError, UnknownInterruptError, GraphDrained,
)  # fmt: skip
"""What may come of an act among others: the thread is taken, what it read was pruned, the process
slept past its lease, somebody recovered the run that the answer was for."""


def _last(left: list[int], right: list[int]) -> list[int]:
    return (left + right)[-TAIL:]


class Soaked(TypedDict, total=False):
    """A number, and three values that follow from it: none of them grows without end."""

    count: int
    total: int
    tail: Annotated[list[int], _last]
    text: str
    goal: int


def item(number: int) -> int:
    return number * 7 % 101


def truth(count: int) -> dict[str, Any]:
    """All that a state says that has come to `count`."""
    return {
        "count": count,
        "total": sum(item(n) for n in range(count)),
        "tail": [item(n) for n in range(max(0, count - TAIL), count)],
        "text": text_of(count),
    }


def told_wrongly(values: dict[str, Any]) -> str | None:
    """What is wrong with a state; None if nothing is."""
    said = {key: value for key, value in values.items() if key != "goal"}
    if not said.get("count"):
        return None if not any(said.values()) else f"it says {said} without a count"
    return None if said == truth(said["count"]) else f"it contradicts itself: {said}"


def _next(state: Soaked) -> dict[str, Any]:
    count = state.get("count", 0)
    fresh = truth(count + 1)
    return {**fresh, "total": state.get("total", 0) + item(count), "tail": [item(count)]}


def build(saver: Saver) -> Any:
    """Counts to the goal; every fifth number comes out of a graph inside."""

    async def add(state: Soaked) -> dict[str, Any]:
        await asyncio.sleep(0)
        return _next(state)

    async def think(state: Soaked) -> dict[str, Any]:
        return {"goal": state.get("goal", 0)}

    async def inside(state: Soaked) -> dict[str, Any]:
        return _next(state)

    inner = StateGraph(Soaked).add_node("think", think).add_node("inside", inside)
    inner_app = inner.add_edge(START, "think").add_edge("think", "inside").compile()

    async def nested(state: Soaked) -> dict[str, Any]:
        given = {key: value for key, value in state.items() if key != "tail"}
        out = await inner_app.ainvoke(given)
        return {**out, "tail": out["tail"][-1:]}

    def where(state: Soaked) -> str:
        count = state.get("count", 0)
        if count >= state.get("goal", 0):
            return END
        return "nested" if count % 5 == 4 else "add"

    graph = StateGraph(Soaked).add_node("add", add).add_node("nested", nested)
    for node in (START, "add", "nested"):
        graph.add_conditional_edges(node, where, ["add", "nested", END])
    return graph.compile(saver, name="soak")


def build_asking(saver: Saver) -> Any:
    """Asks, and counts one when it is answered."""

    async def ask(state: Soaked) -> dict[str, Any]:
        interrupt(f"may {state.get('count', 0)} become one more?")
        return _next(state)

    graph = StateGraph(Soaked).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
    return graph.compile(saver, name="soak asking")


def config_of(thread: str, checkpoint: str | None = None) -> dict[str, Any]:
    configurable = {"thread_id": thread}
    if checkpoint is not None:
        configurable["checkpoint_id"] = checkpoint
    return {"configurable": configurable, "recursion_limit": 1000}


class Worker:
    """One process of the soak."""

    def __init__(self, saver: Saver, folder: Path, me: str, dice: random.Random) -> None:
        self.saver, self.me, self.dice = saver, me, dice
        self.graph, self.asking = build(saver), build_asking(saver)
        self.log = Log(str(folder / "soak.jsonl"))
        self.done: Counter[str] = Counter()
        self.copies = 0

    # -- what was returned

    def acknowledged(self, thread: str, values: dict[str, Any]) -> None:
        self.looked(thread, values)
        self.log.write(thread=thread, count=values.get("count", 0))

    def looked(self, thread: str, values: dict[str, Any]) -> None:
        if (wrong := told_wrongly(values)) is not None:
            self.log.write(wrong=f"{thread}: {wrong}")

    # -- acts

    async def _goal(self, thread: str, most: int = 12) -> int:
        values = (await self.graph.aget_state(config_of(thread))).values
        self.looked(thread, values)
        return int(values.get("count", 0)) + self.dice.randint(1, most)

    def _shared(self) -> str:
        return f"shared-{self.dice.randrange(SHARED)}"

    async def run(self, lane: int) -> None:
        thread, options = self._shared(), {}
        if self.dice.random() < 0.1:
            options["on_conflict"] = "reject"
        durability = self.dice.choice(["sync", "async", "async", "exit"])
        goal = await self._goal(thread)
        out = await self.graph.ainvoke(
            {"goal": goal}, config_of(thread), durability=durability, **options
        )
        self.acknowledged(thread, out)
        if out.get("count", 0) < goal:
            self.log.write(wrong=f"{thread}: a run to {goal} came to {out.get('count')}")

    async def stream(self, lane: int) -> None:
        thread = self._shared()
        values: dict[str, Any] = {}
        given = {"goal": await self._goal(thread)}
        async for values in self.graph.astream(given, config_of(thread), stream_mode="values"):
            self.looked(thread, values)
        self.acknowledged(thread, values)

    async def keyed(self, lane: int) -> None:
        thread = f"keyed-{self.me}-{lane}"
        given, key = {"goal": await self._goal(thread)}, f"{self.dice.getrandbits(60)}"
        first = await self.graph.ainvoke(given, config_of(thread), idempotency_key=key)
        self.acknowledged(thread, first)
        if await self.graph.ainvoke(given, config_of(thread), idempotency_key=key) != first:
            self.log.write(wrong=f"{thread}: a repeated call returned something else")

    async def ask(self, lane: int) -> None:
        thread = config_of(name := f"asking-{self.me}-{lane}")
        if not (await self.asking.aget_state(thread)).interrupts:
            await self.asking.ainvoke({"goal": 0}, thread)
        out = await self.asking.ainvoke(Command(resume="yes"), thread)
        self.acknowledged(name, {k: v for k, v in out.items() if k != "__interrupt__"})

    async def fork(self, lane: int) -> None:
        name = f"forked-{self.me}-{lane}"
        history = self.graph.aget_state_history(config_of(name), limit=10)
        found = [snapshot async for snapshot in history]
        at = self.dice.choice(found) if found else None
        config = config_of(name) if at is None else config_of(
            name, at.config["configurable"]["checkpoint_id"]
        )  # fmt: skip
        goal = (at.values.get("count", 0) if at else 0) + self.dice.randint(1, 6)
        self.looked(name, await self.graph.ainvoke({"goal": goal}, config))

    async def copy(self, lane: int) -> None:
        self.copies += 1
        name = f"copy-{self.me}-{lane}-{self.copies}-{self.dice.getrandbits(40)}"
        await self.saver.acopy_thread(self._shared(), name)
        self.looked(name, (await self.graph.aget_state(config_of(name))).values)
        await self.saver.adelete_thread(name)
        self.log.write(deleted=name)

    async def read(self, lane: int) -> None:
        thread = self._shared()
        async for snapshot in self.graph.aget_state_history(config_of(thread), limit=KEPT):
            self.looked(thread, snapshot.values)
        async for info in self.saver.alist_threads(limit=50):
            self.done["threads listed"] += info is not None

    async def upkeep(self, lane: int) -> None:
        if self.dice.random() < 0.5:
            await self.saver.acompact()
        else:
            await self.saver.aprune(policy=Retention(keep_last=KEPT))

    # -- the life of the process

    async def lane(self, number: int, paused: asyncio.Event) -> None:
        acts: list[Callable[[int], Awaitable[None]]] = [
            self.run, self.stream, self.keyed, self.ask, self.fork, self.copy, self.read,
            self.upkeep,
        ]  # fmt: skip
        weights = [30, 10, 8, 12, 6, 6, 20, 4]
        while not paused.is_set():
            [act] = self.dice.choices(acts, weights)
            try:
                await act(number)
                self.done[act.__name__] += 1
            except EXPECTED as error:
                self.done[type(error).__name__] += 1
            except Exception as error:
                self.log.write(wrong=f"{act.__name__}: {type(error).__name__}: {error}"[:600])
            await asyncio.sleep(0)

    async def until_paused(self, paused: asyncio.Event) -> None:
        async with (
            self.graph.sweeper(interval_s=0.5, attempts_max=10_000),
            self.asking.sweeper(interval_s=0.5, attempts_max=10_000),
        ):
            await asyncio.gather(*(self.lane(n, paused) for n in range(LANES)))
        done, self.done = self.done, Counter()
        self.log.write(done=dict(done))


def show_tasks() -> None:
    """Where every task stands, to the error output."""
    for task in asyncio.all_tasks():
        print(task.get_name(), file=sys.stderr)
        awaited: Any = task.get_coro()
        while (frame := getattr(awaited, "cr_frame", None)) is not None:
            code = frame.f_code
            print(f"  {code.co_filename}:{frame.f_lineno} {code.co_name}", file=sys.stderr)
            awaited = awaited.cr_await


async def main(url: str, folder: str, me: str, seed: int) -> None:
    loop, paused, words = asyncio.get_running_loop(), asyncio.Event(), asyncio.StreamReader()
    loop.add_signal_handler(signal.SIGUSR1, show_tasks)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    async with open_saver(url) as saver:
        worker = Worker(saver, Path(folder), me, random.Random(seed))
        await saver.asetup()
        print("ready", flush=True)
        while (await words.readline()).strip() == b"go":
            paused.clear()
            working = asyncio.create_task(worker.until_paused(paused))
            word = (await words.readline()).strip()
            if word == b"drain":
                await saver.adrain(timeout_s=30.0)
            paused.set()
            await working
            print("quiet", flush=True)
            if word != b"pause":
                return


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
