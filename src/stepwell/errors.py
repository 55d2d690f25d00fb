"""Every error Stepwell raises, in one tree.

    StepwellError(Exception)
      GraphDefinitionError(ValueError)      InvalidUpdateError      EmptyInputError
      EmptyChannelError                     GraphRecursionError(RecursionError)
      UnknownInterruptError(RuntimeError)   TaskNotFound            TaskOrderError
      NodeTimeoutError [R]                  NodeCancelledError      RunPreemptedError
      ThreadBusyError [R]                   IdempotencyConflictError
      GraphMismatchError                    NotFoundError(LookupError)
      InvalidIdError(ValueError)            UsageError(RuntimeError)  InternalError
      CodecError
        UnsupportedTypeError  UnknownTypeError  CorruptRecordError  KeyMissingError
        StateTooLargeError
      StorageError
        StorageUnavailableError [R]  StorageFullError [R]  StaleWriterError
        SequenceConflictError  SchemaVersionError
    signals: GraphBubbleUp(BaseException)
      GraphInterrupt  ParentCommand  GraphDrained(GraphBubbleUp, Exception)

[R] = `.retryable`. An exception raised by a node reaches the caller as it is. Signals derive
from BaseException so that a node's `except Exception` cannot swallow an interrupt.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from warnings import warn

from stepwell._dataclass import dataclass
from stepwell._shapes import Interrupt
from stepwell.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from stepwell.types import Command


class ErrorCode(Enum):
    """LangGraph's error codes, named in the messages of the errors they belong to."""

    GRAPH_RECURSION_LIMIT = "GRAPH_RECURSION_LIMIT"
    INVALID_CONCURRENT_GRAPH_UPDATE = "INVALID_CONCURRENT_GRAPH_UPDATE"
    INVALID_GRAPH_NODE_RETURN_VALUE = "INVALID_GRAPH_NODE_RETURN_VALUE"
    MULTIPLE_SUBGRAPHS = "MULTIPLE_SUBGRAPHS"
    INVALID_CHAT_HISTORY = "INVALID_CHAT_HISTORY"


class StepwellError(Exception):
    """Base of every error of Stepwell.

    `code` is stable lower_snake text, `retryable` says whether the same call may succeed
    later, `context` names what was concerned (thread_id, ns, seq, step, node, run_id, ...;
    only the keys that are known).
    """

    code: ClassVar[str] = "stepwell"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", /, **context: Any) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", 1)[0])
        self.context: dict[str, Any] = {k: v for k, v in context.items() if v is not None}


class GraphDefinitionError(StepwellError, ValueError):
    """The graph as built cannot run."""

    code = "graph_definition"


class InvalidUpdateError(StepwellError):
    """A write does not fit the channel it was made to."""

    code = "invalid_update"


class EmptyInputError(StepwellError):
    """There is nothing to run: no input, and no thread to go on with."""

    code = "empty_input"


class EmptyChannelError(StepwellError):
    """The channel holds no value."""

    code = "empty_channel"


class GraphRecursionError(StepwellError, RecursionError):
    """The run used up its supersteps before it reached an end."""

    code = "recursion_limit"


