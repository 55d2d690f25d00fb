"""Encrypted records: nothing in clear, nothing that can be moved, changed or taken back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stepwell import Keyring, Retention, open_saver
from stepwell.cache.sqlite import SqliteCache
from stepwell.checkpoint._sealing.driver import SealedDriver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import BackupDriver, RowKind, ThreadPart
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import (
    CorruptRecordError,
    KeyMissingError,
    StepwellError,
    StorageUnavailableError,
    UsageError,
)
from stepwell.testing import FaultPlan, FaultyDriver
from tests._postgres import fresh_schema, server_dsn
from tests.engine import _secret_kinds as kinds
from tests.engine._canary import holds
from tests.engine._secret_kinds import CONFIG, KINDS, SECRET, State, build

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
RING = Keyring({"old": OLD}, "old")
Opener = Callable[..., Any]


@pytest_asyncio.fixture(
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
async def opener(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opener]:
    """Opens savers on one database, each with options of its own."""
    async with AsyncExitStack() as stack:
        if request.param == "postgres":
            schema = await stack.enter_async_context(fresh_schema())
            yield lambda **options: open_saver(server_dsn(), schema=schema, **options)
        elif request.param == "sqlite":
            yield lambda **options: open_saver(f"sqlite:///{tmp_path}/keys.db", **options)
        else:
            memory = MemoryDriver()
            yield lambda **options: Saver(memory, **options)


async def steps(state: State) -> dict[str, Any]:
    return {"log": [state["secret"]], "n": state["n"] + 1}


async def test_nothing_of_any_record_is_in_clear(opener: Opener) -> None:
    """Nor folded, nor pruned; what is read is what was written."""
    async with opener(keyring=RING, compress="zlib") as saver:
        for kind in KINDS:
            await kind(saver.scoped(kind.__name__))
        assert not await holds(saver, SECRET)
        before = await everything(saver)
        for kind in KINDS:
            view = saver.scoped(kind.__name__)
            await view.acompact()
        assert await everything(saver) == before
        for kind in KINDS:
            await saver.scoped(kind.__name__).aprune(policy=Retention(keep_last=2))
        assert not await holds(saver, SECRET)
        log = (await saver.scoped("long").aget_tuple(CONFIG)).checkpoint["channel_values"]["log"]
        assert log == [SECRET] * 130


async def everything(saver: Saver) -> list[Any]:
    found = []
    for kind in KINDS:
        view = saver.scoped(kind.__name__)
        found += [(t.checkpoint, t.metadata, t.pending_writes) async for t in view.alist(CONFIG)]
        found += [t.error async for t in view.alist_threads()]
        found += [(r.error, r.metadata, r.idempotency_key) async for r in view.alist_runs()]
    return found


async def test_what_is_stored_is_counted_as_it_is_stored(opener: Opener) -> None:
    """The thread's counter is that of sealed bytes, however they are stored anew."""
    async with opener(keyring=RING, compress="zlib") as saver:
        await kinds.long(saver)
        journal = await saver.journal()
        for policy in (None, Retention(keep_last=20), Retention(keep_last=3)):
            if policy is not None:
                await saver.aprune(policy=policy)
            await saver.acompact()
            layout = await journal.driver.layout(saver.key("t"), "")
            stored = sum(p.bytes for p in (*layout.rows, *layout.segments))
            assert layout.thread is not None
            assert layout.thread.bytes == stored


async def test_only_metadata_in_clear_can_be_filtered_on(opener: Opener) -> None:
    async with opener(keyring=RING, clear_metadata=["team"]) as saver:
        config = {**CONFIG, "metadata": {"team": "red", "who": SECRET}}
        await build(saver, steps).ainvoke({"secret": 1, "n": 0}, config)
        [found] = [t async for t in saver.alist_threads(metadata={"team": "red"})]
        assert found.metadata == {"team": "red", "who": SECRET}
        assert await holds(saver, "team")
        assert not await holds(saver, SECRET)
        with pytest.raises(UsageError, match="'who' is encrypted"):
            saver.alist_threads(metadata={"who": SECRET})
        with pytest.raises(UsageError, match="clear_metadata"):
            saver.alist(CONFIG, filter={"step": 1})


