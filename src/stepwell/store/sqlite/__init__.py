"""Documents in an SQLite file."""

from __future__ import annotations

from stepwell.store.sqlite.aio import AsyncSqliteStore
from stepwell.store.sqlite.base import SqliteStore

__all__ = ["AsyncSqliteStore", "SqliteStore"]
