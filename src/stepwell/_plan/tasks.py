"""Planning: which tasks make up the next superstep."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from stepwell._ids import digest16, digest_framed, framed, framed_name
from stepwell._plan.spec import GraphSpec, NodeSpec
from stepwell._plan.state import ThreadState
from stepwell.channels.base import BaseChannel
from stepwell.constants import START, TASKS
from stepwell.managed.base import Scratchpad
from stepwell.types import Send, TimeoutPolicy

logger = logging.getLogger("stepwell")

PULL: Final = "__pregel_pull"
PUSH: Final = "__pregel_push"
HANDLER: Final = -5
"""The index of a task that handles the failure of another one."""

_PUSHED: Final = (PUSH,)

Write = tuple[str, Any]
Steps = tuple[int, int]


class Task:
    """One activation of a node in one superstep.

    `index` is -1 for a node that an edge triggered (PULL), else the position of its `Send`
    (PUSH). Tasks are applied in the order of `order`: triggered nodes by name, then sends by
    position.
    """

    __slots__ = (
        "_id", "consumables", "index", "input", "name", "node", "order", "timeout", "triggers",
    )  # fmt: skip

    def __init__(
        self, node: NodeSpec, input: Any, index: int = -1, timeout: TimeoutPolicy | None = None
    ) -> None:
        self.node = node
        self.name = node.name
        self.input = input
        self.index = index
        self.timeout = timeout
        self._id: bytes | None = None
        self.order: tuple[Any, ...]
        if index < 0:
            self.triggers = node.triggers
            self.consumables = node.consumables
            self.order = node.order
        else:
            self.triggers = _PUSHED
            self.consumables = ()
            self.order = (2, "", index)

    @property
    def origin(self) -> str:
        """The node that a thread still has to run while this task has not finished."""
        return self.node.name

    @property
    def path(self) -> tuple[Any, ...]:
        """The path LangGraph shows for such a task."""
        return (PULL, self.node.name) if self.index < 0 else (PUSH, self.index, False)

    @property
    def path_text(self) -> str:
        """The path as the text that is stored with the task's pending writes."""
        return ",".join(str(p) for p in self.path)

    def id(self, checkpoint: str, ns: str, step: int) -> bytes:
        """16 bytes that name this task among all tasks of the thread, the same at every
        re-execution of the superstep after `checkpoint`."""
        if self._id is None:
            self._id = task_id(checkpoint, ns, step, self.node.name, self.index)
        return self._id


def task_id(checkpoint: str, ns: str, step: int, node: str, index: int) -> bytes:
    """The id of the task that activates a node in the superstep after a checkpoint."""
    return digest_framed(
        framed(checkpoint) + framed_name(ns) + framed(str(step)) + framed_name(node)
        + framed_name(PULL if index < 0 else str(index))
    )  # fmt: skip


class HandlerTask(Task):
    """The error handler of a task that failed: it runs in the same superstep, with the failed
    task's input, and its writes are applied where those of the failed task would have been."""

    __slots__ = ("failed",)

    def __init__(self, node: NodeSpec, failed: Task) -> None:
        super().__init__(node, failed.input, HANDLER)
        self.triggers = _PUSHED
        self.order = (*failed.order, 1)
        self.failed = failed

    @property
    def origin(self) -> str:
        return self.failed.origin

    @property
    def path(self) -> tuple[Any, ...]:
        return (*self.failed.path[:3], "node_error_handler", False)

    def id(self, checkpoint: str, ns: str, step: int) -> bytes:
        if self._id is None:
            self._id = handler_id(self.failed.id(checkpoint, ns, step), self.node.name)
        return self._id


def handler_id(failed: bytes, handler: str) -> bytes:
    """The id of the task that handles the failure of the task `failed`."""
    return digest16(failed, handler)


_name = attrgetter("name")