@pytest.mark.parametrize(
    ("ring", "error"),
    [
        (None, KeyMissingError),
        (Keyring({"new": NEW}, "new"), KeyMissingError),
        (Keyring({"old": NEW}, "old"), CorruptRecordError),
    ],
    ids=["no ring", "other key", "wrong key"],
)
async def test_without_the_key_nothing_is_read_or_run(
    opener: Opener, ring: Keyring | None, error: type[StepwellError]
) -> None:
    async with opener(keyring=RING) as saver:
        graph = build(saver, steps)
        await graph.ainvoke({"secret": 1, "n": 0}, {**CONFIG, "metadata": {"a": 1}})
    async with opener(keyring=ring) as stranger:
        graph = build(stranger, steps)
        with pytest.raises(error):
            await graph.aget_state(CONFIG)
        with pytest.raises(error):
            await graph.ainvoke({"secret": 1, "n": 0}, CONFIG)
        with pytest.raises(error):
            await stranger.acopy_thread("t", "u")
        with pytest.raises(KeyMissingError):
            [t async for t in stranger.alist_threads()]
        other = {"configurable": {"thread_id": "mine"}}
        assert (await graph.ainvoke({"secret": 2, "n": 0}, other))["n"] == 1  # nobody else fails
    async with opener(keyring=RING) as saver:
        out = await build(saver, steps).ainvoke({"n": 5, "secret": 3}, CONFIG)
        assert out["log"] == [1, 3]


async def test_what_is_in_clear_is_refused_by_who_has_a_key(opener: Opener) -> None:
    async with opener() as saver:
        await build(saver, steps).ainvoke({"secret": 1, "n": 0}, CONFIG)
    async with opener(keyring=RING) as saver:
        with pytest.raises(CorruptRecordError, match="not encrypted"):
            await build(saver, steps).aget_state(CONFIG)
        with pytest.raises(CorruptRecordError, match="not encrypted"):
            await build(saver, steps).ainvoke({"secret": 1, "n": 0}, CONFIG)


@pytest.mark.parametrize("compress", ["zlib", "zstd"])
async def test_compressed_records_can_be_read_by_everybody(opener: Opener, compress: str) -> None:
    """And written on, copied and pruned by who does not compress."""
    long = "words " * 1000
    async with opener(compress=compress) as saver:
        await build(saver, steps).ainvoke({"secret": long, "n": 0}, CONFIG)
        await kinds.long(saver.scoped("long"))
        journal = await saver.journal()
        layout = await journal.driver.layout(saver.key("t"), "")
        assert sum(row.bytes for row in layout.rows) < len(long)
    async with opener() as saver:
        graph = build(saver, steps)
        out = await graph.ainvoke({"secret": "more", "n": 0}, CONFIG)
        assert out["log"] == [long, "more"]
        await saver.acopy_thread("t", "u")
        state = await graph.aget_state({"configurable": {"thread_id": "u"}})
        assert state.values["log"] == [long, "more"]
        await graph.aupdate_state((await graph.aget_state(CONFIG)).config, None, as_node="__copy__")
        await saver.aprune(policy=Retention(keep_last=2))
        view = saver.scoped("long")
        await view.acompact()
        await view.aprune(policy=Retention(keep_last=2))
        assert (await graph.aget_state(CONFIG)).values["log"] == [long, "more"]
        assert len((await view.aget_tuple(CONFIG)).checkpoint["channel_values"]["log"]) == 130


@asynccontextmanager
async def stored_rows(saver: Saver) -> AsyncIterator[tuple[Any, Any]]:
    """The sealed chain of thread "t", and the seal that opens it."""
    from stepwell.checkpoint.driver import LoadRequest

    driver: Any = (await saver.journal()).driver
    [loaded] = await driver.inner.load([LoadRequest(saver.key("t"))])
    yield loaded, driver.seal


