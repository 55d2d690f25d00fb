"""Mistakes that drivers make, planted in the memory driver one at a time: who may write.

Each names the tests of the contract that must catch it; test_contract_says_no.py sees to it.
"""

import dataclasses

from stepwell.checkpoint.driver import (
    Busy,
    Committed,
    Failed,
    Lost,
    Renewed,
    Stale,
    ThreadKey,
)
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.memory._rows import Thread
from stepwell.errors import SequenceConflictError

MISTAKES = []
"""(driver class, name of the test, its parameters)."""


def caught_by(test, **parameters):
    """The decorated driver has a mistake that `DriverContract.<test>` must catch."""

    def plant(driver_class):
        MISTAKES.append((driver_class, test, parameters))
        return driver_class

    return plant


# --- claims ---------------------------------------------------------------------------------------


@caught_by("test_the_second_worker_is_told_who_holds_it")
@caught_by("test_of_twenty_racing_claims_one_wins", kind="new")
@caught_by("test_of_twenty_racing_claims_one_wins", kind="free")
@caught_by("test_of_twenty_racing_claims_one_wins", kind="expired")
@caught_by("test_a_batch_of_claims_answers_in_order")
@caught_by("test_a_commit_keeps_the_lease")
@caught_by("test_a_heartbeat_keeps_the_lease")
class EverybodyWins(MemoryDriver):
    def _claim(self, request, now):
        return super()._claim(request._replace(confirmed=self._now(request.key)), now)

    def _now(self, key):
        thread = self._threads.get(key)
        return thread and (thread.epoch, thread.beat)


@caught_by("test_epochs_grow_with_every_claim")
@caught_by("test_an_owner_claims_again")
@caught_by("test_an_expired_lease_is_taken_over")
class EpochStandsStill(MemoryDriver):
    def _claim(self, request, now):
        known = request.key in self._threads
        claim = super()._claim(request, now)
        if known and not isinstance(claim, Busy):
            self._threads[request.key].epoch -= 1
            claim = dataclasses.replace(claim, epoch=claim.epoch - 1)
        return claim


@caught_by("test_an_expired_lease_is_taken_over")
class LeasesNeverEnd(MemoryDriver):
    def _claim(self, request, now):
        return super()._claim(request._replace(lease_ttl_s=3600.0), now)


@caught_by("test_a_moved_beat_refuses_a_suspicion")
class SuspicionIgnoresTheBeat(MemoryDriver):
    def _claim(self, request, now):
        thread = self._threads.get(request.key)
        if thread and request.confirmed and request.confirmed[0] == thread.epoch:
            request = request._replace(confirmed=(thread.epoch, thread.beat))
        return super()._claim(request, now)


@caught_by("test_a_new_epoch_refuses_a_suspicion")
class SuspicionIgnoresTheEpoch(MemoryDriver):
    def _claim(self, request, now):
        thread = self._threads.get(request.key)
        if thread and request.confirmed and request.confirmed[1] == thread.beat:
            request = request._replace(confirmed=(thread.epoch, thread.beat))
        return super()._claim(request, now)


@caught_by("test_a_claim_reads_what_it_claimed")
class ClaimReadsTooEarly(MemoryDriver):
    """The load that comes with a claim is that of the claim before."""

    def _claim(self, request, now):
        claim = super()._claim(request, now)
        if not isinstance(claim, Busy):
            seen = self.__dict__.setdefault("seen", {})
            stale = seen.get(claim.key, claim.loaded)
            seen[claim.key] = claim.loaded
            claim = dataclasses.replace(claim, loaded=stale)
        return claim


@caught_by("test_a_claim_loads_what_was_asked")
class ClaimLoadsTheHead(MemoryDriver):
    def _claim(self, request, now):
        return super()._claim(request._replace(load_ns="", load_seq=None), now)


@caught_by("test_a_claim_leaves_the_description")
class ClaimResetsTheStatus(MemoryDriver):
    def _claim(self, request, now):
        claim = super()._claim(request, now)
        thread = self._threads[request.key]
        thread.change = thread.change._replace(status=1)
        return claim


# --- leases ---------------------------------------------------------------------------------------


