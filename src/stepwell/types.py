"""Values that graphs, nodes and callers exchange. Names and fields are LangGraph's."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import fields
from datetime import timedelta
from enum import Enum
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    TypeAlias,
    TypeVar,
    overload,
)

from stepwell._context import current_task
from stepwell._dataclass import dataclass
from stepwell._shapes import (
    CheckpointPayload,
    CheckpointStreamPart,
    CheckpointTask,
    CustomStreamPart,
    DebugPayload,
    DebugStreamPart,
    GraphOutput,
    Interrupt,
    MessagesStreamPart,
    PregelTask,
    StateSnapshot,
    StreamPart,
    TaskPayload,
    TaskResultPayload,
    TasksStreamPart,
    UpdatesStreamPart,
    ValuesStreamPart,
    interrupt_id,
)
from stepwell._when import Always, CheckpointWhen, Every, OnExit, When
from stepwell.config import RunnableConfig

All: TypeAlias = Literal["*"]
"""Every node that is not hidden."""
StreamMode: TypeAlias = Literal[
    "values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"
]
Durability: TypeAlias = Literal["sync", "async", "exit"]
StreamWriter: TypeAlias = Callable[[Any], None]

N = TypeVar("N", bound=Hashable)
ResponseT = TypeVar("ResponseT")


def default_retry_on(exc: Exception) -> bool:
    """Whether an exception looks like one that another attempt may not meet.

    Connection errors and HTTP 5xx answers (recognised by their shape, no HTTP library is
    imported) are retried; programming errors are not; anything else is.
    Source of the rule: LangGraph's `default_retry_on`.
    """
    if isinstance(exc, ConnectionError):
        return True
    if type(exc).__module__.split(".")[0] in {"httpx", "requests"}:
        response = getattr(exc, "response", None)
        if response is not None:
            status = getattr(response, "status_code", None)
            return not isinstance(status, int) or 500 <= status < 600
        if any(
            c.__name__ == "HTTPError" and c.__module__ == "requests.exceptions"
            for c in type(exc).__mro__
        ):
            return True
    return not isinstance(
        exc,
        (
            ValueError, TypeError, ArithmeticError, ImportError, LookupError, NameError,
            SyntaxError, RuntimeError, ReferenceError, StopIteration, StopAsyncIteration, OSError,
        ),
    )  # fmt: skip


class RetryPolicy(NamedTuple):
    """When and how often a failed node is tried again. Intervals in seconds."""

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    """Attempts in all, the first included."""
    jitter: bool = True
    retry_on: type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool] = (
        default_retry_on
    )


def _positive_s(value: float | timedelta | None, field: str) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds <= 0:
        msg = f"{field} must be greater than 0, not {seconds} s"
        raise ValueError(msg)
    return seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """How long one attempt of an async node may take, in seconds or as a timedelta.

    `run_timeout` is hard. `idle_timeout` is refreshed by progress (`refresh_on="auto"`) or
    by `runtime.heartbeat()` alone (`"heartbeat"`).
    """

    run_timeout: float | timedelta | None = None
    idle_timeout: float | timedelta | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    @classmethod
    def coerce(cls, value: float | timedelta | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """Normalise to positive seconds; None if there is no limit.

        Raises:
            ValueError: A limit is not positive, or `refresh_on` is unknown.
        """
        if value is None:
            return None
        policy = value if isinstance(value, TimeoutPolicy) else cls(run_timeout=value)
        if policy.refresh_on not in ("auto", "heartbeat"):
            msg = f"refresh_on must be 'auto' or 'heartbeat', not {policy.refresh_on!r}"
            raise ValueError(msg)
        run = _positive_s(policy.run_timeout, "run_timeout")
        idle = _positive_s(policy.idle_timeout, "idle_timeout")
        if run is None and idle is None:
            return None
        return cls(run_timeout=run, idle_timeout=idle, refresh_on=policy.refresh_on)


KeyFuncT = TypeVar("KeyFuncT", bound=Callable[..., str | bytes])


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy(Generic[KeyFuncT]):
    """When a node whose input was seen before need not run again.

    `key_func` makes the key from the node's input: a str or bytes. None, the default: a digest
    of the input as the codec encodes it, the same in every process and release (LangGraph's
    default pickles). `ttl` is in seconds; None: for ever.
    """

    key_func: KeyFuncT | None = None
    ttl: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePolicy:
    """How a node's run is shown to a tracer: what replaces its input and its output.

    Accepted so that graphs can be ported. Stepwell keeps no traces, and what it tells
    observers never holds state values.
    """

    process_inputs: Callable[[Any], Any] | None = None
    process_outputs: Callable[[Any], Any] | None = None


def omit_payload(_value: Any) -> dict[str, Any]:
    """For `TracePolicy`: show nothing of a payload."""
    return {}


class StateUpdate(NamedTuple):
    """One update of `bulk_update_state`."""

    values: dict[str, Any] | None
    as_node: str | None = None
    task_id: str | None = None


class CacheKey(NamedTuple):
    """Where the result of a task is kept in a cache; `ttl` in seconds, None = for ever."""

    ns: tuple[str, ...]
    key: str
    ttl: int | None


@dataclass(frozen=True)
class PregelExecutableTask:
    """A task about to run, in LangGraph's shape. Stepwell's engine does not make these."""

    name: str
    input: Any
    proc: Any
    writes: deque[tuple[str, Any]]
    config: RunnableConfig
    triggers: Sequence[str]
    retry_policy: Sequence[RetryPolicy]
    cache_key: CacheKey | None
    id: str
    path: tuple[Any, ...]
    writers: Sequence[Any] = ()
    subgraphs: Sequence[Any] = ()
    timeout: TimeoutPolicy | None = None


class Send:
    """A packet for a node: run `node` in the next superstep with `arg` as its input."""

    __slots__ = ("arg", "node", "timeout")

    node: str
    arg: Any
    timeout: TimeoutPolicy | None

    def __init__(
        self, /, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None
    ) -> None:
        self.node = node
        self.arg = arg
        self.timeout = TimeoutPolicy.coerce(timeout)

    def __hash__(self) -> int:
        return hash((self.node, self.arg, self.timeout))

    def __repr__(self) -> str:
        if self.timeout is None:
            return f"Send(node={self.node!r}, arg={self.arg!r})"
        return f"Send(node={self.node!r}, arg={self.arg!r}, timeout={self.timeout!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Send)
            and self.node == other.node
            and self.arg == other.arg
            and self.timeout == other.timeout
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[N]):
    """What a node returns, or a caller passes as input, to steer the graph.

    `update` is applied to the state, `goto` names the nodes (or `Send`s) to run next,
    `resume` answers questions: one value, or a mapping of interrupt id to value. `graph` is
    None for the current graph or `Command.PARENT`.
    """

    graph: str | None = None
    update: Any | None = None
    resume: dict[str, Any] | Any | None = None
    goto: Send | Sequence[Send | N] | N = ()

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    def __repr__(self) -> str:
        shown = ((f.name, getattr(self, f.name)) for f in fields(self))
        return f"Command({', '.join(f'{k}={v!r}' for k, v in shown if v)})"

    def update_as_tuples(self) -> Sequence[tuple[str, Any]]:
        """`update` as (key, value) pairs; a value that is no mapping goes to `__root__`."""
        update = self.update
        if update is None:
            return ()
        if isinstance(update, dict):
            return list(update.items())
        if isinstance(update, (list, tuple)) and all(
            isinstance(t, tuple) and len(t) == 2 and isinstance(t[0], str) for t in update
        ):
            return list(update)
        keys = annotated_keys(type(update))
        return update_tuples(update, keys) if keys else [("__root__", update)]


def annotated_keys(cls: type) -> tuple[str, ...]:
    """Names annotated on a class and its bases, base first; () for a builtin."""
    keys: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ in ("builtins", "typing") or base.__module__.startswith("pydantic."):
            continue
        for key in inspect.get_annotations(base):
            if not key.startswith("_"):
                keys[key] = None
    return tuple(keys)


def update_tuples(update: Any, keys: Sequence[str]) -> list[tuple[str, Any]]:
    """(key, value) pairs that an annotated object sets.

    A pydantic model leaves out fields that are None by default and were not set; any other
    object gives every annotated attribute it has. Semantics: LangGraph's
    `get_update_as_tuples`.
    """
    set_fields = getattr(update, "model_fields_set", None)
    if set_fields is None:
        return [(k, v) for k in keys if (v := getattr(update, k, _UNSET)) is not _UNSET]
    defaults = {k: v.default for k, v in type(update).model_fields.items()}
    return [
        (k, v)
        for k in keys
        if (v := getattr(update, k, _UNSET)) is not _UNSET
        and (v is not None or k in set_fields or defaults.get(k, _UNSET) is not None)
    ]


_UNSET: Any = object()


@dataclass(slots=True)
class Overwrite:
    """A write that replaces a reduced channel's value instead of being folded into it."""

    value: Any
    type: Literal["__overwrite__"] = "__overwrite__"


