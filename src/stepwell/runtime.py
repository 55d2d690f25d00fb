"""What a node may know of the run it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from stepwell._context import current_task

ContextT = TypeVar("ContextT")


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """Where in the thread the current task stands.

    `node_first_attempt_time` is Unix time in seconds.
    """

    checkpoint_id: str
    checkpoint_ns: str
    task_id: str
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None

    def patch(self, **overrides: Any) -> ExecutionInfo:
        """A copy with some fields replaced."""
        return replace(self, **overrides)


class RunControl:
    """A handle by which the caller of one run asks it to stop at its next barrier.

    Safe to use from any thread. Make a fresh one for every run.
    """

    __slots__ = ("_drain_reason",)

    def __init__(self) -> None:
        self._drain_reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask the run to stop; it raises `GraphDrained` with its state saved."""
        self._drain_reason = reason

    @property
    def drain_requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self._drain_reason is not None

    @property
    def drain_reason(self) -> str | None:
        """Why, in the words of whoever asked."""
        return self._drain_reason


def _drop(_: Any) -> None:
    """A stream writer nobody listens to."""


def _nothing() -> None:
    """A heartbeat nobody waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Generic[ContextT]):
    """Injected into a node by its parameter named `runtime` (or annotated `Runtime[...]`).

    LangGraph's fields, plus `run_id`, `epoch` (the fencing token of this run's claim, None
    without a checkpointer) and `idempotency_key` (the same text for every attempt and
    re-execution of this task and no other: hand it to outside services, whose effects the
    fence cannot reach).
    """

    context: ContextT = None  # type: ignore[assignment]
    store: Any = None
    stream_writer: Callable[[Any], None] = _drop
    heartbeat: Callable[[], None] = _nothing
    previous: Any = None
    execution_info: ExecutionInfo | None = None
    server_info: Any = None
    control: RunControl | None = None
    run_id: str | None = None
    epoch: int | None = None
    idempotency_key: str = ""

    def override(self, **overrides: Any) -> Runtime[ContextT]:
        """A copy with some fields replaced."""
        return replace(self, **overrides)

    @property
    def drain_requested(self) -> bool:
        """Whether this run was asked to stop at its next barrier."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """Why it was asked to stop, None if it was not."""
        return None if self.control is None else self.control.drain_reason


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:  # noqa: ARG001
    """The runtime of the task that is running here.

    Args:
        context_schema: Only tells the type checker what `context` is.

    Raises:
        RuntimeError: Called outside of a node.
    """
    task = current_task.get()
    if task is None:
        msg = "get_runtime() was called outside of a running node; call it from inside a node."
        raise RuntimeError(msg)
    return task.runtime


__all__ = ["ExecutionInfo", "RunControl", "Runtime", "get_runtime"]
