"""Databases that child processes can open by a URL alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests._postgres import execute, fresh_name, server_dsn


@pytest.fixture
def pg_url() -> Iterator[str]:
    """DSN of a fresh database on this session's PostgreSQL server."""
    name = fresh_name("db")
    asyncio.run(execute(f'CREATE DATABASE "{name}"'))
    yield urlunsplit(urlsplit(server_dsn())._replace(path=f"/{name}"))
    asyncio.run(execute(f'DROP DATABASE "{name}" WITH (FORCE)'))
