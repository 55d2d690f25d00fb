"""Fixtures for tests of graphs: savers, a virtual clock, kills. pytest finds them by itself.

Options: `--stepwell-savers=memory,sqlite` says for which savers tests with `stepwell_saver`
run, `--stepwell-postgres=DSN` where PostgreSQL is, `--stepwell-seed=N` replays a clock.
Loading this module loads no driver and nothing of `stepwell.testing`; fixtures do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver
    from stepwell.testing import CrashReport, VirtualClock

SAVERS = ("memory", "sqlite", "postgres")
_DEFAULT = "memory,sqlite"
_STARTED = pytest.StashKey[dict[str, str | None]]()
"""Saver -> why it cannot start; None: it can."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which options there are."""
    group = parser.getgroup("stepwell", "durable graphs")
    group.addoption(
        "--stepwell-savers",
        default=_DEFAULT,
        metavar="NAMES",
        help=f"savers that tests with stepwell_saver run on, of {','.join(SAVERS)} "
        f"(default: {_DEFAULT})",
    )
    group.addoption(
        "--stepwell-postgres", metavar="DSN", help="the PostgreSQL server that tests may use"
    )
    group.addoption(
        "--stepwell-seed", type=int, metavar="N", help="where the names of stepwell_clock start"
    )


def chosen_savers(config: pytest.Config) -> list[str]:
    """The savers that were asked for.

    Raises:
        pytest.UsageError: One of them is none.
    """
    names = [n.strip() for n in str(config.getoption("--stepwell-savers")).split(",") if n.strip()]
    unknown = sorted(set(names) - set(SAVERS))
    if unknown or not names:
        what = ", ".join(unknown) or "nothing"
        raise pytest.UsageError(f"--stepwell-savers: {what} is no saver; there are {SAVERS}.")
    return list(dict.fromkeys(names))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that ask for a saver once for each."""
    if "stepwell_saver" in metafunc.fixturenames:
        metafunc.config.stash.setdefault(_STARTED, {})
        metafunc.parametrize("stepwell_saver", chosen_savers(metafunc.config), indirect=True)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say on which savers nothing was tried."""
    if _STARTED not in config.stash:
        return
    missing = [name for name in SAVERS if name not in chosen_savers(config)]
    if missing:
        terminalreporter.write_line(
            f"stepwell: LEFT OUT: {', '.join(missing)} (not in --stepwell-savers)", yellow=True
        )


def _url(name: str, config: pytest.Config, folder: Path) -> str:
    if name == "memory":
        return "memory://"
    if name == "sqlite":
        return f"sqlite:///{folder / 'stepwell.db'}"
    dsn = config.getoption("--stepwell-postgres")
    if not dsn:
        raise pytest.UsageError(
            "--stepwell-savers has postgres: say where, --stepwell-postgres=DSN."
        )
    return str(dsn)


def _check_start(name: str, url: str, config: pytest.Config) -> None:
    """Open the database once per session; a saver that cannot start fails its tests."""
    from stepwell import open_saver
    from stepwell.errors import StepwellError

    known = config.stash.setdefault(_STARTED, {})
    if name not in known:
        try:
            with open_saver(url):
                known[name] = None
        except StepwellError as error:
            known[name] = f"the {name} saver cannot start: {error}"
    if (why := known[name]) is not None:
        pytest.fail(why, pytrace=False)


@pytest.fixture
def stepwell_saver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Saver]:
    """A saver with no threads in it, closed after the test; the test runs once for each of
    `--stepwell-savers`. It belongs to the event loop that first uses it."""
    from stepwell import open_saver
    from stepwell._ids import RANDOM_IDS

    name: str = request.param
    url = _url(name, request.config, tmp_path)
    _check_start(name, url, request.config)
    opened = open_saver(url)
    # A server is shared: there the test has a scope of its own.
    saver = opened.scoped(f"test-{RANDOM_IDS.run_id()}") if name == "postgres" else opened
    yield saver
    if saver is not opened:
        _finish(saver, lambda: _empty(saver))
    _finish(opened, opened.aclose)


async def _empty(saver: Saver) -> None:
    for thread in [each.thread_id async for each in saver.alist_threads()]:
        await saver.adelete_thread(thread, lock_timeout=None)


def _finish(saver: Saver, work: Callable[[], Any]) -> None:
    """Do what is left on the saver's loop, which may stand still between test and teardown."""
    from stepwell._portal import run_sync

    loop = saver.home()
    if loop is None or loop.is_running():
        run_sync(work, loop=loop, name="close")
    else:
        loop.run_until_complete(work())


@pytest.fixture
def stepwell_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """A virtual clock; its seed is shown when the test fails, to replay it."""
    from stepwell._ids import RANDOM_IDS
    from stepwell.testing import VirtualClock

    given = request.config.getoption("--stepwell-seed")
    seed = int(RANDOM_IDS.uniform(0, 1 << 32)) if given is None else int(given)
    request.node.add_report_section("setup", "stepwell", f"--stepwell-seed={seed} replays this run")
    return VirtualClock(seed)


class CrashCheck:
    """Kills a graph at its awaits and fails the test unless it recovers from each kill."""

    async def acheck(
        self, graph: Any, input: Any, config: Any, **options: Any
    ) -> list[CrashReport]:
        """`stepwell.testing.crash_everywhere`, with its arguments; a report that is not ok
        fails the test.

        Returns:
            The reports, of which there is at least one.
        """
        from stepwell.testing import crash_everywhere

        reports = await crash_everywhere(graph, input, config, **options)
        broken = [report for report in reports if not report.ok]
        if broken:
            pytest.fail("\n".join([_summary(reports), *map(_line, broken[:10])]), pytrace=False)
        return reports

    def check(self, graph: Any, input: Any, config: Any, **options: Any) -> list[CrashReport]:
        """Sync twin of `acheck`."""
        from stepwell._portal import run_sync

        return run_sync(
            lambda: self.acheck(graph, input, config, **options),
            loop=graph.checkpointer.home(),
            name="check",
        )


def _summary(reports: list[CrashReport]) -> str:
    broken = sum(not report.ok for report in reports)
    return f"The graph does not recover from {broken} of {len(reports)} kills:"


def _line(report: CrashReport) -> str:
    wrong = [*report.problems, *(f"{v.invariant}: {v.message}" for v in report.violations)]
    return f"  k={report.k} ({report.where}): {'; '.join(wrong)}"


@pytest.fixture
def stepwell_crash() -> CrashCheck:
    """Kills a graph at each of its awaits: `await stepwell_crash.acheck(graph, input, config)`."""
    return CrashCheck()
