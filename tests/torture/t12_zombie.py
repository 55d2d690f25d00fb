"""T12: the process that holds a thread is frozen past its lease, and wakes up too late.

A child runs threads and is stopped (SIGSTOP) at an instant drawn from the seed. While it ran, its
threads were busy for others. Once its lease is over they are taken over and run to their end; then
the child wakes up (SIGCONT): each of its runs that was taken over has to end with StaleWriterError,
and nothing in the database may have changed. The child's wall clock is an hour early, right, or an
hour late. On SQLite it may be caught in the middle of a write transaction: then everybody who
writes waits, and the error names the process.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepwell import open_saver
from stepwell._db._sqlite_host import write_lock_holder
from stepwell.checkpoint.base import Saver
from stepwell.errors import StorageUnavailableError, ThreadBusyError
from stepwell.testing import acheck_history
from tests.crash._workload import build, drive, expected, oracle, read_log
from tests.torture import _zombie
from tests.torture._databases import database
from tests.torture._disk_work import Silence
from tests.torture._figures import Budget, Figures
from tests.torture._registry import compiler, torture
from tests.torture._shim import ROOT, compiled

THREADS = 4
LEASE_S, SIZE = _zombie.LEASE_S, _zombie.SIZE
SHIFTS_S = (-3600, 0, 3600)
DURABILITIES = ("sync", "async", "exit")
HANG_S = 60.0


class Child:
    """The process that is frozen."""

    def __init__(self, url: str, folder: Path, order: tuple[str, int], shift_s: int) -> None:
        self.folder = folder
        folder.mkdir()
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        environment = {**os.environ, "PYTHONPATH": path}
        if shift_s:
            environment["LD_PRELOAD"] = str(compiled(folder.parent))
            environment["STEPWELL_WALL_SHIFT_S"] = str(shift_s)
        command = [sys.executable, "-m", "tests.torture._zombie", url, str(folder)]
        self._process = subprocess.Popen(
            [*command, order[0], str(order[1])], cwd=ROOT, env=environment
        )
        self.pid = self._process.pid
        self._wait(lambda: bool(self.acks()), "did not start")
        off = self.acks()[0]["wall"] - time.time()
        if abs(off - shift_s) > 600:
            raise RuntimeError(f"its wall clock is {off} s off in place of {shift_s} s")

    def acks(self) -> list[dict[str, Any]]:
        return read_log(f"{self.folder}/acks")

    def ends(self) -> dict[str, dict[str, Any]]:
        return {end["thread"]: end for end in read_log(f"{self.folder}/ends")}

    def starts(self, threads: list[str]) -> int:
        """Nodes begun on these threads so far."""
        log = read_log(f"{self.folder}/effects")
        return sum(e["what"] == "start" and e["thread"] in threads for e in log)

    def frozen(self) -> bool:
        status = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        return status.rpartition(")")[2].split()[0] == "T"

    def freeze(self) -> bool:
        """Stop it where it is; False if it has ended before."""
        self._process.send_signal(signal.SIGSTOP)
        while self.running():
            if self.frozen():
                return True
            time.sleep(0.002)
        return False

    def wait_frozen(self) -> None:
        self._wait(self.frozen, "was not frozen")

    def wake(self) -> int:
        """Go on, to the end; the exit code."""
        self._process.send_signal(signal.SIGCONT)
        return self._process.wait(HANG_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def running(self) -> bool:
        return self._process.poll() is None

    def _wait(self, so: Callable[[], bool], otherwise: str) -> None:
        until = time.monotonic() + HANG_S
        while not so():
            if time.monotonic() > until or not self.running():
                raise RuntimeError(f"the child {otherwise}")
            time.sleep(0.002)


@torture("T12", per_commit="tests/torture/test_zombie.py")
def run(seed: int, budget: Budget) -> Figures:
    """Rounds on each database in turn; one of them inside a transaction of SQLite."""
    chance = random.Random(seed)
    figures = Figures()
    if "sqlite" in budget.places:
        figures.failures += [f"inside a transaction: {b}" for b in inside(budget.folder)]
        figures.stages["sqlite: inside a write transaction"] += 1
    while budget.more(figures.cases):
        for place in sorted(budget.places):
            folder = budget.folder / f"{place}{figures.cases}"
            folder.mkdir()
            with database(place, folder) as url:
                asyncio.run(one_round(url, place, folder, chance, figures))
    return figures


async def one_round(
    url: str, place: str, folder: Path, chance: random.Random, figures: Figures
) -> None:
    """Freeze, take over, wake up, look."""
    durability = chance.choice(DURABILITIES)
    shift_s = chance.choice(SHIFTS_S) if compiler() else 0
    child = Child(url, folder / "child", (durability, THREADS), shift_s)
    broken: list[str] = []
    figures.cases += 1
    figures.counts[f"clock {shift_s:+d} s"] += 1
    try:
        async with open_saver(url, lease_ttl_s=LEASE_S) as saver:
            if child.running():
                broken += await _busy(saver, child, durability)
            await asyncio.sleep(chance.uniform(0.0, 0.6))
            if not child.running() or not child.freeze():
                figures.stages[f"{place} {durability}: finished before"] += 1
                return
            frozen_at = time.clock_gettime(time.CLOCK_BOOTTIME)  # what the logs count on
            if place == "sqlite" and write_lock_holder(url.removeprefix("sqlite:///")) == child.pid:
                # `inside` is about that: nobody can take over until it goes on.
                figures.stages["sqlite: inside a write transaction"] += 1
                if code := await asyncio.to_thread(child.wake):
                    broken.append(f"the child ended with exit code {code}")
                return
            figures.stages[f"{place} {durability}: frozen"] += 1
            # A run that had not even claimed its thread is none of a zombie: it comes late, and
            # begins anew on a thread that is free.
            ended = list(child.ends())
            taken, took_s, found = await _take_over(saver, durability, child.folder, frozen_at)
            broken += found
            before = await _everything(saver, sorted({*taken, *ended}))
            starts = child.starts(taken)
            if code := await asyncio.to_thread(child.wake):
                broken.append(f"the child ended with exit code {code}")
            broken += _judge(child, taken)
            if await _everything(saver, sorted({*taken, *ended})) != before:
                broken.append("the database changed after the takeover")
            broken += await _checked(saver, durability, child.folder)
        figures.counts["threads taken over"] += len(taken)
        figures.counts["refused late writers"] += len(taken)
        figures.counts["nodes that a zombie still started"] += child.starts(taken) - starts
        figures.at_worst("seconds from the freeze to the takeover", took_s)
    finally:
        child.kill()
        figures.failures += [f"{place}, {durability}, clock {shift_s:+d}: {b}" for b in broken]


async def _busy(saver: Saver, child: Child, durability: str) -> list[str]:
    """While the child lives, its threads are its own, however its wall clock stands."""
    graph = build(saver, Silence(), durability, SIZE)
    config: Any = {"configurable": {"thread_id": "z0"}}
    info = await saver.aget_thread("z0")
    if info is None or info.owner is None:
        return []  # it has not begun, or is at its end
    try:
        await graph.ainvoke(None, config, on_conflict="reject")
    except ThreadBusyError:
        return []
    if "z0" in child.ends():
        return []  # its run ended before we came
    return ["a thread was taken from an owner that lives"]


async def _take_over(
    saver: Saver, durability: str, folder: Path, frozen_at: float
) -> tuple[list[str], float, list[str]]:
    """Run all threads to their end. Which of them were somebody else's, how many seconds after
    the freeze the last of these was ours, and what was wrong."""
    history, told = oracle(str(folder))
    graph = build(saver, Silence(), durability, SIZE, told)
    taken: list[str] = []

    async def one(name: str) -> None:
        info = await saver.aget_thread(name)
        if info is not None and info.owner is not None:
            taken.append(name)
        await asyncio.wait_for(drive(graph, name, Silence(), history), HANG_S)

    names = _zombie.names(THREADS)
    ended = await asyncio.gather(*map(one, names), return_exceptions=True)
    broken = [repr(e) for e in ended if e is not None]
    for name in names:
        state = await graph.aget_state({"configurable": {"thread_id": name}})
        if state.values != expected(SIZE) or state.next:
            broken.append(f"{name} ended with {state.values}")
    first: dict[str, float] = {}
    for effect in told.effects():
        if effect.pid == os.getpid() and effect.thread in taken:
            first.setdefault(effect.thread, effect.at - frozen_at)
    return taken, max(first.values(), default=0.0), broken


async def _checked(saver: Saver, durability: str, folder: Path) -> list[str]:
    """What the checker of `stepwell.testing` finds after both processes have ended their runs."""
    history, told = oracle(str(folder))
    graph = build(saver, Silence(), durability, SIZE)
    found = await acheck_history(history, saver, effects=told, graph=graph)
    return [f"the checker: {violation}" for violation in found]


async def _everything(saver: Saver, names: list[str]) -> list[Any]:
    """What can be seen of these threads."""
    graph = build(saver, Silence(), size=SIZE)
    seen: list[Any] = []
    for name in names:
        config: Any = {"configurable": {"thread_id": name}}
        history = [
            (s.config["configurable"]["checkpoint_id"], s.values, s.next)
            async for s in graph.aget_state_history(config)
        ]
        info = await saver.aget_thread(name)
        seen.append((name, history, info and (info.status, info.owner, info.run_id)))
    return seen


def _judge(child: Child, taken: list[str]) -> list[str]:
    ends = child.ends()
    broken = [f"{name}: no end was noted" for name in _zombie.names(THREADS) if name not in ends]
    for name, end in ends.items():
        if name in taken and end["end"] != "StaleWriterError":
            broken.append(f"{name} was taken over, and its old run ended with {end}")
        if name not in taken and end["end"] != "done":
            broken.append(f"{name} was not taken over, and its run ended with {end}")
    return broken


def inside(folder: Path) -> list[str]:
    """SQLite: a process frozen in a write transaction blocks all writers of the file; the error
    names it; when it goes on, so does everybody."""
    url = f"sqlite:///{folder}/inside.db"
    child = Child(url, folder / "inside", ("sync", 0), 0)
    try:
        child.wait_frozen()
        return asyncio.run(_blocked(url, child))
    finally:
        child.kill()


async def _blocked(url: str, child: Child) -> list[str]:
    broken: list[str] = []
    async with open_saver(url, lease_ttl_s=LEASE_S, outage_budget_s=0.5) as saver:
        graph = build(saver, Silence(), size=SIZE)
        try:
            await drive(graph, "other", Silence())
            broken.append("a write went past a write transaction")
        except StorageUnavailableError as error:
            if not re.search(rf"\b{child.pid}\b", str(error)):
                broken.append(f"the error does not name process {child.pid}: {error}")
        if (await graph.aget_state({"configurable": {"thread_id": "other"}})).values:
            broken.append("a refused run left something")  # and a read is not blocked
        if code := await asyncio.to_thread(child.wake):
            broken.append(f"the child ended with exit code {code}")
        await drive(graph, "other", Silence())
        state = await graph.aget_state({"configurable": {"thread_id": "other"}})
        if state.values != expected(SIZE):
            broken.append(f"ended with {state.values}")
    return broken
