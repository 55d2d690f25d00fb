"""A schema of PostgreSQL as SQL that any client can run: the migrations' own text, then rows."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from stepwell._db import _postgres_schema
from stepwell._db.migrations import load_migrations, load_queries

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' ORDER BY c.relname
"""


async def dump(url: str, schema: str) -> str:
    """Everything in `schema`, as one text of SQL statements."""
    connection = await asyncpg.connect(url)
    try:
        parts = [f'CREATE SCHEMA "{schema}";\n', *_definitions(schema)]
        for (table,) in await connection.fetch(_TABLES, schema):
            parts += await _rows(connection, f'"{schema}"."{table}"')
    finally:
        await connection.close()
    return "\n".join(parts) + "\n"


def _definitions(schema: str) -> list[str]:
    """What a migration of today executes, in its order."""
    ledger = load_queries(Path(_postgres_schema.__file__).with_name("postgres.sql"))[
        "schema_ledger"
    ]
    parts = []
    for name, folder in (
        (_postgres_schema.LEDGER, _postgres_schema.MIGRATIONS),
        (_postgres_schema.STORE_LEDGER, _postgres_schema.STORE_MIGRATIONS),
    ):
        parts.append(ledger.replace("{ledger}", name) + ";\n")
        parts += [step.sql for step in load_migrations(folder)]
    return [part.replace("{schema}", f'"{schema}"') for part in parts]


async def _rows(connection: asyncpg.Connection, table: str) -> list[str]:
    columns = await connection.fetch(_COLUMNS, table)
    names = ", ".join(f'"{name}"' for name, _ in columns)
    literals = ", ".join(f'quote_nullable("{name}"::text)' for name, _ in columns)
    found = await connection.fetch(f"SELECT {literals} FROM {table} ORDER BY 1, 2")
    lines = []
    for row in found:
        values = ", ".join(
            f"{value}::{kind}" for value, (_, kind) in zip(row, columns, strict=True)
        )
        lines.append(f"INSERT INTO {table} ({names}) VALUES ({values});")
    return lines