async def test_a_record_opens_only_where_it_was_put() -> None:
    """Moved to another thread, scope, place or kind, or changed in any byte: it does not open."""
    async with open_saver("memory://", keyring=RING) as saver:
        await kinds.pending(saver)
        key = saver.key("t")
        async with stored_rows(saver) as (loaded, seal):
            row, write = loaded.rows[-1], loaded.writes[0]
            run = loaded.runs[1]
        assert seal.open_checkpoint(key, row).key_id is None
        assert seal.open_run(key, run).run_id == run.run_id
        moved = [
            (key._replace(thread_id="u"), row), (key._replace(scope="a"), row),
            *((key, row._replace(**{name: 77})) for name in
              ("ns", "seq", "parent", "step", "source", "run", "epoch", "record_no", "format")),
            (key, row._replace(checkpoint_id=bytes(16))),
            (key, row._replace(body=loaded.rows[0].body)), (key, row._replace(body=b"")),
            (key, row._replace(body=write.body)), (key, row._replace(key_id="other")),
            (key, row._replace(key_id=None)),
        ]  # fmt: skip
        import zlib

        for place, bad in moved:
            opened = seal.open_checkpoint(place, bad._replace(crc=zlib.crc32(bad.body)))
            assert isinstance(opened.refusal, (CorruptRecordError, KeyMissingError)), bad
        for at in range(len(row.body)):
            body = row.body[:at] + bytes([row.body[at] ^ 1]) + row.body[at + 1 :]
            opened = seal.open_checkpoint(key, row._replace(body=body, crc=zlib.crc32(body)))
            assert isinstance(opened.refusal, CorruptRecordError)
            cut = row.body[:at]
            opened = seal.open_checkpoint(key, row._replace(body=cut, crc=zlib.crc32(cut)))
            assert isinstance(opened.refusal, CorruptRecordError)
        for name in ("ns", "seq", "idx", "epoch", "record_no"):
            assert seal.open_write(key, write._replace(**{name: 77})).refusal
        for change in ({"task_id": bytes(16)}, {"task_path": "x"}, {"channel": "x"}):
            assert seal.open_write(key, write._replace(**change)).refusal


async def test_calls_under_a_key_are_found_again_and_tell_nobody(opener: Opener) -> None:
    """Of an idempotency key only a digest is stored; it is found under any key of the ring."""
    async with opener(keyring=RING) as saver:
        graph = build(saver, steps)
        await graph.ainvoke({"secret": 1, "n": 0}, CONFIG, idempotency_key="order-of-ann")
        [run] = [r async for r in saver.alist_runs("t")]
        assert run.idempotency_key == "order-of-ann"
        assert not await holds(saver, "order-of-ann")
    both = Keyring({"new": NEW, "old": OLD}, "new")
    async with opener(keyring=both) as saver:
        graph = build(saver, steps)
        out = await graph.ainvoke({"secret": 1, "n": 0}, CONFIG, idempotency_key="order-of-ann")
        assert (out["n"], len([r async for r in saver.alist_runs("t")])) == (1, 1)


