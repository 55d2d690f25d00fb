"""One saver per driver: what the engine promises, it promises on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from tests._postgres import fresh_schema, server_dsn


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def saver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Saver]:
    """An empty saver of each driver."""
    if request.param == "memory":
        async with open_saver("memory://") as opened:
            yield opened
    elif request.param == "sqlite":
        async with open_saver(f"sqlite:///{tmp_path}/engine.db") as opened:
            yield opened
    else:
        async with (
            fresh_schema() as schema,
            open_saver(server_dsn(), schema=schema) as opened,
        ):
            yield opened
