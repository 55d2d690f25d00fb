"""The schema of the database: is it there, is it current, bring it up to date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from stepwell._db._postgres_source import Source, borrowed
from stepwell._db.migrations import Migration, load_migrations
from stepwell._ids import digest16
from stepwell.errors import SchemaVersionError, UsageError

if TYPE_CHECKING:
    from stepwell._db._postgres_source import Link

MIGRATIONS: Final = Path(__file__).with_name("postgres_migrations")
STORE_MIGRATIONS: Final = Path(__file__).with_name("postgres_store_migrations")
LEDGER: Final = "stepwell_migration"
STORE_LEDGER: Final = "stepwell_store_migration"
"""The tables that say which migrations of a track were applied."""

PATIENCE_S: Final = 3600.0
"""A migration of large tables takes its time."""

_BEGIN: Final = (
    # DDL waits for its turn as long as we do; the search path finds nothing of a user's.
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '1h'; "
    "SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = on; "
    "SET LOCAL search_path = pg_catalog;"
)


async def migrate(
    source: Source,
    sql: Mapping[str, str],
    schema: str,
    mode: Literal["auto", "check", "off"],
    migrations: list[Migration] | None = None,
) -> None:
    """Bring one schema to the newest version.

    Args:
        source: where to borrow a connection.
        sql: the queries, with the schema filled in.
        schema: its name, unquoted.
        mode: "auto" upgrades, with no DDL when nothing is to be done; "check" demands the
            newest version; "off" only refuses a newer one than this release knows.
        migrations: the steps; default: those of the package.

    Raises:
        SchemaVersionError: the schema is newer, or (mode "check") older or absent.
        StorageError: the server refused.
    """
    steps = load_migrations(MIGRATIONS) if migrations is None else migrations
    async with borrowed(source, "looking up the schema version", sent=False) as link:
        found = await schema_version(link, sql, schema)
        _refuse_newer(found, steps, schema)
        if mode == "off" or found == len(steps):
            return
        if mode == "check":
            have = f"has version {found}" if found else "holds no tables of Stepwell"
            raise SchemaVersionError(
                f"Schema {schema} at {source.label} {have}; this release needs version "
                f"{len(steps)}. Run `stepwell migrate`, or open the saver with migrate='auto'.",
                found=found,
                needed=len(steps),
            )
    async with borrowed(source, "migrating the schema", sent=True) as link:
        await link.execute(_BEGIN, timeout=PATIENCE_S)
        await _upgrade(link, sql, schema, steps)
        await link.execute("COMMIT")


async def drop_scratch(source: Source, sql: Mapping[str, str], schema: str, prefix: str) -> None:
    """Drop a schema that was made to be thrown away, with all that is in it.

    Raises:
        UsageError: its name does not begin with `prefix`, so it is somebody's.
    """
    if not prefix or not schema.startswith(prefix):
        raise UsageError(f"Schema {schema} is not one that was made to be thrown away.")
    async with borrowed(source, "dropping a scratch schema", sent=True) as link:
        await link.execute(sql["schema_drop"], timeout=PATIENCE_S)


async def schema_version(link: Link, sql: Mapping[str, str], schema: str) -> int:
    """The version of a schema. 0: no ledger of migrations; else the newest one applied."""
    row = await link.fetchrow(sql["schema_present"], schema)
    if row is None or not row[1]:
        return 0
    return max((row[0] for row in await link.fetch(sql["schema_versions"])), default=0)


def _refuse_newer(found: int, steps: list[Migration], schema: str) -> None:
    if found > len(steps):
        raise SchemaVersionError(
            f"Schema {schema} has version {found}, this release knows versions up to "
            f"{len(steps)}: it was upgraded by a newer release of Stepwell. Install that one.",
            found=found,
            needed=len(steps),
        )


async def _upgrade(link: Link, sql: Mapping[str, str], schema: str, steps: list[Migration]) -> None:
    await link.execute(sql["schema_lock"], lock_of(schema), timeout=PATIENCE_S)
    # Read again behind the lock: the process before us may have done it.
    found = await schema_version(link, sql, schema)
    _refuse_newer(found, steps, schema)
    if await link.fetchrow(sql["schema_present"], schema) is None:
        await link.execute(sql["schema_create"])
    if found == 0:
        await link.execute(sql["schema_ledger"])
    for step in steps[found:]:
        await link.execute(step.sql.replace("{schema}", quoted(schema)), timeout=PATIENCE_S)
        await link.execute(sql["schema_applied"], step.number, step.name)


def lock_of(schema: str) -> int:
    """Advisory key under which `schema` is migrated; the same in every process."""
    return int.from_bytes(digest16("stepwell migrate", schema)[:8], signed=True)


def quoted(identifier: str) -> str:
    """An identifier as it is written in SQL."""
    return '"' + identifier.replace('"', '""') + '"'
