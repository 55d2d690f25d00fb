"""A workflow of task calls that is killed, and the process that runs it.

Every task notes that it starts, and the workflow notes every result that it is given, in a log
that is on the disk before anything goes on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.func import entrypoint, task
from stepwell.pregel.main import Pregel
from tests.crash._workload import Log

CONFIG = {"configurable": {"thread_id": "calls"}}
ROUNDS = 6
FAN = 4


def build(saver: Saver, log: Log) -> Pregel:
    """ROUNDS times: one call, then FAN beside each other, of which each makes one of its own."""

    @task
    async def leaf(name: str) -> str:
        log.write(what="start", name=f"leaf {name}", pid=os.getpid())
        await asyncio.sleep(0.001)
        return name

    @task
    async def branch(name: str) -> str:
        log.write(what="start", name=name, pid=os.getpid())
        found = await leaf(name)
        log.write(what="got", name=f"leaf {name}", pid=os.getpid())
        return found

    async def seen(name: str, future: Any) -> str:
        found = await future
        log.write(what="got", name=name, pid=os.getpid())
        return str(found)

    @entrypoint(checkpointer=saver, durability="sync")
    async def flow(rounds: int) -> list[str]:
        found = []
        for i in range(rounds):
            found.append(await seen(f"{i}", branch(f"{i}")))
            names = [f"{i}.{j}" for j in range(FAN)]
            found += await asyncio.gather(*(seen(n, branch(n)) for n in names))
        return found

    return flow


def expected() -> list[str]:
    """The result, computed without the engine."""
    return [name for i in range(ROUNDS) for name in (f"{i}", *(f"{i}.{j}" for j in range(FAN)))]


async def main(url: str, path: str) -> None:
    log = Log(path)
    async with open_saver(url, lease_ttl_s=4.0) as saver:
        flow = build(saver, log)
        begun = (await flow.aget_state(CONFIG)).metadata is not None
        log.write(what="ready", pid=os.getpid())
        await flow.ainvoke(None if begun else ROUNDS, CONFIG)
    log.write(what="done", pid=os.getpid())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
