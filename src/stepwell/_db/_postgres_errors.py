"""Errors of PostgreSQL and of asyncpg, as Stepwell's: one table, by SQLSTATE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import asyncpg

from stepwell.errors import (
    SchemaVersionError,
    SequenceConflictError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

Outcome: TypeAlias = Literal["none", "unknown"]
"""Of a statement that failed: certainly without effect, or possibly carried out."""

LOCK_TIMEOUT: Final = "55P03"
OUT_OF_SHARED_MEMORY: Final = "53200"
READ_ONLY: Final = "25006"

_BROKEN_OFF = frozenset({"08000", "08003", "08006", "57P01", "57P02"})
"""A connection that had been made was lost; a server that is not there says otherwise."""

_MIGRATE = "Run `stepwell migrate`, or open the saver with migrate='auto'."
_POOLED_STATEMENTS = (
    "A transaction pooler stands between: open the saver with pgbouncer=True, and make a pool of "
    "your own with statement_cache_size=0."
)

# Longest match first: the whole code, then its class of two characters.
_TABLE: Final[Mapping[str, tuple[type[StorageError], str]]] = {
    "08": (StorageUnavailableError, "Check that the server runs and the network is up."),
    "08P01": (
        StorageUnavailableError,
        "If a pooler such as PgBouncer stands between, open the saver with pgbouncer=True.",
    ),
    "0A000": (StorageUnavailableError, "The schema changed under a prepared statement; try again."),
    "23505": (SequenceConflictError, "A row with the same key exists: an invariant is broken."),
    "25006": (StorageUnavailableError, "The server takes no writes now (a standby, a failover?)."),
    "25P03": (StorageUnavailableError, "The connection was idle for too long; try again."),
    "26000": (StorageError, _POOLED_STATEMENTS),
    "28": (
        StorageError,
        "Check user and password in the DSN, and pg_hba.conf on the server.",
    ),
    "3D000": (StorageError, "Create the database, or correct its name in the DSN."),
    "3F000": (SchemaVersionError, _MIGRATE),
    "40001": (StorageUnavailableError, "Another transaction was in the way; try again."),
    "40P01": (StorageUnavailableError, "Another transaction was in the way; try again."),
    "42501": (StorageError, "Grant the role of the DSN what the message names."),
    "42703": (SchemaVersionError, _MIGRATE),
    "42704": (StorageError, "The DSN names a setting that the server does not know."),
    "42883": (SchemaVersionError, _MIGRATE),
    "42P01": (SchemaVersionError, _MIGRATE),
    "42P05": (StorageError, _POOLED_STATEMENTS),
    "53": (StorageUnavailableError, "The server is short of resources; try again."),
    "53100": (StorageFullError, "Make room on the server's disk."),
    "53200": (
        StorageUnavailableError,
        "Raise max_locks_per_transaction on the server, or open the saver with locks='lease'.",
    ),
    "53300": (
        StorageUnavailableError,
        "Raise max_connections on the server, or lower pool_size_max.",
    ),
    "55P03": (StorageUnavailableError, "Another transaction holds a lock on it; try again."),
    "57": (StorageUnavailableError, "The server ended the statement or the session; try again."),
    "57P04": (StorageError, "The database was dropped."),
    "58": (StorageUnavailableError, "The server met an error of its operating system."),
}

_CONNECT_ADVICE = "Check host and port in the DSN, and that the server runs."


def advice(sqlstate: str) -> tuple[type[StorageError], str]:
    """Kind of error and what to do about it, for a SQLSTATE; StorageError if unlisted."""
    return _TABLE.get(sqlstate) or _TABLE.get(sqlstate[:2]) or (StorageError, "")


def broken_off(error: StorageError) -> bool:
    """Was a connection lost in the midst of its use? Then another one may well be had."""
    return error.context.get("sqlstate") in _BROKEN_OFF


def replied(error: BaseException) -> bool:
    """Did the server refuse the statement and keep the session? Then it had no effect."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or "08"
        fatal = (error.severity_en or error.severity or "").upper() in {"FATAL", "PANIC"}
        return not (fatal or state.startswith("08"))
    # What asyncpg refuses by itself (an argument of the wrong type, a closed connection).
    return isinstance(error, asyncpg.InterfaceError)


def usable(error: BaseException) -> bool:
    """Can the session go on after this error? Not if it leads to a server that lost its role."""
    return replied(error) and getattr(error, "sqlstate", None) != READ_ONLY


def translate(
    error: Exception, doing: str, target: str, *, sent: bool = True, lost: bool = False
) -> StorageError:
    """Map a native error.

    Args:
        error: as raised by asyncpg or the event loop.
        doing: what was tried, as in "commit".
        target: host and database, without credentials.
        sent: a statement that writes was under way.
        lost: the connection is closed.

    Returns:
        The error to raise; `.context` holds "outcome", "target" and "sqlstate" if there is one.
    """
    outcome: Outcome = "unknown" if sent and not replied(error) else "none"
    where = f"PostgreSQL at {target}: {doing} failed"
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or "08000"
        kind, what_to_do = advice(state)
        text = f"{where}: {error.message or error} ({state}). {what_to_do}".rstrip()
        return kind(text, outcome=outcome, sqlstate=state, target=target)
    if isinstance(error, TimeoutError):
        text = f"{where}: no answer in time. {_CONNECT_ADVICE}"
        return StorageUnavailableError(text, outcome=outcome, target=target)
    if isinstance(error, OSError):
        text = f"{where}: {error.strerror or error}. {_CONNECT_ADVICE}"
        return StorageUnavailableError(text, outcome=outcome, target=target)
    if lost or isinstance(error, asyncpg.InternalClientError):
        text = f"{where}: {error}."
        return StorageUnavailableError(text, outcome=outcome, target=target)
    # asyncpg refuses by itself: an argument does not fit its column, the given pool is closed.
    return StorageError(f"{where}: {error}", outcome=outcome, target=target)
