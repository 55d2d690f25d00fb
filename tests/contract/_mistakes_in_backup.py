"""Mistakes that drivers make, planted in the memory driver one at a time: as a whole."""

import contextlib

from stepwell.checkpoint.memory._backup import MemorySnapshot
from stepwell.checkpoint.memory._driver import MemoryDriver
from tests.contract._mistakes import caught_by


@caught_by("test_a_snapshot_stays_as_it_was")
class SnapshotsShowWhatComesLater(MemoryDriver):
    @contextlib.asynccontextmanager
    async def snapshot(self):
        async with super().snapshot() as snapshot:
            snapshot._threads = self._threads
            yield snapshot


@caught_by("test_pages_of_rows")
class PagesBeginAnew(MemoryDriver):
    @contextlib.asynccontextmanager
    async def snapshot(self):
        class Forgets(MemorySnapshot):
            async def rows(self, kind, keys, *, after=None, limit=None):
                found = await super().rows(kind, keys, after=after, limit=limit)
                return [[]] * len(keys) if after else found

        yield Forgets(self._threads, self.unfinished, 0.0)


@caught_by("test_threads_put_in_place_are_what_they_were")
class SegmentsAreForgotten(MemoryDriver):
    async def restore(self, parts, gone=()):
        await super().restore([_without(part, segments=()) for part in parts], gone)


@caught_by("test_threads_put_in_place_are_what_they_were")
class NothingIsUnended(MemoryDriver):
    async def restore(self, parts, gone=()):
        await super().restore([_without(part, ends=True) for part in parts], gone)


@caught_by("test_what_is_not_whole_says_so")
class TheMarkStays(MemoryDriver):
    async def mark(self, note):
        self.unfinished = note or self.unfinished


@caught_by("test_rows_get_other_bytes_where_they_are")
class DetailsStayAsTheyWere(MemoryDriver):
    async def reseal(self, worker, changes):
        return await super().reseal(worker, [(c, _without(p, segments=())) for c, p in changes])


@caught_by("test_who_does_not_hold_a_thread_seals_nothing")
class AnybodySealsAnew(MemoryDriver):
    async def reseal(self, worker, changes):
        owners = [self._threads[part.thread.key].owner for _, part in changes]
        answers = []
        for owner, (claim, part) in zip(owners, changes, strict=True):
            epoch = self._threads[part.thread.key].epoch
            answers += await super().reseal(owner, [(claim._replace(epoch=epoch), part)])
        return answers


@caught_by("test_who_does_not_hold_a_thread_seals_nothing")
class AnyLayoutWillDo(MemoryDriver):
    async def reseal(self, worker, changes):
        for _, part in changes:
            self._threads[part.thread.key].layout_no = part.thread.layout_no
        return await super().reseal(worker, changes)


@caught_by("test_rows_of_no_thread")
class EveryRowIsAStray(MemoryDriver):
    async def strays(self, *, remove=False):
        return {"runs": 1}


def _without(part, **fields):
    values = {name: getattr(part, name) for name in part.__slots__}
    return type(part)(**{**values, **fields})
