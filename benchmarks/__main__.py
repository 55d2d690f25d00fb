"""The benchmark suite: every system on every workload, interleaved, in one run.

    python -m benchmarks                  all workloads, within `--minutes` (18)
    python -m benchmarks --smoke          every workload once and small: does it run at all?
    python -m benchmarks --scale          the large sizes, Stepwell alone
    python -m benchmarks --only W1,W4s-64 --systems stepwell,langgraph,floor
    python -m benchmarks --folder /var/tmp --record disk
                                          keep it in benchmarks/results/ and in docs/benchmarks.md
    python -m benchmarks --tables         write the tables of the docs anew from what is kept

Each measurement is a process of its own; the order within a round is drawn anew, so that a slow
spell of the machine hits everybody. Ratios are taken round by round. A probe of fdatasync stands
beside durable figures: on a shared disk it explains more than the code does. PostgreSQL is the one
that STEPWELL_BENCH_PG_DSN names, else one from a wheel is started in `--folder`.

What was measured is written after every case. A system that fails at a workload is named, and the
rest goes on without it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks import systems
from benchmarks.keep import Kept, record_path
from benchmarks.measure import able, installed, postgres, run, run_smoke
from benchmarks.report import failures_text, table
from benchmarks.suite import CASES, Case

MINUTES = 18.0


def arguments_of(line: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--smoke", action="store_true", help="small and once")
    parser.add_argument("--scale", action="store_true", help="only the large sizes")
    parser.add_argument("--rounds", type=int, default=5, help="at most (5)")
    parser.add_argument("--minutes", type=float, default=MINUTES,
                        help="no round is begun that would not end by then (18)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--folder", help="where databases go (smoke: memory, where there is any)")
    parser.add_argument("--only", help="ids of cases, separated by commas")
    parser.add_argument("--systems", default=",".join(systems.NAMES))
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plots", type=Path, help="draw pictures into this folder")
    parser.add_argument("--record", metavar="NAME",
                        help="keep the figures under this name, with the docs")  # fmt: skip
    parser.add_argument("--note", default="", help="what a reader of the figures has to know")
    parser.add_argument("--tables", action="store_true", help="only write the docs' tables anew")
    parser.add_argument("--no-postgres", action="store_true")
    return parser.parse_args(line)


def chosen(arguments: argparse.Namespace) -> list[Case]:
    """The cases that were asked for."""
    cases = [c for c in CASES if c.scale == arguments.scale]
    if arguments.only:
        names = arguments.only.split(",")
        if unknown := set(names) - {c.name for c in CASES}:
            raise SystemExit(f"No such case: {', '.join(sorted(unknown))}.")
        cases = [c for c in CASES if c.name in names]
    if arguments.no_postgres:
        cases = [c for c in cases if c.place != "postgres"]
    return cases


def refuse_what_cannot_be(arguments: argparse.Namespace, cases: list[Case]) -> None:
    """What would come to light only when all is measured, or never.

    Raises:
        SystemExit: There is nothing to measure, or no place for it.
    """
    if not cases:
        raise SystemExit("There is nothing to measure: none of these systems can do these cases.")
    if arguments.rounds < 1:
        raise SystemExit(f"--rounds: at least one, not {arguments.rounds}.")
    places = [Path(arguments.folder)]
    places += [path for path in (arguments.json and arguments.json.parent, arguments.plots) if path]
    for place in places:
        try:
            if place != places[0]:
                place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            raise SystemExit(f"{place}: nothing can be written there ({error.strerror}).") from None
    if arguments.plots and importlib.util.find_spec("matplotlib") is None:
        print("LEFT OUT: pictures, for which matplotlib is not installed", file=sys.stderr)
        arguments.plots = None


def folder_of(arguments: argparse.Namespace) -> str:
    """Where databases go. What a smoke run shows does not depend on a disk, but its time does."""
    if arguments.folder:
        return str(Path(arguments.folder).resolve())
    memory = "/dev/shm"
    if arguments.smoke and os.access(memory, os.W_OK):
        free = os.statvfs(memory)
        if free.f_bavail * free.f_frsize > 512 << 20:
            return memory
    return tempfile.gettempdir()


def main() -> None:
    arguments = arguments_of()
    if arguments.tables:
        from benchmarks.pages import write_pages

        write_pages()
        return
    # Whoever stops a run finds no process and no folder of it left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments.folder = folder_of(arguments)
    if arguments.record:
        arguments.json = record_path(arguments.record)
        arguments.plots = arguments.plots or record_path(arguments.record).with_suffix("")
    arguments.systems = installed(arguments.systems.split(","))
    cases = [c for c in chosen(arguments) if any(able(n, c) for n in arguments.systems)]
    refuse_what_cannot_be(arguments, cases)
    kept = Kept(arguments, cases)
    with postgres(arguments.folder, needed=any(c.place == "postgres" for c in cases)):
        if arguments.smoke:
            run_smoke(cases, arguments, kept)
        else:
            run(cases, arguments, kept, random.Random(arguments.seed))
    print(table(kept.results, cases, judged=not arguments.smoke, medium=kept.medium))
    print(f"\n{kept.described}")
    if arguments.plots and not arguments.smoke:
        from benchmarks.plots import draw

        for path in draw(kept.results, arguments.plots):
            print(f"drawn: {path}", file=sys.stderr)
    if arguments.record:
        from benchmarks.pages import write_pages

        write_pages()
    if kept.failures:
        print(failures_text(kept.failures), file=sys.stderr)
    ours = any(f["system"] in systems.OURS for f in kept.failures)
    raise SystemExit(1 if ours else 0)  # a peer that fails is named, and left out


if __name__ == "__main__":
    main()
