"""What must not go wrong: many callers of one thread, and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.workloads.graphs import Figures


async def race(
    system: Any, opened: Any, n: int, *, size: int, processes: int, place: str
) -> Figures:
    """`size` calls at once of one thread, each adding 1: how many of them count."""
    add, total = system.adding(opened)
    counted = []
    for i in range(n):
        thread = f"race-{i}"
        if processes == 1:
            await asyncio.gather(*(add(thread) for _ in range(size)))
        else:
            share = {"thread": thread, "calls": size // processes}
            codes = await asyncio.gather(
                *(actor(system, "add", place, share) for _ in range(processes))
            )
            assert codes == [0] * processes, f"a process ended with {codes}"
        counted.append(float(await total(thread)))
    return {"counted": counted}


async def killed(
    system: Any, opened: Any, n: int, *, size: int, durability: str, place: str
) -> Figures:
    """A loop of `size` whose process is killed, resumed by another one: how many steps were
    repeated, and how many never ran or are not in the state."""
    repeated, lost = [], []
    draw = random.Random(size)
    for i in range(n):
        log = Path(system.folder, f"ticks-{i}")
        given = {"thread": f"killed-{i}", "steps": size, "durability": durability}
        given |= {"log": str(log), "die_at": draw.randrange(size // 10, size * 9 // 10)}
        code = await actor(system, "endure", place, given, fresh=i == 0)
        assert code == -signal.SIGKILL, f"it was to be killed, and ended with {code}"
        code = await actor(system, "endure", place, given | {"die_at": None})
        assert code == 0, f"the process that goes on ended with {code}"
        *ticks, end = log.read_text(encoding="ascii").split()  # noqa: ASYNC240  # a few lines
        counts = Counter(ticks)
        never = sum(1 for number in range(1, size + 1) if not counts[str(number)])
        repeated.append(float(sum(counts.values()) - len(counts)))
        lost.append(float(never + size - int(end.removeprefix("end="))))
    return {"repeated": repeated, "lost": lost, "repeated_mean": [statistics.mean(repeated)]}


async def actor(
    system: Any, role: str, place: str, parameters: dict[str, Any], *, fresh: bool = False
) -> int:
    """Play a role of `benchmarks.actor` in a process of its own; its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.actor", system.name, role, "--place", place,
        "--folder", system.folder, "--parameters", json.dumps(parameters),
        *(["--fresh"] if fresh else []),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()
