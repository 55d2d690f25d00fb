"""The work that goes on while disks fail, and the check of what is left of it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from tests.crash._workload import Log, Size, build, drive, expected

SIZE = Size(rounds=3, fan=3)
"""Smaller than that of the kill tests: it is done for every fault and every image."""
FOLDED = Size(rounds=7, fan=2)
"""Long enough that there is something to fold (see `folding`)."""


class Silence(Log):
    """A log that nobody reads."""

    def __init__(self) -> None:
        super().__init__(os.devnull)

    def write(self, **entry: Any) -> None:
        pass


@dataclass(frozen=True)
class Acks:
    """What a program had been told was durable: checkpoint ids by thread, in the order told."""

    by_thread: dict[str, list[str]]
    done: frozenset[str]

    @classmethod
    def read(cls, lines: bytes) -> Acks:
        entries = [orjson.loads(line) for line in lines.splitlines()]
        by_thread: dict[str, list[str]] = {}
        for entry in entries:
            by_thread.setdefault(entry["thread"], [])
            if "checkpoint" in entry:
                by_thread[entry["thread"]].append(entry["checkpoint"])
        return cls(by_thread, frozenset(e["thread"] for e in entries if e.get("done")))

    @property
    def count(self) -> int:
        return sum(len(told) for told in self.by_thread.values())


async def work(
    saver: Saver, threads: Iterable[str], acks: Log, size: Size = SIZE
) -> list[BaseException]:
    """Run threads at once, from wherever they stand; what was raised."""
    graph = build(saver, Silence(), size=size)
    told = await asyncio.gather(
        *(drive(graph, thread, acks) for thread in threads), return_exceptions=True
    )
    return [error for error in told if error is not None]


async def check(
    url: str,
    threads: Iterable[str],
    acks: Acks,
    *,
    suffix_may_miss: bool = False,
    size: Size = SIZE,
) -> tuple[list[str], Counter[str]]:
    """Broken promises of a database that has just been opened again, and what was seen.

    Everything acknowledged is there (or, if allowed, all but the newest of each thread); every
    thread stands at a state that the work passes through, says so if it is not finished, and
    comes to the right end when it is run again.
    """
    broken: list[str] = []
    seen: Counter[str] = Counter()
    right = expected(size)
    async with open_saver(url, lease_ttl_s=1.0, outage_budget_s=5.0) as saver:
        graph = build(saver, Silence(), size=size)
        for thread in threads:
            config: Any = {"configurable": {"thread_id": thread}}
            names = {
                s.config["configurable"]["checkpoint_id"]
                async for s in graph.aget_state_history(config)
            }
            there = [told in names for told in acks.by_thread.get(thread, [])]
            seen["acknowledged"] += len(there)
            seen["lost"] += (lost := there.count(False))
            if lost and not suffix_may_miss:
                broken.append(f"{thread}: {lost} of {len(there)} acknowledged are lost")
            if lost and True in there[there.index(False) :]:
                broken.append(f"{thread}: lost in the middle: {there}")
            state = await graph.aget_state(config)
            broken += [f"{thread}: {what}" for what in _impossible(state, right)]
        broken += [repr(e) for e in await work(saver, threads, Silence(), size)]
        for thread in threads:
            state = await graph.aget_state({"configurable": {"thread_id": thread}})
            if state.values != right or state.next:
                broken.append(f"{thread}: ended with {state.values}")
    return broken, seen


def _impossible(state: Any, right: dict[str, Any]) -> list[str]:
    values = state.values
    for name in ("log", "parts"):
        got = values.get(name, [])
        if got != right[name][: len(got)]:
            return [f"stands at {name} = {got}, which no run passes through"]
    if state.metadata is not None and not state.next and values != right:
        return [f"looks done with {values}"]
    return []


def integrity(path: Path) -> list[str]:
    """What SQLite itself finds wrong with a file."""
    connection = sqlite3.connect(path)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()
    return [] if found == ["ok"] else [f"integrity_check: {line}" for line in found]
