"""The other side of the soak: it starts and kills the processes, and holds them to their word.

Two processes run on one database. One stays to the end: its memory, open files and threads are
what has to be flat. The other is killed again and again. In every period a backup is made beside
the runs; at its end nothing moves for a moment, and what is restored is compared with the source,
row by row, and with every acknowledgement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import statistics
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from stepwell import open_saver
from stepwell._journal.copying import comparable
from stepwell.checkpoint.base import BackupProgress, Saver
from stepwell.checkpoint.driver import RowKind, at_rest
from tests._postgres import execute
from tests.crash._workload import read_log
from tests.torture import _soak_child
from tests.torture._figures import Figures
from tests.torture._record import ROOT
from tests.torture._soak_child import build, build_asking, config_of, told_wrongly

MIB = 1 << 20
REPLY_S = 600.0
"""When a process that was told something counts as hanging; how busy a machine is says nothing."""
LOG_MAX_MIB = 80.0
"""SQLite cuts its write-ahead log to 64 MiB; a reader may hold it a little longer."""
GAUGES = {
    # what is measured: (how much more is still flat, as a share, unit)
    "resident memory": (12.0, 0.10, "MiB"),
    "files open": (3.0, 0.0, ""),
    "threads": (2.0, 0.0, ""),
    "database": (24.0, 0.25, "MiB"),
    "sessions": (2.0, 0.0, ""),
    "advisory locks": (8.0, 0.0, ""),
    "own files open": (6.0, 0.0, ""),
}


class CutOffError(Exception):
    """A backup is cut off here."""


def growth(series: list[float], absolute: float, share: float) -> float | None:
    """How much higher a series ends than it was after its beginning; None if that is flat.

    The first third is warming up. Of the two others, medians are compared: one sample more or
    less says nothing. Short series are only told to be flat or not by their ends.
    """
    settled = series[len(series) // 3 :]
    half = len(settled) // 2
    if not half:
        return None
    before, after = statistics.median(settled[:half]), statistics.median(settled[half:])
    return after - before if after - before > absolute + share * before else None


def unmet(log: list[dict[str, Any]], counts: dict[str, int]) -> list[str]:
    """Acknowledgements that a database does not keep, and what the processes complained of.

    `counts`: how far each thread has come that is there.
    """
    wrong = [entry["wrong"] for entry in log if "wrong" in entry]
    newest: dict[str, int] = {}
    for entry in log:
        if "count" in entry:
            thread, count = entry["thread"], entry["count"]
            newest[thread] = max(count, newest.get(thread, 0))
        elif entry.get("deleted") in counts:
            wrong.append(f"{entry['deleted']} was deleted, and is there")
    return wrong + [
        f"{thread} had come to {count}, and is at {counts.get(thread)}"
        for thread, count in newest.items()
        if counts.get(thread, -1) < count
    ]


async def rows_of(saver: Saver) -> dict[Any, Any]:
    """All rows at rest, as all drivers agree on them."""
    driver = (await saver.journal()).driver
    async with driver.snapshot() as snapshot:  # type: ignore[attr-defined]
        found = {}
        for row in await snapshot.threads(None, 10_000):
            kinds = {
                kind: [comparable(kind, r) for r in (await snapshot.rows(kind, [row.key]))[0]]
                for kind in RowKind
            }
            moments = {n: round(getattr(row, n), 6) for n in ("created_at", "updated_at")}
            found[row.key] = (at_rest(row)._replace(**moments), kinds)
        return found


async def counts_of(saver: Saver, failures: list[str]) -> dict[str, int]:
    """How far each thread has come; states that contradict themselves go to `failures`."""
    graph, asking, found = build(saver), build_asking(saver), {}
    for info in [info async for info in saver.alist_threads()]:
        reader = asking if info.thread_id.startswith("asking-") else graph
        values = (await reader.aget_state(config_of(info.thread_id))).values
        if (wrong := told_wrongly(values)) is not None:
            failures.append(f"{info.thread_id}: {wrong}")
        found[info.thread_id] = int(values.get("count", 0))
    return found


def open_files(pid: int | str = "self") -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def from_status(pid: int, field: str) -> int:
    """A number out of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    msg = f"/proc/{pid}/status has no {field}"
    raise ValueError(msg)


