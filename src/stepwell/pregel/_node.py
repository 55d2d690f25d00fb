"""Nodes that say themselves which channels they read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from stepwell._dataclass import dataclass
from stepwell._engine.binding import Bound, bind, callable_name
from stepwell._engine.write import prepare
from stepwell._plan.tasks import Write
from stepwell.errors import GraphDefinitionError
from stepwell.types import CachePolicy, RetryPolicy, TimeoutPolicy

if TYPE_CHECKING:
    from stepwell._engine.task import TaskRun

PASSTHROUGH: Final[Any] = object()
"""As the value of an entry: whatever the node returned."""
SKIP_WRITE: Final[Any] = object()
"""As the result of an entry's mapper: write nothing."""


class ChannelWriteEntry(NamedTuple):
    """One write of a node: to `channel`, what it returned, or `value`, through `mapper`."""

    channel: str
    value: Any = PASSTHROUGH
    skip_none: bool = False
    mapper: Callable[[Any], Any] | None = None


class ChannelRule:
    """What a node's return value writes, entry by entry."""

    __slots__ = ("entries", "prepares")

    branches = ()

    def __init__(self, entries: Sequence[ChannelWriteEntry]) -> None:
        self.entries = tuple(entries)
        self.prepares: Mapping[str, Callable[[Any], Any]] = {}

    def own_writes(self, output: Any) -> list[Write]:
        """The writes of a node that returned `output`."""
        writes: list[Write] = []
        for entry in self.entries:
            value = output if entry.value is PASSTHROUGH else entry.value
            if entry.mapper is not None:
                value = entry.mapper(value)
            if value is SKIP_WRITE or (value is None and entry.skip_none):
                continue
            writes.append((entry.channel, value))
        return prepare(self.prepares, writes) if self.prepares else writes

    async def run(self, output: Any, _: TaskRun) -> list[Write]:
        """The same; such a node has no routers to ask."""
        return self.own_writes(output)


@dataclass(frozen=True, slots=True, kw_only=True)
class PregelNode:
    """A node as `NodeBuilder` builds it."""

    channels: str | list[str]
    """The channel whose value is its input, or those that make up a dict of it."""
    triggers: list[str]
    writers: list[ChannelWriteEntry] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    bound: tuple[Any, ...] = ()
    """What it does, one after the other; its input is its output if it does nothing."""
    retry_policy: tuple[RetryPolicy, ...] = ()
    cache_policy: CachePolicy[Any] | None = None
    timeout: TimeoutPolicy | None = None

    @property
    def action(self) -> Any:
        """What it does first."""
        return self.bound[0] if self.bound else None

    @property
    def destinations(self) -> dict[str, str | None]:
        """Where its commands lead: nowhere."""
        return {}


class NodeBuilder:
    """Describes a node of a `Pregel` graph, one call after the other."""

    __slots__ = (
        "_bound", "_cache_policy", "_channels", "_metadata", "_retry_policy", "_tags", "_timeout",
        "_triggers", "_writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self._channels: str | list[str] = []
        self._triggers: list[str] = []
        self._tags: list[str] = []
        self._metadata: dict[str, Any] = {}
        self._writes: list[ChannelWriteEntry] = []
        self._bound: list[Any] = []
        self._retry_policy: list[RetryPolicy] = []
        self._cache_policy: CachePolicy[Any] | None = None
        self._timeout: TimeoutPolicy | None = None

    def subscribe_only(self, channel: str) -> Self:
        """Run when this channel is written; its value is the node's input.

        Raises:
            GraphDefinitionError: Other channels are subscribed to.
        """
        if self._channels:
            msg = (
                "Cannot subscribe to single channels when other channels are already subscribed to"
            )
            raise GraphDefinitionError(msg)
        self._channels = channel
        self._triggers.append(channel)
        return self

    def subscribe_to(self, *channels: str, read: bool = True) -> Self:
        """Run when any of these channels is written.

        Args:
            channels: Their names.
            read: Whether their values are in the node's input, which is then a dict.

        Raises:
            GraphDefinitionError: A single channel is subscribed to.
        """
        if isinstance(self._channels, str):
            msg = "Cannot subscribe to channels when subscribed to a single channel"
            raise GraphDefinitionError(msg)
        if read:
            self._channels.extend(channels)
        self._triggers.extend(channels)
        return self

    def read_from(self, *channels: str) -> Self:
        """Put the values of these channels into the node's input.

        Raises:
            GraphDefinitionError: A single channel is subscribed to.
        """
        if isinstance(self._channels, str):
            msg = "Cannot read additional channels when subscribed to single channels"
            raise GraphDefinitionError(msg)
        self._channels.extend(channels)
        return self

    def do(self, node: Any) -> Self:
        """What the node does: a function or another callable. Called again: what it does next,
        given the result."""
        self._bound.append(node)
        return self

    def write_to(self, *channels: str | ChannelWriteEntry, **kwargs: Any) -> Self:
        """Write to channels.

        Args:
            channels: Names of those that get what the node returns; or entries.
            kwargs: Channel to value, or to a function of what the node returns.
        """
        self._writes += [ChannelWriteEntry(c) if isinstance(c, str) else c for c in channels]
        self._writes += [
            ChannelWriteEntry(name, mapper=value)
            if callable(value)
            else ChannelWriteEntry(name, value)
            for name, value in kwargs.items()
        ]
        return self

    def meta(self, *tags: str, **metadata: Any) -> Self:
        """Add tags and metadata."""
        self._tags.extend(tags)
        self._metadata.update(metadata)
        return self

    def add_retry_policies(self, *policies: RetryPolicy) -> Self:
        """When the node is tried again; the first policy that covers the error counts."""
        self._retry_policy.extend(policies)
        return self

    def add_cache_policy(self, policy: CachePolicy[Any]) -> Self:
        """When a result of the node is used again."""
        self._cache_policy = policy
        return self

    def set_timeout(self, timeout: float | timedelta | TimeoutPolicy | None) -> Self:
        """How long an attempt may take, in seconds; async functions only."""
        self._timeout = TimeoutPolicy.coerce(timeout)
        return self

    def build(self) -> PregelNode:
        """The node."""
        return PregelNode(
            channels=self._channels if isinstance(self._channels, str) else [*self._channels],
            triggers=[*self._triggers],
            writers=[*self._writes],
            tags=[*self._tags],
            metadata={**self._metadata},
            bound=tuple(self._bound),
            retry_policy=tuple(self._retry_policy),
            cache_policy=self._cache_policy,
            timeout=self._timeout,
        )


def body_of(name: str, steps: Sequence[Any]) -> Bound:
    """What a node does, compiled.

    Raises:
        GraphDefinitionError: A step cannot be called.
    """
    parts = [bind(step, callable_name(step) or name) for step in steps]
    if len(parts) == 1:
        return parts[0]

    async def call(value: Any, task: TaskRun) -> Any:
        for part in parts:
            value = await part.call(value, task)
        return value

    return Bound(name, call, None, is_async=all(p.is_async for p in parts))


__all__ = [
    "PASSTHROUGH", "SKIP_WRITE", "ChannelRule", "ChannelWriteEntry", "NodeBuilder", "PregelNode",
    "body_of",
]  # fmt: skip
