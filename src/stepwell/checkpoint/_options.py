"""Options of savers: which there are, for whom, and what they may be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict

from stepwell._codec.crypt import Keyring
from stepwell._ids import Ids
from stepwell._journal.budget import Budget
from stepwell._journal.journal import JournalOptions
from stepwell.checkpoint._sealing.seal import Seal
from stepwell.errors import UsageError
from stepwell.observe import Observer, Observers

ThreadIdRule = str | re.Pattern[str] | Callable[[str], bool]


class SaverOptions(TypedDict, total=False):
    """What every saver takes."""

    migrate: Literal["auto", "check", "off"]
    """"auto" (default): create or upgrade the schema at opening. "check": refuse a database
    with another schema. "off": do not look."""
    lease_ttl_s: float | timedelta
    """How long a claim outlives an owner that froze; default 10."""
    outage_budget_s: float | timedelta
    """How long a call waits for a database that does not answer; default 60."""
    batch_rows_max: int
    """Rows of one commit; default 1000."""
    batch_bytes_max: int
    """Bytes of one commit; default 4 MiB."""
    queue_rows_max: int
    """Rows not yet durable, from where on producers wait; default 10,000."""
    thread_id_rule: ThreadIdRule | None
    """Which thread ids are allowed: a pattern for the whole id, or a predicate."""
    retention: Any
    """A `Retention`: what `aprune` and `pruning` delete unless they are told otherwise."""
    compress: Literal["none", "zlib", "zstd"]
    """How bodies from 2 KiB on are stored; default "none"."""
    keyring: Keyring | None
    """What records are encrypted with."""
    clear_metadata: Collection[str]
    """With a keyring: keys of metadata that can be filtered on, and are stored in clear too."""
    state_bytes_warn: int | None
    """Of larger states it is said once per thread, with the largest channels."""
    state_bytes_max: int | None
    """Larger states are refused with `StateTooLargeError`."""
    observe: Observer | Sequence[Observer] | None
    """Who is told of events (`stepwell.observe`)."""


class LockOptions(SaverOptions, total=False):
    """What savers of databases take that several processes share."""

    locks: Literal["advisory", "lease"]
    """"advisory" (default): the death of an owner is seen at once. "lease": when it is over."""


class SqliteOptions(LockOptions, total=False):
    """What `SqliteSaver` takes."""

    synchronous: Literal["full", "normal"]
    """"full" (default): what is acknowledged survives a power cut."""


class PostgresOptions(LockOptions, total=False):
    """What `PostgresSaver` takes."""

    pool: Any
    """An `asyncpg.Pool` to use instead of connections of our own."""
    pool_size_max: int
    """Connections at most; default 10."""
    pgbouncer: bool
    """The server is PgBouncer in transaction mode: implies `locks="lease"`."""
    schema: str | None
    """Where the tables are; default: the first of the search path."""
    read_url: str | None
    """A replica for listings and histories."""
    connect: Mapping[str, Any] | None
    """More arguments for `asyncpg.connect`."""


class OpenOptions(SqliteOptions, PostgresOptions, total=False):
    """What `open_saver` takes; each option only where the URL's database has a use for it."""


_COMMON = frozenset(SaverOptions.__annotations__)
GENERAL = _COMMON | {"locks"}
MEMORY = _COMMON
SQLITE = frozenset(SqliteOptions.__annotations__) | {"locks"} | _COMMON
POSTGRES = frozenset(PostgresOptions.__annotations__) | {"locks"} | _COMMON
_CHOICES = {
    "migrate": ("auto", "check", "off"),
    "locks": ("advisory", "lease"),
    "synchronous": ("full", "normal"),
    "compress": ("none", "zlib", "zstd"),
}
_COUNTS = ("batch_rows_max", "batch_bytes_max", "queue_rows_max", "pool_size_max")
_SPANS = ("lease_ttl_s", "outage_budget_s")
_FLAGS = ("pgbouncer",)


