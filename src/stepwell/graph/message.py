"""Conversations as state: lists of messages that are merged by id.

    class State(TypedDict):
        messages: Annotated[list, add_messages]

A message is a dict with `role` and `content`, or an object of LangChain. Dicts stay dicts; text
and (role, content) pairs become dicts; every message has an id from the moment a node has
written it. A conversation has one form: where one message of it is an object of LangChain, or
the schema says so (`list[AnyMessage]` with LangChain's `AnyMessage`), plain messages become
such objects too.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Final, TypedDict

from stepwell._context import running_task
from stepwell._messages.shape import (
    REMOVE_ALL,
    Message,
    MessageError,
    RemoveMessage,
    is_object,
    normalise,
)
from stepwell.graph._message_delta import messages_delta_reducer
from stepwell.graph._message_reducer import AnyMessage, MessageReducer, Messages, add_messages
from stepwell.graph.state import StateGraph
from stepwell.warnings import LangGraphDeprecatedSinceV10

REMOVE_ALL_MESSAGES: Final = REMOVE_ALL
"""`RemoveMessage(id=REMOVE_ALL_MESSAGES)` removes every message before it."""


_messages_delta_reducer = messages_delta_reducer
"""LangGraph's experimental name."""


class MessagesState(TypedDict):
    """A state that is a conversation. Extend it with keys of your own."""

    messages: Annotated[list[AnyMessage], add_messages]


def push_message(message: Any, *, state_key: str | None = "messages") -> AnyMessage:
    """Show a message to whoever streams `stream_mode="messages"`, and write it to the state.

    Call it inside a node.

    Args:
        message: A message with an id: a dict or a message object.
        state_key: The key it is written to; None: it is only shown.

    Returns:
        The message as it was written.

    Raises:
        ValueError: The message has no id, or is none.
        RuntimeError: Called outside of a node.
    """
    task = running_task("push_message()")
    known = message.get("id") if isinstance(message, dict) else getattr(message, "id", None)
    if known is None:
        msg = (
            "Message ID is required: push_message() takes a message with an id, so that it is "
            "shown once however often the node runs."
        )
        raise MessageError(msg)
    if not is_object(message):
        message = normalise(message)
    task.emit_message(message)
    if state_key:
        task.send(state_key, message)
    return message


class MessageGraph(StateGraph):
    """A graph whose whole state is a list of messages; deprecated, as in LangGraph.

    Use `StateGraph(MessagesState)`.
    """

    def __init__(self) -> None:
        warnings.warn(
            "MessageGraph is deprecated: use StateGraph(MessagesState), whose nodes return "
            '{"messages": [...]}.',
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        schema: Any = Annotated[list[AnyMessage], add_messages]
        super().__init__(schema)


__all__ = [
    "REMOVE_ALL_MESSAGES", "AnyMessage", "Message", "MessageGraph", "MessageReducer",
    "Messages", "MessagesState", "RemoveMessage", "add_messages", "push_message",
]  # fmt: skip
