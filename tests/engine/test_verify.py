"""Checks: each kind of damage is found and named on every kind of database, and nothing else is."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from stepwell import Retention, open_saver
from stepwell._journal.checking import Stored
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import NamespaceRow, RowKind, ThreadPart
from stepwell.errors import UsageError
from stepwell.graph import START, StateGraph
from stepwell.types import Command, interrupt
from tests._postgres import execute, fresh_schema, server_dsn
from tests.engine._whole import KINDS, State, config, graph_of, logical, populate


async def stored_of(saver: Saver, name: str) -> Stored:
    driver = (await saver.journal()).driver
    key = saver.key(name)
    async with driver.snapshot() as snapshot:
        [row] = await snapshot.named([key])
        return Stored.of(row, {k: (await snapshot.rows(k, [key]))[0] for k in RowKind})


async def plant(saver: Saver, name: str, damage) -> None:
    """Put the thread in place with rows that `damage` has changed."""
    stored = await stored_of(saver, name)
    damage(stored)
    part = ThreadPart(
        thread=stored.thread, begins=True, ends=True, namespaces=stored.namespaces,
        runs=stored.runs, checkpoints=stored.checkpoints, writes=stored.writes,
        segments=stored.segments,
    )  # fmt: skip
    await (await saver.journal()).driver.restore([part])


def other_bytes(row):
    return row._replace(body=row.body[:-2] + b"9" + row.body[-1:])


def whole_record(row, body: bytes):
    return row._replace(body=body, crc=zlib.crc32(body))


def wrong_row(stored):
    stored.checkpoints[3] = other_bytes(stored.checkpoints[3])


def wrong_write(stored):
    stored.writes[0] = other_bytes(stored.writes[0])


def wrong_segment(stored):
    stored.segments[0] = other_bytes(stored.segments[0])


def no_detail(stored):
    stored.segments[0] = stored.segments[0]._replace(detail=b"\x00")


def no_record(stored):
    stored.checkpoints[3] = whole_record(stored.checkpoints[3], b"[]")


def does_not_apply(stored):
    stored.checkpoints[3] = whole_record(
        stored.checkpoints[3], b'{"t":[],"c":{"log":["p",99,9,"x",5]}}'
    )


def no_write(stored):
    stored.writes[0] = whole_record(stored.writes[0], b"{")


def a_hole(stored):
    del stored.checkpoints[3]


def twice(stored):
    stored.checkpoints.insert(0, whole_record(stored.checkpoints[0]._replace(seq=2), b"{}"))


def segment_says_else(stored):
    segment = stored.segments[0]
    body = segment.body.replace(b'"again"', b'"agaim"', 1)
    assert body != segment.body
    stored.segments[0] = segment._replace(body=body, crc=zlib.crc32(body))


def head_behind(stored):
    stored.thread = stored.thread._replace(namespaces={0: ("", 2)})


def head_nowhere(stored):
    stored.namespaces[0] = stored.namespaces[0]._replace(head=77)


def no_run(stored):
    stored.checkpoints[3] = stored.checkpoints[3]._replace(run=9)


def newest_run_missing(stored):
    stored.thread = stored.thread._replace(run=9)


def newer(stored):
    stored.checkpoints[3] = stored.checkpoints[3]._replace(record_no=10_000)


def newer_epoch(stored):
    stored.checkpoints[3] = stored.checkpoints[3]._replace(epoch=stored.thread.epoch + 1)


def write_of_nothing(stored):
    stored.writes.append(stored.writes[0]._replace(seq=55))


def no_namespace(stored):
    stored.checkpoints.append(stored.checkpoints[0]._replace(ns=9, seq=1))


DAMAGE = [
    # thread, damage, kind, namespace, seq, mended by True
    ("t0", wrong_row, "checksum", "", 4, False),
    ("asked", wrong_write, "checksum", "", 4, False),
    ("long", wrong_segment, "checksum", "", 1, False),
    ("long", no_detail, "unreadable", "", 1, False),
    ("t0", no_record, "unreadable", "", 4, False),
    ("t0", does_not_apply, "unreadable", "", 4, False),
    ("asked", no_write, "unreadable", "", 4, False),
    ("t0", a_hole, "missing", "", 5, False),
    ("long", twice, "twice", "", 2, False),
    ("long", segment_says_else, "segment", "", 1, True),
    ("t0", head_behind, "head", "", 2, False),
    ("t0", head_nowhere, "head", "sub", 77, False),
    ("t0", no_run, "run", "", 4, False),
    ("t0", newest_run_missing, "run", "", None, False),
    ("t0", newer, "newer", "", 4, False),
    ("t0", newer_epoch, "newer", "", 4, False),
    ("asked", write_of_nothing, "orphan", "", 55, True),
    ("t0", no_namespace, "orphan", "#9", 1, True),
]


def on(kind: str, damage) -> bool:
    """Whether that can be in such a database at all."""
    return not (kind == "memory" and damage is no_namespace)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_sound_database_has_no_problems(database, kind):
    saver = await database(kind)
    await populate(saver)
    before = await logical(saver)
    report = await saver.averify(repair="heads")
    assert report.problems == ()
    assert report.ok
    assert report.threads == 6
    assert report.segments
    assert report.writes
    assert await logical(saver) == before
    assert (await saver.averify(thread_ids=["t0", "none"])).threads == 1
    assert (await saver.scoped("other/€").averify()).threads == 1
    assert (await saver.scoped("nobody").averify()).threads == 0


def nests() -> StateGraph:
    """A graph whose inner graph waits for an answer: each task of it has a namespace."""
    inner = StateGraph(State).add_node("ask", lambda _: {"log": [interrupt("more?")]})
    within = inner.add_edge(START, "ask").compile()
    return StateGraph(State).add_node("inner", within).add_edge(START, "inner")


@pytest.mark.parametrize("kind", KINDS)
async def test_what_pruning_has_emptied_is_no_damage(database, kind):
    saver = await database(kind)
    graph = nests().compile(checkpointer=saver)
    for _ in range(4):
        await graph.ainvoke({"log": [], "goal": 1}, config("t"))
        await graph.ainvoke(Command(resume="yes"), config("t"))
    full = await stored_of(saver, "t")
    own = max(row.ns for row in full.checkpoints)
    assert ":" in full.spaces()[own].name

    def emptied(stored):
        stored.checkpoints = [row for row in stored.checkpoints if row.ns != own]
        stored.writes = [row for row in stored.writes if row.ns != own]

    await saver.aprune(["t"], Retention(keep_last=1))
    left = await stored_of(saver, "t")
    assert {row.ns for row in left.checkpoints} < set(left.spaces())
    assert (await saver.averify(repair="heads")).problems == ()

    # The same in a thread of which nothing was pruned is damage.
    await graph.ainvoke({"log": [], "goal": 1}, config("u"))
    await graph.ainvoke(Command(resume="yes"), config("u"))
    own = 1
    await plant(saver, "u", emptied)
    [problem] = (await saver.averify()).problems
    assert (problem.kind, problem.thread_id) == ("head", "u")


@pytest.mark.parametrize("kind", KINDS)
async def test_each_damage_is_found_and_named(database, kind):
    saver = await database(kind)
    await populate(saver)
    sound = await logical(saver)
    for name, damage, what, ns, seq, mended in DAMAGE:
        if not on(kind, damage):
            continue
        whole = await stored_of(saver, name)
        await plant(saver, name, damage)
        report = await saver.averify(thread_ids=[name])
        assert not report.ok, damage
        found = report.problems[0]
        assert (found.kind, found.thread_id, found.seq) == (what, name, seq), damage
        assert found.checkpoint_ns.startswith(ns), damage
        assert bool(ns) == bool(found.checkpoint_ns)
        assert len(report.problems) == 1, (damage, report.problems)
        repaired = await saver.averify(thread_ids=[name], repair=True)
        assert repaired.ok == mended, damage
        assert (await saver.averify(thread_ids=[name])).ok == mended, damage
        await plant(saver, name, lambda stored, whole=whole: _put_back(stored, whole))
    assert await logical(saver) == sound


def _put_back(stored: Stored, whole: Stored) -> None:
    for field in Stored.__slots__:
        setattr(stored, field, getattr(whole, field))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_shallow_check_sees_bytes_and_places_only(database, kind):
    saver = await database(kind)
    await populate(saver)
    await plant(saver, "t0", wrong_row)
    await plant(saver, "long", segment_says_else)
    shallow = await saver.averify(deep=False)
    assert [p.kind for p in shallow.problems] == ["checksum"]
    assert sorted(p.kind for p in (await saver.averify()).problems) == ["checksum", "segment"]


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("memory", wrong_row),
        ("memory", a_hole),
        ("memory", head_behind),
        ("sqlite", does_not_apply),
        ("sqlite", head_nowhere),
        pytest.param("postgres", wrong_row, marks=pytest.mark.postgres),
    ],
)
async def test_a_head_goes_back_to_what_can_be_read_only_when_asked(database, kind, damage):
    name = "t0"
    saver = await database(kind)
    await populate(saver)
    graph = graph_of(saver)
    history = [s async for s in graph.aget_state_history(config(name))][::-1]
    await plant(saver, name, damage)
    assert not (await saver.averify(thread_ids=[name], repair=True)).ok
    report = await saver.averify(thread_ids=[name], repair="heads")
    assert report.ok, report.problems
    assert report.problems[0].repaired
    assert (await saver.averify()).ok
    left = [s async for s in graph.aget_state_history(config(name))][::-1]
    expected = history if damage in (head_behind, head_nowhere) else history[:3]
    assert [s.values for s in left] == [s.values for s in expected]
    # The thread is used as any other.
    out = await graph.ainvoke({"log": ["on"], "goal": 30}, config(name))
    assert "on" in out["log"]
    assert (await saver.averify()).ok


async def test_a_segment_is_folded_anew(database):
    saver = await database("sqlite")
    await populate(saver)
    graph = graph_of(saver)
    await graph.aupdate_state(config("long"), {"log": ["behind it"]})
    before = (await graph.aget_state(config("long"))).values
    await plant(saver, "long", segment_says_else)
    assert (await graph.aget_state(config("long"))).values != before
    report = await saver.averify(repair=True)
    assert [p.repaired for p in report.problems] == [True]
    assert (await graph.aget_state(config("long"))).values == before


async def test_a_running_thread_is_looked_at_and_not_repaired(database):
    saver = await database("sqlite")
    await populate(saver)
    await plant(saver, "asked", write_of_nothing)
    handle = await (await saver.journal()).acquire(saver.key("asked"))
    report = await saver.averify(repair=True)
    assert report.busy == ("asked",)
    assert not report.ok
    await handle.release()
    assert (await saver.averify(repair=True)).ok
    assert (await saver.averify()).problems == ()


async def test_rows_of_no_thread_on_sqlite(tmp_path):
    path = tmp_path / "a.db"
    async with open_saver(f"sqlite:///{path}") as saver:
        await populate(saver)
        driver = (await saver.journal()).driver
        await driver.database.write(
            lambda cursor: cursor.execute(
                "UPDATE stepwell_thread SET t = t + 1000 WHERE thread_id = 'asked'"
            )
        )
        await _strays(saver)


@pytest.mark.postgres
async def test_rows_of_no_thread_on_postgres():
    async with fresh_schema() as schema, open_saver(server_dsn(), schema=schema) as saver:
        await populate(saver)
        await execute(f"DELETE FROM {schema}.stepwell_thread WHERE thread_id = 'asked'")
        await _strays(saver)


async def _strays(saver: Saver) -> None:
    report = await saver.averify()
    stray = [p for p in report.problems if p.thread_id is None]
    assert {p.message.split(maxsplit=1)[1] for p in stray} == {
        f"{kind} belong to no thread." for kind in RowKind if kind is not RowKind.SEGMENTS
    }
    assert [p for p in (await saver.averify(repair=True)).problems if p.repaired] == [
        replace(p, repaired=True) for p in stray
    ]
    assert not [p for p in (await saver.averify()).problems if p.thread_id is None]


async def test_arguments(database):
    saver = await database("memory")
    with pytest.raises(UsageError, match="repair"):
        await saver.averify(repair="all")
    with pytest.raises(UsageError, match="deep"):
        await saver.averify(deep=1)
    with pytest.raises(TypeError, match="thread_ids"):
        await saver.averify(thread_ids="abc")
    assert NamespaceRow(1, "a", 2).head == 2


def test_the_sync_twin_and_its_report(tmp_path):
    with open_saver("memory://") as saver:
        graph_of(saver).invoke({"log": [], "goal": 5}, config("a"))
        report = saver.verify()
        assert report.to_dict() == {
            "threads": 1, "checkpoints": report.checkpoints, "segments": 0, "writes": 0,
            "problems": [], "busy": [],
        }  # fmt: skip
