"""Many processes that open one empty database at the same moment: `_setup URL COUNT OUT`.

They are forks of this one, which has imported everything and opened nothing, so that they start
within milliseconds: when the pipe that they all read from is closed. Each makes the tables of a
saver and of a store, runs a thread, and says how it went.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from typing import Any

from stepwell import open_saver
from stepwell.store.postgres import PostgresStore
from stepwell.store.sqlite import SqliteStore
from tests.crash._workload import Log, Size, build, drive, expected
from tests.torture._disk_work import Silence

SIZE = Size(rounds=1, fan=2)


async def use(url: str, number: int) -> None:
    """Open, which migrates; then read and write."""
    async with open_saver(url, outage_budget_s=30.0) as saver:
        kind: Any = SqliteStore if url.startswith("sqlite") else PostgresStore
        store = kind(saver)
        # Half of them begin with the store, half with the saver.
        if number % 2:
            await saver.asetup()
        await store.aput(("setup",), f"{number}", {"n": number})
        graph = build(saver, Silence(), size=SIZE)
        await drive(graph, f"t{number}", Silence())
        state = await graph.aget_state({"configurable": {"thread_id": f"t{number}"}})
        item = await store.aget(("setup",), f"{number}")
    if state.values != expected(SIZE) or item is None or item.value != {"n": number}:
        msg = f"ended with {state.values} and {item}"
        raise AssertionError(msg)


def child(url: str, number: int, gate: int, out: str) -> None:
    """One of the forks."""
    os.read(gate, 1)  # ends when the parent closes the other end
    told = "fine"
    try:
        asyncio.run(use(url, number))
    except BaseException:
        told = traceback.format_exc()
    Log(out).write(number=number, told=told)


def main(url: str, count: str, out: str) -> None:
    gate, opened = os.pipe()
    pids = []
    for number in range(int(count)):
        pid = os.fork()
        if pid == 0:
            os.close(opened)
            child(url, number, gate, out)
            os._exit(0)
        pids.append(pid)
    os.close(opened)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
