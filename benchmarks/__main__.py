"""The benchmark suite: every system on every workload, interleaved, in one run.

    python -m benchmarks            all workloads, about ten minutes
    python -m benchmarks --smoke    every workload once and small: does it run at all?

Each measurement is a process of its own; the order within a round is drawn anew, so that a
slow spell of the machine hits everybody. Ratios are taken round by round. A probe of
fdatasync stands beside durable figures: on a shared disk it explains more than the code does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SYSTEMS = ("stepwell", "langgraph", "floor")

# id, what it is, workload, storage, size, repetitions
SUITE = (
    ("W1", "chain of 10, no saver", "chain", "none", 100, 3),
    ("W3", "chain of 10, memory saver, sync", "chain", "memory", 50, 3),
    ("W3s", "chain of 10, SQLite FULL, sync, one client", "chain", "sqlite", 10, 3),
    ("W4s-64", "64 threads x 10, SQLite FULL, sync", "crowd", "sqlite", 64, 2),
    ("W4s-256", "256 threads x 10, SQLite FULL, sync", "crowd", "sqlite", 256, 1),
)
POSTGRES = (
    ("W3p", "chain of 10, PostgreSQL, sync, one client", "chain", "postgres", 10, 3),
    ("W4p-64", "64 threads x 10, PostgreSQL, sync", "crowd", "postgres", 64, 2),
)


def measure(system: str, case: tuple[Any, ...], folder: str, *, smoke: bool) -> dict[str, Any]:
    """One process; its figures."""
    _, _, workload, storage, size, repetitions = case
    with tempfile.TemporaryDirectory(dir=folder) as own:
        done = subprocess.run(
            [
                sys.executable, str(HERE / "child.py"), system, workload, "--storage", storage,
                "--folder", own, "--size", str(2 if smoke else size),
                "-n", str(1 if smoke else repetitions),
            ],
            check=True, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def fdatasync_ms(folder: str, times: int = 50) -> float:
    """Median milliseconds of one small write made durable."""
    seconds = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(times):
            os.write(file.fileno(), b"x" * 512)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3


def run(cases: list[tuple[Any, ...]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds of all cases."""
    results = []
    order = random.Random(arguments.seed)
    for case in cases:
        for number in range(1 if arguments.smoke else arguments.rounds):
            probe = fdatasync_ms(arguments.folder)
            for system in order.sample(SYSTEMS, len(SYSTEMS)):
                figures = measure(system, case, arguments.folder, smoke=arguments.smoke)
                figures |= {"id": case[0], "round": number, "fdatasync_ms": probe}
                results.append(figures)
                us = statistics.median(figures["us_per_superstep"])
                print(f"{case[0]:8} round {number} {system:10} {us:9.1f} us", file=sys.stderr)
    return results


def table(results: list[dict[str, Any]], cases: list[tuple[Any, ...]]) -> str:
    """Medians and per-round ratios, as Markdown."""
    lines = [
        (
            "| # | workload | floor us | Stepwell us | LangGraph us | Stepwell supersteps/s "
            "| LangGraph / Stepwell | Stepwell / floor | fdatasync ms |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, title, *_ in cases:
        mine = [r for r in results if r["id"] == name]
        us = {
            s: [statistics.median(r["us_per_superstep"]) for r in mine if r["system"] == s]
            for s in SYSTEMS
        }
        faster = [a / b for a, b in zip(us["langgraph"], us["stepwell"], strict=True)]
        above = [a / b for a, b in zip(us["stepwell"], us["floor"], strict=True)]
        medians = {s: statistics.median(v) for s, v in us.items()}
        probe = statistics.median(r["fdatasync_ms"] for r in mine)
        lines.append(
            f"| {name} | {title} | {medians['floor']:.1f} | {medians['stepwell']:.1f} "
            f"| {medians['langgraph']:.1f} | {1e6 / medians['stepwell']:,.0f} "
            f"| {statistics.median(faster):.1f} | {statistics.median(above):.1f} | {probe:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--smoke", action="store_true", help="small and once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where databases go")
    parser.add_argument("--only", help="ids, separated by commas")
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args()
    cases = [*SUITE, *(POSTGRES if os.environ.get("STEPWELL_BENCH_PG_DSN") else ())]
    if arguments.only:
        cases = [c for c in cases if c[0] in arguments.only.split(",")]
    results = run(cases, arguments)
    if arguments.json:
        machine = {
            "python": platform.python_version(),
            "machine": platform.platform(),
            "cpus": os.cpu_count(),
        }
        arguments.json.write_text(
            json.dumps({"seed": arguments.seed, **machine, "results": results}, indent=1)
        )
    print(table(results, cases))


if __name__ == "__main__":
    main()
