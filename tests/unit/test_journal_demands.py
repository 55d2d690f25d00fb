"""Demands: what somebody who wants a thread asks of those who hold it before."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from stepwell._journal.demand import Demand, parse_demand
from stepwell.errors import StorageUnavailableError, ThreadBusyError
from tests.simulation._journal_world import Database, Process, key, opened, step, world
from tests.simulation._virtual import simulated

INTERRUPT, ROLLBACK = Demand("interrupt", "run-2"), Demand("rollback", "run-3")


@asynccontextmanager
async def two(**options):
    """Two processes on one database, each with an open journal."""
    database = Database()
    one, other = Process(database), Process(database)
    async with opened(one, **options) as a, opened(other, seed=2, **options) as b:
        yield a, one, b, other


def test_a_demand_comes_back_from_its_text():
    """A token may hold anything, colons too; what this release does not know is nothing."""
    for demand in (INTERRUPT, ROLLBACK, Demand("cancel", "a:b: ü")):
        assert parse_demand(demand.text) == demand
    assert parse_demand("pause:run-1") is None
    assert parse_demand("") is None


@simulated
async def test_the_owner_in_this_process_hears_at_once():
    """Without the database: before the waiter has even claimed."""
    async with world() as (journal, process):
        handle = await journal.acquire(key())
        heard = []
        handle.on_request = heard.append
        waiter = asyncio.ensure_future(journal.acquire(key(), demand=INTERRUPT))
        await asyncio.sleep(0)
        assert heard == ["interrupt:run-2"]
        assert process.calls["ask"] == 0
        await handle.release()
        won = await waiter
        assert won.request is None


@simulated
async def test_whoever_gets_the_thread_before_is_asked_too():
    """Those in line ahead of the demand hear it as soon as they hold the thread."""
    async with world() as (journal, _process):
        first = await journal.acquire(key())
        second = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(0)
        third = asyncio.ensure_future(journal.acquire(key(), demand=INTERRUPT))
        fourth = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(0)
        await first.release()
        handle = await second
        assert handle.request == "interrupt:run-2"
        await handle.release()
        handle = await third
        assert handle.request is None
        await handle.release()
        assert (await fourth).request is None


@simulated
async def test_a_waiter_that_left_asks_nobody():
    """Its demand leaves the line with it, by timeout and by cancellation."""
    async with world() as (journal, _process):
        first = await journal.acquire(key())
        second = asyncio.ensure_future(journal.acquire(key()))
        await asyncio.sleep(0)
        with pytest.raises(ThreadBusyError):
            await journal.acquire(key(), demand=INTERRUPT, timeout=1.0)
        third = asyncio.ensure_future(journal.acquire(key(), demand=ROLLBACK))
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.sleep(0)
        await first.release()
        assert (await second).request is None


@simulated
async def test_who_does_not_wait_asks_nothing():
    """A timeout of 0 refuses at once, and the owner is left in peace."""
    async with two() as (a, _one, b, other):
        handle = await a.acquire(key())
        for journal in (a, b):
            with pytest.raises(ThreadBusyError):
                await journal.acquire(key(), demand=ROLLBACK, timeout=0)
        assert (handle.request, other.calls["ask"]) == (None, 0)


@simulated
async def test_undoing_outranks_stopping():
    """An owner that was asked to stop hears that it has to be undone; not the other way."""
    async with world() as (journal, _process):
        handle = await journal.acquire(key())
        heard = []
        handle.on_request = heard.append
        for demand in (INTERRUPT, Demand("cancel", "x"), ROLLBACK, INTERRUPT):
            assert journal.ask(key(), demand.text)
        assert heard == [INTERRUPT.text, ROLLBACK.text]


@simulated
async def test_the_owner_in_another_process_hears_by_its_next_commit():
    """Each new owner there is asked anew; the row is marked as wanted by the same call."""
    async with two() as (a, _one, b, other):
        handle = await a.acquire(key())
        waiter = asyncio.ensure_future(b.acquire(key(), demand=INTERRUPT))
        await asyncio.sleep(0.1)
        assert handle.request is None
        heard = []
        handle.on_request = heard.append
        await step(handle).ticket
        assert heard == [handle.request] == ["interrupt:run-2"]
        assert handle.outbox.wanted
        assert (other.calls["ask"], other.wants) == (1, [])
        waiter.cancel()
        await handle.release()


@simulated
async def test_an_owner_that_commits_nothing_hears_by_its_heartbeat():
    """Within two thirds of a lease, however long a node takes."""
    async with two(lease_ttl_s=9.0) as (a, _one, b, _other):
        handle = await a.acquire(key())
        heard = []
        handle.on_request = lambda _: heard.append(asyncio.get_running_loop().time())
        waiter = asyncio.ensure_future(b.acquire(key(), demand=ROLLBACK))
        asked = asyncio.get_running_loop().time()
        await asyncio.sleep(30)
        assert len(heard) == 1
        assert heard[0] - asked <= 6.0
        await handle.release()
        assert (await waiter).request is None


@simulated
async def test_a_demand_behind_a_waiter_reaches_the_other_process():
    """Who stands first in line here and waits for the other process asks for all behind it."""
    async with two() as (a, _one, b, other):
        handle = await a.acquire(key())
        first = asyncio.ensure_future(b.acquire(key()))
        await asyncio.sleep(5)
        assert other.calls["ask"] == 0
        second = asyncio.ensure_future(b.acquire(key(), demand=INTERRUPT))
        await asyncio.sleep(2)
        assert other.calls["ask"] == 1
        await step(handle).ticket
        assert handle.request == "interrupt:run-2"
        await handle.release()
        assert (await first).request == "interrupt:run-2"
        await (await first).release()
        await second


@simulated
async def test_a_new_owner_over_there_is_asked_again():
    """A claim clears the row's request, so each epoch is asked once."""
    async with two() as (a, one, b, other), opened(Process(one.database), seed=3) as c:
        handle = await a.acquire(key())
        waiter = asyncio.ensure_future(b.acquire(key(), demand=INTERRUPT))
        await asyncio.sleep(5)
        # A third process is quicker, before anybody here notices that the thread was free.
        await handle.release()
        handle = await c.acquire(key())
        assert handle.request is None
        await asyncio.sleep(3)
        await step(handle).ticket
        assert handle.request == "interrupt:run-2"
        assert other.calls["ask"] == 2
        waiter.cancel()
        await handle.release()


