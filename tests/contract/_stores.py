"""What every store promises, as tests to inherit. The fixture `make` makes stores over one
set of items; all that it made are closed afterwards."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from stepwell.errors import UnsupportedTypeError, UsageError
from stepwell.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

ODD = "\0 \ud800 \U0001f40d é ' \" \\ % _ $."


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def move(self, **span) -> None:
        self.now += timedelta(**span)

    def wall(self) -> float:
        return self.now.timestamp()

    def monotonic(self) -> float:
        return self.now.timestamp()


def keys(found) -> list[str]:
    return [item.key for item in found]


ROWS = {
    "1": {"n": 1},
    "2": {"s": "red", "on": True},
    "3": {"s": "red", 'k"': 1},
    "4": {"n": -7, "s": "re\0d", "a.b": 1},
    "5": {"n": 2.5, "s": ODD},
    "6": {"n": 2**60 + 1, ODD: 1},
    "7": {"in": {"a": 1, "b": {"c": "x"}}, "l": [1, "x"]},
    "8": {"n": "1"},
    "9": {"n": 0.1 + 0.2, "s": "zz"},
    "0": {"n": 10**30, "t": (1, 2)},
}
FILTERS = [
    ({"n": 1}, "1"), ({"n": 1.0}, "1"), ({"n": True}, "1"), ({"on": 1}, "2"), ({"n": "1"}, "8"),
    ({"n": None}, "237"), ({"none": None}, "1234567890"), ({"s": "red"}, "23"),
    ({"s": "re\0d"}, "4"), ({"s": "re\\u0000d"}, ""), ({"s": ODD}, "5"), ({ODD: 1}, "6"),
    ({"n": {"$gt": 1}}, "560"), ({"n": {"$gte": 1}}, "15680"), ({"n": {"$lt": 1}}, "49"),
    ({"n": {"$lte": 1}}, "1489"), ({"n": {"$ne": 1}}, "234567890"), ({"n": {"$eq": 2.5}}, "5"),
    ({"n": {"$gt": 2, "$lt": 3}}, "5"), ({"n": {"$gt": "2"}}, "560"), ({"s": {"$gt": "g"}}, "2349"),
    ({"n": {"$eq": None}}, "237"), ({"n": 2**60 + 1}, "6"), ({"n": 2**60}, ""),
    ({"n": 0.1 + 0.2}, "9"), ({"n": 0.3}, ""), ({"n": {"$gt": 0.3, "$lt": 0.4}}, "9"),
    ({"in": {"a": 1}}, "7"), ({"in": {"a": 1, "b": {"c": "x"}}}, "7"), ({"in": {"a": 2}}, ""),
    ({"in": {"b": {"c": "y"}}}, ""), ({"in": {"b": {"$eq": {"c": "x"}}}}, "7"),
    ({"l": [1, "x"]}, "7"), ({"l": [1]}, ""), ({"t": (1, 2)}, "0"), ({"t": [1, 2]}, "0"),
    ({"s": "red", "on": True}, "2"), ({"k'; DROP": 1}, ""), ({'k"': 1}, "3"), ({"a.b": 1}, "4"),
    ({"s": {"$lt": 5}}, ""), ({"n": {"$gte": 10**30}}, "0"), ({"n": {"$gte": math.nan}}, ""),
    ({"n": math.inf}, ""), ({"l": {"$ne": [1, "x"]}}, "123456890"), ({"$odd": {"a": 1}}, ""),
]  # fmt: skip


def joined(pages) -> list[str]:
    return [key for page in pages for key in page]


class StoreContract:
    """Inherited by one class per kind of store."""

    async def test_an_item_comes_back_as_it_was_put(self, make):
        store = make()
        value = {
            "text": ODD, "list": [1, [2, {"a": None}]], "nan": math.nan, "inf": -math.inf,
            "big": 2**80, "tuple": (1, 2), "bytes": b"\0\xff",
            "when": datetime(2020, 1, 2, tzinfo=UTC),
            "money": Decimal("1.10"), ODD: True, "": "empty key", "$eq": {"$dict": 1}, "f": 1e300,
        }  # fmt: skip
        await store.aput(("a", ODD.replace(".", "").replace("\0", "")), ODD, value)
        [found] = await store.asearch(("a",))
        item = await store.aget(found.namespace, found.key)
        assert found.key == item.key == ODD
        for got in (found.value, item.value):
            assert math.isnan(got.pop("nan"))
            assert got == {k: v for k, v in value.items() if k != "nan"}
            assert type(got["tuple"]) is tuple

    async def test_what_is_not_there_is_none(self, make):
        store = make()
        assert await store.aget(("a",), "x") is None
        assert await store.asearch(()) == []
        assert await store.alist_namespaces() == []
        await store.adelete(("a",), "x")

    async def test_other_handles_see_what_was_put(self, make):
        one, two = make(), make()
        await one.aput(("a",), "x", {"n": 1})
        assert (await two.aget(("a",), "x")).value == {"n": 1}
        await two.aput(("a",), "x", {"n": 2})
        assert (await one.aget(("a",), "x")).value == {"n": 2}
        await one.adelete(("a",), "x")
        assert await two.aget(("a",), "x") is None

    async def test_an_item_is_created_once_and_updated_by_every_put(self, make, clock):
        store = make()
        await store.aput(("a",), "x", {"n": 1})
        first = await store.aget(("a",), "x")
        assert first.created_at == first.updated_at == clock.now
        clock.move(hours=1)
        await store.aput(("a",), "x", {"n": 2})
        clock.move(hours=1)
        second = await store.aget(("a",), "x")
        assert second.created_at == first.created_at
        assert second.updated_at == first.updated_at + timedelta(hours=1)
        await store.adelete(("a",), "x")
        await store.aput(("a",), "x", {"n": 3})
        assert (await store.aget(("a",), "x")).created_at == clock.now

    async def test_a_clock_that_steps_back_takes_no_item_with_it(self, make, clock):
        store = make()
        await store.aput(("a",), "x", {})
        clock.move(hours=-1)
        await store.aput(("a",), "x", {})
        item = await store.aget(("a",), "x")
        assert item.created_at == item.updated_at == clock.now + timedelta(hours=1)

    async def test_what_cannot_be_stored_is_refused_and_nothing_is_written(self, make):
        store = make()
        with pytest.raises(UnsupportedTypeError):
            await store.aput(("a",), "x", {"o": object()})
        with pytest.raises(UnsupportedTypeError):
            await store.abatch(
                [PutOp(("a",), "good", {"n": 1}), PutOp(("a",), "bad", {"o": object()})]
            )
        with pytest.raises(TypeError):
            await store.aput(("a",), "x", ["no mapping"])
        assert await store.asearch(()) == []

    async def test_namespaces_are_compared_element_by_element(self, make):
        store = make()
        spaces = [("a",), ("ab",), ("a", "b"), ("a", "b", "c"), ("a-", "b"), ("A",), ("a\x01",)]
        for namespace in spaces:
            await store.aput(namespace, "k", {})
        for prefix in [("a",), ("ab",), ("a", "b"), ("A",), ("a-",), ("b",), ("a", "c")]:
            found = {item.namespace for item in await store.asearch(prefix)}
            assert found == {n for n in spaces if n[: len(prefix)] == prefix}
        for sign in ("%", "_", "*", "?", "["):
            assert await store.asearch((f"a{sign}",)) == []
            assert await store.asearch((sign,)) == []

    @pytest.mark.parametrize(
        "namespace", [(), ("",), ("a.b",), ("a", 1), ("langgraph",), "a", ("a\0",)]
    )
    async def test_a_namespace_that_is_none_is_refused(self, make, namespace):
        store = make()
        with pytest.raises(InvalidNamespaceError):
            await store.aput(namespace, "k", {})
        with pytest.raises(ValueError):
            await asyncio.to_thread(store.put, namespace, "k", {})
        if namespace not in ((), ("langgraph",)):
            with pytest.raises(InvalidNamespaceError):
                await store.abatch([PutOp(namespace, "k", {})])
            with pytest.raises(InvalidNamespaceError):
                await store.abatch([ListNamespacesOp((MatchCondition("prefix", namespace),))])

    async def test_pages_of_a_search_are_disjoint_and_whole(self, make, clock):
        store = make()
        for n in range(25):
            clock.move(seconds=1)
            await store.aput(("a", str(n % 3)), f"k{n}", {"n": n, "even": n % 2 == 0})
        whole = keys(await store.asearch(("a",), limit=100))
        assert sorted(whole) == sorted(f"k{n}" for n in range(25))
        pages = [keys(await store.asearch(("a",), limit=4, offset=at)) for at in range(0, 28, 4)]
        assert joined(pages) == whole
        even = keys(await store.asearch((), filter={"even": True}, limit=100))
        assert even == [key for key in whole if int(key[1:]) % 2 == 0]
        pages = [
            keys(await store.asearch((), filter={"even": True}, limit=5, offset=at))
            for at in range(0, 20, 5)
        ]
        assert joined(pages) == even
        assert await store.asearch((), limit=0) == []
        for bad in ({"limit": -1}, {"offset": -1}, {"limit": None}):
            with pytest.raises(ValueError):
                await store.asearch((), **bad)

    @pytest.mark.parametrize(("wanted", "expected"), FILTERS, ids=lambda one: repr(one)[:40])
    async def test_filters_mean_the_same_everywhere(self, make, wanted, expected):
        store = make()
        await store.abatch([PutOp(("a",), key, value) for key, value in ROWS.items()])
        found = keys(await store.asearch((), filter=wanted, limit=100))
        assert sorted(found) == sorted(expected)
        assert keys(await store.asearch((), filter=wanted, limit=1, offset=1)) == found[1:2]

    async def test_operators_that_there_are_not_are_refused(self, make):
        store = make()
        with pytest.raises(ValueError, match=r"\$in"):
            await store.asearch((), filter={"a": {"$in": [1]}})
        with pytest.raises(TypeError):
            await store.asearch((), filter={"a": {"$gt": None}})
        with pytest.raises(TypeError):
            await store.asearch((), filter=["a"])

    async def test_namespaces_are_listed_in_order(self, make):
        store = make()
        spaces = [
            ("b",),
            ("a", "b", "c"),
            ("a", "b", "d"),
            ("a-b",),
            ("a",),
            ("a", "z"),
            ("é",),
            ("z",),
        ]
        await store.abatch([PutOp(space, str(n), {}) for space in spaces for n in range(3)])
        assert await store.alist_namespaces() == sorted(spaces)
        assert await store.alist_namespaces(max_depth=1) == sorted({s[:1] for s in spaces})
        assert await store.alist_namespaces(max_depth=2, prefix=("a",)) == [
            ("a",),
            ("a", "b"),
            ("a", "z"),
        ]
        assert await store.alist_namespaces(prefix=("*", "b")) == [("a", "b", "c"), ("a", "b", "d")]
        assert await store.alist_namespaces(suffix=("*", "d")) == [("a", "b", "d")]
        assert await store.alist_namespaces(suffix=("z",)) == [("a", "z"), ("z",)]
        assert await store.alist_namespaces(limit=2, offset=3) == sorted(spaces)[3:5]
        assert await store.alist_namespaces(max_depth=1, limit=2, offset=1) == [("a-b",), ("b",)]
        for space in spaces[:-1]:
            await store.abatch([PutOp(space, str(n), None) for n in range(3)])
        assert await store.alist_namespaces() == [("z",)]

    async def test_more_namespaces_than_fit_into_a_page(self, make):
        store = make()
        await store.abatch([PutOp(("u", f"{n:04}", "x"), "k", {}) for n in range(700)])
        assert len(await store.alist_namespaces(limit=1000)) == 700
        assert await store.alist_namespaces(offset=690) == [
            ("u", f"{n:04}", "x") for n in range(690, 700)
        ]
        assert await store.alist_namespaces(max_depth=1) == [("u",)]
        assert await store.alist_namespaces(suffix=("0555", "x")) == [("u", "0555", "x")]

    async def test_a_batch_reads_first_and_the_last_write_to_a_key_counts(self, make):
        store = make()
        await store.aput(("a",), "old", {"n": 0})
        results = await store.abatch(
            [
                PutOp(("a",), "new", {"n": 1}), GetOp(("a",), "new"), GetOp(("a",), "old"),
                PutOp(("a",), "new", {"n": 2}), PutOp(("a",), "old", None), SearchOp(("a",)),
                ListNamespacesOp(), PutOp(("b",), "x", {}), PutOp(("b",), "x", None),
                GetOp(("a",), "old"),
            ]
        )  # fmt: skip
        assert results[0] is results[1] is results[3] is results[4] is None
        assert results[2].value == results[9].value == {"n": 0}
        assert keys(results[5]) == ["old"]
        assert results[6] == [("a",)]
        assert [(item.key, item.value) for item in await store.asearch(())] == [("new", {"n": 2})]
        assert await store.abatch([]) == []
        with pytest.raises(ValueError):
            await store.abatch(["no operation"])

    async def test_both_forms_of_every_verb(self, make):
        store = make()

        def use():
            store.put(("a",), "x", {"n": 1})
            store.put(("a",), "y", {"n": 2})
            store.delete(("a",), "y")
            [item] = store.batch([GetOp(("a",), "x")])
            return (
                store.get(("a",), "x").value, keys(store.search((), filter={"n": 1})),
                store.list_namespaces(), item.value,
            )  # fmt: skip

        assert await asyncio.to_thread(use) == ({"n": 1}, ["x"], [("a",)], {"n": 1})
        assert (await store.aget(("a",), "x")).value == {"n": 1}

    async def test_many_at_once(self, make):
        store = make()
        await asyncio.gather(*(store.aput(("a",), str(n), {"n": n}) for n in range(300)))
        got = await asyncio.gather(*(store.aget(("a",), str(n)) for n in range(300)))
        assert [item.value["n"] for item in got] == list(range(300))

    async def test_a_bad_operation_fails_alone(self, make):
        store = make()
        outcomes = await asyncio.gather(
            store.aput(("a",), "1", {}),
            store.aput(("a",), "2", {"o": object()}),
            store.asearch((), filter={"a": {"$in": 1}}),
            store.aput(("a",), "3", {}),
            return_exceptions=True,
        )
        assert [type(one).__name__ for one in outcomes] == [
            "NoneType", "UnsupportedTypeError", "ValueError", "NoneType",
        ]  # fmt: skip
        assert sorted(keys(await store.asearch(()))) == ["1", "3"]

    # -- by meaning

    def letters(self, texts):
        return [[float(text.count(letter)) for letter in "abcde"] for text in texts]

    async def test_search_by_meaning(self, make):
        store = make(index={"dims": 5, "embed": self.letters, "fields": ["text", "notes[*]"]})
        await store.aput(("d",), "1", {"text": "aab"})
        await store.aput(("d",), "2", {"text": "bbc", "notes": ["a", "ddd"]})
        await store.aput(("d",), "3", {"text": "eeee"}, index=False)
        await store.aput(("d",), "4", {"text": "eb", "other": "cc"}, index=["other"])
        await store.aput(("e",), "5", {"text": "ddd"})
        found = await store.asearch(("d",), query="dd")
        assert found[0].key == "2"
        assert found[0].score == pytest.approx(1.0)
        assert found[-1].key == "3"
        assert found[-1].score is None
        assert keys(await store.asearch(("d",), query="cc", limit=1)) == ["4"]
        assert keys(await store.asearch((), query="d", limit=2)) in (["2", "5"], ["5", "2"])
        assert keys(await store.asearch(("d",), query="d", filter={"text": "aab"})) == ["1"]
        whole = keys(await store.asearch((), query="ab"))
        pages = [keys(await store.asearch((), query="ab", limit=2, offset=n)) for n in (0, 2, 4)]
        assert joined(pages) == whole
        assert len(whole) == 5

    async def test_a_new_text_has_a_new_vector(self, make):
        store = make(index={"dims": 5, "embed": self.letters, "fields": ["text", "more"]})
        await store.aput(("d",), "1", {"text": "aaa", "more": "bbb"})
        await store.aput(("d",), "1", {"text": "ccc"})
        [found] = await store.asearch(("d",), query="b")
        assert found.score == pytest.approx(0.0)
        await store.aput(("d",), "1", {"text": "ccc"}, index=False)
        [found] = await store.asearch(("d",), query="c")
        assert found.score is None

    async def test_embeddings_may_be_async_and_fail_alone(self, make):
        async def embed(texts):
            if "bad" in texts:
                raise ConnectionError("no model")
            return self.letters(texts)

        store = make(index={"dims": 5, "embed": embed, "fields": ["text"]})
        outcomes = await asyncio.gather(
            store.aput(("d",), "1", {"text": "aaa"}),
            store.aput(("d",), "2", {"text": "bad"}),
            store.aput(("d",), "3", {"text": "bbb"}),
            return_exceptions=True,
        )
        assert [type(one) for one in outcomes] == [type(None), ConnectionError, type(None)]
        assert keys(await store.asearch(("d",), query="b")) == ["3", "1"]

    async def test_without_an_index_a_query_counts_for_nothing(self, make):
        store = make()
        await store.aput(("d",), "1", {"text": "aaa"})
        [found] = await store.asearch(("d",), query="b")
        assert found.score is None

    async def test_an_index_that_there_is_not_is_refused(self, make):
        with pytest.raises(ValueError):
            make(index={"dims": 5})
        with pytest.raises(ValueError, match="init_embeddings"):
            make(index={"dims": 5, "embed": "openai:text-embedding-3-small"})
        with pytest.raises(UsageError):
            make(index={"dims": 5, "embed": self.letters, "distance_type": "l2"})


class ExpiringContract:
    """For stores in which items expire."""

    def test_they_say_so(self, make):
        assert make().supports_ttl

    async def test_an_item_is_swept_when_its_time_is_over(self, make, clock):
        store = make()
        await store.aput(("a",), "short", {}, ttl=1)
        await store.aput(("a",), "half", {}, ttl=0.5)
        await store.aput(("a",), "long", {}, ttl=60)
        await store.aput(("a",), "ever", {})
        assert await store.asweep_ttl() == 0
        clock.move(seconds=61)
        assert len(await store.asearch((), refresh_ttl=False)) == 4
        assert await store.asweep_ttl() == 2
        assert {*keys(await store.asearch(()))} == {"long", "ever"}
        clock.move(days=1)
        assert await store.asweep_ttl() == 1
        assert keys(await store.asearch(())) == ["ever"]

    async def test_reading_lets_the_time_begin_anew_unless_told_not_to(self, make, clock):
        store = make()
        for key in ("got", "found", "left", "got not", "found not"):
            await store.aput((key,), key, {}, ttl=10)
        clock.move(minutes=9)
        await store.aget(("got",), "got")
        await store.asearch(("found",))
        await store.aget(("got not",), "got not", refresh_ttl=False)
        await store.asearch(("found not",), refresh_ttl=False)
        clock.move(minutes=9)
        assert await store.asweep_ttl() == 3
        assert await store.alist_namespaces() == [("found",), ("got",)]

    async def test_putting_sets_the_time_anew(self, make, clock):
        store = make()
        await store.aput(("a",), "x", {}, ttl=10)
        await store.aput(("a",), "y", {}, ttl=10)
        clock.move(minutes=9)
        await store.aput(("a",), "x", {}, ttl=10)
        await store.aput(("a",), "y", {})
        clock.move(minutes=9)
        assert await store.asweep_ttl() == 0
        clock.move(minutes=9)
        assert await store.asweep_ttl() == 1
        assert keys(await store.asearch(())) == ["y"]

    async def test_defaults_of_the_store(self, make, clock):
        store = make(ttl={"default_ttl": 5, "refresh_on_read": False})
        await store.aput(("a",), "default", {})
        await store.aput(("a",), "never", {}, ttl=None)
        await store.aput(("a",), "own", {}, ttl=50)
        clock.move(minutes=4)
        await store.aget(("a",), "default")
        await store.aget(("a",), "own", refresh_ttl=True)
        clock.move(minutes=47)
        assert await store.asweep_ttl() == 1
        assert {*keys(await store.asearch(()))} == {"never", "own"}

    async def test_what_is_over_can_be_left_out_before_it_is_swept(self, make, clock):
        store = make(ttl={"omit_expired": True})
        await store.aput(("a",), "x", {}, ttl=1)
        await store.aput(("b",), "y", {"n": 1})
        clock.move(minutes=2)
        assert await store.aget(("a",), "x") is None
        assert keys(await store.asearch(())) == ["y"]
        assert keys(await store.asearch((), filter={"n": 1})) == ["y"]
        assert await store.alist_namespaces() == [("b",)]
        assert await store.asweep_ttl() == 1

    async def test_many_are_swept(self, make, clock):
        store = make()
        await store.abatch([PutOp(("a",), str(n), {}, ttl=1) for n in range(2500)])
        clock.move(minutes=2)
        assert await store.asweep_ttl() == 2500

    async def test_a_sweeper_sweeps_until_it_is_stopped(self, make, clock):
        store = make(ttl={"default_ttl": 1})
        await store.aput(("a",), "x", {})
        clock.move(minutes=2)
        task = await store.astart_ttl_sweeper(0.0005)
        assert await store.astart_ttl_sweeper(0.0005) is task
        async with asyncio.timeout(60):
            while await store.alist_namespaces():  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # a database tells nobody
        assert not task.done()
        assert await store.astop_ttl_sweeper(10)
        assert await store.astop_ttl_sweeper()
        await task

    async def test_without_configuration_there_is_no_sweeper(self, make):
        store = make()
        await (await store.astart_ttl_sweeper())
        assert await store.astop_ttl_sweeper()

    def test_a_configuration_that_is_none_is_refused(self, make):
        with pytest.raises(UsageError):
            make(ttl={"default": 5})
        with pytest.raises(UsageError):
            make(ttl={"default_ttl": "soon"})
