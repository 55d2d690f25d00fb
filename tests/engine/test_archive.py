"""Archives: a thread comes back as it was, from a folder and from object stores."""

from __future__ import annotations

import sys

import obstore.store
import pytest

from stepwell import Keyring, Retention, open_saver
from stepwell.errors import (
    CorruptRecordError,
    KeyMissingError,
    NotFoundError,
    StorageError,
    UsageError,
)
from stepwell.types import Command
from tests.engine._whole import KINDS, config, graph_of, logical, populate

PLACES = {
    "folder": lambda path: path / "archive",
    "memory": lambda _: obstore.store.MemoryStore(),
    "local": lambda path: obstore.store.LocalStore(str(path / "store"), mkdir=True),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
async def test_threads_go_and_come_back_as_they_were(database, kind, place, tmp_path):
    saver, target = await database(kind), PLACES[place](tmp_path)
    await populate(saver)
    before = await logical(saver)
    kept = await saver.aarchive(target, thread_ids=["t0", "none"])
    assert (kept.threads, kept.deleted, kept.skipped) == (1, 0, 1)
    assert await logical(saver) == before

    names = ["asked", "long", "t0", "t1", "t2"]
    report = await saver.aarchive(target, thread_ids=names, delete=True)
    assert (report.threads, report.deleted) == (5, 5)
    assert [info.thread_id async for info in saver.alist_threads()] == []
    archives = [info async for info in saver.alist_archives(target)]
    assert sorted(info.name for info in archives) == sorted(report.archives)
    assert {info.thread_id for info in archives} == set(names)
    assert sum(info.bytes for info in archives) == report.bytes

    for info in archives:
        assert await saver.arestore_archive(target, info.name) == info.thread_id
    after = await logical(saver)
    for key, (row, rows) in before.items():
        # A claim moved the epoch on.
        assert after[key][0]._replace(epoch=0) == row._replace(epoch=0)
        assert after[key][1] == rows
    out = await graph_of(saver).ainvoke({"log": ["on"], "goal": 3}, config("t0"))
    assert "on" in out["log"]


async def test_into_another_database_and_under_another_name(database, tmp_path):
    source, other = await database("sqlite"), await database("memory")
    await populate(source)
    [name] = (await source.aarchive(tmp_path / "a", thread_ids=["t1"])).archives
    view = other.scoped("shop")
    assert await view.arestore_archive(tmp_path / "a", name, as_thread="new") == "new"
    here = [s.values async for s in graph_of(source).aget_state_history(config("t1"))]
    there = [s.values async for s in graph_of(view).aget_state_history(config("new"))]
    assert here == there
    with pytest.raises(UsageError, match="exists already"):
        await view.arestore_archive(tmp_path / "a", name, as_thread="new")
    with pytest.raises(NotFoundError):
        await view.arestore_archive(tmp_path / "a", "none")
    assert await other.aget_thread("new") is None


@pytest.mark.parametrize("kind", KINDS)
async def test_what_another_archiver_has_just_deleted_is_no_empty_archive(
    database, kind, tmp_path, monkeypatch
):
    saver = await database(kind)
    await populate(saver)
    cls = type(await saver.journal())
    acquire = cls.acquire

    async def late(self, key, **options):
        monkeypatch.setattr(cls, "acquire", acquire)
        await saver.aarchive(tmp_path / "a", thread_ids=["t0"], delete=True)
        return await acquire(self, key, **options)

    monkeypatch.setattr(cls, "acquire", late)
    report = await saver.aarchive(tmp_path / "a", thread_ids=["t0"], delete=True)
    assert (report.threads, report.skipped) == (0, 1)
    assert await saver.aget_thread("t0") is None
    [info] = [info async for info in saver.alist_archives(tmp_path / "a")]
    assert info.checkpoints


RINGS = {name: Keyring({name: bytes([ord(name)]) * 32}, current=name) for name in "ab"}
BOTH = Keyring({name: bytes([ord(name)]) * 32 for name in "ab"}, current="b")


async def test_a_sealed_thread_under_another_name_is_sealed_anew(tmp_path):
    async with open_saver("memory://", keyring=RINGS["a"]) as source:
        await populate(source)
        names = (await source.aarchive(tmp_path / "a", thread_ids=["asked", "long"])).archives
        here = [s.values async for s in graph_of(source).aget_state_history(config("long"))]
        view = source.scoped("shop")
        for name in names:
            await view.arestore_archive(tmp_path / "a", name)
            new = await source.arestore_archive(tmp_path / "a", name, as_thread=name)
            assert (await source.averify(thread_ids=[new])).ok
        assert (await source.averify()).ok
        there = [s.values async for s in graph_of(view).aget_state_history(config("long"))]
        assert there == here
        again = await graph_of(view).ainvoke(
            {"log": [], "goal": -1}, config("asked"), idempotency_key="once"
        )
        assert "__interrupt__" in again  # it was asked under that key: nothing runs again
        out = await graph_of(view).ainvoke(Command(resume="yes"), config("asked"))
        assert out["log"][-1] == "yes"

    async with open_saver("memory://", keyring=BOTH) as other:
        new = await other.arestore_archive(tmp_path / "a", names[0], as_thread="new")
        assert (await other.arotate_keys()).current == 1  # it is under the current key already
        assert (await other.averify(thread_ids=[new])).ok

    for ring in (None, RINGS["b"]):
        async with open_saver("memory://", keyring=ring) as other:
            with pytest.raises(KeyMissingError, match="'a'"):
                await other.arestore_archive(tmp_path / "a", names[0], as_thread="new")
            assert await other.aget_thread("new") is None


async def test_without_ids_what_is_finished_goes(database, tmp_path):
    saver = await database("memory")
    await populate(saver)
    report = await saver.aarchive(tmp_path / "a")
    found = {info.thread_id async for info in saver.alist_archives(tmp_path / "a")}
    assert found == {"long", "t0", "t1"}  # the others wait for an answer, or have work left
    assert report.threads == 3
    policy = Retention(
        thread_ttl=0, statuses=("interrupted",), where=lambda info: info.thread_id == "asked"
    )
    report = await saver.aarchive(tmp_path / "b", policy=policy, delete=True)
    assert report.deleted == 1
    assert await saver.aget_thread("asked") is None


async def test_a_running_thread_is_left_alone(database, tmp_path):
    saver = await database("sqlite")
    await populate(saver)
    handle = await (await saver.journal()).acquire(saver.key("t0"))
    report = await saver.aarchive(tmp_path / "a", thread_ids=["t0"], delete=True)
    assert (report.threads, report.skipped) == (0, 1)
    await handle.release()
    assert await saver.aget_thread("t0") is not None


async def test_what_cannot_be_read_back_is_not_deleted(database, tmp_path, monkeypatch):
    saver = await database("sqlite")
    await populate(saver)
    before = await logical(saver)

    class Lossy:
        async def put(self, name, data):
            self.data = data[:-1]

        async def get(self, name):
            return self.data

    monkeypatch.setattr(
        "stepwell.checkpoint._upkeep.archiving.place_of_archives", lambda _: Lossy()
    )
    with pytest.raises(CorruptRecordError, match="otherwise"):
        await saver.aarchive("x", thread_ids=["t0"], delete=True)
    after = await logical(saver)
    assert after.keys() == before.keys()


async def test_damage_is_noticed(database, tmp_path):
    saver = await database("memory")
    await populate(saver)
    folder = tmp_path / "a"
    [name] = (await saver.aarchive(folder, thread_ids=["t0"], delete=True)).archives
    file = folder / f"{name}.stepwell.gz"
    data = file.read_bytes()
    for at in range(0, len(data), 97):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CorruptRecordError):
            await saver.arestore_archive(folder, name)
    file.write_bytes(data)
    manifest = folder / f"{name}.json"
    manifest.write_bytes(manifest.read_bytes()[:-3])
    with pytest.raises(CorruptRecordError, match="manifest"):
        [info async for info in saver.alist_archives(folder)]
    assert await saver.aget_thread("t0") is None