class Process:
    """One child, and words to and from it."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child

    @classmethod
    async def start(cls, url: str, folder: Path, me: str, seed: int) -> Process:
        """Started, ready and working."""
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with (folder / f"{me}.err").open("ab") as errors:
            child = await asyncio.create_subprocess_exec(
                sys.executable, _soak_child.__file__, url, str(folder), me, str(seed),
                env={**os.environ, "PYTHONPATH": path}, stderr=errors,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        process = cls(child)
        await process.heard("ready")
        process.say("go")
        return process

    def say(self, word: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(f"{word}\n".encode())

    async def heard(self, word: str) -> None:
        assert self.child.stdout is not None
        try:
            async with asyncio.timeout(REPLY_S):
                line = await self.child.stdout.readline()
        except TimeoutError:
            self.child.send_signal(signal.SIGUSR1)  # it tells where its tasks stand
            await asyncio.sleep(5)
            msg = f"a process that should have said {word!r} has said nothing for {REPLY_S:g} s"
            raise RuntimeError(msg) from None
        if line.strip() != word.encode():
            msg = f"a process should have said {word!r}, and said {line!r}"
            raise RuntimeError(msg)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        await self.child.wait()


class Soak:
    """One database, from its first period to its end."""

    def __init__(self, url: str, folder: Path, seed: int, figures: Figures) -> None:
        self.url, self.folder, self.figures = url, folder, figures
        self.dice = random.Random(seed)
        self.place = url.partition(":")[0]
        self.series: dict[str, list[float]] = {}
        self.victim: Process | None = None
        self.periods = self.read = 0

    async def run(self, until: float, period_s: float, periods: int | None) -> None:
        """Period after period until that moment (or so many); then the end."""
        stayer = await self._started("stays")
        try:
            async with open_saver(self.url) as source:
                while self.periods < (periods or 1) or (
                    periods is None and time.monotonic() + period_s / 2 < until
                ):
                    await self._period(source, stayer, period_s)
                await self._end(source, stayer)
        except Exception:  # what was seen until then counts, too
            self.figures.failures.append(traceback.format_exc(limit=-4))
        finally:
            for process in (stayer, self.victim):
                if process is not None:
                    await process.kill()
            errors = [p.read_text("utf-8")[-3000:] for p in sorted(self.folder.glob("*.err"))]
            self.figures.failures += [f"a process complained: {e}" for e in errors if e.strip()]
        self._judge()

    async def _started(self, me: str) -> Process:
        return await Process.start(self.url, self.folder, me, self.dice.getrandbits(31))

    # -- a period

    async def _period(self, source: Saver, stayer: Process, period_s: float) -> None:
        ends = time.monotonic() + period_s
        killing = asyncio.create_task(self._killing(ends, period_s))
        try:
            await asyncio.sleep(period_s * self.dice.uniform(0.1, 0.5))
            await self._backup_beside(source)
            await killing
        finally:
            killing.cancel()
        stayer.say("pause")
        await stayer.heard("quiet")
        await self._compare(source)
        await self._measure(stayer.child.pid)
        stayer.say("go")
        self.periods += 1
        self.figures.cases += 1

    async def _killing(self, ends: float, period_s: float) -> None:
        """Start the other process and kill it, until the period is over; it is dead then."""
        while True:
            self.victim = await self._started("dies")
            left = ends - time.monotonic()
            lives = self.dice.uniform(0, period_s / 2)
            await asyncio.sleep(min(lives, max(0.0, left)))
            await self.victim.kill()
            self.victim = None
            self.figures.counts["kills"] += 1
            if lives >= left:
                return

    async def _backup_beside(self, source: Saver) -> None:
        """A backup while runs go on, every second one cut off and gone on with; it is whole, and
        holds nothing that is not a prefix."""
        target = self._fresh("beside.db")
        if self.periods % 2:

            def stop(_: BackupProgress) -> None:
                raise CutOffError

            try:
                await source.abackup(target, progress=stop)
            except CutOffError:
                self.figures.counts["backups cut off"] += 1
        await source.abackup(target)
        self.figures.counts["backups beside runs"] += 1
        self._log_size()  # its snapshot held the log while others wrote
        async with open_saver(f"sqlite:///{target}") as copy:
            await self._verified(copy, "a backup beside runs")
            early = await counts_of(copy, self.figures.failures)
        late = await counts_of(source, self.figures.failures)
        self.figures.failures += [
            f"{thread} is at {count} in a backup, and at {late[thread]} later"
            for thread, count in early.items()
            if not thread.startswith("forked-") and count > late.get(thread, count)
        ]

    async def _verified(self, saver: Saver, what: str) -> None:
        problems = (await saver.averify()).problems
        self.figures.failures += [f"{what}: {p.message}" for p in problems]

    # -- when nothing moves

    async def _compare(self, source: Saver) -> None:
        """The source, a restored backup of it and what was acknowledged say the same."""
        target = self._fresh("quiet.db")
        await self._verified(source, "the source")
        final = await rows_of(source)
        await source.abackup(target)
        async with open_saver("memory://") as third:
            await third.arestore(target)
            if await rows_of(third) != final:
                self.figures.failures.append("what was restored is not what was backed up")
            counts = await counts_of(third, self.figures.failures)
        self.figures.counts["restores"] += 1
        self.figures.counts["rows compared"] += sum(
            len(rows) for _, kinds in final.values() for rows in kinds.values()
        )
        log = read_log(str(self.folder / "soak.jsonl"))
        self.figures.failures += unmet([e for e in log if "wrong" not in e], counts)
        self.figures.failures += [e["wrong"] for e in log[self.read :] if "wrong" in e]
        fresh, self.read = log[self.read :], len(log)
        self.figures.counts["acknowledged"] += sum("count" in e for e in fresh)
        done: Counter[str] = Counter()
        for entry in fresh:
            done.update(entry.get("done", {}))
        self.figures.stages.update({f"{name} of who stays": n for name, n in done.items()})

    async def _measure(self, pid: int) -> None:
        """Gauges, while nothing moves."""
        found = {
            "resident memory": from_status(pid, "VmRSS") / 1024,
            "threads": from_status(pid, "Threads"),
            "files open": open_files(pid),
            "own files open": open_files(),
        }
        if self.place == "sqlite":
            found["database"] = self._size() / MIB
            self._log_size()
        else:
            found |= await self._server()
        for name, value in found.items():
            self.series.setdefault(name, []).append(value)

    def _size(self, ending: str = "") -> int:
        """Bytes of a file of SQLite's."""
        return Path(self.url.removeprefix("sqlite:///") + ending).stat().st_size

    def _log_size(self) -> None:
        if self.place != "sqlite":
            return
        size = self._size("-wal") / MIB
        self.figures.at_worst("sqlite: MiB of the write-ahead log", size)
        if size > LOG_MAX_MIB:
            self.figures.failures.append(f"the write-ahead log has {size:.0f} MiB")

    async def _server(self) -> dict[str, float]:
        [row] = await execute(
            "SELECT pg_database_size(current_database()) AS bytes,"
            " (SELECT count(*) FROM pg_stat_activity"
            "  WHERE datname = current_database() AND pid <> pg_backend_pid()) AS sessions,"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks"
            " WHERE $1",
            True,  # rows are given for a statement with arguments
            dsn=self.url,
        )
        return {
            "database": row["bytes"] / MIB,
            "sessions": row["sessions"],
            "advisory locks": row["locks"],
        }

    # -- the end

    async def _end(self, source: Saver, stayer: Process) -> None:
        """Both drain; what the killed left is recovered; nothing is left running or unmet."""
        self.victim = await self._started("dies")
        await asyncio.sleep(0.5)
        for process in (stayer, self.victim):
            process.say("drain")
        for process in (stayer, self.victim):
            await process.heard("quiet")
            async with asyncio.timeout(REPLY_S):
                if code := await process.child.wait():
                    self.figures.failures.append(f"a process that drained ended with {code}")
        async with asyncio.timeout(REPLY_S):
            while left := [i.thread_id async for i in source.alist_threads(status="running")]:
                for graph in (build(source), build_asking(source)):
                    report = await graph.arecover(attempts_max=10_000)
                    self.figures.counts["recovered at the end"] += report.recovered
                    self.figures.failures += [f"not recovered: {i}" for i in report.failed]
                await asyncio.sleep(0.1 * len(left))
        await self._compare(source)

    def _judge(self) -> None:
        for name, (absolute, share, unit) in GAUGES.items():
            series = self.series.get(name, [])
            if not series:
                continue
            self.figures.at_worst(f"{self.place}: {name} {unit}".strip(), max(series))
            if (more := growth(series, absolute, share)) is not None:
                shown = ", ".join(f"{value:.1f}" for value in series)
                self.figures.failures.append(
                    f"{self.place}: {name} grew by {more:.1f} {unit}: {shown}"
                )

    def _fresh(self, name: str) -> Path:
        path = self.folder / name
        for ending in ("", "-wal", "-shm", "-locks"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return path
