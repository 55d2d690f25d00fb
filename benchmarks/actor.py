"""A process that takes part in a measurement: it calls a thread, or is killed in a run.

Started by `benchmarks.workloads.crashes`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks import systems


async def add(system: Any, opened: Any, *, thread: str, calls: int) -> None:
    """So many calls at once."""
    once, _ = system.adding(opened)
    await asyncio.gather(*(once(thread) for _ in range(calls)))


async def endure(
    system: Any, opened: Any, *, thread: str, steps: int, durability: str, log: str,
    die_at: int | None,
) -> None:  # fmt: skip
    """A loop that notes each step it runs in a file, as a step's outside effect would be."""
    system.durability = durability
    file = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    run = system.enduring(opened, steps, ticking(file, steps, die_at))
    end = await run(thread, die_at is None)
    os.write(file, f"end={end}\n".encode())


def ticking(file: int, steps: int, die_at: int | None) -> Callable[[int], None]:
    """What every step calls. Within a millisecond of step `die_at` the process is gone, and
    before the last step in any case."""

    def tick(number: int) -> None:
        os.write(file, f"{number}\n".encode())
        if die_at is None:
            return
        if number >= steps - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == die_at:
            threading.Thread(target=die_soon, daemon=True).start()

    return tick


def die_soon() -> None:
    """Not at a place of its own choice."""
    time.sleep(random.uniform(0, 0.001))
    os.kill(os.getpid(), signal.SIGKILL)


ROLES = {"add": add, "endure": endure}


async def play(arguments: argparse.Namespace) -> None:
    system = systems.load(arguments.system)
    async with system.opened(arguments.place, arguments.folder, fresh=arguments.fresh) as opened:
        await ROLES[arguments.role](system, opened, **json.loads(arguments.parameters))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=systems.NAMES)
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--place", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--parameters", required=True, help="JSON")
    parser.add_argument("--fresh", action="store_true", help="drop what an earlier one has left")
    arguments = parser.parse_args()
    asyncio.run(play(arguments))


if __name__ == "__main__":
    main()
