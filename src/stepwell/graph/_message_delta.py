"""The batch reducer of conversations, for `DeltaChannel`."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import unwrap
from typing import Any

from stepwell._messages.merge import Merged, splices_of
from stepwell._messages.shape import id_of, is_removal, normalise, prepared, revived, stamped
from stepwell.channels.delta import DeltaChannel


def messages_delta_reducer(state: list[Any], writes: Sequence[Any]) -> list[Any]:
    """All writes of a superstep merged into a conversation at once, by id.

    Unlike `add_messages` it passes over removals of unknown ids, knows no removal of all, and
    puts a message that was removed and comes again at the end.

    Semantics: LangGraph's experimental reducer of this name.
    """
    return MessageDelta().fold_splices(state, writes).items


class NewIds:
    """Gives the messages of a write ids before it is stored; an empty id of a dict is none."""

    def __call__(self, value: Any) -> Any:
        """The write with ids in it; what is no message stays as it is."""
        if not isinstance(value, list):
            return prepared(_without_empty_id(value))
        return prepared([_without_empty_id(item) for item in value])

    def replacement(self, value: Any) -> Any:
        """The same for what an `Overwrite` holds: each item of a list or tuple is a message."""
        if not isinstance(value, (list, tuple)):
            return value
        items = self(list(value))
        return items if isinstance(value, list) else tuple(items)


def _without_empty_id(message: Any) -> Any:
    if isinstance(message, dict) and message.get("id") == "":
        return {**message, "id": None}
    return message


class MessageDelta:
    """The same as an object that can also say what it changes."""

    __name__ = "_messages_delta_reducer"

    def __call__(self, state: list[Any], writes: Sequence[Any]) -> list[Any]:
        """The conversation with the writes merged into it."""
        return self.fold_splices(state, writes).items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessageDelta)

    def __hash__(self) -> int:
        return hash(MessageDelta)

    prepare = NewIds()

    @staticmethod
    def revive(value: Any) -> Any:
        """The list as it was before it was stored."""
        return revived(value)

    @staticmethod
    def fold_splices(state: list[Any], writes: Sequence[Any]) -> Merged:
        """The merged list, and how it differs from `state`."""
        known = [normalise(m) for m in state]
        place = {id_of(m): i for i, m in enumerate(known)}
        result: list[Any] = list(known)
        gone: set[int] = set()
        replaced: set[int] = set()
        for write in writes:
            for item in write if isinstance(write, list) else [write]:
                message = normalise(item)
                name = id_of(message)
                if is_removal(message):
                    if name in place:
                        gone.add(place.pop(name))
                elif name in place:
                    result[place[name]] = message
                    replaced.add(place[name])
                else:
                    place[name] = len(result)
                    result.append(message)
        same = all(a is b for a, b in zip(known, state, strict=True))
        splices = splices_of(result, len(state), replaced, gone) if same else None
        return Merged([m for i, m in enumerate(result) if i not in gone], splices)


def known_channel(channel: DeltaChannel) -> DeltaChannel:
    """The channel, with a reducer that says what it changes if it is the one above; with any
    other, message objects are given ids before they are stored."""
    if unwrap(channel.reducer) is not messages_delta_reducer:
        return channel.preparing(stamped)
    return DeltaChannel(
        MessageDelta(), channel.typ, snapshot_frequency=channel.snapshot_frequency, key=channel.key
    )


__all__ = ["MessageDelta", "known_channel", "messages_delta_reducer"]
