"""Folding and pruning beside everything else, and an oracle that knows every state ever shown.

Each checkpoint is seen for the first time at some moment, and written down with all that it says.
Whoever reads it later, in whatever form it is stored by then, must be shown the same, or nothing
at all if a policy let it go. What a state says also proves itself: the log, its sum and a text that
changes at every step follow from each other.
"""

from __future__ import annotations

import asyncio
import operator
import random
from collections import Counter
from typing import Annotated, Any, TypedDict

from stepwell import Retention
from stepwell.checkpoint.base import Saver
from stepwell.graph import END, START, StateGraph
from tests.torture._figures import Figures

THREADS = 4
ROUNDS_MAX = 20
"""How many times the runs asked for, until upkeep has had its share."""
KEPT = 12
"""What the policy of the storm keeps of each namespace."""


class Sum(TypedDict, total=False):
    """A log, and two values that follow from it."""

    log: Annotated[list[int], operator.add]
    total: int
    text: str
    goal: int


def text_of(length: int) -> str:
    """A long text of which every step changes a part."""
    return "".join(f"line {n} {'*' if n == length % 20 else '.'}\n" for n in range(20))


def _next(state: Sum) -> dict[str, Any]:
    item = len(state.get("log", [])) * 7 % 101
    done = [*state.get("log", []), item]
    return {"log": [item], "total": sum(done), "text": text_of(len(done))}


def build(saver: Saver) -> Any:
    """Appends until the goal is reached; every fifth item comes out of a graph inside."""

    async def add(state: Sum) -> dict[str, Any]:
        await asyncio.sleep(0)  # others get their turn, however fast a superstep is
        return _next(state)

    async def think(state: Sum) -> dict[str, Any]:
        return {"total": state.get("total", 0)}

    async def inside(state: Sum) -> dict[str, Any]:
        return _next(state)

    inner = StateGraph(Sum, output_schema=Sum).add_node("think", think).add_node("inside", inside)
    inner.add_edge(START, "think").add_edge("think", "inside")

    async def nested(state: Sum) -> dict[str, Any]:
        out = await inside_app.ainvoke({k: v for k, v in state.items() if k != "goal"})
        item = out["log"][-1]
        return {"log": [item], "total": out["total"], "text": out["text"]}

    inside_app = inner.compile()

    def where(state: Sum) -> str:
        size = len(state.get("log", []))
        if size >= state.get("goal", 0):
            return END
        return "nested" if size % 5 == 4 else "add"

    graph = StateGraph(Sum).add_node("add", add).add_node("nested", nested)
    for node in (START, "add", "nested"):
        graph.add_conditional_edges(node, where, ["add", "nested", END])
    return graph.compile(saver)


def config_of(name: str, checkpoint: str | None = None) -> dict[str, Any]:
    """The config of a thread, or of one checkpoint of it."""
    configurable = {"thread_id": name}
    if checkpoint is not None:
        configurable["checkpoint_id"] = checkpoint
    return {"configurable": configurable, "recursion_limit": 1000}


class Ledger:
    """What every checkpoint said when it was first seen."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], Any] = {}
        self.wrong: list[str] = []
        self.reads: Counter[str] = Counter()

    def look(self, name: str, snapshot: Any, how: str) -> str | None:
        """Compare a snapshot with what is known; its id, None if it is empty."""
        self.reads[how] += 1
        checkpoint = snapshot.config["configurable"].get("checkpoint_id")
        if snapshot.created_at is None:
            return None
        log = snapshot.values.get("log", [])
        shown = (snapshot.values, snapshot.created_at, snapshot.metadata)
        if log and (snapshot.values["total"], snapshot.values["text"]) != (
            sum(log), text_of(len(log)),
        ):  # fmt: skip
            self.wrong.append(f"{how}: {name} at {checkpoint} contradicts itself")
        if log != [n * 7 % 101 for n in range(len(log))]:
            self.wrong.append(f"{how}: the log of {name} at {checkpoint} is {log}")
        if self.known.setdefault((name, checkpoint), shown) != shown:
            self.wrong.append(f"{how}: {name} at {checkpoint} is not what it was")
        return str(checkpoint)

    def of(self, name: str) -> list[str]:
        """Ids of a thread's checkpoints that were ever seen."""
        return [checkpoint for thread, checkpoint in self.known if thread == name]


async def write(graph: Any, ledger: Ledger, name: str, dice: random.Random) -> None:
    """One run: at the head, or from an old checkpoint if it is still there."""
    head = await graph.aget_state(config_of(name))
    known = ledger.of(name)
    chosen = config_of(name)
    size = len(head.values.get("log", []))
    if known and dice.random() < 0.25:
        old = await graph.aget_state(config_of(name, dice.choice(known)))
        if ledger.look(name, old, "forked from") is not None:
            chosen = {**config_of(name), "configurable": dict(old.config["configurable"])}
            size = len(old.values.get("log", []))
    goal = size + dice.randint(1, 12)
    try:
        out = await graph.ainvoke({"goal": goal}, chosen)
    except LookupError:
        return  # what it was to be forked from was pruned meanwhile
    if len(out["log"]) != goal:
        ledger.wrong.append(f"a run of {name} to {goal} came to {len(out['log'])}")


