"""`python -m tests.torture --minutes N [--only T5,T9] [--seed S] [--record]`.

Runs the registered tortures in turn, a round of each, until the minutes are over. Round number
r (counted from 0 over all rounds) gets the seed S + r. Exit code: 0 all rounds held, 1 a round
failed or something could not start, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from tests import _postgres
from tests.torture._figures import Figures
from tests.torture._record import PAGE, ROOT, RUNS, Tally, page, save
from tests.torture._registry import Torture, compiler, load

HANG_S = 240.0
"""How long after its time a round is taken to hang."""


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long, in all")
    parser.add_argument("--rounds", type=int, help="stop after so many rounds of each torture")
    parser.add_argument("--only", default="", help="test ids, separated by commas")
    parser.add_argument("--seed", type=int, help="seed of the first round; default: drawn")
    parser.add_argument("--seconds", type=float, default=30.0, help="about how long a round is")
    parser.add_argument("--cases", type=int, help="cases of a round, in place of seconds")
    parser.add_argument("--record", action="store_true", help="add the run to docs/torture.md")
    parser.add_argument("--table", action="store_true", help="only write docs/torture.md anew")
    parser.add_argument(
        "--leave-out", default="", help="go on without: postgres, compiler (by commas)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str], found: dict[str, Torture] | None = None, runs: Path = RUNS) -> int:
    given = arguments(argv)
    found = load() if found is None else found
    if given.table:
        PAGE.write_text(page(found, runs), encoding="utf-8")
        return 0
    wanted = [id for id in given.only.split(",") if id] or list(found)
    if unknown := [id for id in wanted if id not in found]:
        print(f"No such torture: {', '.join(unknown)}. There are: {', '.join(found)}.")
        return 2
    left_out = {name for name in given.leave_out.split(",") if name}
    chosen = [found[id] for id in wanted]
    problem = _cannot_start(chosen, left_out)
    if problem:
        print(problem)
        return 1
    skipped = [t.id for t in chosen if t.needs & left_out or not t.places - left_out]
    for name in (*sorted(left_out), *skipped):
        print(f"LEFT OUT: {name}")
    seed = random.SystemRandom().getrandbits(31) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    tallies = _loop([t for t in chosen if t.id not in skipped], given, seed, left_out)
    print(_table(tallies, skipped))
    if given.record:
        print(f"recorded in {save(seed, tallies, sorted({*left_out, *skipped}), runs)}")
        if runs == RUNS:
            PAGE.write_text(page(found, runs), encoding="utf-8")
    return 1 if any(tally.failures for tally in tallies.values()) or not tallies else 0


def _cannot_start(chosen: list[Torture], left_out: set[str]) -> str | None:
    """Start the servers that all rounds share; what is missing and was not left out."""
    if any("compiler" in t.needs for t in chosen) and "compiler" not in left_out | _compilers():
        return "There is no C compiler. `--leave-out compiler` goes on without what needs one."
    if any("postgres" in t.needs | t.places for t in chosen) and "postgres" not in left_out:
        try:
            os.environ[_postgres.VARIABLE] = _postgres.server_dsn()
        except Exception as error:
            return f"PostgreSQL cannot start ({error!r}). `--leave-out postgres` goes on without."
    return None


def _compilers() -> set[str]:
    return {"compiler"} if compiler() else set()


def _loop(
    chosen: list[Torture], given: argparse.Namespace, seed: int, left_out: set[str]
) -> dict[str, Tally]:
    """A round of each, in turn, until the time or the rounds are over."""
    tallies = {torture.id: Tally() for torture in chosen}
    until = time.monotonic() + given.minutes * 60
    number = 0
    turn = 0
    while chosen and (given.rounds is None or turn < given.rounds):
        for torture in chosen:
            if given.rounds is None and number and time.monotonic() >= until:
                return {id: tally for id, tally in tallies.items() if tally.rounds}
            began = time.monotonic()
            figures = _round(torture, given, seed + number, left_out)
            took = time.monotonic() - began
            tallies[torture.id].add(seed + number, figures, took)
            print(f"{torture.id} seed {seed + number}: {figures.line()} ({took:.1f} s)")
            for failure in figures.failures:
                print(f"  FAILED: {failure}")
                print(f"  replay: --only {torture.id} --seed {seed + number} --rounds 1")
            sys.stdout.flush()
            number += 1
        turn += 1
    return {id: tally for id, tally in tallies.items() if tally.rounds}


def _round(torture: Torture, given: argparse.Namespace, seed: int, left_out: set[str]) -> Figures:
    order = {
        "seed": seed,
        "seconds": given.seconds,
        "cases": given.cases,
        "places": sorted(torture.places - left_out),
    }
    with tempfile.TemporaryDirectory(prefix="stepwell-torture-") as folder:
        out = Path(folder, "figures.json")
        command = [sys.executable, "-m", "tests.torture._round", torture.module, torture.id]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        child = subprocess.Popen(
            [*command, orjson.dumps(order).decode(), str(out)], cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": folder}, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | str = child.wait(given.seconds + HANG_S)
        except subprocess.TimeoutExpired:
            code = f"hung, and was killed after {given.seconds + HANG_S:g} s"
        finally:
            _end(child)
        if not out.exists():
            return Figures(1, [f"the process of the round ended without figures: {code}"])
        return Figures.from_json(orjson.loads(out.read_bytes()))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a round and whatever it has started, frozen processes too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _table(tallies: dict[str, Tally], skipped: list[str]) -> str:
    lines = ["", f"{'id':4} {'rounds':>6} {'cases':>8} {'failed':>6} {'minutes':>7}"]
    lines += [
        f"{id:4} {t.rounds:6} {t.figures.cases:8} {len(t.failures):6} {t.seconds / 60:7.1f}"
        for id, t in tallies.items()
    ]
    lines += [f"{id:4} LEFT OUT" for id in skipped]
    for id, tally in tallies.items():
        for failure in tally.failures:
            lines.append(f"FAILED {id}: --only {id} --seed {failure['seed']} --rounds 1")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
