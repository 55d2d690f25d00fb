"""A program whose disk has no room for a while: `_disk_full FOLDER KIND SEED CASES SECONDS OUT`.

KIND "tmpfs": a small file system of its own (start this under `unshare --mount`, as root), filled
up with a file beside the database. KIND "rlimit": files may not grow beyond where they are, by
RLIMIT_FSIZE; anybody may do that, and the error is EFBIG. What is acknowledged is noted elsewhere,
where there is room.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from stepwell import open_saver
from stepwell.errors import StorageError, StorageFullError, StorageUnavailableError
from stepwell.observe import StorageRetried
from tests.crash._workload import Log
from tests.torture._disk_work import Acks, check, integrity, work
from tests.torture._figures import Figures

THREADS = ("a", "b", "c", "d")
SIZE = "3m"
PATIENT_S, IMPATIENT_S = 60.0, 0.4


class SmallDisk:
    """A tmpfs, and the file that fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "stepwell", str(self.folder)]
        subprocess.run(mount, check=True)
        self._ballast = self.folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 4096, 512):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


class SmallFiles:
    """No file of this process may be longer than the longest that there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir()
        self._was = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        log = max((f.stat().st_size for f in self.folder.glob("*-wal")), default=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log, self._was[1]))

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._was)


class Case:
    """One piece of work, and a disk that is full for a while in the middle of it."""

    def __init__(self, disk: SmallDisk | SmallFiles, number: int, seed: int) -> None:
        self._disk = disk
        self._chance = random.Random(f"{seed}/{number}")
        self._file = disk.folder / f"n{number}.db"
        self._acks = Log(str(disk.folder.parent / f"acks-{number}"))
        self.patient = number % 2 == 0
        self.refused = 0
        self.broken: list[str] = []
        self.outcome = ""

    def _seen(self, event: object) -> None:
        if isinstance(event, StorageRetried):
            self.refused += 1

    async def run(self) -> None:
        url = f"sqlite:///{self._file}"
        budget = PATIENT_S if self.patient else IMPATIENT_S
        options = {"lease_ttl_s": 1.0, "outage_budget_s": budget, "observe": self._seen}
        async with open_saver(url, **options) as saver:
            await saver.asetup()
            working = asyncio.ensure_future(work(saver, THREADS, self._acks))
            await asyncio.sleep(self._chance.uniform(0.0, 0.15))
            self._disk.fill()
            try:
                await self._until(lambda: working.done() or self.refused >= 3)
                if not self.patient:
                    await self._until(working.done)
            finally:
                self._disk.free()
            self._judge(await working)
            if again := await work(saver, THREADS, self._acks):
                self.broken.append(f"not usable again: {again}")
        broken, _ = await check(url, THREADS, Acks.read(self._acks.lines()))
        self.broken += [*broken, *integrity(self._file)]
        for file in self._disk.folder.glob(f"{self._file.name}*"):
            file.unlink()

    async def _until(self, so: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENT_S
        while not so():
            if time.monotonic() > until:
                self.broken.append("hung on a full disk")
                return
            await asyncio.sleep(0.01)

    def _judge(self, errors: list[BaseException]) -> None:
        if self.patient and errors:
            self.broken.append(f"did not wait for room: {errors}")
        for error in errors:
            if not isinstance(error, StorageFullError | StorageUnavailableError):
                self.broken.append(f"another error than of a full disk: {error!r}")
        if errors:
            self.outcome = f"ended with {type(errors[0]).__name__}, went on after"
        elif self.refused:
            self.outcome = "waited for room"
        else:
            self.outcome = "did not meet it"


async def unopened(disk: SmallDisk | SmallFiles) -> list[str]:
    """A database that cannot be made for want of room is refused typed, and made afterwards."""
    broken = []
    file = disk.folder / "unopened.db"
    url = f"sqlite:///{file}"
    disk.fill()
    try:
        async with open_saver(url, outage_budget_s=IMPATIENT_S) as saver:
            await saver.asetup()
        broken.append("a database was made without room for it")
    except StorageError:
        pass
    finally:
        disk.free()
    found, _ = await check(url, THREADS, Acks({}, frozenset()))
    for left in disk.folder.glob("unopened.db*"):
        left.unlink()
    return broken + found


def main(folder: str, kind: str, seed: str, cases: str, seconds: str, out: str) -> None:
    disk = SmallDisk(Path(folder)) if kind == "tmpfs" else SmallFiles(Path(folder))
    figures = Figures()
    figures.failures += [f"{kind}: {what}" for what in asyncio.run(unopened(disk))]
    until = time.monotonic() + float(seconds)
    while figures.cases < int(cases) if int(cases) else time.monotonic() < until:
        case = Case(disk, figures.cases, int(seed))
        asyncio.run(case.run())
        figures.cases += 1
        figures.stages[f"{kind}: {case.outcome}"] += 1
        figures.failures += [f"{kind}, case {figures.cases}: {what}" for what in case.broken]
    Path(out).write_bytes(orjson.dumps(figures.as_json()))


if __name__ == "__main__":
    os.umask(0o077)
    main(*sys.argv[1:])
