"""The process that starts workers, kills one half-way, and reads from the database how it went."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.graph import CompiledStateGraph
from stepwell.types import StateSnapshot
from survey import effects, worker
from survey.graph import RANKINGS, Decision
from survey.worker import Job

POLL_S = 0.02


class WorkerFailedError(Exception):
    """A worker ended with an error of its own."""


class KillMissedError(Exception):
    """The fan-out was over before the kill."""


@dataclass(frozen=True)
class Killed:
    """What was found after the kill, and what the next process did about it."""

    job: Job
    total: int
    durable: frozenset[str]
    """Tasks whose result was in the database after the process had died."""
    started: frozenset[str]
    """Tasks that the killed process had begun."""
    ended: frozenset[str]
    """Tasks whose work it had done, whether or not the result became durable."""
    again: Counter[str] = field(default_factory=Counter)
    """How often each task was begun after the kill."""

    @property
    def in_flight(self) -> frozenset[str]:
        """Tasks that had begun, and whose result was not durable."""
        return self.started - self.durable

    @property
    def repeated(self) -> list[str]:
        """Durable tasks that ran again: there must be none."""
        return sorted(self.durable & self.again.keys())

    @property
    def broken(self) -> list[str]:
        """Promises that were not kept, in words."""
        found = []
        if self.repeated:
            found.append(f"{len(self.repeated)} tasks ran again although their result was durable")
        if unknown := self.durable - self.started:
            found.append(f"{len(unknown)} results are durable of tasks that never began")
        if often := [task for task, times in self.again.items() if times > 1]:
            found.append(f"{len(often)} tasks began more than once after the kill")
        if missing := self.total - len(self.durable | self.again.keys()):
            found.append(f"{missing} tasks never ran")
        return found


async def look(graph: CompiledStateGraph, job: Job) -> tuple[StateSnapshot, dict[str, bool]]:
    """Where the thread stands, and of each task of the fan-out whether its result is durable."""
    state = await graph.aget_state(job.config)
    return state, {t.id: t.result is not None for t in state.tasks if t.name == "analyse"}


async def run(job: Job) -> int:
    """Run a worker to its end; its process id.

    Raises:
        WorkerFailedError: It ended with an error, which it has printed.
    """
    process = await worker.start(job)
    try:
        code = await process.wait()
    finally:
        _stop(process)
    if code:
        raise WorkerFailedError(f"the worker {job.verb!r} ended with code {code}")
    return process.pid


async def run_and_kill(graph: CompiledStateGraph, job: Job) -> Killed:
    """Start the survey and kill its process when half of the results are durable.

    Raises:
        KillMissedError: It was faster than we looked.
        WorkerFailedError: It failed by itself.
    """
    process = await worker.start(job)
    try:
        while process.returncode is None:
            _, done = await look(graph, job)
            if done and 2 * sum(done.values()) >= len(done):
                break
            await asyncio.sleep(POLL_S)
        _stop(process)
        code = await process.wait()
    finally:
        _stop(process)
    if code not in (0, -signal.SIGKILL):
        raise WorkerFailedError(f"the worker ended with code {code} before it was killed")
    _, done = await look(graph, job)
    if not done or all(done.values()):
        raise KillMissedError
    written = effects.read(job.effects)
    return Killed(
        job,
        total=len(done),
        durable=frozenset(task for task, durable in done.items() if durable),
        started=frozenset(effects.tasks(written, "start", pids=[process.pid])),
        ended=frozenset(effects.tasks(written, "end", pids=[process.pid])),
    )


async def resume(killed: Killed) -> Killed:
    """Let a new process go on where the killed one stood; complete the account."""
    pid = await run(replace(killed.job, verb="resume"))
    again = effects.tasks(effects.read(killed.job.effects), "start", pids=[pid])
    return replace(killed, again=Counter(again))


def fresh_thread(job: Job, concurrency: int) -> Job:
    """The same job on a thread of its own."""
    return replace(job, thread_id=f"survey-{uuid.uuid4()}", concurrency=concurrency)


def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.kill(process.pid, signal.SIGKILL)


# --- history and fork -------------------------------------------------------------------------


@dataclass(frozen=True)
class Branches:
    """Two ends of one thread, and what is common to them."""

    main: StateSnapshot
    fork: StateSnapshot
    forked_at: str
    """Checkpoint where they part."""
    history: list[StateSnapshot]
    """Newest first, over both branches."""

    def branch(self, state: StateSnapshot) -> str:
        """The branch that a state is on, "both" before they part."""
        checkpoint = name(state)
        on = [
            label
            for label, end in (("main", self.main), ("fork", self.fork))
            if checkpoint in self._ancestry(end)
        ]
        return on[0] if len(on) == 1 else "both" if on else "neither"

    def _ancestry(self, end: StateSnapshot) -> Iterator[str]:
        by_name = {name(state): state for state in self.history}
        at: StateSnapshot | None = by_name.get(name(end))
        while at is not None:
            yield name(at)
            parent = at.parent_config
            at = by_name.get(parent["configurable"]["checkpoint_id"]) if parent else None


def name(state: StateSnapshot) -> str:
    """Checkpoint id of a state."""
    return str(state.config["configurable"]["checkpoint_id"])


async def fork(graph: CompiledStateGraph, job: Job, main: StateSnapshot) -> Branches:
    """Go back to the question, decide otherwise, and run to the end again.

    `main` is where the thread stands; it stays readable under its own checkpoint id.
    """
    asked = [s async for s in graph.aget_state_history(job.config) if s.next == ("review",)]
    before = asked[0]
    taken = main.values["decision"]
    ranking = next(r for r in RANKINGS if not taken.publish or r != taken.ranking)
    other = Decision(publish=True, ranking=ranking, rows=taken.rows)
    forked = await graph.aupdate_state(before.config, {"decision": other}, as_node="review")
    await graph.ainvoke(None, {**job.config, **forked}, context=job.context)
    return Branches(
        main=await graph.aget_state(main.config),
        fork=await graph.aget_state(job.config),
        forked_at=name(before),
        history=[s async for s in graph.aget_state_history(job.config)],
    )


def different(left: StateSnapshot, right: StateSnapshot) -> list[str]:
    """State keys whose values are not the same."""
    keys: dict[str, Any] = {**left.values, **right.values}
    return sorted(k for k in keys if left.values.get(k) != right.values.get(k))
