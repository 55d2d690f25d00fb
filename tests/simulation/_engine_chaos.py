"""Whole graphs on a shared database, several processes, and everything that can go wrong.

One seed draws the graph, what clients do (run, resume, answer, stream and leave, update, fork),
the order of callbacks that are ready together, and at each call of a driver a fault: an error
before, a commit and then an error, a late or lost reply, a connection that is cut for longer
than a lease, a cancelled run, a killed process.
"""

from __future__ import annotations

import asyncio
import random
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeAlias

from stepwell._ids import RandomIds, parse_checkpoint_id
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Source, ThreadKey
from stepwell.errors import (
    EmptyInputError,
    InvalidUpdateError,
    NotFoundError,
    StorageError,
    ThreadBusyError,
    UnknownInterruptError,
    UsageError,
)
from stepwell.runtime import Runtime
from stepwell.types import Command
from tests.simulation._engine_plan import Boom, Design, build, draw
from tests.simulation._journal_faults import CALM, FAULTY, Chaos, Plan
from tests.simulation._journal_world import Database
from tests.simulation._virtual import LoopClock, bury, simulate

LEASE_S = 6.0
ROUGH = Plan(processes=2, threads=2, workers=2, runs=4, fault=0.12, cut_off=0.01, cancel=0.15)
QUIET = replace(CALM, processes=2, threads=2, workers=2, runs=4, cancel=0.1)
EXPECTED = (
    StorageError, ThreadBusyError, Boom, EmptyInputError, UnknownInterruptError, NotFoundError,
)  # fmt: skip


Verb: TypeAlias = Callable[[Any, "Node", int], Coroutine[Any, Any, str]]


@dataclass
class Acked:
    """A checkpoint that somebody was told of."""

    thread: int
    checkpoint: str
    log: list[str]
    by: str


