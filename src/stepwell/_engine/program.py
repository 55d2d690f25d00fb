"""A compiled graph as the engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from stepwell._codec import Codec
from stepwell._plan.spec import GraphSpec
from stepwell.types import Durability

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver


class Program:
    """Everything about a graph that does not change from run to run."""

    __slots__ = (
        "codec",
        "context_mapper",
        "durability",
        "fingerprint",
        "interrupt_after",
        "interrupt_before",
        "lock_timeout",
        "name",
        "on_conflict",
        "on_mismatch",
        "saver",
        "spec",
        "state_version",
        "store",
        "strict",
    )

    def __init__(self, spec: GraphSpec, codec: Codec) -> None:
        self.spec = spec
        self.codec = codec
        self.name = spec.name
        self.saver: Saver | None = None
        self.store: Any = None
        self.interrupt_before: Sequence[str] | Literal["*"] = ()
        self.interrupt_after: Sequence[str] | Literal["*"] = ()
        self.durability: Durability | None = None
        self.on_conflict: str = "wait"
        self.on_mismatch: str = "warn"
        self.lock_timeout: float | None = None
        self.strict = False
        self.state_version = 0
        self.fingerprint = ""
        self.context_mapper: Callable[[dict[str, Any]], Any] | None = None
        """How a dict given as context becomes the graph's context schema."""


__all__ = ["Program"]
