"""What every cache promises, and what SQLite adds."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepwell import Keyring, _clock
from stepwell.cache.base import BaseCache, CodecSerializer
from stepwell.cache.memory import InMemoryCache
from stepwell.cache.sqlite import SqliteCache
from stepwell.errors import StorageError, UnsupportedTypeError, UsageError

A, B = ("a", "x"), ("b", "x")
VALUES = [
    None, True, 1, 1.5, "text", "\0", "\ud800", b"\0raw", [1, [2]], {"k": {"n": None}}, (1, (2,)),
    {1: "int key"}, {3, 4}, datetime(2026, 1, 2, tzinfo=UTC), 1 << 80, {"$tuple": [1]},
]  # fmt: skip


OLD, NEW = bytes(range(32)), bytes(range(1, 33))
RING = Keyring({"old": OLD}, "old")


@pytest.fixture(params=["memory", "sqlite", "private sqlite", "sealed sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseCache[Any]]:
    if request.param == "memory":
        yield InMemoryCache()
        return
    path = ":memory:" if request.param == "private sqlite" else str(tmp_path / "cache.db")
    ring = RING if request.param == "sealed sqlite" else None
    with SqliteCache[Any](path=path, keyring=ring) as opened:
        yield opened


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time."""
    at = [1000.0]
    monkeypatch.setattr(_clock.SystemClock, "wall", lambda self: at[0])
    return lambda moment: at.__setitem__(0, moment)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_kept_comes_back_with_its_type(cache: BaseCache[Any], value: Any) -> None:
    cache.set({(A, "k"): (value, None)})
    (found,) = cache.get([(A, "k")]).values()
    assert found == value
    assert type(found) is type(value)


def test_only_what_is_there_is_found(cache: BaseCache[Any]) -> None:
    cache.set({(A, "k"): (1, None), (B, "k"): (2, None)})
    assert cache.get([]) == {}
    assert cache.get([(A, "other"), (("c",), "k")]) == {}
    assert cache.get([(A, "k"), (B, "k"), (A, "l")]) == {(A, "k"): 1, (B, "k"): 2}


def test_a_later_value_replaces_an_earlier_one_and_its_time(
    cache: BaseCache[Any], now: Callable[[float], None]
) -> None:
    cache.set({(A, "k"): (1, 10)})
    cache.set({(A, "k"): (2, None)})
    now(2000.0)
    assert cache.get([(A, "k")]) == {(A, "k"): 2}


def test_a_value_is_over_when_its_time_is(
    cache: BaseCache[Any], now: Callable[[float], None]
) -> None:
    cache.set({(A, "k"): (1, 10), (A, "l"): (2, 20), (A, "m"): (3, 0)})
    assert cache.get([(A, "k"), (A, "l"), (A, "m")]) == {(A, "k"): 1, (A, "l"): 2}
    now(1009.9)
    assert (A, "k") in cache.get([(A, "k")])
    now(1010.0)
    assert cache.get([(A, "k"), (A, "l")]) == {(A, "l"): 2}
    now(1000.0)
    assert cache.get([(A, "k")]) == {}, "it was deleted when it was met"


def test_clearing(cache: BaseCache[Any]) -> None:
    """One namespace, none, and all; a namespace is not those that begin like it."""
    near = ("a",)
    pairs = {(ns, "k"): (1, None) for ns in (A, B, near, ("a,x",), ("a", "x", "y"))}
    cache.set(pairs)
    cache.clear([])
    cache.clear([("nothing",)])
    assert set(cache.get(list(pairs))) == set(pairs)
    cache.clear([A])
    assert set(cache.get(list(pairs))) == set(pairs) - {(A, "k")}
    cache.clear()
    assert cache.get(list(pairs)) == {}


def test_namespaces_are_given_back_as_tuples(cache: BaseCache[Any]) -> None:
    cache.set({(A, "k"): (1, None)})
    found = cache.get([(list(A), "k")])  # type: ignore[list-item]  # as JSON would have it
    assert found == {(A, "k"): 1}


