"""One measurement: one system, one workload, in a process of its own.

Prints one JSON object: operations per second (or microseconds per superstep) of each
repetition, CPU time, peak memory. `__main__.py` starts these processes and interleaves them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import systems
from workloads import WORKLOADS, Measure


async def measure(measure: Measure, repetitions: int) -> list[float]:
    """Seconds per superstep of each repetition, after one that is not counted."""
    seconds = []
    for repetition in range(repetitions + 1):
        started = time.perf_counter()
        supersteps = await measure(repetition)
        if repetition:
            seconds.append((time.perf_counter() - started) / supersteps)
    return seconds


async def main(arguments: argparse.Namespace) -> None:
    workload: Callable[..., Awaitable[Any]] = WORKLOADS[arguments.workload]
    system = systems.load(arguments.system)
    async with system.opened(arguments.storage, arguments.folder) as opened:
        cpu = time.process_time()
        wall = time.perf_counter()
        seconds = await measure(await workload(system, opened, arguments.size), arguments.n)
        print(
            json.dumps(
                {
                    "system": arguments.system,
                    "workload": arguments.workload,
                    "storage": arguments.storage,
                    "size": arguments.size,
                    "us_per_superstep": [s * 1e6 for s in seconds],
                    "cpu_share": (time.process_time() - cpu) / (time.perf_counter() - wall),
                    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }
            )
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=systems.NAMES)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument(
        "--storage", default="none", choices=["none", "memory", "sqlite", "postgres"]
    )
    parser.add_argument("--folder", default=".")
    parser.add_argument("--size", type=int, default=1)
    parser.add_argument("-n", type=int, default=5)
    asyncio.run(main(parser.parse_args()))
