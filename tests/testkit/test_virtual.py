"""The virtual clock: hours pass at once, and the same seed is the same run."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepwell.errors import NodeTimeoutError, UsageError
from stepwell.graph import END, START, StateGraph
from stepwell.testing import EffectLog, VirtualClock
from tests.testkit._flows import build, config


def one_node(node, saver, **options):
    graph = StateGraph(dict)
    graph.add_node("node", node, **options)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile(saver)


def test_an_hour_of_waiting_takes_no_time():
    clock = VirtualClock()
    began = time.monotonic()

    async def main():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    before = clock.monotonic()
    assert clock.run(main()) - before == pytest.approx(3600)
    assert clock.wall() - 1.7e9 == pytest.approx(clock.monotonic())
    assert time.monotonic() - began < 60


def test_a_timeout_of_a_node_comes_due():
    async def forever(state):
        await asyncio.sleep(10_000)

    clock = VirtualClock()

    async def main():
        async with clock.saver() as saver:
            with pytest.raises(NodeTimeoutError):
                await one_node(forever, saver, timeout=600).ainvoke({"a": 1}, config("t"))

    clock.run(main())
    assert 599 < clock.monotonic() - 1000 < 700


def test_a_frozen_worker_loses_its_thread_when_its_lease_ends():
    """Two workers on one database: the second gets the thread once the first has been silent."""
    clock = VirtualClock(seed=3)

    async def main():
        first = clock.saver(lease_ttl_s=10)
        second = clock.saver(database=first, lease_ttl_s=10)
        effects = EffectLog(None)
        frozen = asyncio.Event()

        async def waits(state):
            effects.append("t", 0, "waits", 0, "")
            if len(effects.effects()) == 1:
                frozen.set()
                await asyncio.Event().wait()
            return {"done": True}

        run = asyncio.ensure_future(one_node(waits, first).ainvoke({"a": 1}, config("t")))
        await frozen.wait()
        (await first.journal()).forget()  # killed: nobody beats for the thread any more
        began = clock.monotonic()
        assert (await one_node(waits, second).ainvoke(None, config("t")))["done"] is True
        waited = clock.monotonic() - began
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await second.aclose()
        await first.aclose()
        return waited

    assert 5 < clock.run(main()) < 20


def test_a_busy_thread_is_waited_for_in_real_time():
    """Synchronous nodes work in threads: the clock does not run away from them."""
    clock = VirtualClock()
    fired = []

    def works(state):
        time.sleep(0.3)
        return {"done": True}

    async def main():
        asyncio.get_running_loop().call_later(100, fired.append, 1)
        async with clock.saver() as saver:
            return await one_node(works, saver).ainvoke({"a": 1}, config("t"))

    assert clock.run(main())["done"] is True
    assert not fired


def test_work_of_an_executor_is_waited_for():
    clock = VirtualClock()

    async def main():
        async with asyncio.timeout(50):
            await asyncio.to_thread(time.sleep, 0.2)

    clock.run(main())


def test_so_is_the_end_of_an_executor():
    class Slow(ThreadPoolExecutor):
        def shutdown(self, *args, **kwargs):
            time.sleep(0.2)
            super().shutdown(*args, **kwargs)

    clock = VirtualClock()

    async def main():
        asyncio.get_running_loop().set_default_executor(Slow())

    before = clock.monotonic()
    clock.run(main())
    assert clock.monotonic() - before < 100  # the timeout is 300


def test_a_standstill_is_told():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="Nothing will ever happen"):
        VirtualClock().run(main())


def test_the_same_seed_is_the_same_run():
    def trace(seed):
        clock = VirtualClock(seed)

        async def main():
            saver, effects = clock.saver(), EffectLog(None)
            graph = build(saver, effects)
            await graph.ainvoke({"limit": 2}, config("t"))
            shown = [s.config async for s in graph.aget_state_history(config("t"))]
            await saver.aclose()
            return shown, [(e.task, e.epoch) for e in effects.effects()]

        return clock.run(main())

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_the_clock_moves_on_any_loop_when_told(monkeypatch):
    clock = VirtualClock()
    before = clock.monotonic()
    clock.pass_time(5)
    assert clock.monotonic() == before + 5
    with pytest.raises(UsageError, match="does not go back"):
        clock.pass_time(-1)
    with pytest.raises(UsageError, match="this clock has made"):
        clock.saver(database=VirtualClock().saver())