@caught_by("test_a_heartbeat_names_its_worker")
@caught_by("test_a_heartbeat_tells_what_is_lost")
class HeartbeatRenewsAnything(MemoryDriver):
    async def renew(self, worker, held, lease_ttl_s):
        outcomes = []
        for claim in held:
            thread = self._threads.get(claim.key)
            if thread is None:
                outcomes.append(Lost(None))
                continue
            thread.lease_until = self._clock.monotonic() + lease_ttl_s
            thread.beat += 1
            outcomes.append(Renewed())
        return outcomes


@caught_by("test_a_heartbeat_keeps_the_lease")
class HeartbeatDoesNothing(MemoryDriver):
    async def renew(self, worker, held, lease_ttl_s):
        return [Renewed() for _ in held]


@caught_by("test_a_wanted_thread_is_reported")
class WantIsForgotten(MemoryDriver):
    async def want(self, keys):
        return


@caught_by("test_a_wanted_thread_is_reported")
class WantOutlivesTheClaim(MemoryDriver):
    def _claim(self, request, now):
        wanted = request.key in self._threads and self._threads[request.key].wanted
        claim = super()._claim(request, now)
        self._threads[request.key].wanted = wanted
        return claim


@caught_by("test_a_request_reaches_the_owner")
class RequestIsForgotten(MemoryDriver):
    async def ask(self, asks):
        return [self._ask(ask._replace(key=ThreadKey("", "nowhere"))) for ask in asks]


@caught_by("test_a_request_reaches_the_owner")
class HeartbeatKeepsTheRequest(MemoryDriver):
    async def renew(self, worker, held, lease_ttl_s):
        return [
            Renewed(None, answer.wanted) if isinstance(answer, Renewed) else answer
            for answer in await super().renew(worker, held, lease_ttl_s)
        ]


@caught_by("test_a_request_reaches_the_owner")
class CommitKeepsTheRequest(MemoryDriver):
    def _commit(self, piece, now, wall):
        outcome = super()._commit(piece, now, wall)
        if isinstance(outcome, Committed):
            return outcome._replace(request=None)
        return outcome


@caught_by("test_a_request_reaches_the_owner")
class AskDoesNotWant(MemoryDriver):
    async def ask(self, asks):
        answers = await super().ask(asks)
        for ask in asks:
            if ask.key in self._threads:
                self._threads[ask.key].wanted = False
        return answers


@caught_by("test_a_request_stays_unless_replaced")
class LastRequestWins(MemoryDriver):
    async def ask(self, asks):
        return await super().ask([ask._replace(replace=True) for ask in asks])


@caught_by("test_a_request_stays_unless_replaced")
class FirstRequestWins(MemoryDriver):
    async def ask(self, asks):
        return await super().ask([ask._replace(replace=False) for ask in asks])


@caught_by("test_a_request_is_for_one_claim")
class AnyClaimIsAsked(MemoryDriver):
    async def ask(self, asks):
        known = self._threads
        return await super().ask(
            [a._replace(epoch=known[a.key].epoch) if a.key in known else a for a in asks]
        )


@caught_by("test_a_request_is_for_one_claim")
class NobodyIsAsked(MemoryDriver):
    """A free thread takes requests: whoever asks believes that somebody was told."""

    async def ask(self, asks):
        owners = [(t, t.owner) for a in asks if (t := self._threads.get(a.key))]
        for thread, owner in owners:
            thread.owner = owner or b"nobody"
        answers = await super().ask(asks)
        for thread, owner in owners:
            thread.owner = owner
        return answers


@caught_by("test_a_request_is_for_one_claim")
class RequestOutlivesTheClaim(MemoryDriver):
    def _claim(self, request, now):
        asked = request.key in self._threads and self._threads[request.key].request
        claim = super()._claim(request, now)
        self._threads[request.key].request = asked or None
        return claim


@caught_by("test_a_lost_claim_releases_nothing")
@caught_by("test_a_deleted_thread_starts_anew")
class AnybodyReleases(MemoryDriver):
    async def release(self, worker, held):
        for claim in held:
            thread = self._threads.get(claim.key)
            if thread is not None:
                thread.owner = thread.lease_until = None


@caught_by("test_a_release_frees_the_thread")
class ReleaseDoesNothing(MemoryDriver):
    async def release(self, worker, held):
        return


