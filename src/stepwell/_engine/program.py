"""A compiled graph as the engine sees it, and the config of one run."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from stepwell._codec import Codec
from stepwell._plan.spec import GraphSpec
from stepwell.config import RunnableConfig
from stepwell.constants import CONF
from stepwell.errors import InvalidIdError, UsageError
from stepwell.types import Durability

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver

logger = logging.getLogger("stepwell")

_KEYS = frozenset(
    ("tags", "metadata", "callbacks", "run_name", "max_concurrency", "recursion_limit",
     "configurable", "run_id")
)  # fmt: skip
THREAD_ID_BYTES_MAX = 512


class Program:
    """Everything about a graph that does not change from run to run."""

    __slots__ = (
        "codec",
        "durability",
        "fingerprint",
        "interrupt_after",
        "interrupt_before",
        "lock_timeout",
        "name",
        "on_conflict",
        "on_mismatch",
        "output_mapper",
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
        self.output_mapper: Callable[[Any], Any] | None = None


def thread_id_of(value: Any) -> str:
    """A thread id as text.

    Raises:
        InvalidIdError: It is not a str, int or UUID, or not 1-512 bytes of plain UTF-8.
    """
    if isinstance(value, (int, uuid.UUID)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        msg = f"thread_id must be a str (int and UUID are accepted), not {type(value).__name__}"
        raise InvalidIdError(msg)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        msg = "thread_id contains a lone surrogate, which no database can store; use plain text."
        raise InvalidIdError(msg) from None
    if not 0 < size <= THREAD_ID_BYTES_MAX or "\0" in value:
        msg = (
            f"thread_id must be 1 to {THREAD_ID_BYTES_MAX} bytes of UTF-8 without NUL; "
            f"this one has {size} bytes."
        )
        raise InvalidIdError(msg)
    return value


class RunConfig:
    """A caller's config, checked and taken apart."""

    __slots__ = (
        "checkpoint_id",
        "checkpoint_ns",
        "configurable",
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
        self.recursion_limit = int(given.get("recursion_limit") or recursion_limit)
        if self.recursion_limit < 1:
            msg = f"recursion_limit must be at least 1, not {self.recursion_limit}"
            raise ValueError(msg)
        limit = given.get("max_concurrency")
        self.max_concurrency: int | None = None if not limit else int(limit)
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
            raise _MissingThreadError(msg)
        return self.thread_id


class _MissingThreadError(UsageError, ValueError):
    """The config names no thread."""


__all__ = ["Program", "RunConfig", "thread_id_of"]
