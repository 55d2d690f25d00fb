"""SQLite: segments in chains, plans of queries, the views for people."""

from __future__ import annotations

import itertools
import re
import sqlite3

import pytest

from stepwell._db._sqlite_schema import JOURNAL, STORE
from stepwell._db.sqlite import SQL
from stepwell.checkpoint.driver import Known, RunStatus, SegmentRow, ThreadQuery, ThreadStatus
from stepwell.checkpoint.sqlite import _read as _sqlite_read
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import StorageError
from stepwell.testing._rows import (
    change,
    checkpoint,
    loaded,
    pending,
    run_row,
    seqs,
    take,
    thread_key,
    worker,
)

ALICE = worker("alice")


@pytest.fixture
async def driver(tmp_path):
    driver = SqliteDriver(str(tmp_path / "threads.db"))
    await driver.open()
    await driver.migrate("auto")
    yield driver
    await driver.close()


async def fold(driver, first, last, parent=None):
    """Put the rows first..last of the root namespace into a segment, as compaction does."""

    def work(cursor):
        cursor.execute("DELETE FROM stepwell_tail WHERE seq BETWEEN ? AND ?", (first, last))
        assert cursor.rowcount == last - first + 1
        cursor.execute(
            "INSERT INTO stepwell_segment "
            "SELECT t, 0, ?, ?, ?, 1, 2, 'k', 0, 0, ?, ? FROM stepwell_thread",
            (first, last, parent, b"body", b"detail"),
        )

    await driver._database.write(work)
    return SegmentRow(0, first, last, parent, 1, 2, b"body", b"detail", "k")


def bare(segment):
    """As it is read where the chain goes on behind it."""
    return segment._replace(detail=b"")


async def test_segments_stand_in_for_the_rows_they_fold(driver):
    """1..10 in a line, 11 from 4, 12: legs through, into and behind segments."""
    alice = await take(driver, thread_key(), ALICE)
    parents = [None] * 10 + [4, None]
    for number, parent in enumerate(parents, 1):
        await alice.append(checkpoint(parent=parent), pending(f"t{number}"))
    low, high = await fold(driver, 1, 3), await fold(driver, 4, 7)
    expected = {
        2: ([low], []),
        4: ([bare(low), high], []),
        7: ([bare(low), high], []),
        9: ([bare(low), bare(high)], [8, 9]),
        12: ([bare(low), high], [11, 12]),
        None: ([bare(low), high], [11, 12]),
    }
    for seq, (segments, rows) in expected.items():
        answer = await loaded(driver, thread_key(), seq=seq)
        assert (list(answer.segments), seqs(answer.rows)) == (segments, rows)
        assert [write.task_path for write in answer.writes] == [f"t{seq or 12}"]
    assert list((await loaded(driver, thread_key(), seq=13)).segments) == []
    page = await driver.history(thread_key(), "", 8)
    assert (list(page.segments), seqs(page.rows)) == ([low, high], [8])
    page = await driver.history(thread_key(), "", 3)
    assert (list(page.segments), seqs(page.rows)) == ([low], [])


async def test_a_segment_may_begin_a_leg(driver):
    """1..4 in a line, 5..7 from 2 and folded: 3 and 4 are no ancestors of 8."""
    alice = await take(driver, thread_key(), ALICE)
    for parent in (None, None, None, None, 2, None, None, None):
        await alice.append(checkpoint(parent=parent))
    branch = await fold(driver, 5, 7, parent=2)
    answer = await loaded(driver, thread_key())
    assert (list(answer.segments), seqs(answer.rows)) == ([bare(branch)], [1, 2, 8])
    answer = await loaded(driver, thread_key(), seq=6)
    assert (list(answer.segments), seqs(answer.rows)) == ([branch], [1, 2])
    answer = await loaded(driver, thread_key(), seq=4)
    assert (list(answer.segments), seqs(answer.rows)) == ([], [1, 2, 3, 4])


async def test_a_parent_that_is_not_older_is_an_error_not_a_loop(driver):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(), checkpoint())
    await driver._database.write(
        lambda cursor: cursor.execute("UPDATE stepwell_tail SET parent = 2 WHERE seq = 2")
    )
    with pytest.raises(StorageError, match="not older"):
        await loaded(driver, thread_key())


@pytest.mark.parametrize("legs", [1, 40])
async def test_a_chain_costs_statements_by_legs_not_by_rows(driver, legs):
    alice = await take(driver, thread_key(), ALICE)
    rows, cut = 400, 400 // legs
    parents = [n - 1 if n > 1 and n % cut == 0 else None for n in range(1, rows + 1)]
    await alice.append(*(checkpoint(parent=parent) for parent in parents))
    counts = itertools.count()
    connection = driver._database._writer._native

    def counted(cursor):
        connection.set_trace_callback(lambda _: next(counts))
        raw = _sqlite_read.read_thread(cursor, thread_key())
        found = _sqlite_read.load_chain(cursor, raw, "", None, driver._leases.now())
        connection.set_trace_callback(None)
        return found

    answer = await driver._database.write(counted)
    assert len(answer.rows) == rows
    assert next(counts) <= 3 * (legs + 1) + 6