Checkpointer: TypeAlias = Any
"""What `compile` takes: a saver; None inherits the parent graph's, True keeps a thread of the
subgraph's own, False keeps nothing."""


def ensure_valid_checkpointer(checkpointer: Any) -> Any:
    """The checkpointer, if it is one: a saver, True, False or None.

    Raises:
        TypeError: It is something else.
    """
    if checkpointer is None or isinstance(checkpointer, bool):
        return checkpointer
    if getattr(type(checkpointer), "is_saver", False):
        return checkpointer
    msg = (
        "Invalid checkpointer provided. Expected an instance of `BaseCheckpointSaver` (see "
        "stepwell.open_saver), `True`, `False`, or `None`. Received "
        f"{type(checkpointer).__name__}."
    )
    raise TypeError(msg)


@overload
def interrupt(value: Any, *, response_schema: type[ResponseT]) -> ResponseT: ...


@overload
def interrupt(value: Any, *, response_schema: dict[str, Any] | None = None) -> Any: ...


def interrupt(value: Any, *, response_schema: type[Any] | dict[str, Any] | None = None) -> Any:
    """Ask a question and stop the run until it is answered.

    The first time a task reaches its n-th `interrupt`, the run stops and the caller gets
    `value`. When the thread is resumed with `Command(resume=answer)`, the node is executed
    from its first line again and its n-th `interrupt` returns the n-th answer. A checkpointer
    is needed.

    Args:
        value: Anything the codec can store.
        response_schema: What the answer must look like. A JSON schema (a dict) is only shown
            with the question. A pydantic model, TypedDict or dataclass is shown as its JSON
            schema, and the answer is validated: `interrupt` returns the validated object.

    Raises:
        GraphInterrupt: The question has no answer yet (a BaseException: let it pass).
        pydantic.ValidationError: The answer does not fit. It is not kept: the question can be
            answered again. `is_invalid_resume` tells it from other validation errors.
        RuntimeError: Called outside of a node.
        UsageError: The schema needs pydantic, which is not installed.
    """
    task = current_task.get()
    if task is None:
        msg = "interrupt() was called outside of a running node; call it from inside a node."
        raise RuntimeError(msg)
    return task.interrupt(value, response_schema)


