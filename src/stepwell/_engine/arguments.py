"""What callers pass, checked: bad input is refused before anything is claimed or written."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import UUID

from stepwell.checkpoint._names import thread_id_of
from stepwell.config import RunnableConfig
from stepwell.constants import CONF
from stepwell.errors import StepwellError

logger = logging.getLogger("stepwell")

_KEYS = frozenset(
    ("tags", "metadata", "callbacks", "run_name", "max_concurrency", "recursion_limit",
     "configurable", "run_id")
)  # fmt: skip

OnConflict = Literal["wait", "reject", "interrupt", "rollback"]
"""What a run does when its thread is busy: wait its turn, fail, or have the run that is there
stopped at its next barrier, or undone."""
ON_CONFLICT: Final = ("wait", "reject", "interrupt", "rollback")

_SERVER_IDS = frozenset(("assistant_id", "graph_id", "run_id", "task_id"))
"""What a server puts into `configurable` to say whose run it is: these are metadata too."""

_SIZED = (list, tuple, dict)
"""An unknown key of a config is left out if its value is an empty one of these, or None."""


class ArgumentError(StepwellError, ValueError):
    """An argument of the call cannot be used; the message says which and why."""

    code = "usage"


def refuse(name: str, value: Any, wanted: str) -> ArgumentError:
    """The error for an argument that is not what it must be."""
    return ArgumentError(f"{name} must be {wanted}, not {value!r:.100} ({type(value).__name__})")


def one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse a value that is not one of the words allowed.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise refuse(name, value, " or ".join(repr(a) for a in allowed))


def run_defaults(on_conflict: Any, on_mismatch: Any, durability: Any) -> None:
    """Refuse what a graph says of its runs if it is none of the words for it.

    Raises:
        ArgumentError: One is not.
    """
    one_of("on_conflict", on_conflict, ON_CONFLICT)
    one_of("on_mismatch", on_mismatch, ("accept", "warn", "refuse"))
    if durability is not None:
        one_of("durability", durability, ("sync", "async", "exit"))


def whole(name: str, value: Any, least: int) -> int:
    """A whole number.

    Raises:
        ArgumentError: It is none, or less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**62:
        raise refuse(name, value, f"a whole number of at least {least}")
    return value


def seconds(name: str, value: Any) -> float | None:
    """Seconds, as a number or a timedelta; None for no limit.

    Raises:
        ArgumentError: It is negative, not a number, or nothing of the kind.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise refuse(name, value, "seconds as a number or timedelta, or None")
    if value < 0:
        raise refuse(name, value, "at least 0 seconds")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        ArgumentError: It is neither: whoever passes "no" means no.
    """
    if not isinstance(value, bool):
        raise refuse(name, value, "True or False")
    return value


def nodes(name: str, value: Any, known: Collection[str]) -> None:
    """Refuse breakpoints that are neither "*" nor a collection of node names.

    Raises:
        ArgumentError: They are not, or name a node that the graph does not have.
    """
    if value is None or value == "*":
        return
    if isinstance(value, str) or not isinstance(value, Collection):
        raise refuse(name, value, 'a list of node names, or "*"')
    for node in value:
        if node not in known:
            msg = f"Interrupt node `{node}` not found: {name} names no node of the graph."
            raise ArgumentError(msg)


def text(name: str, value: Any) -> str:
    """Text that every database can hold.

    Raises:
        ArgumentError: It is no str, or holds a lone surrogate.
    """
    if not isinstance(value, str):
        raise refuse(name, value, "a str")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refuse(name, value, "text without lone surrogates") from None
    return value


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if value is None:
        return {}
    if type(value) is not dict and not isinstance(value, Mapping):
        raise refuse(name, value, "a mapping")
    for key in value:
        if not isinstance(key, str):
            raise refuse(f"every key of {name}", key, "a str")
    return dict(value)


def _without_foreign(configurable: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in configurable.items() if not k.startswith("__pregel_")}
    for key in configurable:
        if key not in kept:
            logger.warning("config key %s belongs to another engine and is ignored", key)
    return kept


class RunConfig:
    """A caller's config, checked and taken apart.

    Raises:
        ArgumentError: Something in it cannot be used.
        InvalidIdError: The thread id cannot.
    """

    __slots__ = (
        "callbacks",
        "checkpoint_id",
        "checkpoint_map",
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
        given = _mapping("config", config)
        configurable = _mapping("config['configurable']", given.get(CONF))
        if not given.keys() <= _KEYS:
            for key, value in given.items():
                if key not in _KEYS and (value if isinstance(value, _SIZED) else value is not None):
                    configurable[key] = value
        for key in configurable:
            if key.startswith("__pregel_"):
                configurable = _without_foreign(configurable)
                break
        self.callbacks: Any = given.get("callbacks") or None
        """For models of LangChain that nodes call; Stepwell itself calls none."""
        thread_id = configurable.get("thread_id")
        self.thread_id = None if thread_id is None else thread_id_of(thread_id)
        checkpoint = configurable.get("checkpoint_id")
        self.checkpoint_id: str | None = None if not checkpoint else str(checkpoint)
        self.checkpoint_ns: str = configurable.get("checkpoint_ns") or ""
        self.checkpoint_map: dict[str, str] = _mapping(
            "config['configurable']['checkpoint_map']", configurable.get("checkpoint_map")
        )
        self.configurable = configurable
        self.metadata = _mapping("config['metadata']", given.get("metadata"))
        if not _SERVER_IDS.isdisjoint(configurable):
            for key in _SERVER_IDS & configurable.keys():
                if (known := configurable[key]) and isinstance(known, (str, int, UUID)):
                    self.metadata.setdefault(key, known)
        tags = given.get("tags")
        if tags and (isinstance(tags, str) or not isinstance(tags, Collection)):
            raise refuse("config['tags']", tags, "a list of str")
        self.tags: list[str] = list(tags or ())
        limit = given.get("recursion_limit")
        self.limited = limit is not None
        self.recursion_limit = (
            recursion_limit if limit is None else whole("recursion_limit", limit, 1)
        )
        at_once = given.get("max_concurrency")
        self.max_concurrency = None if at_once is None else whole("max_concurrency", at_once, 1)
        run_id = given.get("run_id")
        self.run_id = None if run_id is None else text("run_id", str(run_id))
        self.run_name = given.get("run_name")

    def require_thread(self, what: str) -> str:
        """The thread id.

        Raises:
            ArgumentError: The config names none.
        """
        if self.thread_id is None:
            msg = (
                f"{what} needs a thread: this graph has a checkpointer, so pass "
                'config={"configurable": {"thread_id": "..."}}.'
            )
            raise ArgumentError(msg)
        return self.thread_id


__all__ = [
    "ArgumentError", "RunConfig", "flag", "nodes", "one_of", "refuse", "seconds", "text", "whole",
]  # fmt: skip
