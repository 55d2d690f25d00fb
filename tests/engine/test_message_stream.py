"""`stream_mode="messages"` for plain messages: what only Stepwell has."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest

from stepwell.graph import START, MessagesState, StateGraph
from stepwell.graph.message import RemoveMessage, add_messages, push_message
from stepwell.runtime import Runtime
from stepwell.types import RetryPolicy


async def shown(node: Any, given: Any = None, **options: Any) -> list[Any]:
    graph = StateGraph(MessagesState).add_node("node", node, **options).add_edge(START, "node")
    stream = graph.compile().astream(given or {"messages": []}, stream_mode="messages")
    return [chunk async for chunk in stream]


def piece(text: str, name: str = "m") -> dict[str, str]:
    return {"role": "assistant", "content": text, "id": name}


async def test_pieces_and_then_the_message_that_they_make() -> None:
    """The message that the node returns at last has been seen, by its id."""

    async def node(state: MessagesState, runtime: Runtime[Any]) -> Any:
        for text in ("hel", "lo"):
            runtime.emit_message(piece(text), metadata={"model": "x"})
            await asyncio.sleep(0)
        return {"messages": [piece("hello"), piece("more", "n")]}

    chunks = await shown(node)
    assert [m["content"] for m, _ in chunks] == ["hel", "lo", "more"]
    assert [told.get("model") for _, told in chunks] == ["x", "x", None]
    assert {told["langgraph_node"] for _, told in chunks} == {"node"}


async def test_plain_messages_that_nodes_return_are_shown_with_their_ids() -> None:
    async def node(state: MessagesState) -> Any:
        return {"messages": ["text", ("ai", "pair"), state["messages"][0]]}

    chunks = await shown(node, {"messages": {"role": "user", "content": "known"}})
    assert [(m["role"], m["content"]) for m, _ in chunks] == [
        ("user", "text"),
        ("assistant", "pair"),
    ]
    assert all(m["id"] for m, _ in chunks)


async def test_dicts_are_messages_only_where_messages_are_expected() -> None:
    """A dict with a role and content in another key is the user's own business."""

    class State(MessagesState):
        cast: list[Any]
        more: Annotated[list[Any], add_messages]

    async def node(state: State) -> Any:
        return {"cast": [piece("actor", "a")], "more": [piece("message", "b")]}

    graph = StateGraph(State).add_node("node", node).add_edge(START, "node").compile()
    chunks = [c async for c in graph.astream({"messages": []}, stream_mode="messages")]
    assert [m["id"] for m, _ in chunks] == ["b"]


async def test_removals_are_shown_unless_they_remove_what_was_seen() -> None:
    async def node(state: MessagesState) -> Any:
        return {"messages": [RemoveMessage("old"), piece("x", "old")]}

    assert await shown(node, {"messages": [piece("old", "old")]}) == []


async def test_a_tag_keeps_a_message_off_the_stream() -> None:
    async def node(state: MessagesState, runtime: Runtime[Any]) -> Any:
        runtime.emit_message(piece("quiet", "q"), metadata={"tags": ["nostream"]})
        runtime.emit_message(piece("tagged", "t"), metadata={"tags": ["mine"]})

    assert [(m["id"], told["tags"]) for m, told in await shown(node)] == [("t", ["mine"])]


def test_a_sync_node_emits_from_its_thread_in_order() -> None:
    def node(state: MessagesState, runtime: Runtime[Any]) -> Any:
        for text in "abc":
            runtime.emit_message(piece(text))
        return {"messages": [piece("abc"), piece("last", "l")]}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    chunks = list(graph.stream({"messages": []}, stream_mode="messages"))
    assert [m["content"] for m, _ in chunks] == ["a", "b", "c", "last"]


@pytest.mark.parametrize("bad", ["text", 1, None, {"content": "x"}, ("x",)])
async def test_what_is_no_message_is_refused(bad: Any) -> None:
    """Whether anybody listens or not."""

    async def node(state: MessagesState, runtime: Runtime[Any]) -> Any:
        with pytest.raises(ValueError, match=r"(?i)message"):
            runtime.emit_message(bad)
        return {"messages": piece("refused")}

    assert [m["content"] for m, _ in await shown(node)] == ["refused"]


async def test_nobody_listens() -> None:
    async def node(state: MessagesState, runtime: Runtime[Any]) -> Any:
        runtime.emit_message(piece("x"))
        push_message(piece("pushed", "p"))
        return {"messages": piece("x")}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    result = await graph.ainvoke({"messages": []})
    assert [m["id"] for m in result["messages"]] == ["p", "m"]
    Runtime().emit_message(piece("outside of any run"))


async def test_what_a_failed_attempt_pushed_is_not_written() -> None:
    tries: list[int] = []

    async def node(state: MessagesState) -> Any:
        tries.append(1)
        push_message(piece(f"try {len(tries)}", f"p{len(tries)}"))
        if len(tries) == 1:
            raise ConnectionError

    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    graph = StateGraph(MessagesState).add_node("node", node, retry_policy=policy)
    result = await graph.add_edge(START, "node").compile().ainvoke({"messages": []})
    assert [m["content"] for m in result["messages"]] == ["try 2"]


async def test_a_router_sees_what_the_node_pushed() -> None:
    async def node(state: MessagesState) -> Any:
        push_message(piece("pushed", "p"))

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
    graph.add_node("after", lambda _: {"messages": piece("after", "a")})
    graph.add_conditional_edges("node", lambda s: "after" if s["messages"] else "__end__")
    result = await graph.compile().ainvoke({"messages": []})
    assert [m["id"] for m in result["messages"]] == ["p", "a"]


@pytest.mark.parametrize("bad", ["text", {"role": "user", "content": "no id"}, ("user", "x"), 1])
async def test_a_message_without_an_id_cannot_be_pushed(bad: Any) -> None:
    async def node(state: MessagesState) -> Any:
        with pytest.raises(ValueError, match="Message ID is required"):
            push_message(bad)

    assert await shown(node) == []


def test_pushing_outside_of_a_node_is_refused() -> None:
    with pytest.raises(RuntimeError, match="outside of a running node"):
        push_message(piece("x"))
