"""A compiled graph as the engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from stepwell._codec import Codec, Registry
from stepwell._plan.migrations import Migrations
from stepwell._plan.spec import GraphSpec
from stepwell._when import CheckpointWhen
from stepwell.constants import NS_END, NS_SEP
from stepwell.types import CachePolicy, Durability, RetryPolicy

if TYPE_CHECKING:
    from stepwell._engine.calls import CallSpec
    from stepwell._engine.recall import ResultCache
    from stepwell.cache.base import BaseCache
    from stepwell.checkpoint.base import Saver


class Program:
    """Everything about a graph that does not change from run to run."""

    __slots__ = (
        "cache",
        "cache_policy",
        "call_results",
        "call_specs",
        "checkpoint_when",
        "checkpoint_when_by_node",
        "children",
        "codec",
        "context_mapper",
        "durability",
        "fingerprint",
        "interrupt_after",
        "interrupt_before",
        "keeps_history",
        "lock_timeout",
        "migrations",
        "name",
        "on_conflict",
        "on_mismatch",
        "persists",
        "registry",
        "results",
        "retry",
        "saver",
        "spec",
        "step_timeout",
        "store",
        "strict",
    )

    def __init__(self, spec: GraphSpec, registry: Registry) -> None:
        self.spec = spec
        self.registry = registry
        self.codec = Codec(registry)
        self.name = spec.name
        self.saver: Saver | None = None
        self.keeps_history = False
        """Inside another graph: one history per thread, not one per task (checkpointer=True)."""
        self.persists = True
        """Inside another graph: whether it is recorded at all (not with checkpointer=False)."""
        self.children: Callable[[], Mapping[str, Program]] = dict
        """The graphs that nodes of this one are or call, by node."""
        self.store: Any = None
        self.interrupt_before: Sequence[str] | Literal["*"] = ()
        self.interrupt_after: Sequence[str] | Literal["*"] = ()
        self.durability: Durability | None = None
        self.checkpoint_when: CheckpointWhen | None = None
        """Which supersteps get a row; None: those that the graph around this one says, or all."""
        self.checkpoint_when_by_node: Mapping[str, CheckpointWhen] = {}
        """The same of supersteps that these nodes ran in."""
        self.on_conflict: str = "wait"
        self.on_mismatch: str = "warn"
        self.lock_timeout: float | None = None
        self.strict = False
        self.migrations = Migrations({}, 0)
        """How the states of older versions are read; it knows today's version."""
        self.cache: BaseCache[Any] | None = None
        self.results: ResultCache | None = None
        """The cache, where there is one and a node that uses it."""
        self.call_results: ResultCache | None = None
        """The cache, once a task call has used it."""
        self.step_timeout: float | None = None
        """Seconds that a superstep may take."""
        self.fingerprint = ""
        self.cache_policy: CachePolicy[Any] | None = None
        """Policy of task calls that have none of their own."""
        self.retry: Sequence[RetryPolicy] = ()
        """Policies of task calls that have none of their own."""
        self.call_specs: WeakKeyDictionary[CallSpec, CallSpec | None] = WeakKeyDictionary()
        """Functions that were called as tasks, as this graph runs them (None: as they are)."""
        self.context_mapper: Callable[[dict[str, Any]], Any] | None = None
        """How a dict given as context becomes the graph's context schema."""

    @property
    def state_version(self) -> int:
        """The version of the state's meaning that this graph reads and writes."""
        return self.migrations.version

    def own_namespace(self, ns: str) -> str:
        """A namespace as this graph stores it: without task ids, if it keeps one history."""
        if not self.keeps_history:
            return ns
        return NS_SEP.join(part.split(NS_END)[0] for part in ns.split(NS_SEP))


def plain_namespace(ns: str) -> str:
    """The nodes of a namespace alone: without task ids and the numbers of further calls."""
    return NS_SEP.join(p.split(NS_END)[0] for p in ns.split(NS_SEP) if not p.isdigit())


__all__ = ["Program", "plain_namespace"]