def is_due(state: ThreadState, node: NodeSpec) -> bool:
    """Whether a trigger of the node is available at a version the node has not seen."""
    seen = state.seen.get(node.name)
    for trigger in node.triggers:
        if state.channels[trigger].is_available() and (
            seen is None or state.versions.get(trigger, 0) > seen.get(trigger, 0)
        ):
            return True
    return False


def read_input(
    state: ThreadState, node: NodeSpec, *, steps: Steps = (0, 0), mapped: bool = True
) -> Any:
    """The input of a triggered node: a fresh dict of the keys it reads (or the bare value).

    `steps` are this superstep and the first one that is not allowed, for managed keys.
    """
    if node.takes_input:
        return state.channels[START].get()
    values = state.values
    if node.reads_all:
        value: Any = values.copy()
    elif node.reads is None:
        value = values.get(node.bare)
    else:
        value = {k: values[k] for k in node.reads if k in values}
    for key, managed in node.managed_reads:
        value[key] = managed.get(Scratchpad(*steps))
    if mapped and node.mapper is not None:
        return node.mapper(value)
    return value


def pushed(spec: GraphSpec, topic: BaseChannel[Any, Any, Any] | None) -> list[Task]:
    """The tasks of the `Send`s that a topic holds."""
    if topic is None or not topic.is_available():
        return []
    tasks = []
    nodes = spec.nodes
    for index, packet in enumerate(topic.get()):
        if not isinstance(packet, Send):
            logger.warning("Ignoring invalid packet type %s in pending sends", type(packet))
        elif packet.node not in nodes:
            logger.warning("Ignoring unknown node name %s in pending sends", packet.node)
        else:
            tasks.append(Task(nodes[packet.node], packet.arg, index, packet.timeout))
    return tasks


def plan(
    spec: GraphSpec, state: ThreadState, steps: Steps = (0, 0), *, inputs: bool = True
) -> list[Task]:
    """The tasks of the next superstep: sends in their order, then due nodes.

    Args:
        steps: This superstep and the first one that is not allowed, for managed values.
        inputs: Whether to map node inputs to the node's schema (False: to look, not to run).

    Nodes come sorted by name to be run, and in the order the graph defines them to be looked
    at after a load. When the last barrier is known, the cost is that of the channels it
    changed.
    """
    tasks = pushed(spec, state.channels.get(TASKS)) if TASKS in state.live else []
    if state.updated is not None:
        due = _triggered(spec, state.updated)
    else:
        due = _found_due(spec, state, by_name=inputs)
    for node in due:
        if node.copies:
            value: Any = state.values.copy()
        else:
            value = read_input(state, node, steps=steps, mapped=inputs)
        tasks.append(Task(node, value))
    return tasks


def _triggered(spec: GraphSpec, updated: Iterable[str]) -> Sequence[NodeSpec]:
    """The nodes that channels trigger which the last barrier has updated, sorted by name.

    They are due: the barrier gave these channels a version that no node has seen.
    """
    after = spec.after
    first: Sequence[NodeSpec] = ()
    more: set[NodeSpec] | None = None
    for channel in updated:
        if channel in after:
            if more is not None:
                more.update(after[channel])
            elif first:
                more = {*first, *after[channel]}
            else:
                first = after[channel]
    return first if more is None else sorted(more, key=_name)


def _found_due(spec: GraphSpec, state: ThreadState, *, by_name: bool) -> Sequence[NodeSpec]:
    """The nodes that are due where it is not known what the last barrier has updated."""
    if not state.versions:
        return ()
    nodes: Iterable[NodeSpec] = spec.nodes.values()
    if by_name:
        nodes = sorted(nodes, key=_name)
    return [node for node in nodes if is_due(state, node)]


def due_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Names of the tasks, in planning order."""
    return tuple(t.node.name for t in tasks)


__all__ = [
    "HANDLER", "PULL", "PUSH", "HandlerTask", "Task", "Write", "due_names", "handler_id", "is_due",
    "plan", "pushed", "read_input", "task_id",
]  # fmt: skip
