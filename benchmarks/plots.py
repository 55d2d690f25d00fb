"""Pictures of a run's figures: throughput against concurrency, bytes and latency against turns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import TITLES

COLOURS = {"stepwell": "#1b6ca8", "langgraph": "#c0392b", "langgraph-delta": "#e59866",
           "burr": "#8e7cc3", "dbos": "#6aa84f", "floor": "#999999"}  # fmt: skip
WHERE = {"sqlite": "SQLite, synchronous=FULL", "postgres": "PostgreSQL"}

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""System -> xs, ys."""


def draw(results: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Write one PNG each; returns those there were figures for.

    Raises:
        ImportError: matplotlib is not installed (dependency group `bench`).
    """
    import matplotlib as mpl

    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for place, where in WHERE.items():
        for name, series, title, x, y in (
            ("throughput", _throughput(results, place), "Durable supersteps",
             "threads at once", "supersteps/s"),
            ("bytes", _bytes(results, place), "What a conversation takes on the disk",
             "turns", "bytes stored / payload"),
            ("latency", _latency(results, place), "Time of a turn of a growing conversation",
             "turn", "ms"),
        ):  # fmt: skip
            if series:
                path = folder / f"{name}-{place}.png"
                _plot(series, path, title=f"{title}, {where}", x=x, y=y)
                made.append(path)
    return made


def _plot(series: Series, path: Path, *, title: str, x: str, y: str) -> None:
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = plt.subplots(figsize=(7, 4.2), dpi=110)
    axes.set_title(title, fontsize="medium")
    axes.set(xlabel=x, ylabel=y, xscale="log", yscale="log")
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="major", alpha=0.3)
    for system in (s for s in TITLES if s in series):
        xs, ys = series[system]
        axes.plot(xs, ys, "o-", markersize=4, label=TITLES[system], color=COLOURS[system])
    if x == "threads at once":
        axes.set_xticks([1, 64, 256])
        axes.minorticks_off()
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def _throughput(results: Sequence[dict[str, Any]], place: str) -> Series:
    letter = place[0]
    points: dict[str, dict[int, list[float]]] = {}
    for size, case in ((1, f"W3{letter}"), (64, f"W4{letter}-64"), (256, f"W4{letter}-256")):
        for r in results:
            if r["case"] == case:
                known = points.setdefault(r["system"], {}).setdefault(size, [])
                known.append(statistics.median(r["figures"]["per_s"]))
    return {
        system: (list(sizes), [statistics.median(values) for values in sizes.values()])
        for system, sizes in points.items()
    }


def _talks(results: Sequence[dict[str, Any]], place: str) -> dict[str, list[dict[str, Any]]]:
    talks: dict[str, list[dict[str, Any]]] = {}
    for r in results:
        if r["case"] == f"W5{place[0]}":
            talks.setdefault(r["system"], []).append(r["figures"])
    return talks


def _bytes(results: Sequence[dict[str, Any]], place: str) -> Series:
    return {
        system: (
            rounds[0]["bytes_turns"],
            [
                statistics.median(s / p for s, p in zip(stored, payload, strict=True))
                for stored, payload in zip(
                    zip(*(r["bytes_stored"] for r in rounds), strict=True),
                    zip(*(r["bytes_payload"] for r in rounds), strict=True),
                    strict=True,
                )
            ],
        )
        for system, rounds in _talks(results, place).items()
        if rounds[0]["bytes_stored"]
    }


def _latency(results: Sequence[dict[str, Any]], place: str) -> Series:
    return {
        system: (
            rounds[0]["curve_turn"],
            [statistics.median(at) for at in zip(*(r["curve_ms"] for r in rounds), strict=True)],
        )
        for system, rounds in _talks(results, place).items()
    }