@caught_by("test_a_delete_is_fenced")
class AnybodyDeletes(MemoryDriver):
    async def delete(self, claim, worker):
        return self._threads.pop(claim.key, None) is not None


@caught_by("test_a_delete_is_fenced")
class DeleteTakesByPrefix(MemoryDriver):
    async def delete(self, claim, worker):
        deleted = await super().delete(claim, worker)
        if deleted:
            for key in [k for k in self._threads if k.thread_id.startswith(claim.key.thread_id)]:
                del self._threads[key]
        return deleted


@caught_by("test_a_deleted_thread_starts_anew")
class EpochsStartAtOne(MemoryDriver):
    """The next incarnation has the epoch of the last one: its zombies pass the fence."""

    def _claim(self, request, now):
        return super()._claim(request._replace(fresh_no=1), now)


# --- commits --------------------------------------------------------------------------------------


class Trusting(MemoryDriver):
    """Makes some parts of a slice agree with the row before the fence looks at them."""

    trusted = ()

    def _commit(self, piece, now, wall):
        thread = self._threads.get(piece.key)
        if thread is not None:
            seen = {name: getattr(thread, name) for name in self.trusted}
            piece = piece._replace(**seen)
        return super()._commit(piece, now, wall)


@caught_by("test_a_zombie_is_refused")
@caught_by("test_a_stale_slice_harms_no_other")
class NoFence(Trusting):
    trusted = ("epoch", "owner", "record_no")


@caught_by("test_the_fence_compares_every_part", what="epoch below")
@caught_by("test_the_fence_compares_every_part", what="epoch above")
@caught_by("test_a_cancelled_commit_leaves_all_or_nothing")
class FenceIgnoresTheEpoch(Trusting):
    trusted = ("epoch",)


@caught_by("test_the_fence_compares_every_part", what="owner")
@caught_by("test_the_fence_compares_every_part", what="free")
class FenceIgnoresTheOwner(Trusting):
    trusted = ("owner",)


@caught_by("test_the_fence_compares_every_part", what="gap")
class FenceIgnoresTheNumber(Trusting):
    trusted = ("record_no",)


@caught_by("test_an_expired_lease_nobody_took_still_writes")
class FenceAsksTheTime(MemoryDriver):
    def _commit(self, piece, now, wall):
        thread = self._threads.get(piece.key)
        if thread is not None and thread.lease_until is not None and thread.lease_until < now:
            return Stale(thread.epoch)
        return super()._commit(piece, now, wall)


@caught_by("test_the_same_slice_twice_is_written_once")
@caught_by("test_a_slice_that_grew_is_completed")
@caught_by("test_letting_go_frees_the_thread")
class RetriesAreStale(MemoryDriver):
    def _commit(self, piece, now, wall):
        outcome = super()._commit(piece, now, wall)
        return Stale(0) if isinstance(outcome, Committed) and outcome.landed else outcome


@caught_by("test_a_slice_that_grew_is_completed")
class RetriesHaveLandedWhole(MemoryDriver):
    """A slice that grew is taken for written to its end: the rest would be lost."""

    def _commit(self, piece, now, wall):
        outcome = super()._commit(piece, now, wall)
        if isinstance(outcome, Committed) and outcome.landed:
            return Committed(piece.record_no_after, landed=True)
        return outcome


@caught_by("test_the_same_slice_twice_is_written_once")
class RetriesCountTwice(MemoryDriver):
    def _commit(self, piece, now, wall):
        outcome = super()._commit(piece, now, wall)
        if isinstance(outcome, Committed) and outcome.landed:
            self._threads[piece.key].checkpoints += len(piece.checkpoints)
        return outcome


@caught_by("test_a_stale_slice_harms_no_other")
class OneStaleFailsAll(MemoryDriver):
    async def commit(self, batch):
        outcomes = await super().commit(batch)
        stale = [outcome for outcome in outcomes if isinstance(outcome, Stale)]
        return [stale[0]] * len(batch) if stale else outcomes


@caught_by("test_a_stale_slice_harms_no_other")
@caught_by("test_a_wide_batch_is_one_commit")
class AnswersInTheOrderOfKeys(MemoryDriver):
    async def commit(self, batch):
        return await super().commit(sorted(batch, key=lambda piece: piece.key))