class UnknownInterruptError(StepwellError, RuntimeError):
    """A resume value names no question that is waiting for an answer."""

    code = "unknown_interrupt"

    def __init__(
        self,
        message: str = "",
        *,
        reason: Literal["not_pending", "empty_map", "ambiguous"] = "not_pending",
        interrupt_ids: Sequence[str] = (),
        pending_ids: Sequence[str] = (),
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.reason = reason
        self.interrupt_ids = tuple(interrupt_ids)
        self.pending_ids = tuple(pending_ids)


class TaskNotFound(StepwellError):  # noqa: N818  # LangGraph's name
    """A task that was asked for does not exist."""

    code = "task_not_found"


class TaskOrderError(StepwellError):
    """The calls of an entrypoint came in another order than when they were recorded."""

    code = "task_order"


class NodeTimeoutError(StepwellError):
    """A node took longer than its timeout."""

    code = "node_timeout"
    retryable = True

    def __init__(
        self,
        node: str,
        elapsed: float,
        *,
        kind: Literal["idle", "run"],
        idle_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> None:
        limit = {"run": run_timeout, "idle": idle_timeout}.get(kind)
        if limit is None:
            msg = f"A {kind!r} timeout needs {kind}_timeout; kind is 'run' or 'idle'."
            raise ValueError(msg)
        self.timeout = limit
        """The limit that was passed, in seconds."""
        idle = " without making progress" if kind == "idle" else ""
        super().__init__(
            f"Node {node!r} exceeded its {kind} timeout of {limit:.3f}s{idle} "
            f"(elapsed: {elapsed:.3f}s).",
            node=node,
        )
        self.node = node
        self.elapsed = elapsed
        self.kind = kind
        self.idle_timeout = idle_timeout
        self.run_timeout = run_timeout


class NodeCancelledError(StepwellError):
    """A node raised CancelledError although nobody cancelled it."""

    code = "node_cancelled"

    def __init__(self, node: str, message: str | None = None) -> None:
        super().__init__(message or f"Node {node!r} raised asyncio.CancelledError", node=node)
        self.node = node


class RunPreemptedError(StepwellError):
    """Another run asked for the thread with on_conflict="interrupt" or "rollback"."""

    code = "run_preempted"

    def __init__(
        self, message: str = "", *, policy: str = "", by_run_id: str | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.policy = policy
        self.by_run_id = by_run_id


class ThreadBusyError(StepwellError):
    """Another run holds the thread."""

    code = "thread_busy"
    retryable = True

    def __init__(
        self,
        message: str = "",
        *,
        owner: str | None = None,
        run_id: str | None = None,
        retry_after_s: float | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, run_id=run_id, **context)
        self.owner = owner
        self.run_id = run_id
        self.retry_after_s = retry_after_s


class IdempotencyConflictError(StepwellError):
    """The idempotency key was used before with another input."""

    code = "idempotency_conflict"


class GraphMismatchError(StepwellError):
    """The thread was written by a graph that does not fit this one."""

    code = "graph_mismatch"


class CodecError(StepwellError):
    """A value cannot be turned into bytes, or bytes into a value."""

    code = "codec"

    def __init__(
        self,
        message: str = "",
        *,
        channel: str | None = None,
        path: str | None = None,
        type_name: str | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        self.channel = channel
        self.path = path
        self.type_name = type_name


class UnsupportedTypeError(CodecError):
    """The value has a type that cannot be stored faithfully."""

    code = "unsupported_type"


class UnknownTypeError(CodecError):
    """The stored value is of a class that is not registered in this process."""

    code = "unknown_type"


class CorruptRecordError(CodecError):
    """The stored bytes do not match their checksum or their format."""

    code = "corrupt_record"


class KeyMissingError(CodecError):
    """The record is encrypted under a key that the keyring does not hold."""

    code = "key_missing"


class StateTooLargeError(CodecError):
    """The state is larger than `state_bytes_max`."""

    code = "state_too_large"


class StorageError(StepwellError):
    """The database refused or failed."""

    code = "storage"


class StorageUnavailableError(StorageError):
    """The database cannot be reached, or is too busy to answer."""

    code = "storage_unavailable"
    retryable = True


class StorageFullError(StorageError):
    """The database has no room left."""

    code = "storage_full"
    retryable = True


class StaleWriterError(StorageError):
    """Another worker took the thread over; nothing was written."""

    code = "stale_writer"


class SequenceConflictError(StorageError):
    """A record with the same place in the thread exists already."""

    code = "sequence_conflict"


class SchemaVersionError(StorageError):
    """The database's schema is not the one this release writes."""

    code = "schema_version"


class NotFoundError(StepwellError, LookupError):
    """What must exist does not."""

    code = "not_found"


class InvalidIdError(StepwellError, ValueError):
    """The id is not usable as one."""

    code = "invalid_id"


class UsageError(StepwellError, RuntimeError):
    """The call does not make sense here; the message names the one that does."""

    code = "usage"


class InternalError(StepwellError):
    """An invariant of Stepwell is broken: please report it."""

    code = "internal"


class GraphBubbleUp(BaseException):  # LangGraph's name
    """Base of the signals that travel through user code to the engine."""


class GraphInterrupt(GraphBubbleUp):
    """A node asked a question; the run stops here until it is answered."""

    def __init__(self, interrupts: Sequence[Interrupt] = ()) -> None:
        super().__init__(interrupts)


class NodeInterrupt(GraphInterrupt):
    """Deprecated: raised by a node to ask a question. Use `stepwell.types.interrupt`."""

    def __init__(self, value: Any, id: str | None = None) -> None:
        warn(
            "NodeInterrupt is deprecated. Please use `stepwell.types.interrupt` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        super().__init__([Interrupt(value) if id is None else Interrupt(value, id)])


class ParentCommand(GraphBubbleUp):
    """A node of a subgraph commands its parent graph."""

    args: tuple[Command[Any]]

    def __init__(self, command: Command[Any]) -> None:
        super().__init__(command)


class GraphDrained(GraphBubbleUp, Exception):  # noqa: N818  # LangGraph's name
    """The run stopped at a barrier because draining was requested; resume it with None."""

    def __init__(self, reason: str = "shutdown") -> None:
        super().__init__(f"Graph drained: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class NodeError:
    """What an error handler is told: which node failed, and with what."""

    node: str
    error: BaseException


_INVALID_RESUME = "_stepwell_invalid_resume"


def mark_invalid_resume(error: BaseException) -> None:
    """Note on an error that it is about a resume value."""
    setattr(error, _INVALID_RESUME, True)


def is_invalid_resume(error: BaseException) -> bool:
    """Whether the error says that a resume value did not fit the `response_schema` of its
    question. The question can be answered again."""
    return getattr(error, _INVALID_RESUME, False) is True


def of_langgraph(value: Any) -> str:
    """What to say of an object (or class) that LangGraph itself defines, met in a program that
    is only half ported; "" for anything else. Asked where something is about to be refused."""
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__
    if not module.startswith("langgraph."):
        return ""
    parts = module.split(".")[1:]
    flat = parts[0] in ("types", "managed", "channels")
    place = ".".join(["stepwell", *(parts[:1] if flat else parts)])
    return f"this is LangGraph's {kind.__name__} ({module}); import it from {place}"


def create_error_message(*, message: str, error_code: ErrorCode) -> str:
    """Append LangGraph's error code to a message."""
    return f"{message} [{error_code.value}]"


__all__ = [
    "CodecError", "CorruptRecordError", "EmptyChannelError", "EmptyInputError", "ErrorCode",
    "GraphBubbleUp", "GraphDefinitionError", "GraphDrained", "GraphInterrupt",
    "GraphMismatchError", "GraphRecursionError", "IdempotencyConflictError", "InternalError",
    "InvalidIdError", "InvalidUpdateError", "KeyMissingError", "NodeCancelledError", "NodeError",
    "NodeInterrupt", "NodeTimeoutError", "NotFoundError", "ParentCommand", "RunPreemptedError",
    "SchemaVersionError", "SequenceConflictError", "StaleWriterError", "StateTooLargeError",
    "StepwellError", "StorageError", "StorageFullError", "StorageUnavailableError", "TaskNotFound",
    "TaskOrderError", "ThreadBusyError", "UnknownInterruptError", "UnknownTypeError",
    "UnsupportedTypeError", "UsageError", "is_invalid_resume",
    "of_langgraph",
]  # fmt: skip
