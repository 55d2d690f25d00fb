"""Under uvloop: the driver contract on every database, and what the engine promises.

The tests are those of other folders, taken over; here they run on another event loop.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
import uvloop

from stepwell import open_saver
from stepwell.graph import START, StateGraph
from tests._postgres import pg_dsn, pg_emptied, pg_spare  # noqa: F401
from tests.contract.test_memory import TestMemoryDriver  # noqa: F401
from tests.contract.test_postgres import TestPostgresDriver  # noqa: F401
from tests.contract.test_sqlite import TestSqliteDriver  # noqa: F401
from tests.engine.conftest import database, saver  # noqa: F401
from tests.engine.test_durability import *  # noqa: F403

pytestmark = pytest.mark.slow


async def test_these_tests_run_under_uvloop():
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def plus_one(state: dict) -> dict:
    return {"n": state["n"] + 1}


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/facade.db"])
def test_synchronous_calls_from_another_thread_reach_a_loop_of_uvloop(url, tmp_path):
    """The saver belongs to a loop of uvloop; `invoke` of a worker thread is forwarded to it."""
    builder = StateGraph(dict).add_node("add", plus_one).add_edge(START, "add")

    async def main():
        async with open_saver(url.format(tmp_path)) as opened:
            graph = builder.compile(opened)
            config = {"configurable": {"thread_id": "t"}}
            assert await graph.ainvoke({"n": 0}, config) == {"n": 1}
            there = await asyncio.to_thread(lambda: (graph.invoke({"n": 5}, config), ident()))
            assert there[0] == {"n": 6}
            assert there[1] != ident()
            return (await graph.aget_state(config)).values

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == {"n": 6}


def ident() -> int:
    return threading.get_ident()
