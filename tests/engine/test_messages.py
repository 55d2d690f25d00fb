"""Conversations in the journal: what a message costs, and what comes back."""

from __future__ import annotations

import copy
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.channels import DeltaChannel
from stepwell.checkpoint.base import Saver
from stepwell.errors import UsageError
from stepwell.graph import END, START, MessagesState, StateGraph, add_messages
from stepwell.graph.message import (
    REMOVE_ALL_MESSAGES,
    Message,
    RemoveMessage,
    _messages_delta_reducer,
)
from stepwell.types import Command, Overwrite, interrupt

THREAD: Any = {"configurable": {"thread_id": "t"}}
TALK = [
    {"role": "user", "content": f"message number {i:04}", "id": f"m{i:04}"} for i in range(1000)
]


def answering(write: Any) -> StateGraph:
    """START -> a node that writes `write` -> END."""

    async def answer(state: MessagesState) -> Any:
        return {"messages": write}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    return graph.add_edge(START, "answer").add_edge("answer", END)


async def size(saver: Saver) -> int:
    thread = await saver.aget_thread("t")
    assert thread is not None
    return thread.bytes


NEW = {"role": "assistant", "content": "a new message", "id": "new"}
OTHER = {"role": "user", "content": "another text", "id": "m0500"}
COSTS: dict[str, tuple[Any, list[Any]]] = {
    "append": ([NEW], [*TALK, NEW]),
    "replace": ([OTHER], [*TALK[:500], OTHER, *TALK[501:]]),
    "remove": ([RemoveMessage("m0007")], [*TALK[:7], *TALK[8:]]),
    "replace and append": ([OTHER, NEW], [*TALK[:500], OTHER, *TALK[501:], NEW]),
    "remove many": ([RemoveMessage(f"m{i:04}") for i in range(4)], TALK[4:]),
    "remove all": ([RemoveMessage(REMOVE_ALL_MESSAGES), NEW], [NEW]),
}


@pytest.mark.parametrize("what", COSTS)
async def test_what_one_write_to_a_long_conversation_costs(saver: Saver, what: str) -> None:
    """A conversation of 1,000 messages is some 70 kB; a write to it is a few hundred bytes."""
    write, expected = COSTS[what]
    graph = answering(write).compile(saver)
    await graph.aupdate_state(THREAD, {"messages": TALK}, as_node=START)
    before = await size(saver)
    assert before > 60_000
    result = await graph.ainvoke(None, THREAD)
    assert result["messages"] == expected
    assert await size(saver) - before < 600
    assert (await graph.aget_state(THREAD)).values["messages"] == expected


async def test_the_state_that_is_loaded_can_be_edited_at_once(saver: Saver) -> None:
    """The first operation after a load finds what was stored, and the next one too."""
    graph = answering([NEW]).compile(saver)
    await graph.aupdate_state(THREAD, {"messages": TALK[:50]}, as_node=START)
    for name in ("m0003", "m0010"):
        before = await size(saver)
        await graph.aupdate_state(THREAD, {"messages": RemoveMessage(name)}, as_node=START)
        assert await size(saver) - before < 400
    values = (await graph.aget_state(THREAD)).values["messages"]
    assert values == [*TALK[:3], *TALK[4:10], *TALK[11:50]]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_edits_compose_over_supersteps(saver: Saver, durability: Any) -> None:
    """Several steps that append, replace and remove: the same state at every durability."""

    async def one(state: MessagesState) -> Any:
        return {"messages": [("ai", "one"), RemoveMessage("m0001")]}

    async def two(state: MessagesState) -> Any:
        return {"messages": [OTHER | {"id": "m0002"}, ("ai", "two")]}

    async def three(state: MessagesState) -> Any:
        return {"messages": RemoveMessage(state["messages"][0]["id"])}

    graph = StateGraph(MessagesState).add_sequence([one, two, three])
    graph.add_edge(START, "one")
    app = graph.compile(saver)
    result = await app.ainvoke({"messages": TALK[:4]}, THREAD, durability=durability)
    shown = [m["content"] for m in result["messages"]]
    assert shown == ["another text", TALK[3]["content"], "one", "two"]
    assert (await app.aget_state(THREAD)).values == result


async def test_ids_are_there_before_anything_is_stored(saver: Saver) -> None:
    """What is streamed, what history shows and what the state holds have the same ids, also
    for the writes of a task whose superstep is open."""

    async def says(state: MessagesState) -> Any:
        return {"messages": "hello"}

    async def asks(state: MessagesState) -> Any:
        interrupt("?")

    graph = StateGraph(MessagesState).add_node("says", says).add_node("asks", asks)
    graph.add_edge(START, "says").add_edge(START, "asks")
    app = graph.compile(saver)
    seen = [c async for c in app.astream({"messages": ("user", "hi")}, THREAD)]
    streamed = next(c["says"]["messages"] for c in seen if "says" in c)
    assert streamed.keys() == {"role", "content", "id"}
    for _ in range(2):
        live = (await app.aget_state(THREAD)).values["messages"]
        assert live[-1] == streamed
    result = await app.ainvoke(Command(resume="!"), THREAD)
    assert result["messages"][-1] == streamed
    assert len(result["messages"]) == 2


