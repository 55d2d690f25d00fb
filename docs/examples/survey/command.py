"""The command line of the survey, and the order of its acts."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import StepwellError
from stepwell.graph import CompiledStateGraph
from survey import check, database, show, supervisor, worker
from survey.graph import RANKINGS, build, read_answer
from survey.question import UnansweredError, answered
from survey.show import say
from survey.sources import FILES_MIN, list_files, replace_file, standard_library
from survey.supervisor import Killed, KillMissedError, WorkerFailedError
from survey.verify import recount
from survey.worker import Job

VERIFIED, BROKEN, USAGE, FAILED, MISSED, UNANSWERED = range(6)
INTERRUPTED = 130
EFFECTS, OUTCOME = "effects.jsonl", "outcome.json"
CODES = """exit codes:
  0  verified: nothing durable ran again, and every figure agrees with the recount
  1  a promise was broken, or a figure differs
  2  wrong usage, or something needed is missing
  3  a worker failed
  4  the kill came too late, three times
  5  nobody answered the question; on SQLite it can be answered later, with --continue"""
CONCURRENCIES = (4, 2, 1)
"""Tasks at a time; fewer, and so slower, after a kill that came too late."""


class UsageError(Exception):
    """The survey cannot begin."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="survey.py",
        description="Survey Python sources with a graph whose process is killed half-way.",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("folder", nargs="?", help="sources to survey (default: the standard library)")
    add("--limit", type=int, default=200, metavar="N", help="files at most (default: %(default)s)")
    add("--all", action="store_true", help="all files, however many")
    add("--out", type=Path, default=Path("survey-out"), help="default: ./%(default)s")
    add("--postgres", action="store_true", help="on a PostgreSQL server that is started for it")
    add("--durability", choices=("sync", "async"), default="sync", help="default: %(default)s")
    add("--no-kill", action="store_true", help="let the first process run to the question")
    add("--continue", dest="later", action="store_true", help="answer what was left unanswered")
    answers = options.add_mutually_exclusive_group()
    add = answers.add_argument
    add("--answer", metavar="TEXT", help='answer to the question, such as "undocumented 20" or no')
    add("--yes", dest="answer", action="store_const", const="yes", help="take what is suggested")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Entry point; the exit code."""
    # What the compiler thinks of other people's escape sequences is no business of a survey.
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    warnings.filterwarnings("ignore", message="invalid", category=DeprecationWarning)
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--worker"]:
        return worker.main()
    options = parser().parse_args(given)
    try:
        with output_folder(options) as out, _database(options, out) as url:
            return asyncio.run(survey(options, out, url))
    except (UsageError, database.MissingError) as error:
        return _refused(error, USAGE)
    except (WorkerFailedError, StepwellError) as error:
        return _refused(error, FAILED)
    except KillMissedError:
        return _refused("the kill came too late each time; survey more files", MISSED)
    except UnansweredError:
        return _refused("no answer; the run waits for one in the database", UNANSWERED)
    except KeyboardInterrupt:
        return _refused("interrupted", INTERRUPTED)


def _refused(why: object, code: int) -> int:
    print(f"\nsurvey.py: {why}", file=sys.stderr)
    return code


@contextmanager
def output_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Check the options; give the output folder, to nobody else at the same time.

    Raises:
        UsageError: There is nothing to survey, or another survey is writing there.
    """
    check_options(options)
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"another survey is writing to {out}") from None
        if not options.later:
            reports = [f"report-{name}.{kind}" for name in RANKINGS for kind in ("md", "json")]
            for old in (*reports, EFFECTS, OUTCOME):
                (out / old).unlink(missing_ok=True)
        yield out


def check_options(options: argparse.Namespace) -> None:
    """Complete the options, or say what is wrong with them.

    Raises:
        UsageError: One has a value it cannot have.
    """
    if options.answer is not None:
        try:
            read_answer(options.answer)
        except ValueError as error:
            raise UsageError(f"--answer {error}") from error
    if options.later:
        if options.postgres:
            raise UsageError("--continue needs SQLite: the PostgreSQL server was temporary")
        return
    if options.all:
        options.limit = sys.maxsize
    options.folder = str(Path(options.folder or standard_library()).resolve())
    if not Path(options.folder).is_dir():
        raise UsageError(f"{options.folder} is no folder")
    if options.limit < FILES_MIN:
        raise UsageError(f"--limit {options.limit}: a survey is of {FILES_MIN} files or more")
    if (count := len(list_files(options.folder, options.limit))) < FILES_MIN:
        raise UsageError(f"{options.folder} has {count} files; {FILES_MIN} are needed")