def check_options(options: Mapping[str, Any], allowed: Iterable[str], whose: str) -> dict[str, Any]:
    """The options given, checked; times as seconds.

    Raises:
        UsageError: An option has no use here, or a value is none it can have.
    """
    known = frozenset(allowed)
    checked = dict(options)
    for name, value in options.items():
        if name not in known:
            raise UsageError(
                f"{whose} has no use for the option {name!r}. It takes {', '.join(sorted(known))}."
            )
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UsageError(f"{name} must be one of {_CHOICES[name]}, not {value!r}.")
        if name in _COUNTS and not (type(value) is int and value > 0):
            raise UsageError(f"{name} must be a positive whole number, not {value!r}.")
        if name in _FLAGS and not isinstance(value, bool):
            raise UsageError(f"{name} must be True or False, not {value!r}.")
        if name in _SPANS:
            checked[name] = seconds(name, value)
    return checked


def seconds(name: str, value: Any, *, least: float | None = None) -> float:
    """A time span in seconds; greater than 0, or at least `least`.

    Raises:
        UsageError: It is neither a number nor a timedelta, or too small, or without end.
    """
    span = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(span, int | float) or isinstance(span, bool):
        raise UsageError(f"{name} must be a number of seconds or a timedelta, not {value!r}.")
    if not math.isfinite(span) or span < (least or 0) or (least is None and span == 0):
        bound = "greater than 0" if least is None else f"at least {least}"
        raise UsageError(f"{name} must be {bound} and finite, not {value!r}.")
    return float(span)


def pick(
    options: Mapping[str, Any], only: Iterable[str] | None = None, *, omit: Iterable[str] = ()
) -> dict[str, Any]:
    """Those of the options given that are among `only`, and not among `omit`."""
    names = options.keys() if only is None else options.keys() & set(only)
    return {name: options[name] for name in names - set(omit)}


def journal_options(options: Mapping[str, Any]) -> JournalOptions:
    """The part of checked options that the journal works by."""
    own = {k: options[k] for k in (*_SPANS, *_COUNTS[:3]) if k in options}
    return JournalOptions(locks=options.get("locks", "advisory") == "advisory", **own)


def budget_of(options: Mapping[str, Any]) -> Budget | None:
    """How large states may become; None = as large as they will.

    Raises:
        UsageError: A bound is no number of bytes.
    """
    bounds = [options.get(name) for name in ("state_bytes_warn", "state_bytes_max")]
    for bound in bounds:
        if bound is not None and not (type(bound) is int and bound > 0):
            raise UsageError(f"state_bytes_warn and state_bytes_max are bytes, not {bound!r:.80}.")
    return None if bounds == [None, None] else Budget(*bounds)


def seal_of(options: Mapping[str, Any], ids: Ids) -> Seal | None:
    """How rows are compressed and encrypted; None = they are not.

    Raises:
        UsageError: An option is none that it can be, or needs a package that is missing.
    """
    compress, keyring = options.get("compress", "none"), options.get("keyring")
    clear = options.get("clear_metadata", ())
    if keyring is not None and not isinstance(keyring, Keyring):
        raise UsageError(f"keyring must be a stepwell.Keyring, not {type(keyring).__name__}.")
    if isinstance(clear, str) or not isinstance(clear, Collection):
        raise UsageError(f"clear_metadata takes a collection of keys, not {clear!r:.80}.")
    if not all(isinstance(name, str) for name in clear):
        raise UsageError("clear_metadata takes names of keys, which are texts.")
    if clear and keyring is None:
        raise UsageError("clear_metadata says what a keyring leaves in clear: give keyring= too.")
    if keyring is None and compress == "none":
        return None
    return Seal(compress, keyring, clear, ids)


def observers(observe: Observer | Sequence[Observer] | None) -> Observers:
    """Whoever is to be told of events, as one callable.

    Raises:
        UsageError: One of them cannot be called.
    """
    if observe is None:
        return Observers()
    several = observe if isinstance(observe, Sequence) else (observe,)
    for each in several:
        if not callable(each):
            raise UsageError(f"An observer must be callable with one event; {each!r} is not.")
    return Observers(several)
