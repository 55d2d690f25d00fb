"""Bringing an SQLite file to the schema of this release."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from stepwell._db.migrations import Migration, load_migrations
from stepwell._db.sqlite import SQL, Cursor, Database
from stepwell.errors import SchemaVersionError


class Track(NamedTuple):
    """Tables that are migrated together. `prefix`: of the names of its statements."""

    migrations: list[Migration]
    prefix: str

    @property
    def latest(self) -> int:
        """The version that this release needs."""
        return self.migrations[-1].number


MIGRATIONS: Final = load_migrations(Path(__file__).with_name("sqlite_migrations"))
LATEST: Final = MIGRATIONS[-1].number
JOURNAL: Final = Track(MIGRATIONS, "")
STORE: Final = Track(load_migrations(Path(__file__).with_name("sqlite_store_migrations")), "store_")

_MIGRATE_WAIT_S = 30.0


async def migrate(
    database: Database,
    mode: Literal["auto", "check", "off"],
    location: str,
    track: Track | None = None,
) -> None:
    """Create or upgrade the schema ("auto"), insist that it is current ("check"), or do
    nothing ("off").

    A current schema costs one read. Otherwise everything happens in one write transaction,
    so of many processes that start at once one does the work and the others find it done.

    Args:
        database: an open database.
        mode: what to do.
        location: how `--dsn` names the database, for messages.
        track: which tables; default: those of savers.

    Raises:
        SchemaVersionError: the schema is newer than this release; or, with "check", older.
        StorageError: as `Database.write`.
    """
    if mode == "off":
        return
    track = JOURNAL if track is None else track
    version = await database.read(lambda cursor: schema_version(cursor, track))
    _refuse_newer(version, track.latest, location)
    if version == track.latest:
        return
    if mode == "check":
        raise SchemaVersionError(
            f"{location}: the schema has version {version}, this release needs {track.latest}. "
            f"Run: stepwell migrate --dsn {location}",
            found=version,
            needed=track.latest,
        )
    await database.write(lambda cursor: _upgrade(cursor, location, track), wait_s=_MIGRATE_WAIT_S)


def schema_version(cursor: Cursor, track: Track = JOURNAL) -> int:
    """The version of the schema in the file; 0 if there is none."""
    if cursor.execute(SQL[f"{track.prefix}has_schema"]).fetchone() is None:
        return 0
    row = cursor.execute(SQL[f"{track.prefix}schema_version"]).fetchone()
    return 0 if row is None else int(row[0])


def _upgrade(cursor: Cursor, location: str, track: Track) -> None:
    version = schema_version(cursor, track)  # another process may have been faster
    _refuse_newer(version, track.latest, location)
    for migration in track.migrations[version:]:
        for statement in _statements(migration.sql):
            cursor.execute(statement)
    if version < track.latest:
        cursor.execute(SQL[f"{track.prefix}set_schema_version"], (str(track.latest),))


def _refuse_newer(version: int, latest: int, location: str) -> None:
    if version > latest:
        raise SchemaVersionError(
            f"{location}: the schema has version {version}, this release knows up to {latest}. "
            "It was written by a newer release of stepwell: upgrade the package.",
            found=version,
            needed=latest,
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
