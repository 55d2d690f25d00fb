"""Shapes of what a graph shows: questions, snapshots, stream parts. All are LangGraph's."""

# No `from __future__ import annotations`: each text in place of a type would be compiled.

from collections.abc import Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    TypedDict,
    TypeVar,
    final,
)
from warnings import warn

from stepwell._dataclass import dataclass
from stepwell._ids import digest16
from stepwell.config import RunnableConfig
from stepwell.warnings import LangGraphDeprecatedSinceV10, LangGraphDeprecatedSinceV11

StateT = TypeVar("StateT")
OutputT = TypeVar("OutputT")
if TYPE_CHECKING:  # Python 3.11 knows no defaults of type variables; type checkers do
    from typing_extensions import TypeVar as _TypeVar

    ResponseT = _TypeVar("ResponseT", default=Any)
else:
    ResponseT = TypeVar("ResponseT")

INTERRUPT = "__interrupt__"
_NO_ID = "placeholder-id"
_FORGOTTEN = frozenset(("ns", "when", "resumable", "interrupt_id"))
"""What older releases of LangGraph took as arguments of `Interrupt`."""


def interrupt_id(task_ns: str, answered: int) -> str:
    """Id of a task's question: 32 hex digits that name the task and how many it has answered."""
    return digest16(f"{task_ns}|{answered}" if answered else task_ns).hex()


