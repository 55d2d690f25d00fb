"""Single parts: an import, idle threads, a group commit, the codec."""

from __future__ import annotations

import asyncio
import importlib.metadata as metadata
import os
import re
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.workloads.graphs import Figures, timed
from benchmarks.workloads.talk import message

ROWS = 20_000
"""Rows at most that one repetition of `rows` writes."""
COMMITS = 200


async def imports(system: Any, opened: Any, n: int) -> Figures:
    """Milliseconds that a program's first statement takes, over a Python that does nothing, in
    turns; how many distributions come along with it, and how large all are."""

    async def wall(statement: str) -> float:
        # The bytecode is cached, as it is for users.
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", statement, env=env)
        assert await process.wait() == 0
        return (time.perf_counter() - started) * 1e3

    async def over_bare(statement: str) -> list[float]:
        await wall(statement)
        return [await wall(statement) - await wall("pass") for _ in range(n)]

    took = await over_bare(system.imports)
    found = installed(system.packages)
    compiles = getattr(system, "compiles", None)
    return {
        "import_ms": took,
        **({} if compiles is None else {"compiled_ms": await over_bare(compiles)}),
        "distributions": [float(len(found) - (system.name != "floor"))],
        "installed_mb": [sum(found.values()) / 1e6],
    }


def installed(names: tuple[str, ...]) -> dict[str, int]:
    """Distribution -> bytes, for the named ones and all that they require without extras."""
    sizes: dict[str, int] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in sizes:
            continue
        found = metadata.distribution(name)
        sizes[name] = _size(found)
        for requirement in found.requires or ():
            wanted, _, marker = requirement.partition(";")
            if not marker or _holds(marker):
                waiting.append(re.split(r"[^A-Za-z0-9._-]", wanted.strip(), maxsplit=1)[0])
    return sizes


def _size(found: metadata.Distribution) -> int:
    files = [Path(str(found.locate_file(file))) for file in found.files or ()]
    size = sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")
    if found.metadata["Name"] == "stepwell":  # installed as a pointer to these sources
        import stepwell

        sources = Path(stepwell.__file__).parent.rglob("*")
        size = sum(f.stat().st_size for f in sources if f.is_file() and f.suffix != ".pyc")
    return size


def _holds(marker: str) -> bool:
    """Whether a marker holds here, without extras."""
    from packaging.markers import Marker

    return Marker(marker).evaluate({"extra": ""})


async def idle(system: Any, opened: Any, n: int, *, size: int) -> Figures:
    """`size` idle threads: resident kilobytes each."""
    run = system.chain(opened, 1)
    for i in range(200):
        await run(f"warm-{i}")
    before = resident()
    for i in range(size):
        await run(f"idle-{i}")
    return {"kb": [(resident() - before) / 1024 / size]}


def resident() -> float:
    """Bytes of memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096.0


async def rows(system: Any, opened: Any, n: int, *, batch: int) -> Figures:
    """Rows of about 240 bytes, `batch` threads at a time, each batch waited for; per row."""
    append: Callable[[list[str]], Any] = system.rows(opened)
    threads = [f"t{i}" for i in range(batch)]
    times = max(1, min(COMMITS, ROWS // batch))
    await append(threads)

    async def once(repetition: int) -> int:
        for _ in range(times):
            await append(threads)
        return times * batch

    return await timed(n, once)


async def codec(system: Any, opened: Any, n: int, *, kind: str, size: int = 50) -> Figures:
    """Microseconds to write and to read a state of `size` messages of 400 bytes."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    state: dict[str, Any] = {"messages": [message(i, 340) for i in range(size)], "turn": size}
    if kind == "typed":
        for i, said in enumerate(state["messages"]):
            said |= {"id": uuid.UUID(int=i << 64), "at": start + timedelta(seconds=i)}
    encode, decode = system.codec()
    figures: Figures = {"encode_us": [], "decode_us": []}
    for repetition in range(n + 1):
        for metric, call, argument in (
            ("encode_us", encode, state), ("decode_us", decode, encode(state)),
        ):  # fmt: skip
            started = time.perf_counter()
            for _ in range(100):
                call(argument)
            if repetition:
                figures[metric].append((time.perf_counter() - started) / 100 * 1e6)
    return figures