async def test_messages_of_commands_and_updates_have_ids(saver: Saver) -> None:
    async def ask(state: MessagesState) -> Any:
        interrupt("?")

    graph = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask")
    app = graph.compile(saver)
    await app.ainvoke({"messages": []}, THREAD)
    await app.aupdate_state(THREAD, {"messages": "updated"}, as_node=START)
    await app.ainvoke(None, THREAD)
    await app.ainvoke(Command(resume="!", update={"messages": ("ai", "commanded")}), THREAD)
    messages = (await app.aget_state(THREAD)).values["messages"]
    assert [m["content"] for m in messages] == ["updated", "commanded"]
    assert all(m["id"] for m in messages)


async def test_a_change_in_place_before_an_edit_is_noticed(
    saver: Saver, caplog: pytest.LogCaptureFixture
) -> None:
    """An edit speaks of positions; it must not hide that an item it keeps was changed."""

    async def spoil(state: MessagesState) -> Any:
        state["messages"][0]["content"] = "spoilt"
        return {"messages": RemoveMessage("m0002")}

    graph = StateGraph(MessagesState).add_node("spoil", spoil).add_edge(START, "spoil")
    app = graph.compile(saver)
    await app.ainvoke({"messages": [dict(m) for m in TALK[:4]]}, THREAD)
    assert "in place" in caplog.text
    messages = (await app.aget_state(THREAD)).values["messages"]
    assert [m["content"] for m in messages] == [
        "spoilt", TALK[1]["content"], TALK[3]["content"]
    ]  # fmt: skip


async def test_overwrite_replaces_the_conversation(saver: Saver) -> None:
    app = answering(Overwrite([NEW])).compile(saver)
    await app.ainvoke({"messages": TALK[:3]}, THREAD)
    assert (await app.aget_state(THREAD)).values["messages"] == [NEW]


async def test_an_unknown_id_leaves_a_thread_that_can_go_on(saver: Saver) -> None:
    app = answering(RemoveMessage("nobody")).compile(saver)
    with pytest.raises(ValueError, match="doesn't exist"):
        await app.ainvoke({"messages": "hi"}, THREAD)
    state = await app.aget_state(THREAD)
    assert [m["content"] for m in state.values["messages"]] == ["hi"]
    assert state.next == ("answer",)


def test_the_format_of_openai_needs_langchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "langchain_core.messages", None)
    reducer: Any = add_messages(format="langchain-openai")
    with pytest.raises(UsageError, match=r"stepwell\[langchain\]"):
        reducer([], [])


async def test_a_reducer_given_in_any_of_its_forms_knows_what_it_changes(saver: Saver) -> None:
    """`add_messages` in a subclass of the state, and called without a format."""

    class State(MessagesState):
        other: Annotated[list[Any], add_messages()]

    graph = StateGraph(State)
    graph.add_node("a", lambda _: {"other": "x", "messages": "y"}).add_edge(START, "a")
    app = graph.compile(saver)
    result = await app.ainvoke({"messages": [], "other": []}, THREAD)
    assert [result[k][0]["content"] for k in ("messages", "other")] == ["y", "x"]


async def test_plain_messages_are_stored_as_plain_dicts_and_come_back_as_messages(
    saver: Saver,
) -> None:
    """No tag, no copy of the class's name: what any tool reads is JSON."""
    app = answering([("ai", "yo")]).compile(saver)
    await app.ainvoke({"messages": "hi"}, THREAD)
    loaded = (await app.aget_state(THREAD)).values["messages"]
    assert [(type(m), m.type, m.content) for m in loaded] == [
        (Message, "human", "hi"),
        (Message, "ai", "yo"),
    ]
    encoded = app._program.codec.encode(loaded)
    assert (encoded.tagged, encoded) == (
        False,
        app._program.codec.encode([dict(m) for m in loaded]),
    )
    odd = Message(role="user", content=("a tuple", {1}), id="1")
    assert app._program.codec.encode(odd) == app._program.codec.encode(dict(odd))
    assert type(copy.deepcopy(loaded)[0]) is type(copy.copy(loaded[0])) is Message


async def test_a_message_in_a_key_that_knows_nothing_of_messages(saver: Saver) -> None:
    """It is a dict there, and equal."""

    class State(MessagesState):
        last: Any

    graph = StateGraph(State).add_node("keep", lambda s: {"last": s["messages"][-1]})
    app = graph.add_edge(START, "keep").compile(saver)
    result = await app.ainvoke({"messages": "hi"}, THREAD)
    loaded = (await app.aget_state(THREAD)).values
    assert loaded == result
    assert type(loaded["last"]) is dict


async def test_a_conversation_in_a_channel_of_batches_costs_what_is_said(saver: Saver) -> None:
    """LangGraph's batch reducer of messages is known too."""

    class State(TypedDict):
        messages: Annotated[list[Any], DeltaChannel(_messages_delta_reducer)]

    graph = StateGraph(State)
    graph.add_node("answer", lambda _: {"messages": [NEW, RemoveMessage("m0003")]})
    app = graph.add_edge(START, "answer").compile(saver)
    await app.aupdate_state(THREAD, {"messages": TALK}, as_node=START)
    before = await size(saver)
    result = await app.ainvoke(None, THREAD)
    assert await size(saver) - before < 700
    assert result["messages"] == [*TALK[:3], *TALK[4:], NEW]
    assert (await app.aget_state(THREAD)).values == result
