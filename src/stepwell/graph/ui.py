"""Parts of a user interface as state: a list of descriptions that is merged by id.

    class State(TypedDict):
        ui: Annotated[list[AnyUIMessage], ui_message_reducer]

A node calls `push_ui_message`; whoever streams `stream_mode="custom"` sees the description at
once, and the state has it after the barrier. Forms and names are LangGraph's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from stepwell._context import running_task
from stepwell._ids import RANDOM_IDS
from stepwell._messages.merge import Merged, merge_by_id
from stepwell._messages.shape import id_of, is_object


class UIMessage(TypedDict):
    """A part of a user interface: the component's name and its properties."""

    type: Literal["ui"]
    id: str
    name: str
    props: dict[str, Any]
    metadata: dict[str, Any]


class RemoveUIMessage(TypedDict):
    """Takes a part away."""

    type: Literal["remove-ui"]
    id: str


AnyUIMessage: TypeAlias = UIMessage | RemoveUIMessage


def push_ui_message(
    name: str,
    props: dict[str, Any],
    *,
    id: str | None = None,
    metadata: dict[str, Any] | None = None,
    message: Any = None,
    state_key: str | None = "ui",
    merge: bool = False,
) -> UIMessage:
    """Show a part of a user interface, and write it to the state. Call it inside a node.

    Args:
        name: Of the component.
        props: Its properties.
        id: Names the part; drawn if it is not given.
        metadata: Added to what is said of the run: `run_id`, `tags`, `name`.
        message: The message it belongs to; its id becomes `metadata["message_id"]`.
        state_key: The key it is written to; None: it is only shown.
        merge: Whether `props` are merged into those of the part with this id.

    Returns:
        The part as it was shown.

    Raises:
        RuntimeError: Called outside of a node.
    """
    task = running_task("push_ui_message()")
    config = task.config
    belongs = (
        id_of(message) if message and (isinstance(message, dict) or is_object(message)) else None
    )
    part: UIMessage = {
        "type": "ui",
        "id": id or RANDOM_IDS.message_id(),
        "name": name,
        "props": props,
        "metadata": {
            "merge": merge,
            "run_id": config.get("run_id"),
            "tags": config.get("tags"),
            "name": config.get("run_name"),
            **(metadata or {}),
            **({"message_id": belongs} if belongs else {}),
        },
    }
    task.stream_writer(part)
    if state_key:
        task.send(state_key, part)
    return part


def delete_ui_message(id: str, *, state_key: str = "ui") -> RemoveUIMessage:
    """Take a part of a user interface away. Call it inside a node.

    Returns:
        The removal as it was shown.

    Raises:
        RuntimeError: Called outside of a node. (An unknown id fails at the barrier.)
    """
    task = running_task("delete_ui_message()")
    removal: RemoveUIMessage = {"type": "remove-ui", "id": id}
    task.stream_writer(removal)
    task.send(state_key, removal)
    return removal


def ui_message_reducer(
    left: list[AnyUIMessage] | AnyUIMessage, right: list[AnyUIMessage] | AnyUIMessage
) -> list[AnyUIMessage]:
    """Merge lists of parts by id.

    A part whose metadata says `merge` keeps the properties that are there and adds its own.

    Raises:
        ValueError: A removal names an id that no part has.
    """
    return UIReducer().merge_splices(left, right).items


class UIReducer:
    """`ui_message_reducer` as an object that can also say what it changes."""

    __name__ = "ui_message_reducer"

    def __call__(self, left: Any, right: Any) -> list[AnyUIMessage]:
        """The parts of `left` with those of `right` merged into them."""
        return self.merge_splices(left, right).items

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UIReducer)

    def __hash__(self) -> int:
        return hash(UIReducer)

    def merge_splices(self, left: Any, right: Any) -> Merged:
        """The merged list, and how it differs from `left`."""
        known = left if isinstance(left, list) else [left]
        merged = merge_by_id(
            known,
            right if isinstance(right, list) else [right],
            id_of=_id,
            removes=_removes,
            combine=_combine,
            unknown="Attempting to delete an UI message with an ID that doesn't exist ('{id}')",
        )
        return merged if known is left else Merged(merged.items, None)


def _id(part: Mapping[str, Any]) -> Any:
    return part.get("id")


def _removes(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "remove-ui"


def _combine(there: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    if not (given.get("metadata") or {}).get("merge", False):
        return given
    return {**given, "props": {**there["props"], **given["props"]}}


__all__ = [
    "AnyUIMessage", "RemoveUIMessage", "UIMessage", "delete_ui_message", "push_ui_message",
    "ui_message_reducer",
]  # fmt: skip