def test_a_hit_is_a_copy(cache: BaseCache[Any]) -> None:
    value = {"list": [1]}
    cache.set({(A, "k"): (value, None)})
    value["list"].append(2)
    cache.get([(A, "k")])[A, "k"]["list"].append(3)
    assert cache.get([(A, "k")]) == {(A, "k"): {"list": [1]}}


def test_what_cannot_be_stored_is_refused_and_nothing_is_kept(cache: BaseCache[Any]) -> None:
    with pytest.raises(UnsupportedTypeError):
        cache.set({(A, "k"): (1, None), (A, "l"): (object(), None)})
    assert cache.get([(A, "k"), (A, "l")]) == {}


async def test_async_twins(cache: BaseCache[Any]) -> None:
    await cache.aset({(A, "k"): (1, None), (B, "k"): (2, None)})
    assert await cache.aget([(A, "k"), (B, "k")]) == {(A, "k"): 1, (B, "k"): 2}
    await cache.aclear([A])
    assert await cache.aget([(A, "k"), (B, "k")]) == {(B, "k"): 2}
    await cache.aclear()
    assert cache.get([(B, "k")]) == {}


async def test_many_at_once(cache: BaseCache[Any]) -> None:
    """Threads and coroutines use one cache; none sees half of what another one writes."""
    keys = [(A, str(i)) for i in range(10)]
    wrong: list[Any] = []

    def work(me: int) -> None:
        for turn in range(20):
            cache.set(dict.fromkeys(keys, ([me, turn], None)))
            found = cache.get(keys)
            if len({tuple(v) for v in found.values()}) > 1 and isinstance(cache, InMemoryCache):
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.gather(*(cache.aget(keys) for _ in range(20)))
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert wrong == []
    assert len(cache.get(keys)) == len(keys)


def test_a_serializer_of_ones_own() -> None:
    class Upper:
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return "upper", str(obj).upper().encode()

        def loads_typed(self, data: tuple[str, bytes]) -> Any:
            return data[0], data[1].decode()

    memory = InMemoryCache[Any](serde=Upper())
    private = SqliteCache[Any](path=":memory:", serde=Upper())
    for cache in (memory, private):
        cache.set({(A, "k"): ("text", None)})
        assert cache.get([(A, "k")]) == {(A, "k"): ("upper", "TEXT")}
    private.close()


def test_bytes_are_kept_as_they_are() -> None:
    assert CodecSerializer().dumps_typed(b"raw") == ("bytes", b"raw")


# --- SQLite -----------------------------------------------------------------------------------