async def test_an_archive_without_its_manifest_is_none(database, tmp_path):
    """The file comes first: cut off in between, there is no archive, and it is made again."""
    saver = await database("memory")
    await populate(saver)
    folder = tmp_path / "a"
    [name] = (await saver.aarchive(folder, thread_ids=["t0"])).archives
    (folder / f"{name}.json").unlink()
    assert [info async for info in saver.alist_archives(folder)] == []
    assert (await saver.aarchive(folder, thread_ids=["t0"], delete=True)).archives == (name,)


async def test_bad_targets(database, tmp_path, monkeypatch):
    saver = await database("memory")
    await populate(saver)
    with pytest.raises(UsageError, match="not to a int"):
        await saver.aarchive(3)
    with pytest.raises(UsageError, match="names no object store") as caught:
        await saver.aarchive("nowhere://bucket")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UsageError, match="named by its name"):
        await saver.arestore_archive(tmp_path, "../x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        await saver.aarchive(tmp_path / "file", thread_ids=["t0"], delete=True)
    assert await saver.aget_thread("t0") is not None
    assert [info async for info in saver.alist_archives(tmp_path / "none")] == []
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match=r"stepwell\[archive\]"):
        await saver.aarchive("s3://bucket")


def test_the_sync_twins(tmp_path):
    with open_saver("memory://") as saver:
        graph_of(saver).invoke({"log": [], "goal": 5}, config("a"))
        [name] = saver.archive(tmp_path / "a", thread_ids=["a"], delete=True).archives
        assert [info.name for info in saver.list_archives(tmp_path / "a")] == [name]
        assert saver.restore_archive(tmp_path / "a", name) == "a"
