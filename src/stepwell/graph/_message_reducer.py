"""The reducer of conversations: merges lists of messages by id, and says what changed."""

from __future__ import annotations

from functools import partial
from inspect import unwrap
from typing import Any, Literal, TypeAlias, overload

from stepwell._messages import langchain
from stepwell._messages.merge import Merged, merge_by_id
from stepwell._messages.shape import (
    REMOVE_ALL,
    Message,
    RemoveMessage,
    id_of,
    is_foreign,
    is_removal,
    normalise,
    prepared,
    revived,
)
from stepwell.errors import UsageError
from stepwell.graph.ui import UIReducer, ui_message_reducer

AnyMessage: TypeAlias = Any
"""A `Message` (a dict with role and content), or an object of LangChain."""
Messages: TypeAlias = Any
"""What may be written: a message, text, a (role, content) pair, or a list of these."""
Format: TypeAlias = Literal["langchain-openai"]

_UNKNOWN = "Attempting to delete a message with an ID that doesn't exist ('{id}')"
_PLAIN = {Message, RemoveMessage}


class MessageReducer:
    """The reducer behind `add_messages`: merges two lists of messages by id.

    Args:
        format: "langchain-openai": contents are brought into the form OpenAI's API takes.
        objects: Whether plain messages become objects of LangChain.
    """

    __slots__ = ("__name__", "format", "objects")

    def __init__(self, format: Format | None = None, *, objects: bool = False) -> None:
        if format not in (None, "langchain-openai"):
            msg = f"Unrecognized {format=}. Expected one of 'langchain-openai', None."
            raise ValueError(msg)
        self.__name__ = "add_messages"
        self.format = format
        self.objects = objects

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessageReducer) and other.format == self.format

    def __hash__(self) -> int:
        return hash((MessageReducer, self.format))

    def __call__(self, left: Messages, right: Messages) -> list[AnyMessage]:
        """The messages of `left` with those of `right` merged into them."""
        return self.merge_splices(left, right).items

    def for_annotation(self, annotation: Any) -> MessageReducer:
        """The reducer of a key that is annotated so."""
        if self.objects or not langchain.names_messages(annotation):
            return self
        return MessageReducer(self.format, objects=True)

    def prepare(self, value: Messages) -> Messages:
        """A write with ids in it, before it is stored; what is no message stays as it is."""
        value = prepared(value)
        if not self.objects:
            return value
        if not isinstance(value, list):
            return langchain.convert([value])[0] if type(value) is Message else value
        return self._as_objects(value)

    @staticmethod
    def revive(value: Any) -> Any:
        """The list as it was before it was stored."""
        return revived(value)

    def merge_splices(self, left: Messages, right: Messages) -> Merged:
        """The merged list, and how it differs from `left`.

        Raises:
            ValueError: A removal names an id that nobody has, or something is no message.
        """
        given = left if isinstance(left, list) else [left]
        known, ids = _settled(given)
        added, _ = _settled(right if isinstance(right, list) else [right])
        if self.objects or _speaks_langchain(known, added):
            known, added = self._as_objects(known), self._as_objects(added)
        last = max((i for i, m in enumerate(added) if _removes_all(m)), default=None)
        if last is not None:
            return Merged(added[last + 1 :], None)
        merged = merge_by_id(
            known, added, id_of=id_of, removes=is_removal, unknown=_UNKNOWN, left_ids=ids
        )
        if self.format is not None:
            return Merged(_openai(merged.items), None)
        return merged if known is left else Merged(merged.items, None)

    @staticmethod
    def _as_objects(messages: list[Any]) -> list[Any]:
        """Plain messages as objects of LangChain; the very list if there are none."""
        if Message not in set(map(type, messages)):
            return messages
        return [langchain.convert([m])[0] if type(m) is Message else m for m in messages]


