"""The workloads: one definition for every system.

A workload builds its program with what the system offers and returns its figures: for each
metric the values of all repetitions. The first repetition warms up and is not counted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.workloads import crashes, graphs, micro, scale, talk
from benchmarks.workloads.graphs import Figures

WORKLOADS: dict[str, Callable[..., Awaitable[Figures]]] = {
    "chain": graphs.chain, "loop": graphs.loop, "wide": graphs.wide, "crowd": graphs.crowd,
    "talk": talk.talk, "race": crashes.race, "killed": crashes.killed, "idle": micro.idle,
    "imports": micro.imports, "rows": micro.rows, "codec": micro.codec,
    "scale_threads": scale.threads, "scale_runs": scale.runs, "scale_steps": scale.steps,
    "scale_large": scale.large, "scale_fan": scale.fan, "scale_hot": scale.hot,
}  # fmt: skip
NEEDS = {
    "talk": "talk", "race": "adding", "killed": "enduring", "loop": "loop", "wide": "wide",
    "imports": "imports", "rows": "rows", "codec": "codec",
} | {name: "scales" for name in WORKLOADS if name.startswith("scale_")}  # fmt: skip
"""What a system must have for a workload, where it is not `chain`."""
PLACED = frozenset({"talk", "race", "killed"}) | {n for n in WORKLOADS if n.startswith("scale_")}
"""Those that are told the place too."""
ALONE = frozenset({"killed"})
"""Those whose processes open the system, and only those."""

__all__ = ["ALONE", "NEEDS", "PLACED", "WORKLOADS", "Figures"]
