"""A clean history of real runs, with kills, takeovers, questions, forks: what mutations change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import ThreadKey
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.testing import EffectLog, History
from stepwell.testing._case import Case
from stepwell.testing._check import rules_of
from stepwell.testing._contents import read_database
from stepwell.types import Command
from tests.testkit._flows import build, config

LEASE_S = 0.05


@dataclass
class Workers:
    """Processes on one database in memory: a killed one writes nothing any more."""

    driver: MemoryDriver
    history: History
    effects: EffectLog
    savers: list[Saver] = field(default_factory=list)

    def worker(self, **options: Any) -> tuple[Saver, Any]:
        saver = Saver(self.driver, lease_ttl_s=LEASE_S)
        self.savers.append(saver)
        return saver, build(saver, self.effects, **options)


async def killed_run(workers: Workers, thread: str) -> None:
    """A run whose process dies while the last of three tasks runs; another goes on."""
    saver, graph = workers.worker(durability="sync")
    waiting = asyncio.Event()
    effects, record = workers.effects, workers.effects.record
    seen = 0

    def count(runtime: Any) -> None:
        nonlocal seen
        record(runtime)
        seen += 1
        if seen == 4:
            waiting.set()

    effects.record = count  # type: ignore[method-assign]
    run = asyncio.ensure_future(
        workers.history.arun(graph, {"limit": 1, "log": [f"killed {thread}"]}, config(thread))
    )
    await waiting.wait()
    while not any(w.idx == 0 for w in await _pending(workers, thread)):  # noqa: ASYNC110
        await asyncio.sleep(0)
    (await saver.journal()).forget()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    effects.record = record  # type: ignore[method-assign]
    _, other = workers.worker(durability="sync")
    await workers.history.aread(other, config(thread))


async def _pending(workers: Workers, thread: str) -> Any:
    page = await workers.driver.history(ThreadKey("", thread), "", None)
    return page.writes


async def clean_case() -> Case:
    """Threads: "plain" (run, read, update, question, answer), "killed" (not yet resumed),
    "resumed" (killed and taken over), "forked" (somebody went back)."""
    workers = Workers(MemoryDriver(), History(None), EffectLog(None))
    history, (_, graph) = workers.history, workers.worker(durability="sync")
    plain = config("plain")
    await history.arun(graph, {"limit": 2, "log": ["in-a", "in-b"]}, plain, parts=["in-a", "in-b"])
    await history.aread(graph, plain)
    await history.aupdate(
        graph, plain, {"tag": "up-a", "log": ["up-b"]}, as_node="ask", parts=["up-a", "up-b"]
    )
    await history.aread(graph, plain)
    await history.arun(graph, {"limit": 3, "asks": True}, plain)
    await history.aread(graph, plain)
    await history.arun(graph, Command(resume="yes"), plain)
    await history.aread(graph, plain)
    await killed_run(workers, "killed")
    await killed_run(workers, "resumed")
    await asyncio.sleep(2 * LEASE_S)
    _, other = workers.worker(durability="sync")
    await history.arun(other, None, config("resumed"))
    await history.aread(other, config("resumed"))
    forked = config("forked")
    await history.arun(graph, {"limit": 2}, forked)
    back = [s async for s in graph.aget_state_history(forked)][4]
    await history.arun(graph, None, back.config)
    await history.aread(graph, forked)
    threads = ("plain", "killed", "resumed", "forked")
    database = await read_database(other.checkpointer, threads, other)
    for saver in workers.savers:
        await saver.aclose()
    return Case(
        events=history.events(),
        database=database,
        effects=workers.effects.effects(),
        rules=rules_of(other),
    )