def _settled(messages: list[Any]) -> tuple[list[Any], list[Any]]:
    """Messages in the form they are kept in, the very list if they are already; and their ids.

    A long conversation is settled: that has to be seen without looking at every message twice.
    """
    kinds = set(map(type, messages))
    try:
        if kinds == {Message}:
            ids = [m["id"] for m in messages]
        elif kinds.isdisjoint((dict, str, tuple, list)) and not any(
            k.__name__.endswith("Chunk") for k in kinds
        ):
            ids = [m.id for m in messages]
        else:
            ids = [None]
    except (KeyError, AttributeError):
        ids = [None]
    if set(map(type, ids)) <= {str}:
        return messages, ids
    messages = [normalise(m) for m in messages]
    return messages, [id_of(m) for m in messages]


def _speaks_langchain(left: list[Any], right: list[Any]) -> bool:
    """Whether plain messages and objects of LangChain would stand in one list."""
    kinds = set(map(type, left)) | set(map(type, right))
    return Message in kinds and any(
        langchain.type_id_of(base) is not None for kind in kinds - _PLAIN for base in kind.__mro__
    )


def _removes_all(message: Any) -> bool:
    return bool(is_removal(message) and id_of(message) == REMOVE_ALL)


def _openai(messages: list[Any]) -> list[Any]:
    try:
        import langchain_core.messages as module
    except ImportError as exc:
        msg = (
            "add_messages(format='langchain-openai') needs langchain-core 0.3.11 or later: "
            "install stepwell[langchain], or drop the format."
        )
        raise UsageError(msg) from exc
    plain = [m for m in messages if not is_foreign(m)]
    if plain:
        messages = module.convert_to_messages(messages)
    formatted = module.convert_to_messages(module.convert_to_openai_messages(messages))
    # The form of OpenAI has no ids.
    if len(formatted) == len(messages):
        for new, old in zip(formatted, messages, strict=True):
            new.id = new.id or old.id
    converted: list[Any] = [normalise(m) for m in formatted]
    return converted


@overload
def add_messages(
    left: None = None, right: None = None, *, format: Format | None = None
) -> MessageReducer: ...
@overload
def add_messages(
    left: Messages, right: Messages, *, format: Format | None = None
) -> list[AnyMessage]: ...
def add_messages(
    left: Messages | None = None, right: Messages | None = None, *, format: Format | None = None
) -> Any:
    """Merge two lists of messages: by id, in place; new ones at the end.

    Use it as a reducer, `Annotated[list, add_messages]`, and with options as
    `Annotated[list, add_messages(format=...)]`. A `RemoveMessage` removes the message with its
    id; with `REMOVE_ALL_MESSAGES` all before it. Neither list is changed.

    Args:
        left: The messages that are there.
        right: Those to merge into them: a message, or a list.
        format: "langchain-openai": messages become LangChain's, with contents as OpenAI's API
            takes them (needs langchain-core).

    Returns:
        The merged list; a reducer when neither list is given.

    Raises:
        ValueError: Only one list is given, a removal names an id that nobody has, something is
            no message or does not say who speaks, or the format is unknown.

    Semantics: LangGraph's `add_messages`, except that plain messages stay plain.
    """
    if left is None and right is None:
        return _DEFAULT if format is None else MessageReducer(format)
    if left is None or right is None:
        msg = (
            "Must specify non-null arguments for both 'left' and 'right'. Only received: "
            f"'{'right' if left is None else 'left'}'."
        )
        raise ValueError(msg)
    return (_DEFAULT if format is None else MessageReducer(format))(left, right)


_DEFAULT = MessageReducer()


def known_reducer(reducer: Any, annotation: Any) -> Any:
    """The reducer that a key annotated so is folded with: the one given, unless it is ours."""
    if unwrap(reducer) is ui_message_reducer:
        return UIReducer()
    if unwrap(reducer) is add_messages:
        reducer = _DEFAULT
    elif isinstance(reducer, partial) and unwrap(reducer.func) is add_messages and not reducer.args:
        reducer = MessageReducer(**reducer.keywords)
    return reducer.for_annotation(annotation) if isinstance(reducer, MessageReducer) else reducer


__all__ = ["AnyMessage", "Format", "MessageReducer", "Messages", "add_messages", "known_reducer"]
