"""The one context variable: which task of which run is executing here.

`interrupt()`, `get_config()`, `get_stream_writer()` and `get_runtime()` read it; the engine
sets it around every task. Floor 0 must not know the engine, so the running task is seen
through a protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from stepwell.config import RunnableConfig
    from stepwell.runtime import Runtime


class CurrentTask(Protocol):
    """What user code may ask of the task it runs in."""

    @property
    def config(self) -> RunnableConfig: ...

    @property
    def runtime(self) -> Runtime[Any]: ...

    @property
    def stream_writer(self) -> Callable[[Any], None]: ...

    @property
    def held(self) -> Sequence[Any]:
        """Claims that the task runs under: its run's, and those of the runs around it."""

    def emit_message(self, message: Any, metadata: Mapping[str, Any] | None = None) -> None:
        """Show a message to whoever streams messages."""

    def overhear(self, message: Any, metadata: dict[str, Any], once: bool) -> None:
        """Show what a model has said that the task calls; `once`: only if its id is new."""

    def send(self, channel: str, value: Any) -> None:
        """Make a write of the task's, beside those that its return value makes."""

    def interrupt(self, value: Any, response_schema: Any) -> Any: ...


current_task: ContextVar[CurrentTask | None] = ContextVar("stepwell_current_task", default=None)


def running_task(what: str) -> CurrentTask:
    """The task that is running here.

    Raises:
        RuntimeError: There is none; the message says that `what` was called outside of one.
    """
    task = current_task.get()
    if task is None:
        msg = f"{what} was called outside of a running node; call it from inside a node or task."
        raise RuntimeError(msg)
    return task
