"""Chains over segments and forks, and what reading them costs the server."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import pytest

from stepwell.checkpoint.driver import SegmentRow, ThreadQuery
from stepwell.checkpoint.postgres._rows import key_of
from stepwell.testing._rows import (
    bodies,
    checkpoint,
    loaded,
    pending,
    seqs,
    take,
    thread_key,
    worker,
)
from tests._postgres import execute, opened, pg_dsn, pg_schema

pytestmark = pytest.mark.postgres

ALICE = worker("alice")


async def fold(schema, key, row):
    """Replace rows by a segment, as a fold does: both in one statement."""
    done = await execute(
        f'WITH gone AS (DELETE FROM "{schema}".stepwell_tail WHERE key = $1 AND ns = $2 '
        "AND seq BETWEEN $3 AND $4 RETURNING 1) "
        f'INSERT INTO "{schema}".stepwell_segment '
        "(key, ns, seq_from, seq_to, parent, format, crc, body, detail, key_id) "
        "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 "
        "WHERE (SELECT count(*) FROM gone) = $4 - $3 + 1 RETURNING 1",
        key_of(key), row.ns, row.seq_from, row.seq_to, row.parent, row.format, row.crc, row.body,
        row.detail, None if row.key_id is None else row.key_id.encode(),
    )  # fmt: skip
    assert len(done) == 1


def segment(low, high, parent=None, **fields):
    body = f"{low}-{high}".encode()
    row = SegmentRow(0, low, high, parent, 1, 2**32 - 1, body, b"detail of " + body)
    return row._replace(**fields)


def bare(row):
    """As it is read where the chain goes on behind it."""
    return row._replace(detail=b"")


async def forked(driver):
    """1-2-3-4-5-6, 7-8 from 4, 9-10 from 8, 11 from nothing, 12 from 11."""
    alice = await take(driver, thread_key(), ALICE)
    parents = {7: 4, 9: 8, 11: 0}
    for seq in range(1, 13):
        await alice.append(checkpoint(b"%d" % seq, parent=parents.get(seq)), pending(f"t{seq}"))
    return alice


async def test_a_chain_mixes_segments_and_rows(pg_schema):
    """Of each leg: the segments that it touches, and the rows that none of them covers."""
    async with opened(pg_schema) as driver:
        await forked(driver)
        one, two = segment(1, 3), segment(4, 6, key_id="k \u00fc")
        three = segment(7, 8, parent=4)
        for row in (one, two, three):
            await fold(pg_schema, thread_key(), row)
        expected = {
            2: ([one], []),
            3: ([one], []),
            4: ([bare(one), two], []),
            6: ([bare(one), two], []),
            8: ([bare(one), two, three], []),
            9: ([bare(one), two, three], [9]),
            10: ([bare(one), two, three], [9, 10]),
            11: ([], [11]),
            12: ([], [11, 12]),
        }
        for seq, (segments, rows) in expected.items():
            answer = await loaded(driver, thread_key(), seq=seq)
            assert list(answer.segments) == segments, seq
            assert seqs(answer.rows) == rows, seq
            assert [row.task_path for row in answer.writes] == [f"t{seq}"]
        page = await driver.history(thread_key(), "", None)
        assert list(page.segments) == [one, two, three]
        assert seqs(page.rows) == [9, 10, 11, 12]
        assert len(page.writes) == 12
        page = await driver.history(thread_key(), "", 5)
        assert list(page.segments) == [one, two]
        assert (seqs(page.rows), len(page.writes)) == ([], 5)


async def test_a_segment_that_several_legs_touch_comes_once(pg_schema):
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        for seq, parent in enumerate((None, None, None, None, 2, None), 1):
            await alice.append(checkpoint(b"%d" % seq, parent=parent))
        whole = segment(1, 4)
        await fold(pg_schema, thread_key(), whole)
        answer = await loaded(driver, thread_key())
        assert (list(answer.segments), seqs(answer.rows)) == ([whole], [5, 6])


async def test_pruned_ancestors_are_simply_absent(pg_schema):
    """A chain begins where its rows begin; nothing is invented for what retention took."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        for seq in range(1, 6):
            await alice.append(checkpoint(b"%d" % seq))
        await execute(f'DELETE FROM "{pg_schema}".stepwell_tail WHERE $1 AND seq < 3', True)
        assert seqs((await loaded(driver, thread_key())).rows) == [3, 4, 5]