@simulated
async def test_an_outage_while_asking_is_no_failure():
    """It was courtesy: the claim itself bears the outage, and goes on."""
    async with two() as (a, _one, b, other):
        handle = await a.acquire(key())
        tries = []

        async def failing(asks):
            tries.append(asks)
            raise StorageUnavailableError("gone", outcome="none")

        other.ask = failing
        waiter = asyncio.ensure_future(b.acquire(key(), demand=INTERRUPT))
        await asyncio.sleep(1)
        await handle.release()
        await waiter
        assert len(tries) == 1


@simulated
async def test_a_thread_held_by_the_caller_through_another_saver():
    """Two journals on one database: a run that asks for its own thread through the other one
    is refused at once, and nobody is asked to stop."""
    async with two() as (a, _one, b, other):
        handle = await a.acquire(key())
        for demand in (None, INTERRUPT, ROLLBACK):
            began = asyncio.get_running_loop().time()
            with pytest.raises(ThreadBusyError) as caught:
                await b.acquire(key(), held=[handle], demand=demand)
            assert caught.value.context["code"] == "reentrant"
            assert asyncio.get_running_loop().time() - began < 0.1
        assert (handle.request, other.calls["ask"], other.wants) == (None, 0, [])


@simulated
async def test_the_same_name_in_another_database_is_another_thread():
    """A run may ask for a thread of the same name that is kept elsewhere."""
    async with world() as (a, _one), world() as (b, _other):
        handle = await a.acquire(key())
        other = await b.acquire(key(), held=[handle], demand=INTERRUPT)
        assert handle.request is None
        await other.release()


@simulated
async def test_asking_an_owner_by_epoch():
    """`ask_owner` reaches this process at once, another one through the row, and nobody when
    the epoch has moved on."""
    async with two() as (a, one, b, _other):
        handle = await a.acquire(key())
        assert await a.ask_owner(key(), handle.epoch, Demand("cancel", "why"))
        assert (handle.request, one.calls["ask"]) == ("cancel:why", 0)
        assert not await b.ask_owner(key(), handle.epoch - 1, ROLLBACK)
        assert await b.ask_owner(key(), handle.epoch, ROLLBACK)
        await step(handle).ticket
        assert handle.request == ROLLBACK.text
        await handle.release()
        assert not await b.ask_owner(key(), handle.epoch, ROLLBACK)
