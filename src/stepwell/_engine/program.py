"""A compiled graph as the engine sees it, and the config of one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from stepwell._codec import Codec
from stepwell._plan.spec import GraphSpec
from stepwell.checkpoint._names import thread_id_of
from stepwell.config import RunnableConfig
from stepwell.constants import CONF
from stepwell.errors import StepwellError
from stepwell.types import Durability

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver

logger = logging.getLogger("stepwell")

_KEYS = frozenset(
    ("tags", "metadata", "callbacks", "run_name", "max_concurrency", "recursion_limit",
     "configurable", "run_id")
)  # fmt: skip


class ArgumentError(StepwellError, ValueError):
    """An argument of the call cannot be used; the message says which and why."""

    code = "usage"


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


class RunConfig:
    """A caller's config, checked and taken apart."""

    __slots__ = (
        "checkpoint_id",
        "checkpoint_ns",
        "configurable",
        "limited",
        "max_concurrency",
        "metadata",
        "recursion_limit",
        "run_id",
        "run_name",
        "tags",
        "thread_id",
    )

    def __init__(
        self, config: RunnableConfig | Mapping[str, Any] | None, recursion_limit: int
    ) -> None:
        given: Mapping[str, Any] = config or {}
        configurable = dict(given.get(CONF) or {})
        for key in given:
            if key not in _KEYS:
                configurable.setdefault(key, given[key])
        for key in [k for k in configurable if k.startswith("__pregel_")]:
            logger.warning("config key %s belongs to another engine and is ignored", key)
            del configurable[key]
        if given.get("callbacks"):
            logger.warning("config['callbacks'] is ignored: Stepwell calls no LangChain callbacks")
        thread_id = configurable.get("thread_id")
        self.thread_id = None if thread_id is None else thread_id_of(thread_id)
        checkpoint = configurable.get("checkpoint_id")
        self.checkpoint_id: str | None = None if not checkpoint else str(checkpoint)
        self.checkpoint_ns: str = configurable.get("checkpoint_ns") or ""
        self.configurable = configurable
        self.metadata: dict[str, Any] = dict(given.get("metadata") or {})
        self.tags: list[str] = list(given.get("tags") or ())
        limit = given.get("recursion_limit")
        self.limited = limit is not None
        self.recursion_limit = recursion_limit if limit is None else int(limit)
        if self.recursion_limit < 1:
            msg = f"recursion_limit must be at least 1, not {self.recursion_limit}"
            raise ArgumentError(msg)
        at_once = given.get("max_concurrency")
        self.max_concurrency: int | None = None if not at_once else int(at_once)
        run_id = given.get("run_id")
        self.run_id: str | None = None if run_id is None else str(run_id)
        self.run_name = given.get("run_name")

    def require_thread(self, what: str) -> str:
        """The thread id.

        Raises:
            ValueError: The config names none.
        """
        if self.thread_id is None:
            msg = (
                f"{what} needs a thread: this graph has a checkpointer, so pass "
                'config={"configurable": {"thread_id": "..."}}.'
            )
            raise ArgumentError(msg)
        return self.thread_id


__all__ = ["ArgumentError", "Program", "RunConfig"]
