"""Pictures of a run's figures: throughput against concurrency, bytes and latency against turns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import TITLES

COLOURS = {"stepwell": "#1b6ca8", "langgraph": "#c0392b", "burr": "#8e7cc3", "dbos": "#6aa84f",
           "floor": "#999999"}  # fmt: skip


def draw(results: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Write one SVG each; returns those there were figures for.

    Raises:
        ImportError: matplotlib is not installed (dependency group `bench`).
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "stepwell"
    folder.mkdir(parents=True, exist_ok=True)
    made = [_throughput(results, folder, place) for place in ("sqlite", "postgres")]
    made += [_turns(results, folder, case) for case in ("W5s", "W5p")]
    return [path for path in made if path is not None]


def _figure(title: str, x: str, y: str) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.set(title=title, xlabel=x, ylabel=y, yscale="log")
    axes.grid(visible=True, which="major", alpha=0.3)
    return figure, axes


def _save(figure: Any, axes: Any, path: Path) -> Path:
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    return path


def _throughput(results: Sequence[dict[str, Any]], folder: Path, place: str) -> Path | None:
    letter = place[0]
    points: dict[str, dict[int, list[float]]] = {}
    for result in results:
        for size, case in ((1, f"W3{letter}"), (64, f"W4{letter}-64"), (256, f"W4{letter}-256")):
            if result["case"] == case:
                known = points.setdefault(result["system"], {}).setdefault(size, [])
                known.append(statistics.median(result["figures"]["per_s"]))
    if not points:
        return None
    figure, axes = _figure(f"Durable supersteps, {place}", "threads at once", "supersteps/s")
    axes.set_xscale("log")
    for system, sizes in points.items():
        xs = sorted(sizes)
        axes.plot(xs, [statistics.median(sizes[x]) for x in xs], "o-", label=TITLES[system],
                  color=COLOURS[system])  # fmt: skip
    return _save(figure, axes, folder / f"throughput-{place}.svg")


def _turns(results: Sequence[dict[str, Any]], folder: Path, case: str) -> Path | None:
    mine = [r for r in results if r["case"] == case and "turns_ms" in r["figures"]]
    if not mine:
        return None
    figure, axes = _figure("Time of a turn of a growing conversation", "turn", "ms")
    for system in dict.fromkeys(r["system"] for r in mine):
        times = next(r["figures"]["turns_ms"] for r in mine if r["system"] == system)
        window = max(1, len(times) // 50)
        xs = range(window, len(times) + 1, window)
        axes.plot(xs, [statistics.median(times[x - window : x]) for x in xs],
                  label=TITLES[system], color=COLOURS[system])  # fmt: skip
    return _save(figure, axes, folder / f"turns-{case}.svg")
