"""Memory drivers that play several processes on one database, with advisory locks.

The memory driver itself has neither; this double shows that the optional part of the contract
can be kept, and lets it be tested before any database is at hand.
"""

import asyncio
import dataclasses
import itertools

from stepwell.checkpoint.driver import Busy, Capability
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.memory._listing import Listings


class Database:
    """What the drivers of one test share: threads, lock keys of threads, holders of locks."""

    def __init__(self):
        self.threads = {}
        self.keys = {}
        self.holders = {}
        self.listings = Listings(self.threads)
        self.fresh = itertools.count(1)


class ProcessDriver(MemoryDriver):
    """One process. Its calls take a turn of the loop, so that those of others come between."""

    name = "memory, many processes"
    capabilities = frozenset({Capability.MANY_PROCESSES, Capability.ADVISORY_LOCKS})

    def __init__(self, database):
        super().__init__()
        self.database = database
        self._threads = database.threads
        self._listings = database.listings

    def fresh_key(self, key):
        return next(self.database.fresh)

    def probe(self, key):
        lock_key = self.database.keys.get(key)
        return None if lock_key is None else lock_key not in self.database.holders

    async def free_locks(self, lock_keys):
        return [key not in self.database.holders for key in lock_keys]

    async def claim(self, requests):
        await asyncio.sleep(0)
        return await super().claim(requests)

    def _claim(self, request, now):
        free = self.probe(request.key)
        if not free:
            request = request._replace(confirmed=None)
        outcome = super()._claim(request, now)
        if isinstance(outcome, Busy):
            return dataclasses.replace(outcome, lock_free=free)
        lock_key = self.fresh_key(request.key) if request.lock else None
        self.database.keys[request.key] = lock_key
        if lock_key is not None:
            self.database.holders[lock_key] = self
        loaded = dataclasses.replace(
            outcome.loaded, thread=outcome.loaded.thread._replace(lock_key=lock_key)
        )
        return dataclasses.replace(outcome, lock_key=lock_key, loaded=loaded)

    async def commit(self, batch):
        await asyncio.sleep(0)
        return await super().commit(batch)

    async def load(self, requests):
        await asyncio.sleep(0)
        answers = []
        for answer in await super().load(requests):
            thread = answer.thread
            if thread is not None and thread.owner is not None:
                thread = thread._replace(lock_key=self.database.keys.get(thread.key))
            answers.append(dataclasses.replace(answer, thread=thread))
        return answers

    async def release(self, worker, held):
        await super().release(worker, held)
        await self.unlock(held)

    async def unlock(self, held):
        for claim in held:
            if self.database.holders.get(claim.lock_key) is self:
                del self.database.holders[claim.lock_key]

    async def delete(self, claim, worker):
        deleted = await super().delete(claim, worker)
        if deleted:
            self.database.keys.pop(claim.key, None)
            await self.unlock([claim])
        return deleted

    async def close(self):
        for lock_key in [k for k, holder in self.database.holders.items() if holder is self]:
            del self.database.holders[lock_key]
