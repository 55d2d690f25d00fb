"""Bringing an SQLite file to the schema of this release."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from stepwell._db.migrations import load_migrations
from stepwell._db.sqlite import SQL, Cursor, Database
from stepwell.errors import SchemaVersionError

MIGRATIONS: Final = load_migrations(Path(__file__).with_name("sqlite_migrations"))
LATEST: Final = MIGRATIONS[-1].number

_MIGRATE_WAIT_S = 30.0


async def migrate(database: Database, mode: Literal["auto", "check", "off"], location: str) -> None:
    """Create or upgrade the schema ("auto"), insist that it is current ("check"), or do
    nothing ("off").

    A current schema costs one read. Otherwise everything happens in one write transaction,
    so of many processes that start at once one does the work and the others find it done.

    Args:
        database: an open database.
        mode: what to do.
        location: how `--dsn` names the database, for messages.

    Raises:
        SchemaVersionError: the schema is newer than this release; or, with "check", older.
        StorageError: as `Database.write`.
    """
    if mode == "off":
        return
    version = await database.read(schema_version)
    _refuse_newer(version, location)
    if version == LATEST:
        return
    if mode == "check":
        raise SchemaVersionError(
            f"{location}: the schema has version {version}, this release needs {LATEST}. "
            f"Run: stepwell migrate --dsn {location}",
            found=version,
            needed=LATEST,
        )
    await database.write(lambda cursor: _upgrade(cursor, location), wait_s=_MIGRATE_WAIT_S)


def schema_version(cursor: Cursor) -> int:
    """The version of the schema in the file; 0 if there is none."""
    if cursor.execute(SQL["has_schema"]).fetchone() is None:
        return 0
    row = cursor.execute(SQL["schema_version"]).fetchone()
    return 0 if row is None else int(row[0])


def _upgrade(cursor: Cursor, location: str) -> None:
    version = schema_version(cursor)  # another process may have been faster
    _refuse_newer(version, location)
    for migration in MIGRATIONS[version:]:
        for statement in _statements(migration.sql):
            cursor.execute(statement)
    if version < LATEST:
        cursor.execute(SQL["set_schema_version"], (str(LATEST),))


def _refuse_newer(version: int, location: str) -> None:
    if version > LATEST:
        raise SchemaVersionError(
            f"{location}: the schema has version {version}, this release knows up to {LATEST}. "
            "It was written by a newer release of stepwell: upgrade the package.",
            found=version,
            needed=LATEST,
        )


def _statements(sql: str) -> Iterator[str]:
    """One statement after the other: `executescript` would end the transaction."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