class Node:
    """One process: its driver, its saver, its graph."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.driver = Chaos(world.database, world.plan, world.rng)
        self.driver.trace = world.trace
        self.saver = Saver(
            self.driver, clock=LoopClock(), ids=RandomIds(seed=world.seed * 1000 + number),
            lease_ttl_s=LEASE_S, outage_budget_s=15.0, batch_rows_max=5, queue_rows_max=12,
        )  # fmt: skip
        self.graph = build(world.design, self).compile(checkpointer=self.saver)

    async def kill(self) -> None:
        """It is gone: what it was doing stays as it is, and nothing of it is heard again."""
        journal = await self.saver.journal()
        self.driver.kill()
        journal.forget()
        self.saver._home._warns = False  # nobody will close it

    async def alive(self) -> None:
        """A dead process runs no further than this."""
        if self.driver.dead:
            await asyncio.Event().wait()

    async def pause(self, *, long: bool = False) -> None:
        rng = self.world.rng
        times = (0.5, 4.0, 1.5 * LEASE_S) if long else (0, 0, 0.001, 0.05, 1.0)
        await asyncio.sleep(rng.choice(times))
        await self.alive()

    async def enter(self, name: str, runtime: Runtime[Any]) -> int:
        await self.alive()
        info = runtime.execution_info
        assert info is not None
        assert info.task_id is not None
        world = self.world
        place = (info.thread_id, info.task_id)
        world.begun[place] += 1
        world.note(f"p{self.number} {info.thread_id} {name} begins {world.begun[place]}")
        if not (runtime.context or {}).get("replays"):
            world.refuse_rework(name, runtime)
        return world.begun[place]


@dataclass
class World:
    """All of one simulation: what was done, what was acknowledged, what is wrong."""

    seed: int
    plan: Plan
    database: Database = field(init=False)
    rng: random.Random = field(init=False)
    design: Design = field(init=False)
    trace: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    begun: Counter[tuple[Any, str]] = field(default_factory=Counter)
    acked: list[Acked] = field(default_factory=list)
    inputs: dict[int, set[str]] = field(default_factory=dict)
    """Words of inputs that were acknowledged, by thread."""
    did: Counter[str] = field(default_factory=Counter)
    """Operations, and how they ended."""
    words: int = 0
    killed: list[asyncio.Task[None]] = field(default_factory=list)
    expected: ClassVar[tuple[type[Exception], ...]] = EXPECTED
    """What calls may raise."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.design = draw(self.rng)
        self.database = Database()

    def note(self, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():.4f} {what}")

    def faults(self) -> list[str]:
        """Lines of the trace that tell of what went wrong with a call: time, verb, fault."""
        return [line for line in self.trace if line.split(maxsplit=2)[1] in FAULTY]

    # -- what a task may find when it begins

    def refuse_rework(self, name: str, runtime: Runtime[Any]) -> None:
        """I5: a task whose result is durable does not begin again under a live claim."""
        info = runtime.execution_info
        thread = self.database.rows._threads.get(ThreadKey("", str(info.thread_id)))
        if thread is None or thread.epoch != runtime.epoch or thread.owner is None:
            return  # a zombie's outside effects cannot be fenced
        task = uuid.UUID(info.task_id).bytes
        for place, slots in (thread.writes or {}).items():
            if (task, 0) in slots:
                self.problems.append(f"{name} begins again, but its result is filed under {place}")
        place = parse_checkpoint_id(info.checkpoint_id or "")
        if place is None or info.checkpoint_ns.count("|"):
            return
        after = thread.root.rows[place[1] : place[1] + 1]
        if any(row.source == Source.LOOP and row.parent is None for row in after):
            self.problems.append(f"{name} begins again, but its superstep is durable")

    # -- the course of a simulation

    async def main(self) -> None:
        sides = [asyncio.ensure_future(self.side(n)) for n in range(self.plan.processes)]
        await asyncio.gather(*sides)
        self.note("the end")
        last = Node(self, 999)
        last.driver.plan = CALM
        from tests.simulation._engine_oracle import (
            check_row,
            finish,
            verify,
        )  # it looks at this class

        for thread in range(self.plan.threads):
            await check_row(self, last, thread)
            await finish(self, last, thread)
            await check_row(self, last, thread, ended=True)
            await verify(self, last, thread)
            await self.verify_ends(last, thread)
        await last.saver.aclose()

    async def verify_ends(self, node: Node, thread: int) -> None:
        """What else must be true of a finished thread."""

    async def side(self, number: int) -> None:
        node = Node(self, number)
        if self.plan.kill and self.rng.random() < 0.5:
            clients = self.clients(node)
            await asyncio.sleep(self.rng.uniform(0, 15))
            await node.kill()
            self.note(f"p{number} is killed")
            self.did["kill"] += 1
            self.killed += clients
            node = Node(self, number + 100)
        await asyncio.gather(*self.clients(node))
        node.driver.plan = CALM
        node.driver.cut_off_until = 0.0
        await node.saver.aclose()

    def clients(self, node: Node) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self.client(node)) for _ in range(self.plan.workers)]

    async def client(self, node: Node) -> None:
        for _ in range(self.plan.runs):
            await node.alive()
            thread = self.rng.randrange(self.plan.threads)
            verb = self.rng.choice(self.verbs())
            call = asyncio.ensure_future(verb(self, node, thread))
            if self.rng.random() < self.plan.cancel:
                pause = self.rng.uniform(0, self.rng.choice((0.01, 5.0)))
                asyncio.get_running_loop().call_later(pause, call.cancel)
            try:
                await asyncio.wait([call])
            except asyncio.CancelledError:
                call.cancel()
                raise
            await node.alive()
            self.end(node, thread, verb.__name__, call)

    def end(self, node: Node, thread: int, verb: str, call: asyncio.Task[str]) -> None:
        if call.cancelled():
            how = "cancelled"
        elif (error := call.exception()) is None:
            how = call.result()
        else:
            how = type(error).__name__
            closed = isinstance(error, UsageError) and "closed" in str(error)
            if not isinstance(error, self.expected) and not closed:
                where = "".join(traceback.format_tb(error.__traceback__)[-3:])
                self.problems.append(f"{verb} on {thread} raised {error!r}\n{where}")
            if not self.plan.fault and isinstance(error, StorageError):
                self.problems.append(f"{verb} on {thread} failed although all was well: {error!r}")
        self.note(f"p{node.number} t{thread} {verb}: {how}")
        self.did[f"{verb}: {how}"] += 1

    # -- what clients do

    def verbs(self) -> tuple[Verb, ...]:
        return VERBS

    def word(self) -> str:
        self.words += 1
        return f"in{self.words}"

    def options(self) -> dict[str, Any]:
        rng = self.rng
        return {
            "durability": rng.choice(("sync", "async", "exit")),
            "on_conflict": rng.choice(("wait", "wait", "reject")),
            "lock_timeout": rng.choice((None, None, 30.0)),
        }

    def ack(self, thread: int, config: Any, log: list[str], by: str) -> None:
        name = config["configurable"]["checkpoint_id"]
        self.acked.append(Acked(thread, name, list(log), by))

    async def run(self, node: Node, thread: int) -> str:
        """New input, to the end or the next question."""
        word = self.word()
        given = {"log": [word], "total": 1}
        found = await node.graph.ainvoke(given, config_of(thread), **self.options())
        await node.alive()
        self.inputs.setdefault(thread, set()).add(word)
        if word not in found["log"]:
            self.problems.append(f"{word} went in, and is not in what came out: {found}")
        return "asked" if "__interrupt__" in found else "done"

    async def go_on(self, node: Node, thread: int) -> str:
        """Nothing new: finish what is open."""
        found = await node.graph.ainvoke(None, config_of(thread), **self.options())
        return "asked" if "__interrupt__" in (found or {}) else "done"

    async def answer(self, node: Node, thread: int) -> str:
        """Answer the questions that are open."""
        state = await node.graph.aget_state(config_of(thread))
        if not state.interrupts:
            return "nothing to answer"
        answers = {question.id: f"a{self.rng.randrange(9)}" for question in state.interrupts}
        command: Command[Any] = Command(resume=answers)
        found = await node.graph.ainvoke(command, config_of(thread), **self.options())
        return "asked" if "__interrupt__" in found else "done"

    async def stream(self, node: Node, thread: int) -> str:
        """New input, watched; perhaps left in the middle."""
        word, options = self.word(), self.options()
        patience = self.rng.choice((1, 2, 4, 100))
        given = {"log": [word], "total": 1}
        call = node.graph.astream(given, config_of(thread), stream_mode="checkpoints", **options)
        async with aclosing(call) as chunks:
            async for chunk in chunks:
                await node.alive()
                log = chunk["values"].get("log", [])
                if options["durability"] != "exit":
                    self.ack(thread, chunk["config"], log, "stream")
                    if word in log:
                        self.inputs.setdefault(thread, set()).add(word)
                patience -= 1
                if not patience:
                    return "left"
                await asyncio.sleep(self.rng.choice((0, 0, 0.2)))
        return "done"

    async def update(self, node: Node, thread: int) -> str:
        """Change the state by hand, as one of the nodes."""
        as_node = self.rng.choice(self.design.nodes).name
        word = f"{as_node}#u{self.words}"
        self.words += 1
        try:
            config = await node.graph.aupdate_state(
                config_of(thread), {"log": [word], "total": 1}, as_node=as_node
            )
        except InvalidUpdateError:
            if self.database.rows._threads:
                raise
            return "no thread"
        await node.alive()
        state = await node.graph.aget_state(config)
        await node.alive()
        log = state.values.get("log", [])
        if word not in log:
            self.problems.append(f"an update was acknowledged, and is not read: {word}")
        self.ack(thread, config, log, "update")
        return "done"

    async def fork(self, node: Node, thread: int) -> str:
        """Run again from some checkpoint of the past."""
        seen = [state async for state in node.graph.aget_state_history(config_of(thread), limit=6)]
        if not seen:
            return "nothing to fork"
        state = self.rng.choice(seen)
        options = self.options()
        found = await node.graph.ainvoke(None, state.config, context={"replays": True}, **options)
        return "asked" if "__interrupt__" in (found or {}) else "done"


VERBS: tuple[Verb, ...] = (
    World.run, World.run, World.stream, World.go_on, World.answer, World.answer,
    World.update, World.fork,
)  # fmt: skip


def config_of(thread: int) -> dict[str, Any]:
    return {"configurable": {"thread_id": f"t{thread}"}}


def simulation(seed: int, plan: Plan | None = None, kind: type[World] = World) -> Any:
    """Run one seed to its end; the world with its problems and its trace."""
    world = kind(seed, plan or ROUGH)

    async def main() -> None:
        await asyncio.wait_for(world.main(), 20_000)
        await bury()

    simulate(main(), random.Random(~seed))
    return world
