"""What every verb takes, and how it opens the database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import quote

from cyclopts import Parameter

from stepwell._dataclass import dataclass
from stepwell._db._sqlite_address import IN_MEMORY, sqlite_address
from stepwell.checkpoint._open import DSN, from_environment, open_saver
from stepwell.checkpoint._options import OpenOptions
from stepwell.checkpoint.base import Saver
from stepwell.cli._codes import FINE, PROBLEM
from stepwell.cli._output import Format, note
from stepwell.errors import UsageError


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every verb."""

    dsn: Annotated[str | None, Parameter(env_var="STEPWELL_DSN")] = None
    """URL of the database: sqlite:///file.db, postgresql://..."""
    scope: str = ""
    """Only threads of this scope."""
    format: Format | None = None
    """How results are shown. Default: a table on a terminal, else json."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Page:
    """Options of listings."""

    limit: int = 50
    """How many at most."""
    after: str | None = None
    """Go on behind the item with this cursor."""


@asynccontextmanager
async def opened(
    common: Options, *, migrate: Literal["auto", "check"] = "check"
) -> AsyncIterator[Saver]:
    """The saver of the database named, for the scope named.

    A verb that only reads brings no schema up to date: it refuses an older one.
    """
    if migrate == "check":
        refuse_missing_file(common)
    async with saver_of(common, migrate=migrate) as saver:
        yield saver.scoped(common.scope) if common.scope else saver


def saver_of(common: Options, *, migrate: Literal["auto", "check"]) -> Saver:
    """The saver of the database named, with the options that the environment names; it opens at
    first use."""
    url, options = address_of(common, migrate=migrate)
    return open_saver(url, **options)


def address_of(common: Options, *, migrate: Literal["auto", "check"]) -> tuple[str, OpenOptions]:
    """The URL of the database named, and options for it: those that the environment names too.

    Raises:
        UsageError: None is named, or an option has a value it cannot have.
    """
    dsn = common.dsn
    if dsn is not None and not ("://" in dsn or dsn.startswith("file:")):
        dsn = f"sqlite:///{quote(dsn)}"
    # Without one, it knows what to say.
    environment = os.environ if dsn is None else {**os.environ, DSN: dsn}
    return from_environment(environment, {"migrate": migrate})


def refuse_missing_file(common: Options) -> None:
    """Refuse to make a file.

    Raises:
        UsageError: An SQLite file is named that is not there.
    """
    if missing_file(common.dsn):
        raise UsageError(f"There is no file {common.dsn!r}. To make a database: stepwell migrate")


def missing_file(dsn: str | None) -> bool:
    """Whether this names an SQLite file that is not there: looking must not make it."""
    if dsn is None or ("://" in dsn and not dsn.startswith("sqlite://")):
        return False
    path, uri = sqlite_address(dsn)
    return not uri and path != IN_MEMORY and not Path(path).exists()


async def absent_of(saver: Saver, thread_ids: Sequence[str]) -> list[str]:
    """Which of these threads are not there."""
    named = dict.fromkeys(thread_ids)
    return [name for name in named if await saver.aget_thread(name) is None]


def told_of(absent: Sequence[str]) -> int:
    """Say which of the threads that were named are not there; the exit code."""
    if not absent:
        return FINE
    names = ", ".join(map(repr, absent[:_NAMED_MAX]))
    more = f" and {len(absent) - _NAMED_MAX} more" if len(absent) > _NAMED_MAX else ""
    note(f"stepwell: There is no thread {names}{more}.")
    return PROBLEM


_NAMED_MAX: Final = 20
OPTIONS = Options()
PAGE = Page()

__all__ = [
    "OPTIONS",
    "PAGE",
    "Options",
    "Page",
    "absent_of",
    "address_of",
    "missing_file",
    "opened",
    "refuse_missing_file",
    "saver_of",
    "told_of",
]