async def read(graph: Any, saver: Saver, ledger: Ledger, name: str, dice: random.Random) -> None:
    """One look at a thread, in one of the ways there are."""
    way = dice.randrange(4)
    known = ledger.of(name)
    if way == 0 or not known:
        ledger.look(name, await graph.aget_state(config_of(name)), "newest")
    elif way == 1:
        checkpoint = dice.choice(known)
        ledger.look(name, await graph.aget_state(config_of(name, checkpoint)), "one by id")
    elif way == 2:
        async for snapshot in graph.aget_state_history(config_of(name)):
            ledger.look(name, snapshot, "history")
    else:
        found = await saver.aget_tuple(config_of(name))
        if found is not None:
            log = found.checkpoint["channel_values"].get("log", [])
            if log != [n * 7 % 101 for n in range(len(log))]:
                ledger.wrong.append(f"a tuple of {name} has the log {log}")


async def keep_small(saver: Saver, dice: random.Random, done: Counter[str]) -> None:
    """One act of upkeep."""
    if dice.random() < 0.5:
        compacted = await saver.acompact()
        done["rows folded"] += compacted.rows
        done["segments merged"] += compacted.merged
    else:
        policy = Retention(keep_last=dice.randint(KEPT, 2 * KEPT))
        pruned = await saver.aprune(policy=policy, batch_rows=dice.choice([3, 20, 1000]))
        done["checkpoints pruned"] += pruned.checkpoints
        done["threads skipped"] += pruned.skipped


async def storm(savers: list[Saver], seed: int, rounds: int, figures: Figures) -> None:
    """Writers, readers and upkeep at once on a few threads; then everything is held against the
    ledger. The savers are on one database."""
    dice, ledger = random.Random(seed), Ledger()
    graphs = [build(saver) for saver in savers]
    names = [f"thread-{n}" for n in range(THREADS)]
    done: Counter[str] = Counter()
    over = asyncio.Event()

    async def writing(name: str, own: random.Random) -> None:
        for turn in range(ROUNDS_MAX * rounds):
            if turn >= rounds and done["checkpoints pruned"] and done["rows folded"]:
                break  # there was no storm before both have happened beside the runs
            await write(own.choice(graphs), ledger, name, own)
            # Its own thread is free now, whatever the others do: not all upkeep comes too late.
            await keep_small(own.choice(savers), own, done)

    async def reading(own: random.Random) -> None:
        while not over.is_set():
            place = own.randrange(len(savers))
            await read(graphs[place], savers[place], ledger, own.choice(names), own)
            await asyncio.sleep(0)

    async def upkeep(own: random.Random) -> None:
        while not over.is_set():
            await keep_small(own.choice(savers), own, done)
            await asyncio.sleep(0.002)

    others = [asyncio.ensure_future(reading(random.Random(dice.random()))) for _ in range(2)]
    others += [asyncio.ensure_future(upkeep(random.Random(dice.random()))) for _ in range(2)]
    try:
        await asyncio.gather(*(writing(name, random.Random(dice.random())) for name in names))
    finally:
        over.set()
        await asyncio.gather(*others)
    await settle(savers[0], ledger, names)
    figures.cases += sum(ledger.reads.values())
    figures.failures += ledger.wrong
    figures.counts.update({f"reads: {how}": n for how, n in ledger.reads.items()})
    figures.counts.update(done)


async def settle(saver: Saver, ledger: Ledger, names: list[str]) -> None:
    """When all is quiet: every checkpoint that is left, the counters, and that a last pass leaves
    what it should and another nothing to do."""
    graph = build(saver)
    policy = Retention(keep_last=KEPT)
    await until_free(saver, policy)
    for name in names:
        left = [s async for s in graph.aget_state_history(config_of(name))]
        for snapshot in left:
            ledger.look(name, snapshot, "at the end")
            again = await graph.aget_state(snapshot.config)
            ledger.look(name, again, "at the end")
        if len(left) < min(KEPT, len(ledger.of(name))):
            ledger.wrong.append(f"{name} has {len(left)} checkpoints left")
        ledger.wrong += await miscounted(saver, name)
    again = await saver.aprune(policy=policy)
    if (again.checkpoints, again.skipped) != (0, 0):
        ledger.wrong.append(f"a second pass found {again}")


async def until_free(saver: Saver, policy: Retention) -> int:
    """Prune until nothing is left alone; how many checkpoints went."""
    gone = 0
    async with asyncio.timeout(60):
        while True:
            report = await saver.aprune(policy=policy, batch_rows=50)
            gone += report.checkpoints
            if not report.skipped:
                return gone
            await asyncio.sleep(0.1)


async def miscounted(saver: Saver, name: str) -> list[str]:
    """What a thread's row says wrongly of what is stored."""
    journal, key = await saver.journal(), saver.key(name)
    info = await saver.aget_thread(name)
    if info is None:
        return []
    rows = size = 0
    for ns in ("", *await journal.namespaces(key)):
        layout = await journal.driver.layout(key, ns)
        rows += len(layout.rows) + sum(s.seq_to - s.seq_from + 1 for s in layout.segments)
        size += sum(p.bytes for p in layout.rows) + sum(p.bytes for p in layout.segments)
    if (info.checkpoints, info.bytes) == (rows, size):
        return []
    return [f"{name} counts {info.checkpoints}, {info.bytes} of {rows}, {size}"]
