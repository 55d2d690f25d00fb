"""Which tortures there are.

A torture lives in a module `tests/torture/tNN_name.py` and registers one function::

    @torture("T9", needs=["postgres"], per_commit="tests/torture/test_backend_kill.py")
    async def run(seed: int, budget: Budget) -> Figures:
        ...

`run` may be sync or async. It draws everything from `seed`, so that the same seed does the same
again as far as the operating system lets it; it works in `budget.folder`, uses the databases in
`budget.places`, and goes on while `budget.more(figures.cases)`. Each round runs in a process of
its own, which is killed (a failure) if it hangs.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.torture._figures import Budget, Figures

Run = Callable[[int, Budget], Figures | Awaitable[Figures]]

TITLES = {
    "T1": "random operations on memory, SQLite and PostgreSQL at once, compared with a model",
    "T2": "the contract of drivers",
    "T3": "faults at every await of a driver under a virtual clock",
    "T4": "a run is cancelled at its k-th await, for every k",
    "T5": "kill -9 at random instants, resumed, again and again",
    "T6": "power loss: every image of the SQLite files that the fsyncs allow",
    "T7": "the N-th write or fsync of SQLite fails, for every N",
    "T8": "the disk is full, and has room again",
    "T9": "sessions of PostgreSQL are killed while runs go",
    "T10": "PostgreSQL is stopped in immediate mode and started again",
    "T11": "the network delays, resets, partitions, loses the answer to COMMIT",
    "T12": "the holder of a thread is frozen past its lease, and wakes up",
    "T13": "every interleaving of two sessions",
    "T14": "many runs on one thread from two processes",
    "T15": "16 processes migrate one database at once",
    "T16": "databases of earlier layouts are opened and continued",
    "T17": "SQLite's files are cut off or changed, the log at any byte",
    "T19": "retention runs while runs append, fork and read",
    "T20": "two processes do everything at once, one is killed again and again; backups, restores",
    "T21": "one hot thread beside a thousand cold ones",
}


@dataclass(frozen=True, slots=True)
class Torture:
    """One registered function. `needs`: of "postgres" and "compiler", what it cannot do without;
    `places`: the databases it uses when they are there."""

    id: str
    run: Run
    module: str
    needs: frozenset[str]
    places: frozenset[str]
    per_commit: str

    @property
    def title(self) -> str:
        return TITLES.get(self.id, self.id)


_found: dict[str, Torture] = {}


def torture(
    id: str,
    *,
    needs: Iterable[str] = (),
    places: Iterable[str] = ("sqlite", "postgres"),
    per_commit: str = "",
) -> Callable[[Run], Run]:
    """Register the decorated function under a test id.

    Args:
        id: "T9", as in TITLES.
        needs: without which of "postgres", "compiler" the torture cannot run at all.
        places: the databases it uses. One that cannot start fails the whole torture, unless it
            was left out by `--leave-out`.
        per_commit: the test file that runs a small part of it at every commit.
    """

    def register(run: Run) -> Run:
        if id in _found and _found[id].module != run.__module__:
            msg = f"{id} is registered by {_found[id].module} and by {run.__module__}"
            raise ValueError(msg)
        _found[id] = Torture(
            id, run, run.__module__, frozenset(needs), frozenset(places), per_commit
        )
        return run

    return register


def load() -> dict[str, Torture]:
    """Every torture in this folder, by id, in the order of the numbers."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("t[0-9][0-9]_*.py"))
    return load_from([importlib.import_module(f"tests.torture.{name}") for name in names])


def load_from(modules: Iterable[ModuleType]) -> dict[str, Torture]:
    """The tortures that these modules registered."""
    names = {module.__name__ for module in modules}
    mine = [torture for torture in _found.values() if torture.module in names]
    return {t.id: t for t in sorted(mine, key=lambda t: (len(t.id), t.id))}


def compiler() -> str | None:
    """The C compiler of this machine, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