@final
@dataclass(init=False, slots=True)
class Interrupt(Generic[ResponseT]):
    """A question a task asked: the value shown to whoever answers, and its id.

    `response_schema` is the JSON schema of the answer, if the question came with one.
    """

    value: Any
    id: str
    response_schema: type[ResponseT] | dict[str, Any] | None = None

    def __init__(
        self,
        value: Any,
        id: str = _NO_ID,
        *,
        response_schema: type[ResponseT] | dict[str, Any] | None = None,
        **deprecated: Any,
    ) -> None:
        if unknown := deprecated.keys() - _FORGOTTEN:
            msg = f"Interrupt() got an unexpected keyword argument {min(unknown)!r}"
            raise TypeError(msg)
        self.value = value
        self.id = id
        self.response_schema = response_schema
        ns = deprecated.get("ns")
        if id == _NO_ID and isinstance(ns, Sequence):
            self.id = interrupt_id("|".join(ns), 0)

    @classmethod
    def from_ns(
        cls,
        value: Any,
        ns: str,
        *,
        response_schema: type[ResponseT] | dict[str, Any] | None = None,
    ) -> "Interrupt[ResponseT]":
        """The first question of the task in namespace `ns`."""
        return cls(value, interrupt_id(ns, 0), response_schema=response_schema)

    @property
    def interrupt_id(self) -> str:
        """Deprecated name of `id`."""
        warn(
            "`interrupt_id` is deprecated. Use `id` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return self.id


class PregelTask(NamedTuple):
    """A task as a snapshot shows it.

    `error` is the exception while the run that saw it lives, its repr after a reload.
    `result` is `{channel: value}`, None while the task is unfinished.
    """

    id: str
    name: str
    path: tuple[Any, ...]
    error: Any = None
    interrupts: tuple[Interrupt[Any], ...] = ()
    state: Any = None
    result: Any = None


class CheckpointMetadata(TypedDict, total=False):
    """What is known of how a checkpoint came about, beside the caller's own keys.

    `step` is -1 for the first input, 0 for the first superstep, and so on; `parents` maps the
    namespace of each graph around to its checkpoint id.
    """

    source: Literal["input", "loop", "update", "fork"]
    step: int
    parents: dict[str, str]
    run_id: str


class StateSnapshot(NamedTuple):
    """The state of a thread at one checkpoint."""

    values: Any
    """Channel values by name (all of the graph's state keys that hold one)."""
    next: tuple[str, ...]
    """Nodes that are still to run from here."""
    config: RunnableConfig
    """Config that names this checkpoint."""
    metadata: dict[str, Any] | None
    created_at: str | None
    """ISO 8601, UTC."""
    parent_config: RunnableConfig | None
    tasks: tuple[PregelTask, ...]
    interrupts: tuple[Interrupt[Any], ...]


class TaskPayload(TypedDict):
    """A `tasks` chunk that announces a task."""

    id: str
    name: str
    input: Any
    triggers: list[str]
    metadata: NotRequired[dict[str, Any]]


class TaskResultPayload(TypedDict):
    """A `tasks` chunk that tells how a task ended."""

    id: str
    name: str
    error: str | None
    interrupts: list[dict[str, Any]]
    result: dict[str, Any]


class CheckpointTask(TypedDict):
    """A task in a `checkpoints` chunk: failed (`error`), finished (`result`) or pending."""

    id: str
    name: str
    error: NotRequired[str]
    result: NotRequired[Any]
    interrupts: NotRequired[list[dict[str, Any]]]
    state: StateSnapshot | RunnableConfig | None


class CheckpointPayload(TypedDict, Generic[StateT]):
    """A `checkpoints` chunk."""

    config: RunnableConfig | None
    metadata: CheckpointMetadata
    values: StateT
    next: list[str]
    parent_config: RunnableConfig | None
    tasks: list[CheckpointTask]


class _DebugCheckpoint(TypedDict, Generic[StateT]):
    step: int
    timestamp: str
    type: Literal["checkpoint"]
    payload: CheckpointPayload[StateT]


class _DebugTask(TypedDict):
    step: int
    timestamp: str
    type: Literal["task"]
    payload: TaskPayload


class _DebugTaskResult(TypedDict):
    step: int
    timestamp: str
    type: Literal["task_result"]
    payload: TaskResultPayload


DebugPayload = _DebugCheckpoint[StateT] | _DebugTask | _DebugTaskResult
"""A `debug` chunk: one of the other two in an envelope; `type` tells which."""


class ValuesStreamPart(TypedDict, Generic[OutputT]):
    """`version="v2"`: the state after a superstep, as the graph's output type."""

    type: Literal["values"]
    ns: tuple[str, ...]
    data: OutputT
    interrupts: tuple[Interrupt[Any], ...]


class UpdatesStreamPart(TypedDict):
    """`version="v2"`: what nodes returned, by node; questions under "__interrupt__"."""

    type: Literal["updates"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class MessagesStreamPart(TypedDict):
    """`version="v2"`: a message, or a piece of one, and its metadata."""

    type: Literal["messages"]
    ns: tuple[str, ...]
    data: tuple[Any, dict[str, Any]]


class CustomStreamPart(TypedDict):
    """`version="v2"`: what a node wrote with its stream writer."""

    type: Literal["custom"]
    ns: tuple[str, ...]
    data: Any


class CheckpointStreamPart(TypedDict, Generic[StateT]):
    """`version="v2"`: a checkpoint was made."""

    type: Literal["checkpoints"]
    ns: tuple[str, ...]
    data: CheckpointPayload[StateT]


class TasksStreamPart(TypedDict):
    """`version="v2"`: a task began, or ended."""

    type: Literal["tasks"]
    ns: tuple[str, ...]
    data: TaskPayload | TaskResultPayload


class DebugStreamPart(TypedDict, Generic[StateT]):
    """`version="v2"`: a task or a checkpoint, in the debug envelope."""

    type: Literal["debug"]
    ns: tuple[str, ...]
    data: DebugPayload[StateT]


# The checkpoint part stands first so that the parameters come in LangGraph's order:
# StreamPart[StateT, OutputT].
StreamPart = (
    CheckpointStreamPart[StateT]
    | ValuesStreamPart[OutputT]
    | UpdatesStreamPart
    | MessagesStreamPart
    | CustomStreamPart
    | TasksStreamPart
    | DebugStreamPart[StateT]
)
"""Any part of a `version="v2"` stream; `part["type"]` tells which."""


def _by_key_is_old(how: str) -> None:
    warn(
        f"Accessing GraphOutput via `{how}` is deprecated. Use `result.value` for the output, "
        "or `result.interrupts` for interrupts.",
        LangGraphDeprecatedSinceV11,
        stacklevel=3,
    )


@dataclass(frozen=True)
class GraphOutput(Generic[OutputT]):
    """What `invoke(version="v2")` returns: the output, and the questions that wait.

    Keys can be read as from the dict that `version="v1"` returns; that is deprecated.
    """

    value: OutputT
    interrupts: tuple[Interrupt[Any], ...] = ()

    def __getitem__(self, key: str) -> Any:
        _by_key_is_old("result[key]")
        if key == INTERRUPT:
            return self.interrupts
        if isinstance(self.value, dict):
            return self.value[key]
        try:
            return getattr(self.value, key)
        except AttributeError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        _by_key_is_old("key in result")
        if key == INTERRUPT:
            return bool(self.interrupts)
        if isinstance(self.value, dict):
            return key in self.value
        return isinstance(key, str) and hasattr(self.value, key)


__all__ = [
    "INTERRUPT", "CheckpointMetadata", "CheckpointPayload", "CheckpointStreamPart",
    "CheckpointTask", "CustomStreamPart", "DebugPayload", "DebugStreamPart", "GraphOutput",
    "Interrupt", "MessagesStreamPart", "PregelTask", "StateSnapshot", "StreamPart", "TaskPayload",
    "TaskResultPayload", "TasksStreamPart", "UpdatesStreamPart", "ValuesStreamPart",
    "interrupt_id",
]  # fmt: skip