def _database(options: argparse.Namespace, out: Path) -> AbstractContextManager[str]:
    return (
        database.postgres() if options.postgres else database.sqlite(out, fresh=not options.later)
    )


async def survey(options: argparse.Namespace, out: Path, url: str) -> int:
    """All acts, one after the other; the exit code."""
    began = time.monotonic()
    job = Job(
        "start", url, "", str(out), str(out / EFFECTS), options.durability, CONCURRENCIES[0]
    )  # fmt: skip
    async with open_saver(url) as saver:
        graph = build().compile(checkpointer=saver)
        killed = None
        if options.later:
            job = await waiting(saver, graph, job)
        else:
            job = replace(job, folder=options.folder, limit=options.limit)
        say(f"Survey of {job.folder}, on {url.partition(':')[0]}, durability {job.durability}")
        if not options.later:
            job, killed = await fan_out(graph, job, kill=not options.no_kill)
        main_end = await answered(graph, job, options.answer)
        say("\nFork: back to the question, and another answer")
        branches = await supervisor.fork(graph, job, main_end)
        say(show.ending("main", branches.main))
        say(show.ending("fork", branches.fork))
        differing = supervisor.different(branches.main, branches.fork)
        say(f"  they differ in: {', '.join(differing)}")
        say("\nHistory, newest first")
        say(show.history(branches))
    say("\nVerification: the same figures, counted again without Stepwell")
    expected = recount(job.folder, job.limit)
    problems = [] if killed is None else killed.broken
    if branches.main != main_end:
        problems.append("the main branch is no longer what it was before the fork")
    for label, end in (("main", branches.main), ("fork", branches.fork)):
        problems += [f"{label}: {p}" for p in check.compare(end, expected, out)]
    say(check.figures(branches.main, expected))
    replace_file(out / OUTCOME, check.outcome(killed, branches, problems))
    for problem in problems:
        say(f"  WRONG: {problem}")
    seconds = time.monotonic() - began
    say(f"\n{'NOT verified' if problems else 'verified'} in {seconds:.1f} s; reports in {out}")
    return BROKEN if problems else VERIFIED


async def fan_out(graph: CompiledStateGraph, job: Job, *, kill: bool) -> tuple[Job, Killed | None]:
    """Run to the question; in two processes, of which the first is killed, if `kill`.

    Raises:
        KillMissedError: The fan-out was over too soon, however few tasks ran at a time.
    """
    if not kill:
        job = supervisor.fresh_thread(job, CONCURRENCIES[0])
        say("\nOne process runs to the question")
        await supervisor.run(job)
        return job, None
    for concurrency in CONCURRENCIES:
        job = supervisor.fresh_thread(job, concurrency)
        say(f"\nA process begins, {concurrency} tasks at a time; it will be killed half-way")
        try:
            killed = await supervisor.run_and_kill(graph, job)
        except KillMissedError:
            say("  the fan-out was over before the kill: once more, slower, on a new thread")
            continue
        say(f"\nSIGKILL: {len(killed.durable)} of {killed.total} results are in the database")
        say("A new process goes on with the same thread")
        killed = await supervisor.resume(killed)
        say("\nWhat ran again")
        say(show.account(killed))
        return job, killed
    raise KillMissedError


async def waiting(saver: Saver, graph: CompiledStateGraph, job: Job) -> Job:
    """The job of the thread that waits for an answer, found in the database.

    Raises:
        UsageError: There is none.
    """
    found = [thread async for thread in saver.alist_threads(status="interrupted", limit=1)]
    if not found:
        raise UsageError(f"no survey in {job.out} waits for an answer")
    job = replace(job, thread_id=found[0].thread_id)
    values = (await graph.aget_state(job.config)).values
    return replace(job, folder=values["folder"], limit=values["limit"])
