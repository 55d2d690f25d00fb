"""How much a database takes."""

from __future__ import annotations

import sqlite3
from typing import Any


def sqlite_bytes(path: str) -> int:
    """Of a SQLite database: pages in use, after the log was taken over."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (pages,), (size,), (free,) = (
            connection.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_count", "page_size", "freelist_count")
        )
        return (pages - free) * size
    finally:
        connection.close()


async def postgres_bytes(dsn: str, schema: str, *, cleared: bool = False) -> int:
    """Of all tables of a schema: their files as they are, with indexes and TOAST. `cleared`: after
    a VACUUM, as when the server's autovacuum has been by; it cuts off what is free at the end."""
    import asyncpg

    connection: Any = await asyncpg.connect(dsn)
    try:
        names = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind = 'r'",
            schema,
        )
        for row in names if cleared else ():
            await connection.execute(f"VACUUM {row['name']}")
        return sum([
            await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", row["name"])
            for row in names
        ])  # fmt: skip
    finally:
        await connection.close()


async def afresh(schema: str, *, make: bool = False) -> None:
    """Drop what an earlier process has left in the PostgreSQL of the run."""
    import os

    import asyncpg

    connection: Any = await asyncpg.connect(os.environ["STEPWELL_BENCH_PG_DSN"])
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        if make:
            await connection.execute(f"CREATE SCHEMA {schema}")
    finally:
        await connection.close()
