"""What counts as a message, and the form that plain ones are kept in.

A message is a dict with a role, or an object that has `id`, `content` and `type` as those of
LangChain do. Objects are recognised by that shape: LangChain is never imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar, Final

from stepwell._dataclass import dataclass
from stepwell._ids import RANDOM_IDS
from stepwell.errors import StepwellError

REMOVE_ALL: Final = "__remove_all__"
"""The id of a removal that removes every message before it."""

ROLES: Final = {
    "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant",
    "system": "system", "developer": "developer", "tool": "tool", "function": "function",
}  # fmt: skip
"""What a message may say of its speaker -> the role a dict made by us says."""
_TYPES: Final = {
    "user": "human", "human": "human", "assistant": "ai", "ai": "ai", "developer": "system",
}  # fmt: skip
_ENVELOPES: Final = {
    "HumanMessage": "human", "AIMessage": "ai", "SystemMessage": "system", "ToolMessage": "tool",
    "FunctionMessage": "function", "RemoveMessage": "remove",
}  # fmt: skip


class Message(dict[str, Any]):
    """A plain message of a conversation: a dict, whose keys can be read as attributes too.

    So code that was written for objects of LangChain reads it as it reads those: `content`,
    `id`, `name`, `tool_calls` and whatever else it holds; `type` ("human", "ai", ...) is told
    from `role`, and the other way round. It is equal to a dict of the same keys.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name == "type":
            return _TYPES.get(self.get("role", ""), self.get("role"))
        if name == "role":
            return ROLES.get(self.get("type", ""), self.get("type"))
        if name in ("id", "name", "tool_call_id"):
            return None
        if name in ("tool_calls", "invalid_tool_calls"):
            return []
        if name in ("additional_kwargs", "response_metadata"):
            return {}
        msg = f"The message has no {name!r}: it has {', '.join(self)}."
        raise AttributeError(msg, name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Message:
        return Message(deepcopy(dict(self), memo))


class MessageError(StepwellError, ValueError, NotImplementedError):
    """Something written to a list of messages is no message.

    LangGraph raises ValueError or NotImplementedError, depending on what it is.
    """

    code = "invalid_update"


@dataclass(frozen=True, slots=True)
class RemoveMessage:
    """Written to a list of messages, removes the one with this id.

    The id `REMOVE_ALL_MESSAGES` removes all. LangChain's class of this name does the same.
    """

    id: str
    type: ClassVar[str] = "remove"
    content: ClassVar[str] = ""

    def __post_init__(self) -> None:
        given: Any = self.id
        if type(given) is int:
            object.__setattr__(self, "id", str(given))
        elif not isinstance(given, str):
            msg = f"RemoveMessage(id=...) takes the id of a message, not {given!r:.100}."
            raise TypeError(msg)


def is_object(value: Any) -> bool:
    """Whether this is a message object: LangChain's, or one of the same shape."""
    return not isinstance(value, dict) and all(
        hasattr(value, name) for name in ("id", "content", "type")
    )


def is_plain(value: Any) -> bool:
    """Whether this dict is a message: it has content, and a role or type that is known."""
    if not isinstance(value, dict):
        return False
    speaker = value.get("role", value.get("type"))
    return isinstance(speaker, str) and (
        speaker == "remove" or (speaker in ROLES and "content" in value)
    )


def is_removal(message: Any) -> bool:
    """Whether this message removes another one."""
    if isinstance(message, dict):
        return bool(message.get("role", message.get("type")) == "remove")
    return getattr(message, "type", None) == "remove"


def is_foreign(message: Any) -> bool:
    """Whether this is an object of LangChain, not a dict or one of ours."""
    return not isinstance(message, (dict, RemoveMessage)) and not _is_opaque(message)


def _is_opaque(message: Any) -> bool:
    """A stored message whose class this process has not imported (`stepwell._codec.Opaque`)."""
    return hasattr(message, "type_id") and isinstance(getattr(message, "value", None), dict)


def id_of(message: Any) -> Any:
    """The id of a message, None if it has none yet."""
    if isinstance(message, dict):
        return message.get("id")
    if _is_opaque(message):
        fields = message.value.get("fields", message.value)
        return fields.get("id")
    return message.id


def whole(message: Any) -> Any:
    """The message that a chunk of a LangChain stream stands for; anything else as it is."""
    if not type(message).__name__.endswith("Chunk"):
        return message
    module = sys.modules.get("langchain_core.messages")
    if module is None or not isinstance(message, module.BaseMessageChunk):
        return message
    return module.message_chunk_to_message(message)


def normalise(message: Any, new_id: Callable[[], str] = RANDOM_IDS.message_id) -> Any:
    """A message in the form it is kept in, with an id.

    Text, (role, content) pairs and dicts become a `Message`; an object is given its id where it
    is, and a chunk becomes the message it stands for.

    Raises:
        MessageError: It is no message, or does not say in known words who speaks.
    """
    if isinstance(message, str):
        return Message(role="user", content=message, id=new_id())
    if isinstance(message, dict):
        return _normalise_dict(message, new_id)
    if isinstance(message, (tuple, list)):
        return _normalise_pair(message, new_id)
    if _is_opaque(message):
        return message
    if not is_object(message):
        msg = (
            f"Unsupported message type: {type(message)}. A message is a dict with role and "
            "content, a (role, content) pair, a str, or a message object."
        )
        raise MessageError(msg)
    message = whole(message)
    if message.id is None:
        message.id = new_id()
    return message


def _normalise_dict(message: dict[str, Any], new_id: Callable[[], str]) -> Message:
    if message.get("lc") == 1 and message.get("type") == "constructor":
        message = _unpacked(message)
    speaker = message.get("role", message.get("type"))
    if not is_plain(message):
        if speaker is None or ("content" not in message and speaker in ROLES):
            msg = f"Message dict must contain 'role' and 'content' keys, got {message!r:.300}"
        else:
            msg = _unknown(speaker)
        raise MessageError(msg)
    known = message.get("id")
    if known is not None:
        if type(known) is int:
            return Message(message, id=str(known))
        return message if type(message) is Message else Message(message)
    if speaker == "remove":
        msg = f"A message that removes another one needs its id, got {message!r:.300}"
        raise MessageError(msg)
    return Message(message, id=new_id())


def _normalise_pair(message: Any, new_id: Callable[[], str]) -> Message:
    if len(message) != 2:
        msg = f"Message as a sequence must be (role string, content), got {message!r:.300}"
        raise MessageError(msg)
    speaker, content = message
    if speaker not in ROLES:
        raise MessageError(_unknown(speaker))
    return Message(role=ROLES[speaker], content=content, id=new_id())


def _unknown(speaker: Any) -> str:
    return f"Unexpected message type: {speaker!r:.100}. Use one of {', '.join(map(repr, ROLES))}."


def _unpacked(message: dict[str, Any]) -> dict[str, Any]:
    """A message that LangChain has written as its constructor's arguments."""
    path, arguments = message.get("id"), message.get("kwargs")
    kind = _ENVELOPES.get(path[-1]) if isinstance(path, list) and path else None
    if kind is None or not isinstance(arguments, dict):
        msg = f"Message dict must contain 'role' and 'content' keys, got {message!r:.300}"
        raise MessageError(msg)
    return {"content": "", **arguments, "type": kind}


def stamped(value: Any) -> Any:
    """A write to a list of anything: message objects of LangChain in it are given ids in place."""
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if getattr(item, "id", "") is None and _is_langchain(item):
            item.id = RANDOM_IDS.message_id()
    return value


def _is_langchain(value: Any) -> bool:
    """Whether this is a message of LangChain, which is imported if it is one."""
    module = sys.modules.get("langchain_core.messages")
    return module is not None and isinstance(value, module.BaseMessage)


def prepared(value: Any) -> Any:
    """A write to a list of messages with ids in it, so that what is stored is what is shown.

    What is no message stays as it is: the reducer will say so. The very object comes back if
    nothing had to change.
    """
    if not isinstance(value, list):
        return _prepared_one(value)
    items = [_prepared_one(item) for item in value]
    return value if all(a is b for a, b in zip(items, value, strict=True)) else items


def revived(value: Any) -> Any:
    """A list of messages as it was before it was stored: its dicts are messages again."""
    if type(value) is not list or dict not in set(map(type, value)):
        return value
    return [Message(m) if type(m) is dict else m for m in value]


def _prepared_one(message: Any) -> Any:
    try:
        return normalise(message)
    except MessageError:
        return message


__all__ = [
    "REMOVE_ALL", "ROLES", "Message", "MessageError", "RemoveMessage", "id_of", "is_foreign",
    "is_object", "is_plain", "is_removal", "normalise", "prepared", "revived", "stamped",
    "whole",
]  # fmt: skip