def test_a_file_outlives_its_cache_and_is_shared(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    with SqliteCache[Any](path=path) as first, SqliteCache[Any](path=path) as second:
        first.set({(A, "k"): (1, None)})
        assert second.get([(A, "k")]) == {(A, "k"): 1}
    with SqliteCache[Any](path=path) as third:
        assert third.get([(A, "k")]) == {(A, "k"): 1}


def test_what_is_over_leaves_the_file_when_it_is_opened(
    tmp_path: Path, now: Callable[[float], None]
) -> None:
    path = str(tmp_path / "cache.db")
    with SqliteCache[Any](path=path) as cache:
        cache.set({(A, str(i)): (i, 10 if i % 2 else None) for i in range(10)})
    now(1010.0)
    SqliteCache[Any](path=path).close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM stepwell_cache").fetchone() == (5,)
    raw.close()


def test_a_closed_cache_says_so(tmp_path: Path) -> None:
    cache = SqliteCache[Any](path=str(tmp_path / "cache.db"))
    cache.close()
    cache.close()
    with pytest.raises(UsageError, match="closed"):
        cache.get([(A, "k")])


def test_a_path_that_cannot_be_opened_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SqliteCache[Any](path=str(tmp_path / "no" / "such" / "folder.db"))
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at" * 20)
    with pytest.raises(StorageError, match="not an SQLite database"):
        SqliteCache[Any](path=str(tmp_path / "text.db"))


def test_a_forked_child_has_a_connection_of_its_own(tmp_path: Path) -> None:
    cache = SqliteCache[Any](path=str(tmp_path / "cache.db"))
    cache.set({(A, "k"): ("parent", None)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child == 0:
        found = cache.get([(A, "k")])
        cache.set({(A, "c"): ("child", None)})
        os._exit(0 if found == {(A, "k"): "parent"} else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.get([(A, "k"), (A, "c")]) == {(A, "k"): "parent", (A, "c"): "child"}
    cache.close()


SECRET = "canary-51-canary"


def files_hold(folder: Path, text: str) -> bool:
    return any(text.encode() in p.read_bytes() for p in folder.iterdir())


def test_sealed_entries_hold_nothing_in_clear(tmp_path: Path) -> None:
    """Neither a value nor what it is found by is in the file or its log."""
    path = str(tmp_path / "cache.db")
    with SqliteCache[Any](path=path) as plain:
        plain.set({(A, SECRET): ({"k": [SECRET]}, None)})
        assert files_hold(tmp_path, SECRET)
        plain.clear()
    for file in tmp_path.iterdir():
        file.unlink()
    with SqliteCache[Any](path=path, keyring=RING) as sealed:
        sealed.set({(A, SECRET): ({"k": [SECRET]}, None)})
        assert not files_hold(tmp_path, SECRET)
        assert sealed.get([(A, SECRET)]) == {(A, SECRET): {"k": [SECRET]}}


def test_what_does_not_open_is_computed_anew(tmp_path: Path) -> None:
    """Another key, no key, in clear, changed, or moved: as if nothing were there."""
    path = str(tmp_path / "cache.db")
    with SqliteCache[Any](path=path, keyring=RING) as sealed:
        sealed.set({(A, "one"): (1, None), (A, "two"): (2, None)})
        for ring in (None, Keyring({"new": NEW}, "new"), Keyring({"old": NEW}, "old")):
            with SqliteCache[Any](path=path, keyring=ring) as other:
                assert other.get([(A, "one"), (A, "two")]) == {}
        with sqlite3.connect(path) as connection:
            [(one, body), (two, _)] = connection.execute(
                "SELECT key, value FROM stepwell_cache"
            ).fetchall()
            connection.execute("UPDATE stepwell_cache SET value = ? WHERE key = ?", (body, two))
        connection.close()
        assert len(sealed.get([(A, "one"), (A, "two")])) == 1
        with sqlite3.connect(path) as connection:
            connection.execute(
                "UPDATE stepwell_cache SET value = ? WHERE key = ?",
                (body[:-1] + bytes([body[-1] ^ 1]), one),
            )
        connection.close()
        assert sealed.get([(A, "one"), (A, "two")]) == {}
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE stepwell_cache SET encoding = 'json', value = x'33'")
        connection.close()
        assert sealed.get([(A, "one"), (A, "two")]) == {}


def test_entries_under_an_older_key_are_found(tmp_path: Path) -> None:
    path = str(tmp_path / "cache.db")
    with SqliteCache[Any](path=path, keyring=RING) as sealed:
        sealed.set({(A, "k"): (1, None)})
    with SqliteCache[Any](path=path, keyring=Keyring({"old": OLD, "new": NEW}, "new")) as both:
        assert both.get([(A, "k")]) == {(A, "k"): 1}
        both.set({(A, "k"): (2, None)})
        assert both.get([(A, "k")]) == {(A, "k"): 2}
    with SqliteCache[Any](path=path, keyring=Keyring({"new": NEW}, "new")) as new:
        assert new.get([(A, "k")]) == {(A, "k"): 2}
        new.clear([A])
        assert new.get([(A, "k")]) == {}


def test_a_keyring_is_one(tmp_path: Path) -> None:
    bad: Any = b"key"
    with pytest.raises(UsageError, match="Keyring"):
        SqliteCache[Any](path=str(tmp_path / "cache.db"), keyring=bad)
