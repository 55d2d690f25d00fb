"""The schema as the program shows it: its version, and the statements that are missing."""

from __future__ import annotations

import os
from pathlib import Path

from stepwell._db import migrations
from stepwell._db.migrations import load_migrations

_FOLDERS = {"sqlite": "sqlite_migrations", "postgres": "postgres_migrations"}


def latest(driver: str) -> int:
    """The version that this release needs; 0 where there is no schema."""
    folder = _FOLDERS.get(driver)
    return 0 if folder is None else load_migrations(_folder(folder))[-1].number


def _folder(name: str) -> Path:
    return Path(migrations.__file__).with_name(name)


def pending_sql(dsn: str, found: int) -> str:
    """The statements from version `found` on to that of this release."""
    driver = "postgres" if dsn.startswith("postgres") else "sqlite"
    steps = load_migrations(_folder(_FOLDERS[driver]))[found:]
    parts = [f"-- {step.number:03} {step.name}\n{step.sql}" for step in steps]
    text = "\n".join(parts)
    if driver == "postgres":
        schema = os.environ.get("STEPWELL_SCHEMA") or "public"
        quoted = '"' + schema.replace('"', '""') + '"'
        text = text.replace("{schema}", quoted)
    return text or "-- The schema is current."


__all__ = ["latest", "pending_sql"]
