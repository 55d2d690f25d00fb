"""What counts as a message, and the form that plain ones are kept in.

A message is a dict with a role, or an object that has `id`, `content` and `type` as those of
LangChain do. Objects are recognised by that shape: LangChain is never imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from stepwell._ids import RANDOM_IDS
from stepwell.errors import StepwellError

REMOVE_ALL: Final = "__remove_all__"
"""The id of a removal that removes every message before it."""

ROLES: Final = {
    "human": "user", "user": "user", "ai": "assistant", "assistant": "assistant",
    "system": "system", "developer": "developer", "tool": "tool", "function": "function",
}  # fmt: skip
"""What a message may say of its speaker -> the role a dict made by us says."""
_ENVELOPES: Final = {
    "HumanMessage": "human", "AIMessage": "ai", "SystemMessage": "system", "ToolMessage": "tool",
    "FunctionMessage": "function", "RemoveMessage": "remove",
}  # fmt: skip


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
    kind = type(value)
    return kind is not dict and all(hasattr(value, name) for name in ("id", "content", "type"))


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
    return type(message) not in (dict, RemoveMessage) and not _is_opaque(message)


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

    Text and (role, content) pairs become dicts; a dict without an id is copied; an object is
    given its id where it is, and a chunk becomes the message it stands for.

    Raises:
        MessageError: It is no message, or does not say in known words who speaks.
    """
    if isinstance(message, str):
        return {"role": "user", "content": message, "id": new_id()}
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


def _normalise_dict(message: dict[str, Any], new_id: Callable[[], str]) -> dict[str, Any]:
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
        return {**message, "id": str(known)} if type(known) is int else message
    if speaker == "remove":
        msg = f"A message that removes another one needs its id, got {message!r:.300}"
        raise MessageError(msg)
    return {**message, "id": new_id()}


def _normalise_pair(message: Any, new_id: Callable[[], str]) -> dict[str, Any]:
    if len(message) != 2:
        msg = f"Message as a sequence must be (role string, content), got {message!r:.300}"
        raise MessageError(msg)
    speaker, content = message
    if speaker not in ROLES:
        raise MessageError(_unknown(speaker))
    return {"role": ROLES[speaker], "content": content, "id": new_id()}


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


def prepared(value: Any) -> Any:
    """A write to a list of messages with ids in it, so that what is stored is what is shown.

    What is no message stays as it is: the reducer will say so. The very object comes back if
    nothing had to change.
    """
    if not isinstance(value, list):
        return _prepared_one(value)
    items = [_prepared_one(item) for item in value]
    return value if all(a is b for a, b in zip(items, value, strict=True)) else items


def _prepared_one(message: Any) -> Any:
    try:
        return normalise(message)
    except MessageError:
        return message


__all__ = [
    "REMOVE_ALL", "ROLES", "MessageError", "RemoveMessage", "id_of", "is_foreign", "is_object",
    "is_plain", "is_removal", "normalise", "prepared", "whole",
]  # fmt: skip
