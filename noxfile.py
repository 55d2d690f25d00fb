#!/usr/bin/env python3
"""Every job of the project, and the way to run them on a machine that has only Python.

    python3 noxfile.py demo         with nothing but Python 3.11 or later
    nox -s demo                     the same, where nox is installed

Run as a program, this file makes `.venv` beside itself, installs nox there and hands over to
it; so it must import on a plain Python. Words after the job's name go to the job;
`python3 noxfile.py --list` shows the jobs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


# --- as a program -----------------------------------------------------------------------------


def bootstrap(arguments: list[str]) -> int:
    """Run nox out of `.venv`, which is made at the first call; give back its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036  # told in words, to whoever has an older one
        print(f"Stepwell needs Python 3.11 or later; this is {sys.version.split()[0]}.")
        return 2
    home = ROOT / ".venv"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not _can(python, "import pip, venv") and not _make_environment(home):
        return 2
    if not _can(python, "import nox"):
        print(f"Installing nox in {home}", flush=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "nox>=2025.5"]
        if subprocess.run(install, check=False).returncode:
            print("nox could not be installed: pip says why, above.")
            return 2
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--session", arguments[0], "--", *arguments[1:]]
    command = [str(python), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *arguments]
    return subprocess.run(command, check=False).returncode


def _can(python: Path, code: str) -> bool:
    if not python.exists():
        return False
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


def _make_environment(home: Path) -> bool:
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(home)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode == 0:
        return True
    print(
        f"{sys.executable} cannot make a virtual environment:\n\n{made.stdout}{made.stderr}\n"
        "On Debian and Ubuntu the missing part is a package of its own:\n"
        "    apt-get install python3-venv\n"
        "Or start this file with a Python that is complete: /path/to/python3 noxfile.py ..."
    )
    return False


if __name__ == "__main__":
    raise SystemExit(bootstrap(sys.argv[1:]))


# --- as nox's file ----------------------------------------------------------------------------

import nox  # noqa: E402  # only here: as a program, this file has to start without it
from nox.command import CommandFailed  # noqa: E402

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "arch", "quick"]

PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile")
"""Much of a test run waits: for leases, for processes that were killed, for disks."""
PEERS = ("bench-langgraph", "bench-burr", "bench-dbos")
"""Dependency groups of what is measured beside Stepwell."""
SMOKE = ROOT / "tests" / "wheel" / "smoke.py"


def _install(session: nox.Session, *groups: str) -> None:
    """Install the package, editable, and the named dependency groups."""
    session.install("-e", ".", *nox.project.dependency_groups(PROJECT, *groups))


def _install_bench(session: nox.Session) -> None:
    """Install what benchmarks need; peers that cannot be installed here are left out."""
    try:
        _install(session, "bench", *PEERS)
        return
    except CommandFailed:
        _install(session, "bench")
    for peer in PEERS:
        try:
            session.install(*nox.project.dependency_groups(PROJECT, peer))
        except CommandFailed:
            print(f"LEFT OUT: {peer}, which cannot be installed here")


