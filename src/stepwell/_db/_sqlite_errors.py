"""From SQLite's result codes to our errors: one table, by code, never by text."""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, NamedTuple, TypeAlias

from stepwell._db._sqlite_host import why_not_openable, write_lock_holder
from stepwell.errors import (
    SequenceConflictError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

Outcome: TypeAlias = Literal["none", "unknown"]


class _Rule(NamedTuple):
    """`outcome` is what a writer may conclude; `reopen`: do not use the connection again."""

    error: type[StorageError]
    says: str
    outcome: Outcome | None = None
    reopen: bool = False


_PERMANENT = _Rule(StorageError, "SQLite refused the statement")
_BUSY = _Rule(StorageUnavailableError, "the database is locked", "none")
_BROKEN_IO = _Rule(
    StorageUnavailableError, "the operating system reported an input/output error", "unknown", True
)

# Frames of a failed commit may already be in the write-ahead log, so after FULL and IOERR
# nobody knows. https://sqlite.org/rescode.html
_RULES: Final[dict[int, _Rule]] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_SCHEMA: _Rule(StorageUnavailableError, "the schema changed meanwhile", "none"),
    sqlite3.SQLITE_INTERRUPT: _Rule(StorageUnavailableError, "the statement was stopped", "none"),
    sqlite3.SQLITE_FULL: _Rule(
        StorageFullError, "the disk, or the quota, that holds the database is full", "unknown", True
    ),
    sqlite3.SQLITE_IOERR: _BROKEN_IO,
    sqlite3.SQLITE_NOMEM: _BROKEN_IO._replace(says="SQLite ran out of memory"),
    sqlite3.SQLITE_CANTOPEN: _Rule(StorageError, "the database cannot be opened", reopen=True),
    sqlite3.SQLITE_READONLY: _Rule(
        StorageError,
        "the database cannot be written: let this user write the file and its folder, "
        "and see that the file was not moved",
        reopen=True,
    ),
    sqlite3.SQLITE_PERM: _Rule(StorageError, "this user may not use the database"),
    sqlite3.SQLITE_AUTH: _Rule(StorageError, "this user may not use the database"),
    sqlite3.SQLITE_NOTADB: _Rule(
        StorageError, "the file is not an SQLite database: name another file", reopen=True
    ),
    sqlite3.SQLITE_CORRUPT: _Rule(
        StorageError,
        "the database is damaged: keep a copy of the file, then restore a backup",
        reopen=True,
    ),
    sqlite3.SQLITE_TOOBIG: _Rule(StorageError, "a value is larger than SQLite can hold"),
    sqlite3.SQLITE_CONSTRAINT: _Rule(StorageError, "a row breaks a rule of the schema"),
    sqlite3.SQLITE_MISMATCH: _Rule(StorageError, "a value has the wrong type"),
    sqlite3.SQLITE_ERROR: _Rule(
        StorageError, "SQLite refused the statement (is the schema there? `stepwell migrate`)"
    ),
}

# Extended codes that mean something else than their primary code.
_EXTENDED_RULES: Final[dict[int, _Rule]] = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: _Rule(
        SequenceConflictError, "a record with this place in the thread exists already"
    ),
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: _Rule(
        SequenceConflictError, "a record with this place in the thread exists already"
    ),
}

_POISON_CODES = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
)


def primary_code(error: BaseException) -> int | None:
    """The primary result code of a native error; None if SQLite itself said nothing."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether waiting may help."""
    return _rule(error) is _BUSY


def is_poison(error: Exception) -> bool:
    """Whether one row is at fault, and only that: SQLite undid the statement, the transaction
    goes on. Python's own refusals to bind a value count too."""
    if isinstance(error, OverflowError | UnicodeEncodeError):
        return True
    if not isinstance(error, sqlite3.Error):
        return False
    code = primary_code(error)
    if code is None:  # raised by Python's module: a value of a type that cannot be bound
        return isinstance(error, sqlite3.InterfaceError | sqlite3.ProgrammingError)
    return code in _POISON_CODES


def must_reopen(error: BaseException) -> bool:
    """Whether the connection that raised `error` is not to be used again."""
    return isinstance(error, sqlite3.Error) and _rule(error).reopen


def storage_error(error: Exception, path: str, *, writing: bool) -> StorageError:
    """The error to raise in place of a native one.

    Args:
        error: what SQLite, or Python's binding of it, raised.
        path: the database file, for the message.
        writing: whether a write may be concerned; a read never leaves an unknown outcome.
    """
    rule = _rule(error)
    message = f"{path}: {rule.says}"
    code = primary_code(error)
    if code == sqlite3.SQLITE_CANTOPEN:
        message = f"{path}: {rule.says}: {why_not_openable(path)}"
    elif code == sqlite3.SQLITE_BUSY and (pid := write_lock_holder(path)) is not None:
        message += f" by process {pid}, which is inside a write transaction"
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    outcome = rule.outcome if writing or rule.outcome is None else "none"
    return rule.error(f"{message} ({name}: {error})", outcome=outcome)


def _rule(error: Exception) -> _Rule:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _PERMANENT
    return _EXTENDED_RULES.get(code) or _RULES.get(code & 0xFF) or _PERMANENT
