"""Documents in PostgreSQL."""

from __future__ import annotations

from stepwell.store.postgres.aio import AsyncPostgresStore
from stepwell.store.postgres.base import PoolConfig, PostgresStore

__all__ = ["AsyncPostgresStore", "PoolConfig", "PostgresStore"]
