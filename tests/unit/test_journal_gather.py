"""Many small calls of one tick become one call."""

from __future__ import annotations

import asyncio

import pytest

from stepwell._journal.gather import Gather
from stepwell.errors import InternalError, SchemaVersionError, StorageError
from tests.simulation._journal_world import Database, Process, key, opened, unavailable
from tests.simulation._virtual import simulated


@simulated
async def test_a_batch_has_a_limit():
    batches = []

    async def call(requests):
        batches.append(requests)
        return [request * 10 for request in requests]

    gather = Gather(call, limit=4)
    futures = [gather.submit(n) for n in range(10)]
    assert await asyncio.gather(*futures) == [n * 10 for n in range(10)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    await gather.idle()


@simulated
async def test_what_was_not_sent_can_be_taken_back():
    """What was sent cannot: its answer comes."""
    asked = []

    async def call(requests):
        asked.extend(requests)
        await asyncio.sleep(1)
        return requests

    gather = Gather(call, limit=1)
    futures = [gather.submit(n) for n in range(4)]
    await asyncio.sleep(0.5)
    assert asked == [0, 1]
    assert not gather.withdraw(futures[0])
    assert gather.withdraw(futures[2])
    assert await futures[3] == 3
    assert asked == [0, 1, 3]
    assert futures[2].cancelled()


@simulated
async def test_an_error_for_now_is_everybodys_and_an_error_for_good_one_requests():
    errors = {}

    async def call(requests):
        for request in requests:
            if request in errors:
                error = errors[request]()
                raise error
        return requests

    gather = Gather(call)
    for error, alone in (
        (unavailable, False),
        (SchemaVersionError, False),
        (StorageError, True),
        (KeyError, True),
    ):
        errors[5] = error
        futures = [gather.submit(n) for n in range(16)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        failed = [n for n, result in enumerate(results) if isinstance(result, Exception)]
        assert failed == ([5] if alone else list(range(16)))


@simulated
async def test_answers_that_do_not_match_are_not_believed():
    async def call(requests):
        return requests[1:]

    gather = Gather(call)
    futures = [gather.submit(n) for n in range(2)]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [InternalError] * 2


@simulated
async def test_when_the_loop_goes_down_nobody_waits_for_an_answer():
    started = asyncio.Event()

    async def call(_requests):
        started.set()
        await asyncio.Event().wait()

    gather = Gather(call)
    future = gather.submit(1)
    await started.wait()
    for task in asyncio.all_tasks():
        if "Gather" in repr(task.get_coro()):
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await future
    await gather.idle()


@simulated
async def test_a_claim_that_was_not_sent_is_taken_back():
    """Cancelled in the queue behind two calls under way, it never reaches the database."""
    process = Process(Database())
    async with opened(process) as journal:
        process.latency_s = 1.0
        claims = []
        for n in range(4):
            claims.append(asyncio.ensure_future(journal.acquire(key(n))))
            await asyncio.sleep(0.01)
        claims[2].cancel()
        await asyncio.gather(claims[0], claims[1], claims[3])
        asked = [request.key for batch in process.claims for request in batch]
        assert asked == [key(0), key(1), key(3)]
        await (await journal.acquire(key(2))).release()
