"""The config a run is given, and what a node may ask of it."""

# No `from __future__ import annotations`: each text in place of a type would be compiled.

import uuid
from collections.abc import Callable
from typing import Any, TypedDict

from stepwell._context import running_task


class RunnableConfig(TypedDict, total=False):
    """Config of one run; LangGraph's keys.

    `configurable` holds `thread_id`, `checkpoint_id`, `checkpoint_ns` and the caller's own
    keys. Only `metadata` is stored with the run's checkpoints.
    """

    tags: list[str]
    metadata: dict[str, Any]
    callbacks: Any
    run_name: str
    max_concurrency: int | None
    recursion_limit: int
    configurable: dict[str, Any]
    run_id: uuid.UUID | str | None


def get_config() -> RunnableConfig:
    """The config of the task that is running here.

    Raises:
        RuntimeError: Called outside of a node.
    """
    return running_task("get_config()").config


def get_store() -> Any:
    """The store of the graph that is running here; None if it was compiled without one.

    Raises:
        RuntimeError: Called outside of a node.
    """
    return running_task("get_store()").runtime.store


def get_stream_writer() -> Callable[[Any], None]:
    """A function that sends its argument to whoever streams `stream_mode="custom"`.

    Raises:
        RuntimeError: Called outside of a node.
    """
    return running_task("get_stream_writer()").stream_writer


__all__ = ["RunnableConfig", "get_config", "get_store", "get_stream_writer"]