class Hiding(Enum):
    """What a filter of a saver may say of a value, besides what is stored in its place."""

    KEEP = "keep"
    OMIT = "omit"


KEEP: Final = Hiding.KEEP
"""Said by `with_filter(where=)`: the value is stored as it is."""
OMIT: Final = Hiding.OMIT
"""Said by `with_filter(where=)`: nothing of the value is stored."""

__all__ = [
    "KEEP", "OMIT",
    "All", "Always", "CachePolicy", "CheckpointPayload", "CheckpointStreamPart", "CheckpointTask",
    "CheckpointWhen", "Checkpointer", "Command",
    "CustomStreamPart", "DebugPayload", "DebugStreamPart", "Durability", "Every", "GraphOutput",
    "Interrupt", "MessagesStreamPart", "OnExit", "Overwrite", "PregelExecutableTask", "PregelTask",
    "RetryPolicy", "Send", "StateSnapshot", "StateUpdate", "StreamMode", "StreamPart",
    "StreamWriter", "TaskPayload", "TaskResultPayload", "TasksStreamPart", "TimeoutPolicy",
    "TracePolicy", "UpdatesStreamPart", "ValuesStreamPart", "When", "default_retry_on",
    "ensure_valid_checkpointer", "interrupt", "interrupt_id", "omit_payload",
]  # fmt: skip
