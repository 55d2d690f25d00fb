"""What a graph's description holds: nodes, branches, defaults."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from stepwell._dataclass import dataclass
from stepwell._engine.binding import Bound, bind, identity_of
from stepwell.types import CachePolicy, CheckpointWhen, RetryPolicy, TimeoutPolicy, TracePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDef:
    """A node as it was described."""

    bound: Bound
    input_schema: Any
    metadata: Mapping[str, Any]
    defer: bool
    retry: tuple[RetryPolicy, ...]
    timeout: TimeoutPolicy | None
    destinations: Mapping[str, str | None]
    """Nodes its commands may name, with the labels of the edges."""
    action: Any = None
    """What was given to `add_node`."""
    cache: CachePolicy[Any] | None = None
    error_handler: str | None = None
    """The node that runs in its place when it has failed."""
    is_error_handler: bool = False
    identity: str = ""
    """Module and qualified name of its function."""
    trace: TracePolicy | None = None
    checkpoint_when: CheckpointWhen | None = None


@dataclass(slots=True, kw_only=True)
class NodeDefaults:
    """What nodes that say nothing of their own are given."""

    retry: tuple[RetryPolicy, ...] = ()
    cache: CachePolicy[Any] | None = None
    error_handler: Any = None
    timeout: TimeoutPolicy | None = None


@dataclass(frozen=True, slots=True)
class BranchDef:
    """A conditional edge as it was described."""

    router: Bound
    ends: Mapping[Hashable, str] | None
    input_schema: Any


def handler_def(action: Any, name: str, schema: Any) -> NodeDef:
    """An error handler as a node: nothing leads to it but a failure."""
    return NodeDef(
        bound=bind(action, name),
        input_schema=schema,
        metadata={},
        defer=False,
        retry=(),
        timeout=None,
        destinations={},
        action=action,
        is_error_handler=True,
        identity=identity_of(action),
    )


__all__ = ["BranchDef", "NodeDef", "NodeDefaults", "handler_def"]
