"""Each guard, taken away, makes a test fail that has a name: the table below says which.

The guards of the journal have theirs in `test_journal_sabotage.py`. What stands here takes the
guard away and calls the named test itself, so the table cannot go stale.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

import pytest

from stepwell._codec.lowering import Lowering
from stepwell._db import postgres
from stepwell._db.sqlite import SQL
from stepwell._engine.recorder import Recorder
from stepwell._journal.batcher import Lane
from stepwell._journal.lineup import Lineups, Turn
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.sqlite import _claim as _sqlite_claim
from stepwell.checkpoint.sqlite._commit import CommitBatch
from tests._postgres import fresh_schema, server_dsn
from tests.engine import test_cancelled_between as between
from tests.property import test_codec_roundtrip as roundtrip
from tests.simulation import test_engine as engine
from tests.simulation import test_interleavings as interleavings
from tests.unit import test_postgres_protocol as protocol


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# -- taking guards away: each function takes one


def blind(*columns):
    """The fence of memory and SQLite compares a slice with itself in these columns."""

    def sabotage(monkeypatch):
        in_memory, in_sqlite = MemoryDriver._commit, CommitBatch._write

        def commit(self, piece, now, wall):
            thread = self._threads.get(piece.key)
            if thread is not None and thread.owner is not None:
                piece = piece._replace(**{name: getattr(thread, name) for name in columns})
            return in_memory(self, piece, now, wall)

        def write(self, cursor, batch, *, exact):
            pieces = []
            for piece in batch:
                state = cursor.execute(SQL["thread_state"], piece.key).fetchone()
                row = dict(zip(("epoch", "owner", "record_no"), state[1:4], strict=True))
                known = row["owner"] is not None
                pieces.append(piece._replace(**{n: row[n] for n in columns}) if known else piece)
            return in_sqlite(self, cursor, pieces, exact=exact)

        monkeypatch.setattr(MemoryDriver, "_commit", commit)
        monkeypatch.setattr(CommitBatch, "_write", write)

    return sabotage


def without(part, instead, *statements):
    """A condition is missing in statements for PostgreSQL."""

    def sabotage(monkeypatch):
        whole = postgres.queries

        def queries(*args):
            texts = dict(whole(*args))
            for name in statements:
                assert part in texts[name], "the guard is not where this test thinks it is"
                texts[name] = texts[name].replace(part, instead)
            return texts

        monkeypatch.setattr(postgres, "queries", queries)

    return sabotage


def both(*sabotages):
    """Several at once: a guard that stands in more than one statement."""

    def sabotage(monkeypatch):
        for each in sabotages:
            each(monkeypatch)

    return sabotage


def leases_end_at_once(monkeypatch):
    claim, read = MemoryDriver._claim, _sqlite_claim.read_thread

    def passes(self, request, now):
        thread = self._threads.get(request.key)
        if thread is not None:
            request = request._replace(confirmed=(thread.epoch, thread.beat))
        return claim(self, request, now)

    def late(cursor, key):
        raw = read(cursor, key)
        return None if raw is None else (*raw[:7], None, *raw[8:])

    monkeypatch.setattr(MemoryDriver, "_claim", passes)
    monkeypatch.setattr(_sqlite_claim, "read_thread", late)


def acknowledged_when_sent(monkeypatch):
    mark = Lane._mark

    def early(self, part):
        for sent in part:
            for record in sent.records:
                if not record.ticket.done():
                    record.ticket.set_result(None)
        return mark(self, part)

    monkeypatch.setattr(Lane, "_mark", early)


def no_line(monkeypatch):
    monkeypatch.setattr(Lineups, "try_take", lambda _self, key: Turn(key))
    monkeypatch.setattr(Lineups, "pass_on", lambda _self, turn: setattr(turn, "passed_on", True))


def unshielded_commit(monkeypatch):
    """Whoever cancels a run that waits for its commit cancels the commit too."""

    async def cancelling_durable(self):
        last, self._last = self._last, None
        try:
            if last is not None:
                await last
        except asyncio.CancelledError:
            for commit in tuple(self.handle.outbox._enqueue.__self__._tasks):
                commit.cancel()
            raise

    monkeypatch.setattr(Recorder, "durable", cancelling_durable)
    monkeypatch.setattr(Recorder, "pace", cancelling_durable)


def unescaped_tags(monkeypatch):
    lower = Lowering._lower_dict

    def plain(self, value, depth):
        if len(value) == 1 and next(iter(value)) == "$tuple":
            return value
        return lower(self, value, depth)

    monkeypatch.setattr(Lowering, "_lower_dict", plain)


def results_are_not_filed(monkeypatch):
    monkeypatch.setattr(Recorder, "finished", lambda *_: None)


# -- the tests that miss them


def on_memory(_):
    return interleavings.test_every_interleaving_on_the_memory_driver()


def on_sqlite(request):
    path = request.getfixturevalue("tmp_path")
    return interleavings.test_interleavings_on_sqlite_end_as_in_memory(path, 1)


async def on_postgres(_):
    async with fresh_schema() as schema:
        await interleavings.test_interleavings_on_postgres_end_as_in_memory(schema, 1)


async def when_it_comes_late(_):
    async with fresh_schema() as schema:
        await protocol.test_a_claim_that_comes_late_takes_nothing(
            server_dsn(), schema, known=True, meanwhile="held"
        )


def in_the_simulation(_):
    for first in range(0, 150, 10):
        engine.test_acknowledged_supersteps_survive_whatever_happens(first)


def in_calm_weather(_):
    for first in range(0, 30, 10):
        engine.test_in_calm_weather_nothing_fails(first)


def by_forged_tags(_):
    roundtrip.test_a_dict_that_reads_like_a_tag_stays_data()


def when_cancelled_at_a_barrier(_):
    between.test_cancelled_at_its_barrier_it_says_what_is_due_now()


def when_cancelled_before_a_barrier(_):
    between.test_cancelled_before_its_barrier_it_has_work_left()


_CLAIMED = ("t.epoch = w.epoch AND (t.owner", "(t.owner")
_EPOCH = ("t.epoch = w.epoch AND t.owner = w.owner AND ", "")
_EPOCH_ONE = ("t.epoch = $2 AND t.owner = $3 AND ", "$3::uuid IS NOT NULL AND ")
_RECORD = (" AND t.record_no = w.record_no", "")
_RECORD_ONE = (" AND t.record_no = $4", " AND $4::int8 IS NOT NULL")
_LATE = ("t.lease_until < clock_timestamp()", "true")
_NOT_STALE = "committed.*instead of.*stale"
_TWICE = "committed.*committed.*instead of.*committed.*landed"
_NOT_BUSY = "taken over.*instead of.*busy"
TABLE: dict[str, tuple[Any, Any, str]] = {
    "the epoch of a commit, in memory": (blind("epoch", "owner"), on_memory, _NOT_STALE),
    "the epoch of a commit, on SQLite": (blind("epoch", "owner"), on_sqlite, _NOT_STALE),
    "the epoch of a commit, on PostgreSQL": (
        both(without(*_EPOCH, "commit_fence"), without(*_EPOCH_ONE, "commit_one")),
        on_postgres, _NOT_STALE,
    ),
    "the epoch of a claim, on PostgreSQL": (
        without(*_CLAIMED, "claim"), when_it_comes_late, "At index 0 diff",
    ),
    "the record that a commit extends, in memory": (blind("record_no"), on_memory, _TWICE),
    "the record that a commit extends, on SQLite": (blind("record_no"), on_sqlite, _TWICE),
    "the record that a commit extends, on PostgreSQL": (
        both(without(*_RECORD, "commit_fence"), without(*_RECORD_ONE, "commit_one")),
        on_postgres, _TWICE,
    ),
    "the lease of an owner, in memory": (leases_end_at_once, on_memory, _NOT_BUSY),
    "the lease of an owner, on SQLite": (leases_end_at_once, on_sqlite, _NOT_BUSY),
    "the lease of an owner, on PostgreSQL": (
        without(*_LATE, "present", "claim"), on_postgres, _NOT_BUSY,
    ),
    "no acknowledgement before the commit": (
        acknowledged_when_sent, in_the_simulation, "is lost|are lost|is not read",
    ),
    "the line of a process": (no_line, in_calm_weather, "failed although all was well"),
    "the shield around a commit": (unshielded_commit, when_cancelled_at_a_barrier, "a1"),
    "the escape of tags": (unescaped_tags, by_forged_tags, "same"),
    "the record of a finished task": (
        results_are_not_filed, when_cancelled_before_a_barrier, "one.*two",
    ),
}  # fmt: skip
_POSTGRES = [pytest.mark.postgres]


@pytest.mark.parametrize(
    "guard", [pytest.param(g, marks=_POSTGRES if "PostgreSQL" in g else []) for g in TABLE]
)
@pytest.mark.timeout(300)
async def test_without_its_guard_a_named_test_fails(guard, monkeypatch, request):
    """The guard is taken away; the test that is there for it must not pass."""
    sabotage, named_test, says = TABLE[guard]
    sabotage(monkeypatch)
    with pytest.raises(AssertionError, match=f"(?s){says}"):
        await call(named_test, request)


async def call(named_test, request):
    """Run a test; one that brings a loop of its own, in a thread."""
    here = (on_memory, on_sqlite, on_postgres, when_it_comes_late)
    made = named_test(request) if named_test in here else None
    if inspect.isawaitable(made):
        await made
    else:
        await asyncio.to_thread(named_test, request)
