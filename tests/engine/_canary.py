"""Everything that a saver has stored, as bytes, to search for what must not be there."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from stepwell.checkpoint.base import Saver
from tests._postgres import server_dsn


def _opened(data: bytes) -> Iterator[bytes]:
    """Bytes as they are, and every zlib stream in them (an attacker would look there too)."""
    yield data
    for found in re.finditer(b"\x78[\x01\x5e\x9c\xda]", data):
        try:
            yield zlib.decompressobj().decompress(data[found.start() :])
        except zlib.error:
            continue


def _held(root: Any) -> Iterator[bytes]:
    """Every text and bytes that an object holds, however deep."""
    waiting, seen = [root], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item.encode("utf-8", "surrogatepass")
        elif isinstance(item, (bytes, bytearray)):
            yield bytes(item)
        elif id(item) not in seen and not isinstance(item, (int, float, type)):
            seen.add(id(item))
            if isinstance(item, dict):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple, set, frozenset)):
                waiting += item
            elif type(item).__module__.startswith("stepwell.checkpoint"):
                slots = [s for c in type(item).__mro__ for s in getattr(c, "__slots__", ())]
                waiting += [getattr(item, s) for s in slots if hasattr(item, s)]
                waiting += vars(item).values() if hasattr(item, "__dict__") else ()


async def stored(saver: Saver) -> list[bytes]:
    """What is in the database: of SQLite the files as they are, with the log; of PostgreSQL every
    row of every table; of memory all that the driver holds."""
    journal = await saver.journal()
    driver: Any = journal.driver
    while hasattr(driver, "inner"):
        driver = driver.inner
    if driver.name == "memory":
        return list(_held(driver))
    if driver.name == "sqlite":
        path = Path(driver.location.removeprefix("sqlite:///"))
        return [p.read_bytes() for p in path.parent.iterdir() if p.name.startswith(path.name)]
    connection = await asyncpg.connect(server_dsn())
    try:
        schema = driver._db._opened.schema
        names = await connection.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = $1", schema
        )
        rows = []
        for name in names:
            table = f'"{schema}"."{name[0]}"'
            found = await connection.fetch(f"SELECT to_jsonb(t)::text AS a FROM {table} AS t")
            rows += [row["a"].encode() for row in found]
    finally:
        await connection.close()
    # Columns of bytes come as \\x and digits.
    digits = (d for row in rows for d in re.findall(rb'"\\\\x([0-9a-f]*)"', row))
    return rows + [bytes.fromhex(d.decode()) for d in digits]


async def holds(saver: Saver, text: str) -> bool:
    """Whether any of a text's usual forms is anywhere in what is stored."""
    raw = text.encode()
    forms = (raw, raw.hex().encode(), raw[::-1])
    return any(
        form in data for blob in await stored(saver) for data in _opened(blob) for form in forms
    )