@pytest.mark.parametrize(
    ("keys", "current"),
    [
        ({"a": b"short"}, "a"), ({"a": OLD}, "b"), ({}, "a"), ({"": OLD}, ""),
        ({"a,b": OLD}, "a,b"), ({"a=b": OLD}, "a=b"), ({"a": "x" * 32}, "a"),
        ({"a" * 101: OLD}, "a" * 101), ({1: OLD}, 1),
    ],
)  # fmt: skip
def test_what_is_no_keyring(keys: Any, current: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Keyring(keys, current)
    assert repr(OLD) not in str(caught.value)


def test_a_keyring_as_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The form of STEPWELL_KEYRING; it shows nothing of the keys."""
    from base64 import b64encode, urlsafe_b64encode

    key = os.urandom(32)
    text = f"k2={b64encode(key).decode()}, k1={urlsafe_b64encode(OLD).decode()}"
    ring = Keyring.from_text(text)
    assert ring.key_ids == ("k2", "k1")
    assert repr(ring) == "Keyring(k1, k2; current='k2')"
    for bad in ("", "k", "k1=", "k1=***", f"{text},k1=AAAA", "k1=AAAA"):
        with pytest.raises(UsageError) as caught:
            Keyring.from_text(bad)
        assert not bad or "AAAA" not in str(caught.value)
    monkeypatch.setenv("STEPWELL_DSN", f"sqlite:///{tmp_path}/env.db")
    monkeypatch.setenv("STEPWELL_KEYRING", text)
    with open_saver() as saver:
        build(saver, steps).invoke({"secret": 1, "n": 0}, CONFIG)
    monkeypatch.delenv("STEPWELL_KEYRING")
    with open_saver() as saver, pytest.raises(KeyMissingError):
        build(saver, steps).get_state(CONFIG)


@pytest.mark.parametrize(
    "options",
    [
        {"keyring": {"a": OLD}}, {"compress": "gzip"}, {"compress": True},
        {"clear_metadata": ["a"]}, {"keyring": RING, "clear_metadata": "a"},
        {"keyring": RING, "clear_metadata": [1]},
    ],
)  # fmt: skip
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        open_saver("memory://", **options)


async def test_without_options_the_driver_is_the_plain_one() -> None:
    """Nothing stands before it, so nothing is paid."""
    async with open_saver("memory://") as saver:
        assert type((await saver.journal()).driver) is MemoryDriver


async def test_a_backup_is_as_sealed_as_what_it_is_of(tmp_path: Path) -> None:
    """It opens with the keyring, elsewhere too; without it, it does not."""
    async with open_saver("memory://", keyring=RING) as saver:
        await kinds.written(saver)
        before = (await saver.aget_tuple(CONFIG)).checkpoint
        await saver.abackup(f"sqlite:///{tmp_path}/copy.db")
    async with open_saver(f"sqlite:///{tmp_path}/copy.db", keyring=RING) as copy:
        assert (await copy.aget_tuple(CONFIG)).checkpoint == before
        assert not await holds(copy, SECRET)
    async with open_saver(f"sqlite:///{tmp_path}/copy.db") as copy:
        with pytest.raises(KeyMissingError):
            await copy.aget_tuple(CONFIG)


def test_every_verb_of_a_driver_is_sealed_or_passed_on() -> None:
    """A verb that is added to drivers must be thought of here: none is passed on by itself."""
    verbs = {name for name in dir(BackupDriver) if not name.startswith("_")}
    assert verbs <= {*dir(SealedDriver), "name", "capabilities"}
    assert not hasattr(SealedDriver, "__getattr__")
    assert not hasattr(SealedDriver, "commit_now")


@pytest.mark.parametrize(
    ("ring", "error", "said"),
    [
        (None, KeyMissingError, "encrypted under the key 'old', which this saver does not have"),
        (Keyring({"new": NEW}, "new"), KeyMissingError, "'old'"),
        (Keyring({"old": NEW}, "old"), CorruptRecordError, "that key is another one"),
    ],
    ids=["no ring", "other key", "wrong key"],
)
async def test_what_could_not_be_read_is_not_restored(
    opener: Opener, tmp_path: Path, ring: Keyring | None, error: type[StepwellError], said: str
) -> None:
    """The database that was to be filled is as it was; with the keyring it is filled."""
    path = str(tmp_path / "copy.db")
    async with open_saver(f"sqlite:///{path}", keyring=RING) as saver:
        await many(saver, 3)
    async with opener(keyring=ring) as stranger:
        with pytest.raises(error, match=said):
            await stranger.arestore(path)
        assert [t async for t in stranger.alist_threads()] == []
    async with opener(keyring=RING) as saver:
        assert (await saver.arestore(path)).threads == 3
        assert (await saver.averify()).ok


async def test_a_key_that_is_missing_later_stops_a_restore_that_goes_on(
    opener: Opener, tmp_path: Path
) -> None:
    """Nothing unreadable is written; with both keys the same call goes on."""
    path = str(tmp_path / "copy.db")
    for ring in (RING, Keyring({"new": NEW}, "new")):
        async with open_saver(f"sqlite:///{path}", keyring=ring) as saver:
            await many(saver.scoped(ring.current), 2)
    async with opener(keyring=Keyring({"new": NEW}, "new")) as stranger:
        with pytest.raises(KeyMissingError, match="'old'"):
            await stranger.arestore(path)
    async with aclosing(opener(keyring=BOTH)) as saver:  # which opens it for nothing else
        report = await saver.arestore(path)
        assert report.threads == 4
        assert (await saver.averify()).ok


async def test_what_is_restored_in_clear_is_said_to_be(
    opener: Opener, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "copy.db")
    async with open_saver(f"sqlite:///{path}") as saver:
        await many(saver, 2)
    async with opener(keyring=RING) as saver:
        assert (await saver.arestore(path)).threads == 2
        assert caplog.text.count("is in clear, and this saver has a keyring") == 1
        assert (await saver.arotate_keys(clear_too=True)).threads == 2
        assert (await saver.averify()).ok


BOTH = Keyring({"new": NEW, "old": OLD}, "new")
ONLY_NEW = Keyring({"new": NEW}, "new")


async def shown(saver: Saver, scope: str) -> Any:
    """What a view shows of thread "t", but for when it was claimed last."""
    view = saver.scoped(scope)
    info = await view.aget_thread("t")
    assert info is not None
    return (
        [(t.checkpoint, t.metadata, t.pending_writes, t.config) async for t in view.alist(CONFIG)],
        [(r.to_dict()) async for r in view.alist_runs("t")],
        (info.status, info.error, info.checkpoints, info.created_at, info.updated_at),
    )


async def test_keys_are_rotated(opener: Opener) -> None:
    """All records, what they say stays; called again it has nothing to do; the old key may go."""
    scopes = [kind.__name__ for kind in KINDS if kind is not kinds.cached]
    async with opener(keyring=RING) as saver:
        for kind in KINDS:
            if kind is not kinds.cached:
                await kind(saver.scoped(kind.__name__))
        before = {scope: await shown(saver, scope) for scope in scopes}
    async with opener(keyring=BOTH) as saver:
        one = await saver.scoped(scopes[0]).arotate_keys()
        assert (one.threads, one.skipped) == (1, 0)
        report = await saver.arotate_keys()
        assert (report.threads, report.current) == (len(scopes) - 1, 1)
        again = await saver.arotate_keys()
        assert (again.threads, again.current) == (0, len(scopes))
        assert (await saver.averify()).problems == ()
    async with opener(keyring=ONLY_NEW) as saver:
        assert {scope: await shown(saver, scope) for scope in scopes} == before
        assert not await holds(saver, SECRET)
        graph = build(saver.scoped("output"), steps)
        with pytest.raises(StepwellError):  # the key of that call is known; its input was another
            await graph.ainvoke({"secret": "other", "n": 0}, CONFIG, idempotency_key="k")
        await saver.scoped("long").aprune(policy=Retention(keep_last=2))
        assert (await saver.averify()).problems == ()


async def test_results_that_a_cache_keeps_are_encrypted_with_its_keyring(tmp_path: Path) -> None:
    async with open_saver("memory://") as saver:
        for ring in (None, RING):
            folder = tmp_path / ("sealed" if ring else "clear")
            folder.mkdir()
            with SqliteCache[Any](path=str(folder / "cache.db"), keyring=ring) as cache:
                graph = await kinds.cached(saver, cache)
                assert (await graph.ainvoke({"n": 0}, CONFIG))["secret"] == SECRET
                kept = b"".join(path.read_bytes() for path in folder.iterdir())
            assert (SECRET.encode() in kept) is (ring is None)


class Counted:
    """Counts the verbs of a driver."""

    def __init__(self, driver: Any, calls: Counter[str]) -> None:
        self._driver = driver
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name in ("claim", "release", "reseal", "snapshot", "restore", "delete"):
            self._calls[name] += 1
        return found


async def many(saver: Saver, count: int) -> None:
    graph = build(saver, steps)
    inputs = [{"secret": SECRET, "n": n} for n in range(count)]
    configs = [{"configurable": {"thread_id": f"t{n:03}"}} for n in range(count)]
    await graph.abatch(inputs, configs)


async def test_threads_are_rotated_in_groups(opener: Opener) -> None:
    """Not a connection and three transactions for each: a few of each, whatever their number."""
    async with opener(keyring=RING) as saver:
        await many(saver, 120)
    calls: Counter[str] = Counter()
    async with opener(keyring=BOTH) as saver:
        driver: Any = (await saver.journal()).driver
        driver.inner = Counted(driver.inner, calls)
        assert (await saver.arotate_keys()).threads == 120
        assert calls["reseal"] == 1
        assert calls["snapshot"] <= 5  # the pages of threads, and the group before and after claims
        calls.clear()
        assert (await saver.arotate_keys(batch_rows=60)).current == 120
        assert calls["reseal"] == 0
        assert calls["snapshot"] <= 120 * 5 // 60 + 3
        assert (await saver.averify()).problems == ()
    async with opener(keyring=ONLY_NEW) as saver:
        assert len([t async for t in saver.alist_threads()]) == 120


@pytest.mark.parametrize("cut_at", [1, 3, 6])
async def test_a_long_thread_is_rotated_in_parts(opener: Opener, cut_at: int) -> None:
    """A call that was cut off leaves rows of both keys; the next one does only what is left."""
    async with opener(keyring=RING) as saver:
        await kinds.long(saver)
        graph = build(saver, steps)
        for n in range(30):
            await graph.ainvoke({"secret": n, "n": 0}, CONFIG)
        before = await shown(saver, "")
    async with opener(keyring=BOTH) as saver:
        driver: Any = (await saver.journal()).driver
        plan = FaultPlan().fail("reseal", cut_at)
        driver.inner = FaultyDriver(driver.inner, plan)
        with pytest.raises(StorageUnavailableError):
            await saver.arotate_keys(batch_rows=7)
        assert not plan.unreached()
        assert await shown(saver, "") == before
        whole = plan.calls["reseal"]
        assert (await saver.arotate_keys(batch_rows=7)).threads == 1
        assert plan.calls["reseal"] > whole > 0
        assert (await saver.arotate_keys(batch_rows=7)).current == 1
        assert await shown(saver, "") == before
        info = await saver.aget_thread("t")
        assert (await saver.averify()).problems == ()
        await saver.acompact()
    async with opener(keyring=ONLY_NEW) as saver:
        assert await shown(saver, "") == before
        layouts = [await driver_layout(saver)]
        assert info is not None
        assert [sum(p.bytes for p in (*x.rows, *x.segments)) for x in layouts] == [
            x.thread.bytes for x in layouts
        ]


async def driver_layout(saver: Saver) -> Any:
    return await (await saver.journal()).driver.layout(saver.key("t"), "")


async def test_a_thread_that_folds_meanwhile_is_rotated(opener: Opener) -> None:
    """What was read before is not written over what came in its place."""
    async with opener(keyring=RING) as saver:
        await kinds.long(saver)
        for n in range(20):
            await build(saver, steps).ainvoke({"secret": n, "n": 0}, CONFIG)
        before = await shown(saver, "")
    async with opener(keyring=BOTH) as saver, opener(keyring=RING) as other:
        driver: Any = (await saver.journal()).driver
        plan = FaultPlan().act("reseal", 1, other.acompact)
        driver.inner = FaultyDriver(driver.inner, plan)
        report = await saver.arotate_keys()
        assert not plan.unreached()
        assert (report.threads, report.skipped) == (1, 0)
        assert await shown(saver, "") == before
        assert (await saver.averify()).problems == ()
    async with opener(keyring=ONLY_NEW) as saver:
        assert await shown(saver, "") == before


async def test_a_damaged_run_is_not_sealed_anew(opener: Opener) -> None:
    """What does not open is left as it is, and said: with the old key it could be mended."""
    async with opener(keyring=RING) as saver:
        config = {**CONFIG, "metadata": {"who": SECRET}}
        await build(saver, steps).ainvoke({"secret": 1, "n": 0}, config)
        await many(saver, 3)
        journal = await saver.journal()
        inner: Any = journal.driver.inner
        async with inner.snapshot() as snapshot:
            [row] = await snapshot.named([saver.key("t")])
            [[run]] = await snapshot.rows(RowKind.RUNS, [saver.key("t")])
        handle = await journal.acquire(saver.key("t"))
        torn = run._replace(metadata=run.metadata[:-1] + bytes([run.metadata[-1] ^ 1]))
        part = ThreadPart(thread=row, runs=[torn])
        assert await inner.reseal(journal.worker, [(handle.held, part)]) == [True]
        await handle.release()
    async with opener(keyring=BOTH) as saver:
        with pytest.raises(CorruptRecordError):
            await saver.arotate_keys()
        inner = (await saver.journal()).driver.inner
        async with inner.snapshot() as snapshot:
            [[left]] = await snapshot.rows(RowKind.RUNS, [saver.key("t")])
        assert left == torn


async def test_batch_rows_is_a_count(opener: Opener) -> None:
    async with opener(keyring=RING) as saver:
        for bad in (0, -1, 1.5, True, "many"):
            with pytest.raises(UsageError, match="batch_rows"):
                await saver.arotate_keys(batch_rows=bad)


async def test_a_thread_that_is_held_is_rotated_later(opener: Opener) -> None:
    async with opener(keyring=RING) as saver:
        await kinds.written(saver)
    async with opener(keyring=BOTH) as saver:
        journal = await saver.journal()
        handle = await journal.acquire(saver.key("t"))
        assert (await saver.arotate_keys()).skipped == 1
        await handle.release()
        assert (await saver.arotate_keys()).threads == 1


async def test_what_was_in_clear_is_encrypted_when_somebody_says_so(opener: Opener) -> None:
    async with opener() as saver:
        await kinds.output(saver)
        await kinds.failed(saver.scoped("failed"))
        before = await shown(saver, ""), await shown(saver, "failed")
        with pytest.raises(UsageError, match="keyring"):
            await saver.arotate_keys()
    async with opener(keyring=RING) as saver:
        with pytest.raises(CorruptRecordError, match="not encrypted"):
            await saver.arotate_keys()
        assert (await saver.arotate_keys(clear_too=True)).threads == 2
        assert (await shown(saver, ""), await shown(saver, "failed")) == before
        assert await saver.arotate_keys() == await saver.arotate_keys(clear_too=True)
    async with opener(keyring=ONLY_NEW) as saver:
        with pytest.raises(KeyMissingError):
            await saver.arotate_keys()


async def test_nobody_mends_what_he_has_no_key_for(opener: Opener) -> None:
    """Records that cannot be read for want of a key are no damage: nothing is deleted."""
    async with opener(keyring=RING) as saver:
        await kinds.long(saver)
        assert (await saver.averify(repair="heads")).problems == ()
    for ring in (None, ONLY_NEW):
        async with opener(keyring=ring) as saver:
            with pytest.raises(KeyMissingError):
                await saver.averify(repair="heads")
    async with opener(keyring=RING) as saver:
        assert (await saver.aget_tuple(CONFIG)).checkpoint["channel_values"]["n"] == 130
