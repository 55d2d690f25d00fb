"""More mistakes that drivers make: with what rows hold, and with reading them."""

import asyncio
import dataclasses

from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.memory._rows import Thread
from stepwell.testing._rows import thread_key
from tests.contract._mistakes import caught_by

# --- records --------------------------------------------------------------------------------------


class Edited(MemoryDriver):
    """Writes another slice than it was given."""

    def edit(self, piece):
        return piece

    def _commit(self, piece, now, wall):
        return super()._commit(self.edit(piece), now, wall)


@caught_by("test_every_checkpoint_column_round_trips")
class BodiesEndAtNul(Edited):
    def edit(self, piece):
        rows = [row._replace(body=row.body.partition(b"\0")[0]) for row in piece.checkpoints]
        return piece._replace(checkpoints=rows)


@caught_by("test_every_checkpoint_column_round_trips")
class EmptyMetadataIsNone(Edited):
    def edit(self, piece):
        rows = [row._replace(metadata=row.metadata or None) for row in piece.checkpoints]
        return piece._replace(checkpoints=rows)


@caught_by("test_every_checkpoint_column_round_trips")
@caught_by("test_every_pending_column_round_trips")
class ChecksumsAreSigned(Edited):
    def edit(self, piece):
        return piece._replace(
            checkpoints=[row._replace(crc=row.crc & 0x7FFFFFFF) for row in piece.checkpoints],
            writes=[row._replace(crc=row.crc & 0x7FFFFFFF) for row in piece.writes],
        )


@caught_by("test_a_pending_write_is_replaced")
class FirstWriteWins(Edited):
    def edit(self, piece):
        filed = self._threads[piece.key].writes or {}
        rows = [
            row
            for row in piece.writes
            if (row.task_id, row.idx) not in filed.get((row.ns, row.seq), ())
        ]
        return piece._replace(writes=rows)


@caught_by("test_pending_writes_are_dropped")
@caught_by("test_a_slice_drops_writes_of_its_own")
class NothingIsDropped(Edited):
    def edit(self, piece):
        return piece._replace(drop_writes=())


@caught_by("test_a_slice_drops_writes_of_its_own")
class DropsBeforeItWrites(Edited):
    def edit(self, piece):
        filed = self._threads[piece.key].writes or {}
        for place in piece.drop_writes:
            filed.pop(place, None)
        return piece._replace(drop_writes=())


@caught_by("test_pending_writes_are_dropped")
class DropsInEveryNamespace(Edited):
    def edit(self, piece):
        drops = [(ns, seq) for _, seq in piece.drop_writes for ns in range(9)]
        return piece._replace(drop_writes=drops)


@caught_by("test_the_thread_row_is_described")
class NoneMeansUnchanged(Edited):
    def edit(self, piece):
        if piece.thread is None:
            return piece
        known = self._threads[piece.key].change
        pairs = zip(piece.thread, known, strict=True)
        merged = piece.thread._make(old if new is None else new for new, old in pairs)
        return piece._replace(thread=merged)


@caught_by("test_an_idempotency_key_is_unique_in_its_thread")
class KeysAreUniqueEverywhere(Edited):
    def edit(self, piece):
        keys = {run.idempotency_key for run in piece.runs} - {None}
        for key, thread in self._threads.items():
            if key != piece.key and keys & set(thread.idempotency or ()):
                return piece._replace(epoch=0)
        return piece


@caught_by("test_an_idempotency_key_is_unique_in_its_thread")
class KeysAreNotUnique(Edited):
    def edit(self, piece):
        self._threads[piece.key].idempotency = None
        return piece


@caught_by("test_runs_are_inserted_and_updated")
class RunsAreNeverUpdated(Edited):
    def edit(self, piece):
        known = len(self._threads[piece.key].runs)
        return piece._replace(runs=[run for run in piece.runs if run.run > known])


@caught_by("test_a_namespace_may_be_empty")
@caught_by("test_record_no_and_heads_advance")
class OneHeadForAll(Edited):
    def edit(self, piece):
        heads = dict.fromkeys(piece.heads, max(piece.heads.values(), default=0))
        heads |= {number: 1 for number, _ in piece.namespaces}
        return piece._replace(heads=heads)


@caught_by("test_counters_and_times")
class UpdateTimeStandsStill(MemoryDriver):
    def _commit(self, piece, now, wall):
        return super()._commit(piece, now, 0.0)


# --- reads ----------------------------------------------------------------------------------------


