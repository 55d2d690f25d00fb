"""Kill a process again and again, and hold what is left against what it had promised."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.testing import acheck_history
from tests.crash import _workload
from tests.crash._workload import Log, oracle, read_log

ROOT = Path(__file__).resolve().parents[2]
AHEAD_MAX = 16
"""Supersteps of a thread that may not be durable yet (docs/guarantees.md)."""


@dataclass
class Findings:
    """What a series of kills showed. Everything in `broken` is a broken promise."""

    kills: int = 0
    runs: int = 0
    acknowledged: int = 0
    durable_results: int = 0
    reworked_in_flight: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def table(self) -> str:
        stages = ", ".join(f"{name} {count}" for name, count in sorted(self.stages.items()))
        return (
            f"{self.kills} kills, {self.runs} threads finished; {self.acknowledged} acknowledged "
            f"supersteps, {self.durable_results} durable task results at the kills; "
            f"{self.reworked_in_flight} tasks in flight ran again; "
            f"kills fell at: {stages}; broken promises: {len(self.broken)}"
        )


class Killer:
    """Runs a workload in child processes and kills them at instants drawn from a seed."""

    def __init__(
        self,
        url: str,
        folder: Path,
        seed: int,
        workload: Any = _workload,
        durability: str = "sync",
    ) -> None:
        self.workload = workload
        self.durability = durability
        self.url = url
        self.folder = folder
        self.random = random.Random(seed)
        self.findings = Findings()
        self.length_s = 0.0
        self.nodes = 0
        self.redone: dict[str, set[str]] = {}
        self.durable: dict[str, dict[str, int]] = {}
        """thread -> task with a durable result -> how often it had been started by then."""

    def run(self, kills: int) -> Findings:
        """At least so many kills; more, where none of them has met anything to lose yet."""
        self.length_s = self._measure()
        self.nodes = len({e["task"] for e in self._effects()})
        batch = 0
        while self.findings.kills < kills or (self._met_nothing() and batch < 10):
            batch += 1
            self._batch(f"b{batch}", max(kills, self.findings.kills + 2))
        return self.findings

    def _met_nothing(self) -> bool:
        found = self.findings
        return (self.durability == "sync" and not found.acknowledged) or (
            self.durability != "exit" and not found.durable_results
        )

    def _spawn(self, batch: str) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        child = subprocess.Popen(
            [
                sys.executable,
                self.workload.__file__,
                self.url,
                str(self.folder),
                batch,
                self.durability,
            ],
            env={**os.environ, "PYTHONPATH": path},
        )
        deadline = time.monotonic() + 30
        while True:
            ended = child.poll() is not None  # asked first: what it wrote before is there
            if any(a.get("ready") == child.pid for a in read_log(f"{self.folder}/acks.jsonl")):
                break
            if ended or time.monotonic() > deadline:
                msg = f"the worker did not start (exit code {child.poll()})"
                raise RuntimeError(msg)
            time.sleep(0.005)
        return child

    def _acks(self) -> list[dict[str, Any]]:
        return read_log(f"{self.folder}/acks.jsonl") + [
            {"thread": event.thread, "checkpoint": event.checkpoint, "step": event.step}
            for event in oracle(str(self.folder))[0].events()
            if event.verb == "superstep" and event.what == "ok"
        ]

    async def _checked(self, saver: Saver, graph: Any, batch: str) -> list[str]:
        """What the checker of `stepwell.testing` finds in the threads of a batch."""
        history, told = oracle(str(self.folder))
        mine = f"{batch}-"
        events = [event for event in history.events() if (event.thread or "").startswith(mine)]
        if not events:
            return [f"{batch}: nothing was written into the history"]
        found = await acheck_history(
            events,
            saver,
            effects=[effect for effect in told.effects() if effect.thread.startswith(mine)],
            graph=graph,
        )
        return [f"the checker: {violation}" for violation in found]

    def _effects(self) -> list[dict[str, Any]]:
        return read_log(f"{self.folder}/effects.jsonl")

    def _measure(self) -> float:
        """Seconds that the workload takes from ready to its end when nobody kills it."""
        child = self._spawn("measure")
        started = time.monotonic()
        code = child.wait(600)
        if code:
            msg = f"the worker failed by itself with exit code {code}"
            raise RuntimeError(msg)
        return time.monotonic() - started

    def _batch(self, batch: str, kills: int) -> None:
        """Kill one batch of threads over and over until it has reached its end anyway."""
        killed_before = self.findings.kills
        while True:
            child = self._spawn(batch)
            last_try = self.findings.kills >= kills or self.findings.kills - killed_before >= 4
            if not last_try:
                pause = self.random.uniform(0.0, self.length_s)
                began = time.monotonic()
                try:
                    child.wait(pause)
                    # It was quicker than measured: kills have to come sooner.
                    self.length_s = min(self.length_s, time.monotonic() - began)
                except subprocess.TimeoutExpired:
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                    self._count(batch)
                    asyncio.run(self._inspect(batch))
                    continue
            else:
                child.wait(600)
            if child.returncode != 0:
                self.findings.broken.append(f"{batch}: the worker failed: {child.returncode}")
            break
        asyncio.run(self._finish(batch))

    def _count(self, batch: str) -> None:
        self.findings.kills += 1
        self.findings.stages[self._stage(batch)] += 1

    def _stage(self, batch: str) -> str:
        """How far the batch had come when it was killed: of the nodes of a run that nobody
        kills, how many had begun."""
        begun = {
            e["task"]
            for e in self._effects()
            if e["thread"].startswith(f"{batch}-") and e["what"] == "start"
        }
        share = min(1.0, len(begun) / max(1, self.nodes))
        if not begun:
            return "before the first node"
        return f"{int(share * 4) * 25}-{int(share * 4) * 25 + 25} %" if share < 1 else "at the end"

    async def _inspect(self, batch: str) -> None:
        """After a kill: acknowledged checkpoints are there, nothing looks done that is not,
        and no task with a durable result has been run twice."""
        effects, acks = self._effects(), self._acks()
        async with open_saver(self.url) as saver:
            graph = self.workload.build(saver, Log(os.devnull))
            for i in range(self.workload.THREADS):
                await self._check(graph, f"{batch}-{i}", effects, acks)

    async def _check(
        self, graph: Any, thread: str, effects: list[dict[str, Any]], acks: list[dict[str, Any]]
    ) -> None:
        config = {"configurable": {"thread_id": thread}}
        broken = self.findings.broken
        history = [s async for s in graph.aget_state_history(config)]
        journal = await graph.checkpointer.journal()
        for ns in await journal.namespaces(graph.checkpointer.key(thread)):
            inside = {"configurable": {"thread_id": thread, "checkpoint_ns": ns}}
            history += [s async for s in graph.aget_state_history(inside)]
            history.append(await graph.aget_state(inside))
        names = {s.config["configurable"]["checkpoint_id"] for s in history}
        mine = [a for a in acks if a.get("thread") == thread]
        # With "exit", parts of a stream promise nothing: the return of the call does.
        promised = [a for a in mine if "checkpoint" in a and self.durability != "exit"]
        self.findings.acknowledged += len(promised)
        broken += [
            f"{thread}: lost {a['checkpoint']}" for a in promised if a["checkpoint"] not in names
        ]
        state = await graph.aget_state(config)
        if (
            state.metadata is not None
            and not state.next
            and state.values != self.workload.expected()
        ):
            broken.append(f"{thread}: looks done at {state.metadata['step']} with work left")
        if any(a.get("done") for a in mine) and state.values != self.workload.expected():
            broken.append(f"{thread}: the call had returned, and {state.values} is what is left")
        if self.durability == "exit" and state.metadata is not None and state.next:
            broken.append(f"{thread}: stands in the middle of a run that was all or nothing")
        durable = {t.id for s in (*history, state) for t in s.tasks if t.result is not None}
        if self.workload is _workload:
            broken += self._lost_work(thread, state, durable, effects)
        durable = {t for t in durable if any(e["task"] == t for e in effects)}
        self.findings.durable_results += len(durable)
        known = self.durable.setdefault(thread, {})
        for task in durable - known.keys():
            known[task] = sum(e["task"] == task and e["what"] == "start" for e in effects)

    def _lost_work(
        self, thread: str, state: Any, durable: set[str], effects: list[dict[str, Any]]
    ) -> list[str]:
        """Work to be done again is that of the superstep at hand, and with "async" of the few
        that may be ahead of the disk; with "exit" it is all."""
        begun = {e["task"] for e in effects if e["thread"] == thread and e["what"] == "start"}
        again = begun - durable - {t.id for t in state.tasks}
        known = self.redone.setdefault(thread, set())
        fresh = again - known  # tasks begun before an earlier kill, and redone under new names
        known |= again
        ahead = {"sync": 0, "async": AHEAD_MAX * _workload.SIZE.fan, "exit": len(begun)}
        if len(fresh) > ahead[self.durability]:
            return [f"{thread}: {len(fresh)} nodes of earlier supersteps are to be run again"]
        return []

    async def _finish(self, batch: str) -> None:
        """At the end: the right values, and nothing durable was run again."""
        effects = self._effects()
        starts = Counter(e["task"] for e in effects if e["what"] == "start")
        async with open_saver(self.url) as saver:
            graph = self.workload.build(saver, Log(os.devnull))
            for i in range(self.workload.THREADS):
                thread = f"{batch}-{i}"
                self.findings.runs += 1
                state = await graph.aget_state({"configurable": {"thread_id": thread}})
                if state.values != self.workload.expected() or state.next:
                    self.findings.broken.append(f"{thread}: ended with {state.values}")
                for task, count in self.durable.pop(thread, {}).items():
                    if starts[task] != count:
                        self.findings.broken.append(
                            f"{thread}: task {task} had a durable result and ran again"
                        )
            if self.workload is _workload:
                self.findings.broken += await self._checked(saver, graph, batch)
        mine = {e["task"] for e in effects if e["thread"].startswith(f"{batch}-")}
        self.findings.reworked_in_flight += sum(starts[t] - 1 for t in mine)
