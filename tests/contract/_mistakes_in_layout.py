"""Mistakes in folding and pruning, planted in the memory driver one at a time."""

import dataclasses
from contextlib import suppress

from stepwell.checkpoint.driver import LoadRequest
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import StorageError
from tests.contract._mistakes import caught_by


@caught_by("test_a_segment_takes_the_place_of_its_rows")
@caught_by("test_a_fold_and_its_readers_do_not_meet")
class FoldedRowsStay(MemoryDriver):
    async def write_segments(self, change):
        return await super().write_segments(change._replace(rows_gone=()))


@caught_by("test_a_fold_and_its_readers_do_not_meet")
class SegmentsGetLost(MemoryDriver):
    async def write_segments(self, change):
        return await super().write_segments(change._replace(segments=()))


@caught_by("test_of_two_layouts_one_comes_first")
class TheLastLayoutWins(MemoryDriver):
    async def write_segments(self, change):
        thread = self._threads[change.key]
        with suppress(StorageError):
            await super().write_segments(change._replace(layout_no=thread.layout_no))
        return True


@caught_by("test_a_segment_takes_the_place_of_its_rows")
@caught_by("test_of_two_layouts_one_comes_first")
class LayoutNoStands(MemoryDriver):
    def _relay(self, thread, change):
        done = super()._relay(thread, change)
        thread.layout_no -= done
        return done


@caught_by("test_what_is_to_go_must_be_there", missing="row")
@caught_by("test_what_is_to_go_must_be_there", missing="segment")
class WhatIsMissingDoesNotMatter(MemoryDriver):
    def _relay(self, thread, change):
        there = {row.seq for row in thread.root.rows}
        folded = {row.seq_from for row in thread.root.segments or ()}
        return super()._relay(
            thread,
            change._replace(
                rows_gone=[seq for seq in change.rows_gone if seq in there],
                segments_gone=[seq for seq in change.segments_gone if seq in folded],
            ),
        )


@caught_by("test_a_prune_is_fenced")
class AnybodyPrunes(MemoryDriver):
    async def prune(self, claim, worker, change):
        return await self.write_segments(change)


@caught_by("test_a_prune_is_fenced")
class TheEpochDoesNotMatter(MemoryDriver):
    async def prune(self, claim, worker, change):
        thread = self._threads[claim.key]
        return await super().prune(claim._replace(epoch=thread.epoch), worker, change)


@caught_by("test_a_segment_takes_the_place_of_its_rows")
class CountersStand(MemoryDriver):
    def _relay(self, thread, change):
        return super()._relay(thread, change._replace(checkpoints=0, bytes=0))


@caught_by("test_a_pruned_chain_begins_where_it_is_rebased")
class PrunedWritesStay(MemoryDriver):
    def _relay(self, thread, change):
        return super()._relay(thread, change._replace(writes_gone=()))


@caught_by("test_a_segment_takes_the_place_of_its_rows")
class DetailIsNeverRead(MemoryDriver):
    def _load(self, thread, ns_name, seq, now):
        answer = super()._load(thread, ns_name, seq, now)
        bare = [row._replace(detail=b"") for row in answer.segments]
        return dataclasses.replace(answer, segments=bare)


@caught_by("test_a_history_begins_where_it_is_asked_to")
class HistoryBeginsAtTheBeginning(MemoryDriver):
    async def history(self, key, ns_name, upto, *, since=1, current=False):
        return await super().history(key, ns_name, upto)


@caught_by("test_a_page_comes_with_what_it_is_made_of", folded=[], upto=7, limit=2, expected=[6, 7])
class PagesForgetOtherBranches(MemoryDriver):
    async def page(self, key, ns_name, upto, limit, *, current=False):
        page = await super().page(key, ns_name, upto, limit)
        chain = {
            row.seq for row in (await self.load([LoadRequest(key, ns_name, page.last)]))[0].rows
        }
        return dataclasses.replace(page, rows=[row for row in page.rows if row.seq in chain])


@caught_by("test_a_page_comes_with_what_it_is_made_of", folded=[], upto=4, limit=1, expected=[4])
class PagesForgetWhatFollows(MemoryDriver):
    async def page(self, key, ns_name, upto, limit, *, current=False):
        page = await super().page(key, ns_name, upto, limit)
        return dataclasses.replace(page, rows=[row for row in page.rows if row.seq <= page.last])


