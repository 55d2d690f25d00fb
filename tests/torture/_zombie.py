"""A process that holds threads and is frozen: `_zombie URL FOLDER DURABILITY THREADS`.

It runs every thread once, from wherever it stands, and notes how each run ended. With THREADS 0 it
freezes itself in the middle of a write transaction of an SQLite file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

from stepwell import open_saver
from stepwell.testing import History
from tests.crash._workload import Log, Size, build, drive, oracle

LEASE_S = 1.5
SIZE = Size(rounds=12)


def names(threads: int) -> list[str]:
    return [f"z{i}" for i in range(threads)]


async def one(graph: Any, thread: str, acks: Log, ends: Log, history: History) -> None:
    """Run one thread; its end goes to `ends`, with the error's class if there was one."""
    try:
        await drive(graph, thread, acks, history)
    except Exception as error:
        ends.write(thread=thread, end=type(error).__name__, says=str(error), at=time.monotonic())
    else:
        ends.write(thread=thread, end="done", says="", at=time.monotonic())


async def hold(url: str, folder: str, durability: Any, threads: int) -> None:
    acks, ends = Log(f"{folder}/acks"), Log(f"{folder}/ends")
    async with open_saver(url, lease_ttl_s=LEASE_S) as saver:
        history, told = oracle(folder)
        graph = build(saver, Log(f"{folder}/effects"), durability, SIZE, told)
        acks.write(ready=os.getpid(), wall=time.time())
        await asyncio.gather(*(one(graph, name, acks, ends, history) for name in names(threads)))


async def freeze_inside(url: str, folder: str) -> None:
    acks = Log(f"{folder}/acks")
    async with open_saver(url, lease_ttl_s=LEASE_S) as saver:
        await saver.asetup()
        journal = await saver.journal()

        def stop(cursor: Any) -> None:
            acks.write(ready=os.getpid(), wall=time.time())
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(1.0)  # the signal stops every thread, this one a moment later

        await journal.driver.database.write(stop)


def main(url: str, folder: str, durability: str, threads: str) -> None:
    if int(threads):
        asyncio.run(hold(url, folder, durability, int(threads)))
    else:
        asyncio.run(freeze_inside(url, folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
