"""What a node may know of the run it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from stepwell._context import current_task
from stepwell._dataclass import dataclass

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


@runtime_checkable
class BaseUser(Protocol):
    """Who a server says the caller is; attributes and keys name the same things."""

    @property
    def is_authenticated(self) -> bool:
        """Whether the server knows who it is."""
        ...

    @property
    def display_name(self) -> str:
        """A name for people."""
        ...

    @property
    def identity(self) -> str:
        """A name for programs, unique."""
        ...

    @property
    def permissions(self) -> Sequence[str]:
        """What the user may do."""
        ...

    def __getitem__(self, key: str) -> Any: ...

    def __contains__(self, key: object) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server that runs the graph says of itself, by the configurable keys
    `assistant_id`, `graph_id` and `langgraph_auth_user`."""

    assistant_id: str
    graph_id: str
    user: BaseUser | None = None


def server_info(configurable: Mapping[str, Any]) -> ServerInfo | None:
    """What a run's configurable keys say of the server; None if nothing."""
    assistant, graph = configurable.get("assistant_id"), configurable.get("graph_id")
    user = configurable.get("langgraph_auth_user")
    if user is not None and not hasattr(user, "identity"):
        user = None
    if assistant is None and graph is None and user is None:
        return None
    return ServerInfo(str(assistant or ""), str(graph or ""), user)


class RunControl:
    """A handle by which the caller of one run asks it to stop at its next barrier.

    Safe to use from any thread. Make a fresh one for every run.
    """

    __slots__ = ("drain_reason",)

    def __init__(self) -> None:
        self.drain_reason: str | None = None
        """Why the run is to stop, in the words of whoever asked; None: nobody did."""

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask the run to stop; it raises `GraphDrained` with its state saved."""
        self.drain_reason = reason

    @property
    def drain_requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self.drain_reason is not None


def _drop(_: Any) -> None:
    """A stream writer nobody listens to."""


def _keep_quiet(_: Any, __: Mapping[str, Any] | None = None) -> None:
    """Messages that nobody listens to."""


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
    server_info: ServerInfo | None = None
    control: RunControl | None = None
    run_id: str | None = None
    epoch: int | None = None
    idempotency_key: str = ""
    message_writer: Callable[[Any, Mapping[str, Any] | None], None] = _keep_quiet

    def emit_message(self, message: Any, *, metadata: Mapping[str, Any] | None = None) -> None:
        """Show a message, or a piece of one, to whoever streams `stream_mode="messages"`.

        Give all pieces of a message its id: then the message that the node returns at last,
        with that id, is not shown again.

        Args:
            message: A dict with role and content, a (role, content) pair, or a message object.
            metadata: Added to what the stream says of the task. With "nostream" in its `tags`
                the message is not shown.

        Raises:
            ValueError: It is no message.
        """
        self.message_writer(message, metadata)

    def override(self, **overrides: Any) -> Runtime[ContextT]:
        """A copy with some fields replaced."""
        return replace(self, **overrides)

    def merge(self, other: Runtime[ContextT]) -> Runtime[ContextT]:
        """This runtime with everything that `other` sets."""
        return Runtime(
            context=other.context or self.context,
            store=other.store or self.store,
            stream_writer=self.stream_writer
            if other.stream_writer is _drop
            else other.stream_writer,
            heartbeat=self.heartbeat if other.heartbeat is _nothing else other.heartbeat,
            previous=self.previous if other.previous is None else other.previous,
            execution_info=other.execution_info or self.execution_info,
            server_info=other.server_info or self.server_info,
            control=other.control or self.control,
            run_id=other.run_id or self.run_id,
            epoch=self.epoch if other.epoch is None else other.epoch,
            idempotency_key=other.idempotency_key or self.idempotency_key,
            message_writer=self.message_writer
            if other.message_writer is _keep_quiet
            else other.message_writer,
        )

    def patch_execution_info(self, **overrides: Any) -> Runtime[ContextT]:
        """A copy with some fields of `execution_info` replaced.

        Raises:
            RuntimeError: There is none: this runtime belongs to no task.
        """
        if self.execution_info is None:
            msg = "Cannot patch execution_info before it has been set: no task runs here."
            raise RuntimeError(msg)
        return replace(self, execution_info=self.execution_info.patch(**overrides))

    @property
    def drain_requested(self) -> bool:
        """Whether this run was asked to stop at its next barrier."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """Why it was asked to stop, None if it was not."""
        return None if self.control is None else self.control.drain_reason


DEFAULT_RUNTIME: Runtime[Any] = Runtime()
"""What there is outside of a run: nothing."""


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


__all__ = [
    "DEFAULT_RUNTIME", "BaseUser", "ExecutionInfo", "RunControl", "Runtime", "ServerInfo",
    "get_runtime",
]  # fmt: skip
