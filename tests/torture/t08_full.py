"""T8: the disk is full in the middle of the work, and has room again a little later.

With patience (the outage budget) the runs wait and go on; without, they end with a typed error.
Afterwards the same saver works, nothing acknowledged is missing, and a database that could not
even be made is made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import orjson

from tests.torture._figures import Budget, Figures
from tests.torture._registry import torture

ROOT = Path(__file__).resolve().parents[2]


@cache
def kinds() -> list[str]:
    """How a disk can be made small here: for root a file system, for all a limit of files."""
    if os.geteuid() == 0 and shutil.which("unshare"):
        probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "probe", "/mnt"]
        if subprocess.run(probe, check=False, capture_output=True).returncode == 0:
            return ["tmpfs", "rlimit"]
    return ["rlimit"]


@torture("T8", places=["sqlite"], per_commit="tests/torture/test_disk_full.py")
def run(seed: int, budget: Budget) -> Figures:
    """The same number of cases (or half the time) on each kind of small disk."""
    figures = Figures()
    for kind in kinds():
        folder = budget.folder / kind
        folder.mkdir()
        out = folder / "figures.json"
        seconds = budget.seconds / len(kinds())
        command = ["unshare", "--mount"] if kind == "tmpfs" else []
        command += [sys.executable, "-m", "tests.torture._disk_full", str(folder), kind]
        command += [str(seed), str(budget.cases or 0), str(seconds), str(out)]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            figures.failures.append(f"{kind}: exit {done.returncode}: {done.stderr[-2000:]}")
        else:
            figures.add(Figures.from_json(orjson.loads(out.read_bytes())))
    return figures