def _pytest(session: nox.Session, *arguments: str) -> None:
    session.run("python", "-m", "pytest", *arguments, *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the survey: a graph that is killed, goes on, and loses nothing. [--postgres]."""
    _install(session, *(["postgres"] if "--postgres" in session.posargs else []))
    session.run("python", "docs/examples/survey.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test that a commit has to pass, on the interpreter at hand."""
    _install(session, "test", "compat", "arch")
    _pytest(session, *SIDE_BY_SIDE)


@nox.session(name="tests-on", python=PYTHONS)
def tests_on(session: nox.Session) -> None:
    """Run the same on another Python: tests-on-3.12, ..."""
    _install(session, "test", "compat", "arch")
    _pytest(session, *SIDE_BY_SIDE)


@nox.session(name="postgres-at", default=False)
def postgres_at(session: nox.Session) -> None:
    """Run what needs PostgreSQL on another server: -- postgresql://SUPERUSER@HOST/DATABASE."""
    if not session.posargs:
        session.error("Say which server: -- postgresql://postgres@127.0.0.1:5432/postgres")
    _install(session, "test", "compat")
    env = {"STEPWELL_TEST_PG_DSN": session.posargs[0]}
    session.run("python", "-m", "pytest", "-m", "postgres", *session.posargs[1:], env=env)


@nox.session
def quick(session: nox.Session) -> None:
    """Run for about a minute: no servers, no processes killed; stop at the first failure."""
    _install(session, "test")
    folders = [f"tests/{name}" for name in ("unit", "property", "contract")]
    _pytest(session, *folders, "-x", "-m", "not slow and not postgres")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format. `-- --fix` repairs what can be repaired."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    _install(session, "types", "test")
    session.run("mypy", *session.posargs)


@nox.session
def arch(session: nox.Session) -> None:
    """Check who imports whom, and the rules that no linter knows."""
    _install(session, "arch", "test")
    session.run("lint-imports", "--no-cache")
    _pytest(session, "tests/arch")


@nox.session
def compat(session: nox.Session) -> None:
    """Run the same graphs here and on LangGraph, and compare. [everywhere]: on all databases."""
    _install(session, "test", "compat")
    posargs = [a for a in session.posargs if a != "everywhere"]
    places = "sqlite-async sqlite-sync memory-sync memory-exit postgres-async"
    everywhere = {"STEPWELL_COMPAT_PLACES": places} if posargs != session.posargs else {}
    session.run("python", "-m", "pytest", "tests/compat", *posargs, env=everywhere)


@nox.session(name="compat-long", default=False)
def compat_long(session: nox.Session) -> None:
    """Compare many random graphs. `-- GRAPHS [SEED [memory|sqlite|postgres]]` (10000 0 memory)."""
    _install(session, "test", "compat")
    given = [*session.posargs, "", "", ""]
    env = {
        "STEPWELL_COMPAT_GRAPHS": given[0] or "10000",
        "STEPWELL_TEST_SEED": given[1] or "0",
        "STEPWELL_COMPAT_DRIVER": given[2] or "memory",
    }
    graphs = "tests/compat/test_random_graphs.py::test_stepwell_agrees_with_langgraph"
    session.run("python", "-m", "pytest", graphs, "-s", "-p", "no:randomly", env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """Run every block of code in the README and in docs/."""
    _install(session, "docs")
    _pytest(session, "tests/docs/test_code_blocks.py")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, then try it in an environment that has nothing else."""
    session.install("hatchling")
    dist = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "hatchling", "build", "--clean", "-t", "wheel", "-d", str(dist))
    (built,) = dist.glob("*.whl")
    session.notify("wheel-alone", [str(built)])


@nox.session(name="wheel-alone", default=False, reuse_venv=False)
def wheel_alone(session: nox.Session) -> None:
    """Install the wheel named in the arguments, no extras, and run a small graph on it."""
    session.install(*session.posargs)
    session.chdir(session.create_tmp())  # away from the sources
    session.run("python", "-I", str(SMOKE))


@nox.session
def kill(session: nox.Session) -> None:
    """Kill processes STEPWELL_KILLS times (500) on each database, and look for what was lost."""
    _install(session, "test")
    kills = {"STEPWELL_KILLS": os.environ.get("STEPWELL_KILLS", "500")}
    session.run("python", "-m", "pytest", "tests/crash", *session.posargs, env=kills)


@nox.session(default=False)
def torture(session: nox.Session) -> None:
    """Break things on purpose: -- --minutes 30 [--only T5,T9] [--seed S] [--record]."""
    _install(session, "test")
    session.run("python", "-m", "tests.torture", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against peers; takes a while."""
    _install_bench(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(name="bench-smoke")
def bench_smoke(session: nox.Session) -> None:
    """Run every benchmark once, small, to see that it still runs."""
    _install_bench(session)
    session.run("python", "-m", "benchmarks", "--smoke", *session.posargs)
