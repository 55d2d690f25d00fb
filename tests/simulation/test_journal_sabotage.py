"""Each guard of the journal, taken away, is missed: the simulation says what went wrong."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from stepwell._journal.batcher import Lane
from stepwell._journal.core import Core
from stepwell._journal.heartbeat import Heartbeat
from stepwell._journal.lineup import Lineups, Turn
from stepwell._journal.outbox import Outbox
from stepwell._journal.ownership import Claimer
from stepwell.checkpoint.driver import Held
from tests.simulation._journal_chaos import simulation
from tests.simulation._journal_faults import CALM, HOPELESS, ROUGH, Plan


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def complaints(plan, seeds=60, *, until=""):
    """Problems of the seeds up to the first that has one with the words `until`."""
    found = []
    for seed in range(seeds):
        try:
            found += simulation(seed, plan).problems
        except TimeoutError:  # what is broken may keep the others waiting for ever
            found.append("some run did not end")
        if any(until in problem for problem in found):
            break
    return " ".join(found)


def test_without_a_line_runs_of_one_process_fence_each_other(monkeypatch):
    monkeypatch.setattr(Lineups, "try_take", lambda _self, key: Turn(key))
    monkeypatch.setattr(Lineups, "pass_on", lambda _self, turn: setattr(turn, "passed_on", True))
    assert "fenced although nothing went wrong" in complaints(CALM)


def test_a_slice_that_is_not_frozen_loses_the_order(monkeypatch):
    """A retry that is built anew leaves out writes which its first attempt has written."""
    take = Outbox.take

    def thawed(self, rows_max, bytes_max):
        if self.sent is not None:
            records, self.sent = self.sent.records, None
            self.pending = records + self.pending
            self._pending_size = sum(record.size for record in self.pending)
        return take(self, rows_max, bytes_max)

    resent = Lane._sort_out

    def sort_out(self, part, error):
        again, delay = resent(self, part, error)
        return [[sent.outbox.take(1000, 1 << 20) for sent in sents] for sents in again], delay

    monkeypatch.setattr(Outbox, "take", thawed)
    monkeypatch.setattr(Lane, "_sort_out", sort_out)
    assert complaints(ROUGH)


def test_without_the_prefix_rule_later_records_survive_a_failure(monkeypatch):
    """Only the slice at fault fails, and its thread goes on."""

    whole = Outbox.fail

    def fail(self, error):
        if self.sent is None or not self.pending:
            whole(self, error)
            return
        sent, self.sent = self.sent, None
        self._describe(error, 0)
        for record in sent.records:
            if not record.ticket.done():
                record.ticket.set_exception(error)
                record.ticket.exception()
        self._bound.give_back(len(sent.records), sent.size)
        self._wake_flushers()
        self._enqueue(self)

    monkeypatch.setattr(Outbox, "fail", fail)
    wanted = "acknowledged behind a failure"
    assert wanted in complaints(ROUGH, until=wanted)


def test_without_looking_for_it_a_written_record_is_called_unwritten(monkeypatch):
    """Refused after an attempt whose reply was lost: nobody may say "not written"."""
    fenced = Lane._fenced

    async def resolve(self, sent, stale):
        fenced(self, sent, stale, "none")

    monkeypatch.setattr(Lane, "_resolve", resolve)
    wanted = "said not to be written"
    assert wanted in complaints(ROUGH, 200, until=wanted)


def test_without_clearing_up_a_cancelled_claim_blocks_its_thread(monkeypatch):
    """The turn passes on at once, and the claim that arrives later belongs to nobody."""
    monkeypatch.setattr(
        Claimer, "_abandon", lambda self, attempt: self._lines.pass_on(attempt.turn)
    )
    plan = Plan(fault=0.0, cut_off=0.0, kill=False, late=False, cancel=0.6)
    found = complaints(plan)
    assert "still owned" in found or "locks left" in found or "fenced although" in found


def test_a_claim_in_doubt_that_is_forgotten_stays_owned(monkeypatch):
    """Under faults too, where rows may stay owned for some reasons: this is none of them."""
    monkeypatch.setattr(
        Claimer, "_abandon", lambda self, attempt: self._lines.pass_on(attempt.turn)
    )
    wanted = "still owned"
    assert wanted in complaints(replace(ROUGH, cancel=0.6), until=wanted)


def test_a_claim_that_is_not_released_stays_owned(monkeypatch):
    async def release(self, held, outage=None):
        self._unlock(held)

    monkeypatch.setattr(Claimer, "release", release)
    for plan in (CALM, ROUGH):
        assert "still owned" in complaints(plan, until="still owned")


def test_a_claim_that_is_renewed_after_its_run_is_never_to_be_had(monkeypatch):
    """A lease ends by itself only where nobody extends it."""
    part = Core._part

    async def release(_self, _held, _outage=None):
        return

    def keep(self, handle, *, unlock):
        part(self, handle, unlock=unlock)
        if not handle.outbox.let_go_done and handle.failure is None:
            self._handles[handle.key] = handle

    monkeypatch.setattr(Claimer, "release", release)
    monkeypatch.setattr(Core, "_part", keep)
    for wanted in (
        "renewed, and no run holds it",
        "a run has ended, its claim has not",
        "not to be had, a lease after the last run",
    ):
        assert wanted in complaints(replace(ROUGH, cut_off=0.0), until=wanted)


def test_an_unwanted_claim_that_is_given_up_keeps_no_lock(monkeypatch):
    async def drop(self, claim):
        await self.release(Held(claim.key, claim.epoch, claim.lock_key))

    monkeypatch.setattr(Claimer, "drop", drop)
    assert "locks left" in complaints(HOPELESS, 200, until="locks left")


def test_without_a_heartbeat_quiet_runs_lose_their_threads(monkeypatch):
    async def run(_self):
        await asyncio.Event().wait()

    async def fresh(_self, _handle):
        return

    monkeypatch.setattr(Heartbeat, "_run", run)
    monkeypatch.setattr(Heartbeat, "fresh", fresh)
    assert "fenced although nothing went wrong" in complaints(CALM)


def test_without_unlocking_locks_pile_up(monkeypatch):
    part = Core._part
    monkeypatch.setattr(
        Core, "_part", lambda self, handle, unlock: part(self, handle, unlock=False)
    )
    assert "locks left" in complaints(CALM)
