"""`open_saver`: from a URL to the saver of its database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

from stepwell.checkpoint._openers import OPENERS
from stepwell.errors import UsageError

if TYPE_CHECKING:  # savers are loaded when one is opened
    from stepwell.checkpoint._options import OpenOptions
    from stepwell.checkpoint.base import Saver

DSN = "STEPWELL_DSN"
_FROM_ENVIRONMENT = {
    "STEPWELL_SCHEMA": ("schema", str),
    "STEPWELL_LEASE_TTL_S": ("lease_ttl_s", float),
    "STEPWELL_BATCH_ROWS_MAX": ("batch_rows_max", int),
}
_KEYRING = "STEPWELL_KEYRING"
_FORMS = "memory://, sqlite:///file.db, sqlite:////absolute/file.db, sqlite://, postgresql://..."


def open_saver(url: str | None = None, /, **options: Unpack[OpenOptions]) -> Saver:
    """The saver for a database. Returns at once, without I/O: it opens at first use.

    Use it directly, in `with` or in `async with`, and pass it to `compile(checkpointer=...)`.

    URLs: `memory://`; `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` (private,
    in memory); `postgresql://...` with libpq's query parameters. Without a URL the
    environment says which: `STEPWELL_DSN`, and `STEPWELL_KEYRING`, `STEPWELL_SCHEMA`,
    `STEPWELL_LEASE_TTL_S`, `STEPWELL_BATCH_ROWS_MAX` for options that are not given.

    Args:
        url: The database.
        migrate: "auto" (default) creates or upgrades the schema at opening, "check" refuses
            a database with another one, "off" does not look.
        locks: "advisory" (default) shows the death of an owner's process at once; "lease"
            only when its lease is over.
        lease_ttl_s: How long a claim outlives an owner that froze. Default 10.
        synchronous: SQLite: "full" (default) survives a power cut, "normal" does not.
        outage_budget_s: How long a call waits for a database that does not answer. Default 60.
        batch_rows_max: Rows of one commit. Default 1000.
        batch_bytes_max: Bytes of one commit. Default 4 MiB.
        queue_rows_max: Rows not yet durable, from where on producers wait. Default 10,000.
        pool: PostgreSQL: an `asyncpg.Pool` in place of a URL.
        pool_size_max: PostgreSQL: connections at most. Default 10.
        pgbouncer: PostgreSQL: a pooler in transaction mode stands between.
        schema: PostgreSQL: where the tables are. Default: first of the search path.
        read_url: PostgreSQL: a replica for reads that may lag.
        connect: PostgreSQL: more arguments for `asyncpg.connect`.
        thread_id_rule: Which thread ids are allowed: a pattern for the whole id, or a predicate.
        retention: A `Retention`: what `aprune` and `pruning` delete unless told otherwise.
        compress: "zlib" or "zstd": how bodies from 2 KiB on are stored. Default "none".
        keyring: A `Keyring`: records and metadata are encrypted, but for keys in `clear_metadata`.
        state_bytes_warn, state_bytes_max: Larger states are warned of, or refused.
        observe: Observers of events (`stepwell.observe`).

    Raises:
        UsageError: The URL is none of these, an option has no use for that database, or has
            a value it cannot have.
    """
    if url is None and options.get("pool") is None:
        url, options = from_environment(os.environ, options)
    given: dict[str, Any] = {**options}
    if url is not None and not isinstance(url, str):
        raise UsageError(f"The URL must be a str, not {type(url).__name__}.")
    scheme, separator, rest = ("postgresql", "://", "") if url is None else url.partition("://")
    if scheme == "memory" and separator:
        if rest:
            raise UsageError("memory:// takes no name: every saver has a memory of its own.")
        return _in_memory(given)
    if scheme == "sqlite" and separator:
        from stepwell.checkpoint.sqlite import SqliteSaver

        return SqliteSaver.from_conn_string(str(url), **given)
    if scheme in ("postgresql", "postgres") and separator:
        from stepwell.checkpoint.postgres import PostgresSaver

        pool = given.pop("pool", None)
        if url is None:
            return PostgresSaver(pool, **given)
        if pool is not None:
            raise UsageError("Give a URL or a pool, not both.")
        return PostgresSaver.from_conn_string(url, **given)
    # No more of it than its beginning: a URL may hold a password.
    shown = scheme if separator else scheme[:20]
    raise UsageError(
        f"open_saver() does not know {shown!r} as the URL of a database. It takes {_FORMS}; for "
        "a path, use SqliteSaver.from_conn_string()."
    )


def _in_memory(given: dict[str, Any]) -> Saver:
    from stepwell.checkpoint._options import MEMORY, check_options
    from stepwell.checkpoint.memory import InMemorySaver

    return InMemorySaver(**check_options(given, MEMORY, "memory://"))


def from_environment(
    environment: Mapping[str, str], options: OpenOptions
) -> tuple[str, OpenOptions]:
    """The URL that an environment names, and `options` with those that it adds.

    Raises:
        UsageError: It names no URL, or an option has a value it cannot have.
    """
    url = environment.get(DSN)
    if not url:
        raise UsageError(
            f"open_saver() without a URL needs {DSN} in the environment. URLs: {_FORMS}."
        )
    merged: dict[str, Any] = {**options}
    keys = environment.get(_KEYRING)
    if keys and "keyring" not in merged:
        from stepwell._codec.crypt import Keyring

        merged["keyring"] = Keyring.from_text(keys)
    for variable, (name, kind) in _FROM_ENVIRONMENT.items():
        text = environment.get(variable)
        if text and name not in merged:
            try:
                merged[name] = kind(text)
            except ValueError as error:
                raise UsageError(f"{variable}={text!r} is no {kind.__name__}.") from error
    return url, merged  # type: ignore[return-value]  # keys and values are those of the sheet


def _open_other(where: str, /, *, is_path: bool, exists: bool) -> Saver:
    """The saver for the other side of a backup."""
    # A backup is read as it is: who opens it does not bring it up to date unasked.
    migrate: Literal["auto", "check"] = "check" if exists else "auto"
    scheme = where.partition("://")[0]
    if scheme == "memory" and not is_path:
        raise _gone(where)
    if not is_path and scheme != "sqlite":
        return open_saver(where, migrate=migrate)
    from stepwell._db._sqlite_address import IN_MEMORY, sqlite_address
    from stepwell.checkpoint.sqlite import SqliteSaver

    path, uri = sqlite_address(where)
    if path == IN_MEMORY:
        raise _gone(where)
    if exists and not uri and not os.path.isfile(path):  # noqa: PTH113  # pathlib is slow to import
        raise UsageError(f"There is no file {path!r}.")
    return SqliteSaver.from_conn_string(where, migrate=migrate)


def _gone(where: str) -> UsageError:
    if not where:
        return UsageError("An empty text names no database: give a path, a URL or an open saver.")
    return UsageError(f"{where} would be gone after the call: give an open saver instead.")


OPENERS.append(_open_other)

__all__ = ["DSN", "from_environment", "open_saver"]