@caught_by("test_a_deleted_thread_is_stale")
class CommitCreatesTheThread(MemoryDriver):
    def _commit(self, piece, now, wall):
        if piece.key not in self._threads:
            self._threads[piece.key] = Thread(piece.key, b"u" * 16, 1, wall)
            return Stale(None)
        return super()._commit(piece, now, wall)


@caught_by("test_letting_go_frees_the_thread")
class NeverLetsGo(MemoryDriver):
    def _commit(self, piece, now, wall):
        return super()._commit(piece._replace(let_go=False), now, wall)


@caught_by("test_a_duplicate_seq_fails_its_thread_only")
@caught_by("test_a_slice_is_written_whole_or_not")
class LosersAreSilent(MemoryDriver):
    """A duplicate is left out without a word, as ON CONFLICT DO NOTHING does."""

    def _commit(self, piece, now, wall):
        outcome = super()._commit(piece, now, wall)
        if isinstance(outcome, Failed):
            return Committed(piece.record_no_after)
        return outcome


@caught_by("test_a_slice_is_written_whole_or_not")
class WritesBeforeItChecks(MemoryDriver):
    def _commit(self, piece, now, wall):
        try:
            self._threads[piece.key].check(piece)
        except SequenceConflictError as error:
            if piece.thread is not None:
                self._threads[piece.key].change = piece.thread
            return Failed(error)
        return super()._commit(piece, now, wall)


@caught_by("test_a_duplicate_seq_fails_its_thread_only")
class OnePoisonedLosesTheOthers(MemoryDriver):
    """The batch is rolled back for one slice, and the outcomes say nothing of it."""

    async def commit(self, batch):
        for piece in batch:
            try:
                self._threads[piece.key].check(piece)
            except SequenceConflictError as error:
                return [
                    Failed(error) if other is piece else Committed(other.record_no_after)
                    for other in batch
                ]
        return await super().commit(batch)


@caught_by("test_landed_knows_a_record_by_number_and_epoch")
class LandedIgnoresTheEpoch(MemoryDriver):
    async def landed(self, key, record_no, epoch):
        return key in self._threads and self._threads[key].record_no >= record_no


# --- crashes --------------------------------------------------------------------------------------


@caught_by("test_late_duplicates_write_nothing")
@caught_by("test_two_writers_make_one_chain")
@caught_by("test_a_claim_whose_process_dies_leaves_the_thread")
class LateSlicesAreWritten(MemoryDriver):
    """Whatever comes is written under the number that is next."""

    def _commit(self, piece, now, wall):
        thread = self._threads.get(piece.key)
        if thread is None or thread.record_no < piece.record_no:
            return super()._commit(piece, now, wall)
        ahead = thread.root.head + 1 - min((r.seq for r in piece.checkpoints), default=1)
        moved = [r._replace(seq=r.seq + ahead, parent=None) for r in piece.checkpoints]
        late = piece._replace(epoch=thread.epoch, owner=thread.owner, record_no=thread.record_no,
            record_no_after=thread.record_no + piece.record_no_after - piece.record_no,
            checkpoints=moved, heads={0: moved[-1].seq} if moved else piece.heads,
        )  # fmt: skip
        return super()._commit(late, now, wall)


@caught_by("test_a_graph_survives_kills")
class PendingWritesAreLost(MemoryDriver):
    def _load(self, *args):
        return dataclasses.replace(super()._load(*args), writes=())


@caught_by("test_a_lost_reply_is_looked_up")
class RetriesAreNotKnown(MemoryDriver):
    """What an earlier attempt has written is refused when it comes again."""

    def _commit(self, piece, now, wall):
        outcome = super()._commit(piece, now, wall)
        if isinstance(outcome, Committed) and outcome.landed:
            return Stale(None)
        return outcome


@caught_by("test_a_commit_that_never_left_is_sent_again")
class EverySecondCommitIsLost(MemoryDriver):
    def _commit(self, piece, now, wall):
        self.made = self.__dict__.get("made", 0) + 1
        if self.made % 2 == 0:
            return Committed(piece.record_no_after)
        return super()._commit(piece, now, wall)