@caught_by("test_a_page_leaps_over_gaps")
class PagesCountNumbers(MemoryDriver):
    async def page(self, key, ns_name, upto, limit, *, current=False):
        page = await super().page(key, ns_name, upto, limit)
        return dataclasses.replace(page, first=max(1, page.last - limit + 1))


@caught_by("test_a_page_of_nothing_is_empty")
class PagesEndAtTheirBound(MemoryDriver):
    async def page(self, key, ns_name, upto, limit, *, current=False):
        page = await super().page(key, ns_name, upto, limit)
        return dataclasses.replace(page, last=upto or page.last)


@caught_by("test_runs_come_with_a_page")
class PagesHaveNoRuns(MemoryDriver):
    async def page(self, key, ns_name, upto, limit, *, current=False):
        return dataclasses.replace(await super().page(key, ns_name, upto, limit), runs={})


@caught_by("test_segments_make_room_for_others")
class TimesOfRowsAreLost(MemoryDriver):
    def _relay(self, thread, change):
        rows = [row._replace(created_at=0.0) for row in change.rows]
        return super()._relay(thread, change._replace(rows=rows))


@caught_by("test_a_layout_says_where_everything_is")
class SizesAreUnknown(MemoryDriver):
    async def layout(self, key, ns_name):
        layout = await super().layout(key, ns_name)
        return dataclasses.replace(layout, rows=[row._replace(bytes=0) for row in layout.rows])


@caught_by("test_a_ttl_is_kept")
class TtlIsAnUpdate(MemoryDriver):
    async def set_ttl(self, key, ttl_s):
        done = await super().set_ttl(key, ttl_s)
        if done:
            self._threads[key].updated_at += 1
        return done


# --- figures --------------------------------------------------------------------------------------


@caught_by("test_threads_are_counted_by_graph_and_status")
class EveryScopeIsCounted(MemoryDriver):
    async def tally(self, query):
        scopes = {key.scope for key in self._threads}
        return [t for s in scopes for t in await super().tally(query._replace(scope=s))]


@caught_by("test_threads_are_counted_by_graph_and_status")
class GraphsLoseTheirCase(MemoryDriver):
    async def tally(self, query):
        return [t._replace(graph=t.graph and t.graph.lower()) for t in await super().tally(query)]


@caught_by("test_threads_are_counted_by_graph_and_status")
class QuestionsAreNotCounted(MemoryDriver):
    async def tally(self, query):
        return [t._replace(interrupts=0) for t in await super().tally(query)]


@caught_by("test_threads_are_counted_by_when_they_were_made")
class SpansAreRounded(MemoryDriver):
    async def tally(self, query):
        return [t._replace(span=t.span and t.span + 1) for t in await super().tally(query)]


@caught_by("test_threads_are_counted_by_when_they_were_made")
class CountsWhatWasNotWrittenSince(MemoryDriver):
    async def tally(self, query):
        return await super().tally(query._replace(updated_since=None))


@caught_by("test_runs_are_found_by_their_numbers")
class RunsThatAreNotThereAreLeftOut(MemoryDriver):
    async def runs_numbered(self, names):
        return [run for run in await super().runs_numbered(names) if run is not None]


@caught_by("test_runs_are_found_by_their_numbers")
class TheNewestRunWillDo(MemoryDriver):
    async def runs_numbered(self, names):
        pages = [await self.runs(key, limit=1) for key, _ in names]
        return [page[0] if page else None for page in pages]


@caught_by("test_a_database_says_how_it_is")
class SizesStandStill(MemoryDriver):
    async def vitals(self):
        return (await super().vitals())._replace(bytes=7)


@caught_by("test_a_database_says_how_it_is")
class TheSchemaIsOld(MemoryDriver):
    async def vitals(self):
        return (await super().vitals())._replace(schema_version=1, schema_needed=2)


@caught_by("test_a_claim_leaves_out_only_what_is_known", since="claim")
@caught_by("test_a_claim_leaves_out_only_what_is_known", since="record")
@caught_by("test_a_claim_leaves_out_only_what_is_known", since="layout")
@caught_by("test_a_claim_leaves_out_only_what_is_known", since="another thread")
class WhatIsKnownIsBelieved(MemoryDriver):
    def _claim(self, request, now):
        claim = super()._claim(request, now)
        if request.known is None:
            return claim
        newest = dataclasses.replace(
            claim.loaded, rows=claim.loaded.rows[-1:], segments=(), newest_only=True
        )
        return dataclasses.replace(claim, loaded=newest)
