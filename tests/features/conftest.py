"""A database for each story: its address, and savers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from tests._postgres import execute, fresh_name, server_dsn


@dataclass(frozen=True)
class Place:
    """One kind of database, empty at first."""

    kind: str
    url: str

    def saver(self, **options: Any) -> Saver:
        """A saver that is not opened yet; in memory, each has a database of its own."""
        return open_saver(self.url, **options)


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Every kind that there is."""
    if request.param == "memory":
        yield Place("memory", "memory://")
    elif request.param == "sqlite":
        yield Place("sqlite", f"sqlite:///{tmp_path}/features.db")
    else:
        schema = fresh_name("features")
        await execute(f'CREATE SCHEMA "{schema}"')
        separator = "&" if "?" in server_dsn() else "?"
        yield Place("postgres", f"{server_dsn()}{separator}options=-csearch_path%3D{schema}")
        await execute(f'DROP SCHEMA "{schema}" CASCADE')


@pytest_asyncio.fixture
async def saver(place: Place) -> AsyncIterator[Saver]:
    """An open saver of each kind."""
    async with place.saver() as opened:
        yield opened
