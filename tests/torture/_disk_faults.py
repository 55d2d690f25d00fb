"""A program in which single disk operations fail, for every number of the operation in turn.

`_disk_faults FOLDER SEED FIRST EVERY SECONDS OUT`: the operations FIRST, FIRST + EVERY, ... of one
piece of work fail until a number is reached that the work does not come to, or until the time is
over; first of the folding of rows, then of opening and running threads. All in one process, so that
one case costs no start of Python.
"""

from __future__ import annotations

import asyncio
import errno
import random
import shutil
import sys
import time
from pathlib import Path
from typing import NamedTuple

import orjson

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import StorageError, StorageFullError, StorageUnavailableError
from tests.crash._workload import Log
from tests.torture._disk_work import FOLDED, SIZE, Acks, check, integrity, work
from tests.torture._figures import Figures
from tests.torture._shim import Shim

THREADS = ("a", "b")
BUDGET_S = 0.4
"""How long the work may wait for a disk that goes on failing."""


class Fault(NamedTuple):
    """The `number`-th operation fails with `error`: once, or from then on (`lasting`)."""

    number: int
    error: int
    lasting: bool
    half: bool

    def __str__(self) -> str:
        name = errno.errorcode[self.error]
        return f"{name} {'from' if self.lasting else 'at'} operation {self.number}" + (
            ", half written" if self.half else ""
        )


class Trial:
    """One fault in one piece of work on a fresh database."""

    def __init__(self, shim: Shim, folder: Path, fault: Fault, *, folds: bool) -> None:
        self._folds = folds
        self._size = FOLDED if folds else SIZE
        self._shim = shim
        self._fault = fault
        self._file = folder / "disk.db"
        self._url = f"sqlite:///{self._file}"
        self.broken: list[str] = []
        self.outcome = "not opened"
        self.fired = 0
        self.seen = 0
        self._kept: list[BaseException] = []

    async def run(self) -> None:
        """Work under the fault, go on with the same saver without it, then open anew and check."""
        shim = self._shim
        shim.watch(str(self._file))
        acks = Log(f"{self._file}-acks")
        if not self._folds:
            self._arm()
        saver = open_saver(self._url, lease_ttl_s=1.0, outage_budget_s=BUDGET_S)
        try:
            async with saver:
                await self._work(saver, acks)
        except Exception as error:
            self._told([error], "at opening or closing")
        finally:
            if not self.fired:
                self.seen, self.fired = shim.disarm(), shim.fired
        self._closed()
        broken, _ = await check(self._url, THREADS, Acks.read(acks.lines()), size=self._size)
        self.broken += [*broken, *integrity(self._file)]

    def _arm(self) -> None:
        fault = self._fault
        times = -1 if fault.lasting else 1
        self._shim.arm(fault.number, fault.error, times=times, half=fault.half)

    async def _work(self, saver: Saver, acks: Log) -> None:
        errors = await work(saver, THREADS, acks, self._size)
        if self._folds:
            if errors:
                raise errors[0]
            self._arm()
            try:
                await saver.acompact()
            except Exception as error:
                errors = [error]
        # Disarmed before closing: the disk has healed when the saver is used and closed.
        self.seen, self.fired = self._shim.disarm(), self._shim.fired
        self._told(errors, "while working")
        if errors and (again := await work(saver, THREADS, acks, self._size)):
            self.broken.append(f"not usable again: {again}")
        if self._folds:
            await saver.acompact()

    def _closed(self) -> None:
        """A closed saver holds no file open, even while its errors are kept."""
        held = [str(f.readlink()) for f in Path("/proc/self/fd").iterdir() if f.exists()]
        held = [f for f in held if f.startswith(str(self._file)) and not f.endswith("-acks")]
        if held:
            self.broken.append(f"still open after closing: {held}")

    def _told(self, errors: list[BaseException], when: str) -> None:
        self._kept += errors
        full = (StorageFullError, StorageUnavailableError)
        for error in errors:
            if not isinstance(error, StorageError):
                self.broken.append(f"an error without a type of its own {when}: {error!r}")
            elif when == "while working" and not isinstance(error, full):
                self.broken.append(f"another error than of storage {when}: {error!r}")
        self.outcome = "went on" if not errors else f"{type(errors[0]).__name__} {when}"


def faults(seed: int, first: int, every: int):
    """One fault for each number; what kind it is depends on the seed and the number alone."""
    number = first
    while True:
        chance = random.Random(f"{seed}/{number}")
        yield Fault(
            number, chance.choice((errno.ENOSPC, errno.EIO)), chance.random() < 0.4,
            chance.random() < 0.3,
        )  # fmt: skip
        number += every


def main(folder: str, seed: str, first: str, every: str, seconds: str, out: str) -> None:
    shim, figures = Shim(), Figures()
    until = time.monotonic() + float(seconds)
    for folds in (True, False):
        for fault in faults(int(seed), int(first), int(every)):
            place = Path(folder, f"n{fault.number}-{folds}")
            place.mkdir()
            trial = Trial(shim, place, fault, folds=folds)
            asyncio.run(trial.run())
            shutil.rmtree(place)
            what = "folding" if folds else "running"
            if not trial.fired:
                figures.counts[f"sweeps of {what} to the last operation"] += 1
                figures.failures += [f"{what} without a fault: {b}" for b in trial.broken]
                break
            figures.cases += 1
            figures.stages[f"{what}: {trial.outcome}"] += 1
            figures.failures += [f"{fault}, {what}: {trial.outcome}: {b}" for b in trial.broken]
            figures.at_worst(f"operation of {what} reached", trial.seen)
            if time.monotonic() > until:
                break
    Path(out).write_bytes(orjson.dumps(figures.as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