@caught_by("test_a_chain_holds_the_ancestors_only", seq=5, chain=[1, 2, 4, 5])
@caught_by("test_a_chain_holds_the_ancestors_only", seq=9, chain=[8, 9])
class ChainsIgnoreParents(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        thread.root.branches = None
        return super()._load(thread, ns_name, seq, now)


@caught_by("test_unknown_names_load_as_nothing")
class UnknownSeqIsTheHead(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        if seq is not None and seq > thread.root.head:
            seq = None
        return super()._load(thread, ns_name, seq, now)


@caught_by("test_unknown_names_load_as_nothing")
@caught_by("test_namespaces_do_not_mix")
class UnknownNamespaceIsTheRoot(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        return super()._load(thread, "", seq, now)


@caught_by("test_writes_are_those_of_the_checkpoint")
@caught_by("test_a_chain_holds_the_ancestors_only", seq=4, chain=[1, 2, 4])
class EveryPendingWriteIsLoaded(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        answer = super()._load(thread, ns_name, seq, now)
        slots = (thread.writes or {}).values()
        return dataclasses.replace(answer, writes=[row for s in slots for row in s.values()])


@caught_by("test_runs_come_with_their_rows")
class OnlyTheNewestRun(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        return dataclasses.replace(
            super()._load(thread, ns_name, seq, now), runs=thread.runs_of(())
        )


@caught_by("test_a_load_is_a_snapshot")
class LoadsAreAlive(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        return dataclasses.replace(super()._load(thread, ns_name, seq, now), rows=thread.root.rows)


@caught_by("test_reads_under_writing_are_snapshots")
class TwoReadsPerLoad(MemoryDriver):
    """The rows are read, others write, then the thread row is read."""

    async def load(self, requests):
        before = await super().load(requests)
        await _some_turns()
        after = await super().load(requests)
        return [
            dataclasses.replace(old, thread=new.thread)
            for old, new in zip(before, after, strict=True)
        ]


async def _some_turns():
    for _ in range(3):
        await asyncio.sleep(0)


@caught_by("test_history_holds_every_branch")
class HistoryIsTheChain(MemoryDriver):
    async def history(self, key, ns_name, upto, *, since=1, current=False):
        page = await super().history(key, ns_name, upto, since=since)
        if not page.rows:
            return page
        root = self._threads[key].root
        rows = [row for leg in root.legs(page.rows[-1].seq) for row in root.between(*leg)]
        return dataclasses.replace(page, rows=rows)


# --- namespaces -----------------------------------------------------------------------------------


@caught_by("test_reads_show_the_newest_namespaces")
class EveryNamespaceIsShown(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        answer = super()._load(thread, ns_name, seq, now)
        shown = {no: (space.name, space.head) for no, space in thread.newest_spaces()}
        row = answer.thread._replace(namespaces={0: ("", thread.root.head), **shown})
        return dataclasses.replace(answer, thread=row)


@caught_by("test_reads_show_the_newest_namespaces")
@caught_by("test_new_namespaces_get_free_numbers")
class TheOldestNamespacesAreShown(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        answer = super()._load(thread, ns_name, seq, now)
        oldest = [*thread.newest_spaces()][::-1][:64]
        shown = {no: (space.name, space.head) for no, space in oldest}
        row = answer.thread._replace(namespaces={0: ("", thread.root.head), **shown})
        return dataclasses.replace(answer, thread=row)


@caught_by("test_an_old_namespace_is_read_whole")
class OnlyTheNewestAreFound(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        answer = super()._load(thread, ns_name, seq, now)
        newest = {no for no, _ in [*thread.newest_spaces()][:64]} | {0}
        return answer if answer.ns in newest else super()._load(thread, "none", seq, now)


@caught_by("test_few_namespaces_are_all_shown")
class ThereMayAlwaysBeMore(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        answer = super()._load(thread, ns_name, seq, now)
        return dataclasses.replace(answer, thread=answer.thread._replace(more_namespaces=True))


@caught_by("test_a_name_is_given_once")
class NamesMayRepeat(MemoryDriver):
    def _commit(self, piece, now, wall):
        thread = self._threads[piece.key]
        if thread.numbers:
            for _, name in piece.namespaces:
                thread.numbers.pop(name, None)
        return super()._commit(piece, now, wall)


@caught_by("test_namespaces_are_paged_newest_first")
class PagesOverlap(MemoryDriver):
    async def namespaces(self, key, *, after=None, limit=100):
        return await super().namespaces(key, after=after and after + 1, limit=limit)


@caught_by("test_a_run_is_found_by_its_idempotency_key")
class KeysHaveNoCase(MemoryDriver):
    async def keyed_run(self, key, idempotency_key):
        return await super().keyed_run(key, idempotency_key.lower())


# --- listings -------------------------------------------------------------------------------------


@caught_by(
    "test_threads_are_found_by_their_metadata", wanted='{"team":"docs"}', expected=["a", "b"]
)
class OnlyTheNewestRunTells(MemoryDriver):
    async def threads(self, query):
        found = await super().threads(query._replace(metadata=None))
        runs = [thread.runs[-1:] for row in found if (thread := self._threads[row.key])]
        return [
            row
            for row, newest in zip(found, runs, strict=True)
            if query.metadata is None or (newest and newest[0].meta_index == query.metadata)
        ]


@caught_by("test_threads_are_found_by_their_metadata", wanted='{"n":true}', expected=["d"])
class TrueIsOne(MemoryDriver):
    async def threads(self, query):
        if query.metadata is None:
            return await super().threads(query)
        wanted = query.metadata.replace("true", "1")[1:-1]
        found = []
        for row in await super().threads(query._replace(metadata=None, limit=1000)):
            run = self._threads[row.key].described()
            if wanted in ((run.meta_index if run else None) or "").replace("true", "1"):
                found.append(row)
        return found[: query.limit]


@caught_by("test_pages_visit_every_thread_once", order="updated", descending=True)
@caught_by("test_pages_visit_every_thread_once", order="created", descending=False)
class CursorOfTheTimeAlone(MemoryDriver):
    """Threads of the same moment are skipped at the end of a page."""

    async def threads(self, query):
        if query.after is not None and query.order != "thread_id":
            last = "" if query.descending else "\U0010ffff"
            query = query._replace(after=(query.after[0], last))
        return await super().threads(query)

    def __init__(self):
        super().__init__(_Frozen())


class _Frozen:
    def wall(self):
        return 1.0

    def monotonic(self):
        return 1.0


@caught_by("test_pages_visit_every_thread_once", order="thread_id", descending=True)
class CursorIncludesItsThread(MemoryDriver):
    async def threads(self, query):
        if query.after is not None:
            query = query._replace(after=(query.after[0], query.after[1] + "\0"))
        return await super().threads(query)


@caught_by("test_threads_are_filtered")
class FiltersAreIgnored(MemoryDriver):
    async def threads(self, query):
        return await super().threads(query._replace(graph=None))


@caught_by("test_scopes_are_whole_values")
@caught_by("test_pages_visit_every_thread_once", order="thread_id", descending=False)
class ScopesAreNotCompared(MemoryDriver):
    async def threads(self, query):
        found = []
        for scope in {key.scope for key in self._threads}:
            found += await super().threads(query._replace(scope=scope))
        found.sort(key=lambda row: row.key.thread_id, reverse=query.descending)
        return found[: query.limit]


class Renamed(MemoryDriver):
    """Folds thread keys together that are different."""

    def fold(self, key):
        return key

    async def claim(self, requests):
        return await super().claim([r._replace(key=self.fold(r.key)) for r in requests])

    async def commit(self, batch):
        return await super().commit([piece._replace(key=self.fold(piece.key)) for piece in batch])

    async def load(self, requests):
        return await super().load([r._replace(key=self.fold(r.key)) for r in requests])


@caught_by("test_scope_and_id_are_two_values")
class KeysAreJoined(Renamed):
    def fold(self, key):
        return key._replace(scope="", thread_id=key.scope + key.thread_id)


@caught_by("test_hostile_ids_are_names")
class CaseIsIgnored(Renamed):
    def fold(self, key):
        return key._replace(thread_id=key.thread_id.lower())


@caught_by("test_hostile_ids_are_names")
class BlanksAreTrimmed(Renamed):
    def fold(self, key):
        return key._replace(thread_id=key.thread_id.rstrip() or " ")


@caught_by("test_runs_are_paged_newest_first")
class RunsOldestFirst(MemoryDriver):
    async def runs(self, key, *, after=None, limit=100):
        return (await super().runs(key, after=after, limit=limit))[::-1]


# --- lifecycle ------------------------------------------------------------------------------------


@caught_by("test_closed_and_opened_again")
class ClosingLosesThreads(MemoryDriver):
    async def close(self):
        self._threads.clear()


@caught_by("test_the_driver_is_what_it_declares")
class DeclaresTooMuch(MemoryDriver):
    capabilities = frozenset({"listen"})


@caught_by("test_a_test_begins_empty")
class SomethingIsLeft(MemoryDriver):
    def __init__(self):
        super().__init__()
        key = thread_key()
        self._threads[key] = Thread(key, b"u" * 16, 1, 0.0)