async def test_a_claim_of_a_thread_with_rows_is_ten_statements(driver):
    """BEGIN, the thread, the claim, its namespaces, where its leg begins, rows, segments, writes,
    the run, COMMIT. The row that the claim has made is not read again, and is the one that is."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(run=1), checkpoint(run=1), runs=[run_row(1)])
    await alice.append(checkpoint(run=1), change=change(run=1), let_go=True)
    await driver.want([thread_key()])
    seen = []
    connection = driver._database._writer._native
    await driver._database._writer.run(lambda *_: connection.set_trace_callback(seen.append))
    bob = await take(driver, thread_key(), worker("bob"))
    await driver._database._writer.run(lambda *_: connection.set_trace_callback(None))
    assert len(seen) == 10
    assert not bob.claim.loaded.newest_only
    claimed, read = bob.claim.loaded.thread, (await loaded(driver, thread_key())).thread
    assert read.lease_left_s == pytest.approx(claimed.lease_left_s, abs=5)
    assert claimed._replace(lease_left_s=None) == read._replace(lease_left_s=None)


async def test_of_what_is_known_a_claim_reads_the_newest_row(driver):
    """Neither where its leg begins, nor segments: eight statements, however much there is."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(*(checkpoint(run=1) for _ in range(50)), runs=[run_row(1)])
    await alice.append(checkpoint(b"last", run=1), change=change(run=1), let_go=True)
    row = (await loaded(driver, thread_key())).thread
    known = Known(row.uid, row.epoch, row.record_no, row.layout_no, 51)
    seen = []
    connection = driver._database._writer._native
    await driver._database._writer.run(lambda *_: connection.set_trace_callback(seen.append))
    bob = await take(driver, thread_key(), worker("bob"), known=known)
    await driver._database._writer.run(lambda *_: connection.set_trace_callback(None))
    assert len(seen) == 8
    found = bob.claim.loaded
    assert (found.newest_only, [row.body for row in found.rows]) == (True, [b"last"])


# --- plans ------------------------------------------------------------------------------------

SORTED = {"listed_by_updated_desc", "listed_by_updated_asc"}
"""Listings by update time: no index may hold what every commit changes."""

WHOLE = ("backup_count", "stray_")
"""Backups and checks of a whole database: walking is what they are for."""

FRAGMENTS = {"thread_columns", "run_columns", "listed", "listed_open", "listed_described"}


def statements():
    whole = {name: sql for name, sql in SQL.items() if "stepwell_" in sql}
    for name in ("thread_by_id", "thread_by_key"):
        whole[name] = SQL["thread_columns"] + "\n" + SQL[name]
    for name in ("runs_named", "runs_page", "run_described"):
        whole[name] = SQL["run_columns"] + "\n" + SQL[name]
    for key, sql in _sqlite_read._LISTS.items():
        whole["listed_by_{}_{}_{}_{}".format(*key)] = sql
    return {name: sql for name, sql in whole.items() if name not in FRAGMENTS}


@pytest.fixture
def schema():
    connection = sqlite3.connect(":memory:")
    for track in (JOURNAL, STORE):
        connection.executescript(track.migrations[0].sql)
    yield connection
    connection.close()


def plan(connection, sql):
    bound = (None,) * sql.count("?")
    return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, bound)]


@pytest.mark.parametrize("name", sorted(n for n in statements() if not n.startswith(WHOLE)))
def test_no_statement_walks_through_a_table(schema, name):
    steps = plan(schema, statements()[name])
    assert [step for step in steps if re.match(r"SCAN (stepwell|a\b)", step)] == []


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("order", ["created", "thread_id"])
@pytest.mark.parametrize("described", [True, False])
def test_listings_that_can_follow_an_index_do_not_sort(schema, order, descending, described):
    steps = plan(schema, _sqlite_read._LISTS[order, descending, False, described])
    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_open_threads_are_found_by_their_own_index(schema):
    """Recovery asks for running threads often: however many others there are."""
    steps = plan(schema, _sqlite_read._LISTS["updated", False, True, False])
    assert any("stepwell_thread_open" in step for step in steps), steps


def test_metadata_of_a_thread_is_found_by_an_index(schema):
    """However many runs it has had since that have none."""
    for sql in (statements()["run_described"], _sqlite_read._LISTS["created", True, False, True]):
        steps = plan(schema, sql)
        assert any("stepwell_run_described" in step for step in steps), steps


def test_no_index_holds_what_every_commit_changes(schema):
    """Of the journal's tables; a store changes when somebody puts something there."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name NOT LIKE '%store%'"
    names = [row[0] for row in schema.execute(sql)]
    held = {row[2] for name in names for row in schema.execute(f"PRAGMA index_info('{name}')")}
    changing = {"beat", "record_no", "lease_until", "updated_at", "request", "wanted_at", "head"}
    assert held & changing == set()
    assert {"scope", "thread_id", "seq"} <= held


# --- views ------------------------------------------------------------------------------------


async def test_people_see_names_in_the_views(driver):
    alice = await take(driver, thread_key("my thread", "tenant"), ALICE)
    await alice.append(
        checkpoint(b"{}", run=1, meta_index='{"user":"u"}'),
        checkpoint(b"{}", ns=1, run=1, parent=0),
        namespaces=[(1, "sub")],
        runs=[run_row(1, run_id="the run", status=RunStatus.DONE)],
        change=change(ThreadStatus.FAILED, run=1, graph="g", error="ValueError"),
    )
    threads = "SELECT scope, thread_id, status, graph, run_id, checkpoints FROM stepwell_threads"
    rows = (
        "SELECT thread_id, ns, seq, parent_seq, source, run_id, metadata FROM stepwell_checkpoints"
    )
    found = await driver._database.read(
        lambda cursor: (cursor.execute(threads).fetchall(), cursor.execute(rows).fetchall())
    )
    assert found == (
        [("tenant", "my thread", "failed", "g", "the run", 2)],
        [
            ("my thread", "", 1, 0, "loop", "the run", '{"user":"u"}'),
            ("my thread", "sub", 1, 0, "loop", "the run", None),
        ],
    )
    assert len(await driver.threads(ThreadQuery(scope="tenant"))) == 1