async def test_legs_cost_one_descent_each(pg_schema):
    """A thread with 300 forks: a chain of 3 legs reads 3 index entries, not 300."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))
        await alice.append(*(checkpoint(b"x", parent=1) for _ in range(300)))
        await alice.append(checkpoint(b"last", parent=7))
        sql = driver._db.sql["legs"]
        args = ([0], [key_of(thread_key())], [0], [302])
        async with driver._db.snapshot(primary=True) as link:
            assert [tuple(row) for row in await link.fetch(sql, *args)] == [
                (0, 1, 1), (0, 7, 7), (0, 302, 302),
            ]  # fmt: skip
            plan = "\n".join(
                row[0]
                for row in await link.fetch(
                    f"EXPLAIN (ANALYZE, TIMING off, COSTS off) {sql}", *args
                )
            )
        scans = [line for line in plan.splitlines() if "stepwell_tail_leg" in line]
        assert scans
        for line in scans:
            assert "rows=1" in line or "rows=0" in line, plan
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1", b"x", b"last"]


async def test_pages_of_threads_read_what_they_show(pg_schema):
    """Paging by creation or name is a walk along an index, also for later pages."""
    async with opened(pg_schema) as driver:
        await execute(
            f'INSERT INTO "{pg_schema}".stepwell_thread (key, uid, epoch, layout_no, thread_id, '
            "scope, created_at) SELECT gen_random_uuid(), gen_random_uuid(), 1, 1, "
            "'t' || lpad(n::text, 5, '0'), '', now() + n * interval '1 s' "
            "FROM generate_series(1, $1::int) n",
            3000,
        )
        await execute(f'ANALYZE "{pg_schema}".stepwell_thread')
        for order in ("created", "thread_id"):
            query = ThreadQuery(order=order, descending=False, limit=50)
            page = await driver.threads(query)
            assert [row.key.thread_id for row in page] == [f"t{n:05}" for n in range(1, 51)]
            last = page[-1]
            value = last.created_at if order == "created" else 0.0
            query = query._replace(after=(value, last.key.thread_id))
            page = await driver.threads(query)
            assert [row.key.thread_id for row in page] == [f"t{n:05}" for n in range(51, 101)]
            sql = driver._db.sql
            text = f"{sql['threads']}\n{sql[f'threads_by_{order}_ascending']}"
            args = (b"", None, None, None, None, float(value), last.key.thread_id, 50)
            async with driver._db.snapshot(primary=True) as link:
                plan = [
                    row[0]
                    for row in await link.fetch(
                        f"EXPLAIN (ANALYZE, TIMING off, COSTS off, BUFFERS off) {text}", *args
                    )
                ]
            assert "Sort" not in "\n".join(plan)
            [scan] = [line for line in plan if "Index Scan" in line]
            assert "rows=50" in scan


async def test_a_status_is_found_through_its_own_index(pg_schema):
    """Recovery asks for running threads among any number of finished ones."""
    async with opened(pg_schema) as driver:
        await execute(
            f'INSERT INTO "{pg_schema}".stepwell_thread (key, uid, epoch, layout_no, thread_id, '
            "scope, status) SELECT gen_random_uuid(), gen_random_uuid(), 1, 1, 't' || n, '', "
            "CASE WHEN n % 500 = 0 THEN 1 ELSE 4 END FROM generate_series(1, $1::int) n",
            3000,
        )
        await execute(f'ANALYZE "{pg_schema}".stepwell_thread')
        asked = []
        read = driver._db.read

        async def explained(sql, *args):
            async with driver._db.snapshot(primary=True) as link:
                asked.extend(await link.fetch(f"EXPLAIN {sql}", *args))
            return await read(sql, *args)

        driver._db.read = explained
        page = await driver.threads(ThreadQuery(status=1))
        assert "stepwell_thread_open" in "\n".join(row[0] for row in asked)
        assert sorted(row.key.thread_id for row in page) == sorted(
            f"t{n}" for n in range(500, 3001, 500)
        )
