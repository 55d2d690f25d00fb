"""A long conversation: how long its turns take, what they take on the disk, reading it."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from typing import Any

from benchmarks.workloads.graphs import Figures

WORDS = (
    "river", "stone", "lantern", "copper", "meadow", "signal", "harbour", "thread", "silver",
    "engine", "window", "garden", "winter", "paper", "north", "bridge", "candle", "orchard",
    "violin", "market", "summit", "anchor", "valley", "marble",
)  # fmt: skip


def message(number: int, size: int) -> dict[str, str]:
    """A message of about `size` bytes of varied words: repeated text would flatter compression.

    It has no "role": LangGraph makes objects of its own of dicts that have one, in some channels.
    """
    draw = random.Random(number)
    text = ""
    while len(text) < size:
        text += draw.choice(WORDS) + " "
    return {"author": "user", "id": f"{draw.getrandbits(128):032x}", "content": text[:size]}


async def talk(system: Any, opened: Any, n: int, *, size: int, place: str) -> Figures:
    """A conversation of `size` turns of about 500 bytes: time of turns, bytes, reading it."""
    say = system.talk(opened)
    times: list[float] = []
    payload = 0
    looks = {size // 100, size // 30, size // 10, size // 3, size} - {0}
    figures: Figures = {"bytes_turns": [], "bytes_stored": [], "bytes_payload": []}
    for turn in range(size):
        said = message(turn, 190)
        payload += 2 * (sum(len(v) for v in said.values()) + 40)
        started = time.perf_counter()
        assert await say("talk", said) == 2 * (turn + 1)
        times.append((time.perf_counter() - started) * 1e3)
        if turn + 1 in looks and hasattr(system, "stored"):
            figures["bytes_turns"].append(float(turn + 1))
            figures["bytes_stored"].append(float(await system.stored(place)))
            figures["bytes_payload"].append(float(payload))
    figures |= {
        f"turn_{at}_ms": [statistics.median(times[max(0, at - 5) : at + 4])]
        for at in (10, 100, 1000)
        if at <= size + 1
    }
    figures |= curve(times)
    if "turn_1000_ms" in figures:
        figures["turn_growth"] = [figures["turn_1000_ms"][0] / figures["turn_10_ms"][0]]
    if figures["bytes_stored"]:
        figures["bytes_per_payload"] = [figures["bytes_stored"][-1] / payload]
        if place == "postgres":
            cleared = await system.stored(place, cleared=True)
            figures["bytes_cleared_per_payload"] = [cleared / payload]
    return figures | await _reads(system, opened, n, turns=size)


def curve(times: list[float]) -> Figures:
    """The turns in spans that grow, as many as a picture can show; the median of each."""
    edges = sorted({round(len(times) ** (i / 20)) for i in range(21)})
    spans = list(itertools.pairwise(edges))
    return {
        "curve_turn": [(low + high) / 2 for low, high in spans],
        "curve_ms": [statistics.median(times[low:high]) for low, high in spans],
    }


async def _reads(system: Any, opened: Any, n: int, *, turns: int) -> Figures:
    """Milliseconds to read the newest state, a middle one, and the history."""
    figures: Figures = {"latest_ms": []}
    latest = system.latest(opened)
    for _ in range(n * 3):
        started = time.perf_counter()
        assert await latest("talk") == 2 * turns
        figures["latest_ms"].append((time.perf_counter() - started) * 1e3)
    history = system.history(opened)
    for limit in (10, 1000):
        figures[f"history_{limit}_ms"] = values = []
        for _ in range(n):
            started = time.perf_counter()
            assert await history("talk", limit) <= limit
            values.append((time.perf_counter() - started) * 1e3)
    if hasattr(system, "middle"):
        middle, config = system.middle(opened), await system.middle_of(opened, "talk")
        figures["middle_ms"] = []
        for _ in range(n * 3):
            started = time.perf_counter()
            assert 0 < await middle(config) < 2 * turns
            figures["middle_ms"].append((time.perf_counter() - started) * 1e3)
    return figures
