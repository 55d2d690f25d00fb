"""A large state: the event loop does not encode it, and what is stored is the same."""

from __future__ import annotations

import contextlib
import operator
import threading
from typing import Annotated, TypedDict

import orjson
import pytest

from stepwell._codec import Codec
from stepwell._codec.large import LARGE_BYTES
from stepwell._journal import load, track
from stepwell.checkpoint.base import Saver
from stepwell.errors import GraphInterrupt, InvalidUpdateError, UnsupportedTypeError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import KEEP, Command, Send, interrupt

CONFIG = {"configurable": {"thread_id": "large"}}
MANY = [{"n": i, "text": "river stone " * 40} for i in range(LARGE_BYTES // 400)]


class State(TypedDict, total=False):
    log: Annotated[list, operator.add]
    kept: list
    text: str
    small: int


@pytest.fixture
def encoders(monkeypatch):
    """Threads that encoded anything large."""
    found = set()
    encode = Codec.encode

    def noted(self, value, **options):
        encoded = encode(self, value, **options)
        if len(encoded.data) > LARGE_BYTES // 4:
            found.add(threading.get_ident())
        return encoded

    monkeypatch.setattr(Codec, "encode", noted)
    return found


def graph_of(saver, *answers, **options):
    builder = StateGraph(State)
    before = START
    for i, answer in enumerate(answers):

        async def node(state, answer=answer):
            return answer

        builder.add_node(f"n{i}", node)
        builder.add_edge(before, f"n{i}")
        before = f"n{i}"
    return builder.compile(saver, **options)


@pytest.mark.parametrize("answer", [{"kept": MANY}, {"log": MANY}], ids=["set", "append"])
async def test_what_is_large_is_encoded_in_a_worker_thread(saver: Saver, encoders, answer) -> None:
    graph = graph_of(saver, answer, {"small": 1})
    out = await graph.ainvoke({"small": 0}, CONFIG)
    assert encoders
    assert threading.get_ident() not in encoders
    assert (await graph.aget_state(CONFIG)).values == out
    [(name, value)] = answer.items()
    assert out[name] == value


async def test_what_is_small_is_encoded_where_the_run_is(saver: Saver, monkeypatch) -> None:
    threads = set()
    encode = Codec.encode

    def noted(self, value, **options):
        threads.add(threading.get_ident())
        return encode(self, value, **options)

    monkeypatch.setattr(Codec, "encode", noted)
    await graph_of(saver, {"log": MANY[:20]}).ainvoke({"small": 0}, CONFIG)
    assert threads == {threading.get_ident()}


async def test_large_results_of_tasks_side_by_side(saver: Saver, encoders) -> None:
    async def spread(state: State) -> State:
        return {}

    async def work(number: int) -> State:
        return {"log": [{"of": number, "text": "x" * (LARGE_BYTES + number)}]}

    builder = StateGraph(State).add_node("spread", spread).add_node("work", work)
    builder.add_edge(START, "spread")
    builder.add_conditional_edges(
        "spread", lambda state: [Send("work", i) for i in range(3)], ["work"]
    )
    graph = builder.compile(saver)
    out = await graph.ainvoke({"small": 0}, CONFIG)
    assert [part["of"] for part in out["log"]] == [0, 1, 2]
    assert threading.get_ident() not in encoders
    assert (await graph.aget_state(CONFIG)).values == out


async def test_what_cannot_be_stored_is_named_as_ever(saver: Saver) -> None:
    wrong = [*MANY, {"n": object()}]
    with pytest.raises(UnsupportedTypeError) as caught:
        await graph_of(saver, {"kept": wrong}).ainvoke({"small": 0}, CONFIG)
    assert caught.value.channel == "kept"
    assert caught.value.path == f"$[{len(MANY)}]['n']"


async def test_a_filter_is_asked_on_the_loop(saver: Saver) -> None:
    asked = set()

    def where(channel: str, value: object) -> object:
        asked.add(threading.get_ident())
        return KEEP

    graph = graph_of(saver.with_filter(where=where), {"kept": MANY})
    out = await graph.ainvoke({"small": 0}, CONFIG)
    assert asked == {threading.get_ident()}
    assert (await graph.aget_state(CONFIG)).values == out


async def test_large_results_that_do_not_count_are_taken_for_no_others(saver: Saver) -> None:
    """A task that goes on without the answer to a question has no result, however large what it
    returns; what comes after it is stored as it is."""

    @task
    async def ask() -> str:
        return interrupt("which?")

    @task
    async def deaf() -> str:
        with contextlib.suppress(GraphInterrupt):
            await ask()
        return "x" * (LARGE_BYTES * 2)

    @task
    async def work(number: int) -> int:
        ran.append(number)
        return number

    @entrypoint(saver)
    async def flow(_: int) -> list[int]:
        with contextlib.suppress(GraphInterrupt):
            await deaf()
        return [await work(number) for number in range(8)]

    ran: list[int] = []
    await flow.ainvoke(0, CONFIG)
    await flow.ainvoke(None, CONFIG)
    assert ran == list(range(8))  # what they returned is stored
    assert await flow.ainvoke(Command(resume="this"), CONFIG) == ran
    assert ran == list(range(8))


class Encoded:
    """Bytes of stored values that claims have encoded."""

    def __init__(self):
        self.size = 0

    def __getattr__(self, name):
        return getattr(orjson, name)

    def dumps(self, *args):
        made = orjson.dumps(*args)
        self.size += len(made)
        return made


def items(count):
    return [{"n": i, "text": "river stone " * 20} for i in range(count)]


@pytest.mark.parametrize("key", ["log", "kept"])
async def test_what_a_claim_encodes_does_not_grow_with_a_list(saver, monkeypatch, key):
    """Nobody compares a list that is longer than what is looked at for changes in place."""
    found = []
    for count in (1500, 6000):
        encoded = Encoded()
        monkeypatch.setattr(track, "orjson", encoded)
        monkeypatch.setattr(load, "orjson", encoded)
        config = {"configurable": {"thread_id": f"{key}{count}"}}
        await graph_of(saver, {key: items(count)}).ainvoke({"small": 0}, config)
        encoded.size = 0
        await graph_of(saver, {"small": 2}, on_mismatch="accept").ainvoke({"small": 1}, config)
        found.append(encoded.size)
    assert max(found) < track.REPAIR_BYTES_MAX * 1.5
    assert abs(found[0] - found[1]) < 1000


async def test_a_long_list_that_is_set_anew_is_stored_as_what_has_changed(saver):
    """Its encoding before, which the claim did not make, is made when it is asked for; also
    where a node has changed the list itself, which it was given."""
    many = items(3000)

    async def first(state):
        return {"kept": many}

    async def second(state):
        state["kept"][7]["text"] = "changed in place"
        return {"kept": [*state["kept"][:-1], {"n": -1, "text": "the last"}]}

    for node in (first, second):
        builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
        await builder.compile(saver).ainvoke({"small": 1}, CONFIG)
    journal = await saver.journal()
    page = await journal.history(saver.key("large"), "")
    assert len(page.rows[-1].body) < len(orjson.dumps(many))
    state = await builder.compile(saver).aget_state(CONFIG)
    expected = items(3000)
    expected[7]["text"], expected[-1] = "changed in place", {"n": -1, "text": "the last"}
    assert state.values["kept"] == expected


async def test_with_strict_a_long_list_is_looked_at_whole(saver):
    async def changes(state):
        state["kept"][0]["text"] = "changed"
        return {"small": 3}

    await graph_of(saver, {"kept": items(3000)}).ainvoke({"small": 1}, CONFIG)
    builder = StateGraph(State).add_node("changes", changes).add_edge(START, "changes")
    graph = builder.compile(saver, strict=True, on_mismatch="accept")
    with pytest.raises(InvalidUpdateError, match="kept in place"):
        await graph.ainvoke({"small": 2}, CONFIG)
