"""One saver per driver: what the engine promises, it promises on all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
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


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Saver]]]:
    """Makes empty open savers: of a kind, with options."""
    async with AsyncExitStack() as stack:
        count = iter(range(100))

        async def make(kind: str) -> Saver:
            if kind == "memory":
                saver = open_saver("memory://")
            elif kind == "sqlite":
                saver = open_saver(f"sqlite:///{tmp_path}/{next(count)}.db")
            else:
                schema = await stack.enter_async_context(fresh_schema())
                saver = open_saver(server_dsn(), schema=schema)
            return await stack.enter_async_context(saver)

        yield make
