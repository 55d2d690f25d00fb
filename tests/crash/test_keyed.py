"""Clients that repeat their calls, two at a time, are killed and started again: each call happens
once, and says the same to everybody who makes it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell import open_saver
from tests.crash import _keyed
from tests.crash._keyed import CALLS, THREADS, build, expected, key, thread
from tests.crash._workload import read_log

ROOT = Path(__file__).resolve().parents[2]


async def start(url: str, acks: Path) -> asyncio.subprocess.Process:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    child = await asyncio.create_subprocess_exec(
        sys.executable, _keyed.__file__, url, str(acks), env={**os.environ, "PYTHONPATH": path}
    )
    async with asyncio.timeout(120):
        while not any(  # noqa: ASYNC110  # a log of another process
            a.get("ready") == child.pid for a in read_log(str(acks))
        ):
            await asyncio.sleep(0.01)
    return child


async def storm(url: str, folder: Path, seed: int, kills: int) -> dict[str, Any]:
    """Kill one of two clients, or both, in `kills` turns, or fewer if they are done before; then
    let both come to their end."""
    draw, acks = random.Random(seed), folder / "acks.jsonl"
    told: dict[str, Any] = {"kills": 0, "done_at_kills": []}
    clients = [await start(url, acks) for _ in range(2)]
    began = time.monotonic()
    for _ in range(kills):
        await asyncio.sleep(draw.uniform(0.0, 0.8))
        victims = draw.choice([[0], [1], [0, 1]])
        for victim in victims:
            if clients[victim].returncode is None:
                clients[victim].kill()
                told["kills"] += 1
            await clients[victim].wait()
        done = {(a["thread"], a["call"]) for a in read_log(str(acks)) if "call" in a}
        told["done_at_kills"].append(len(done))
        if len(done) == THREADS * CALLS:
            break  # kills would meet nothing any more
        for victim in victims:
            clients[victim] = await start(url, acks)
    clients.append(await start(url, acks))
    assert await clients[-1].wait() == 0
    assert {await child.wait() for child in clients} <= {0, -signal.SIGKILL}
    told["seconds"] = round(time.monotonic() - began, 1)
    await check(url, acks, told)
    return told


async def check(url: str, acks: Path, told: dict[str, Any]) -> None:
    answers = [a for a in read_log(str(acks)) if "call" in a]
    assert all(a["log"] == expected(a["call"]) for a in answers)
    async with open_saver(url) as saver:
        graph = build(saver)
        attempts = 0
        for number in range(THREADS):
            state = await graph.aget_state(thread(number))
            assert (state.values["log"], state.next) == (expected(CALLS - 1), ())
            runs = [r async for r in saver.alist_runs(f"t{number}")][::-1]
            assert [(r.idempotency_key, r.status) for r in runs] == [
                (key(call), "done") for call in range(CALLS)
            ]
            attempts += sum(r.attempts for r in runs) - CALLS
    told["answers"], told["takeovers"] = len(answers), attempts


@pytest.mark.slow
async def test_sqlite(tmp_path: Path, seed: int) -> None:
    """One file, two clients."""
    told = await storm(f"sqlite:///{tmp_path}/k.db", tmp_path, seed, 4)
    print(f"seed {seed}: {told}")


@pytest.mark.slow
@pytest.mark.postgres
async def test_postgres(pg_url: str, tmp_path: Path, seed: int) -> None:
    """One server, two clients."""
    told = await storm(pg_url, tmp_path, seed, 4)
    print(f"seed {seed}: {told}")
