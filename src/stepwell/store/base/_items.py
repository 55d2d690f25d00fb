"""What a store gives back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stepwell._codec import register_own


class Item:
    """A stored document.

    Names, fields and equality are LangGraph's.

    Args:
        value: The document; its top-level keys can be filtered on.
        key: Its name within the namespace.
        namespace: Where it lies; a path of names.
        created_at: When this key was first put. Text is taken as ISO 8601.
        updated_at: When it was last put. Reading does not change it.
    """

    __slots__ = ("created_at", "key", "namespace", "updated_at", "value")

    def __init__(
        self,
        *,
        value: dict[str, Any],
        key: str,
        namespace: tuple[str, ...],
        created_at: datetime,
        updated_at: datetime,
    ) -> None:
        self.value = value
        self.key = key
        self.namespace = tuple(namespace)  # a list, if it came out of JSON
        self.created_at = _moment(created_at)
        self.updated_at = _moment(updated_at)

    def _fields(self) -> tuple[Any, ...]:
        return self.value, self.key, self.namespace, self.created_at, self.updated_at

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((self.namespace, self.key))

    def dict(self) -> dict[str, Any]:
        """The item as JSON has it: namespace as a list, times as ISO 8601."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.dict().items())
        return f"Item({shown})"


class SearchItem(Item):
    """An item that was found. `score` is its similarity to the query, None if it has none."""

    __slots__ = ("score",)

    def __init__(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: dict[str, Any],
        created_at: datetime,
        updated_at: datetime,
        score: float | None = None,
    ) -> None:
        super().__init__(
            value=value, key=key, namespace=namespace, created_at=created_at, updated_at=updated_at
        )
        self.score = score

    def dict(self) -> dict[str, Any]:
        return {**super().dict(), "score": self.score}


def _moment(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _plain(item: Item) -> list[Any]:
    return [item.namespace, item.key, item.value, item.created_at, item.updated_at]


def _item(state: Any) -> Item:
    namespace, key, value, created_at, updated_at = state
    return Item(
        value=value, key=key, namespace=namespace, created_at=created_at, updated_at=updated_at
    )


# Nodes return what they found, so it may become part of a state.
register_own(Item, _plain, _item)
register_own(SearchItem, lambda item: [*_plain(item), item.score], lambda state: SearchItem(*state))
