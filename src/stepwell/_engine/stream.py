"""What a run tells whoever watches it, as chunks of the stream modes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeAlias

from stepwell._plan.output import fold_writes, task_update
from stepwell.constants import NS_SEP
from stepwell.types import Interrupt

if TYPE_CHECKING:
    from stepwell._engine.task import TaskRun

INTERRUPT = "__interrupt__"


Chunk: TypeAlias = tuple[tuple[str, ...], str, Any]
"""(namespace of the graph that it is from, mode, payload)"""


class Sink:
    """Collects the chunks of the modes somebody asked for.

    Written by the run, read by one consumer on the same loop, in order. The run never waits
    for its consumer.

    Args:
        modes: Stream modes whose chunks are wanted.
        subgraphs: Whether chunks of the graphs inside the graph are wanted too.
    """

    __slots__ = (
        "_chunks", "_closed", "_loop", "_thread", "_waiter", "modes", "seen_messages", "subgraphs"
    )  # fmt: skip

    def __init__(self, modes: Iterable[str], *, subgraphs: bool = False) -> None:
        self.modes = frozenset(modes)
        self.subgraphs = subgraphs
        self.seen_messages: set[Any] = set()
        """Ids of messages that were shown, or that the tasks were given."""
        self._chunks: deque[Chunk] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    def put(self, chunk: Chunk) -> None:
        """Add a chunk, from the loop or from the thread of a sync node."""
        if get_ident() == self._thread:
            self._push(chunk)
        else:
            self._loop.call_soon_threadsafe(self._push, chunk)

    def _push(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        """No more chunks will come."""
        self._closed = True
        self._wake()

    async def next(self) -> Chunk | None:
        """The next chunk, None after the last one."""
        while not self._chunks:
            if self._closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._chunks.popleft()


class Outlet:
    """Where one run puts its chunks: the sinks that listen to its graph."""

    __slots__ = ("modes", "ns", "sinks")

    def __init__(self, ns: str, sinks: Sequence[Sink]) -> None:
        self.ns = tuple(ns.split(NS_SEP)) if ns else ()
        self.sinks = tuple(sinks)
        self.modes = frozenset[str]().union(*(s.modes for s in sinks))

    def wants(self, mode: str) -> bool:
        """Whether chunks of this mode reach anybody (debug wraps checkpoints and tasks)."""
        return mode in self.modes or ("debug" in self.modes and mode in ("checkpoints", "tasks"))

    def put(self, mode: str, payload: Any, step: int = 0, now: float = 0.0) -> None:
        """Add a chunk; `step` and `now` (Unix time) are shown by debug chunks only."""
        if mode in self.modes:
            self._put(mode, payload)
        if "debug" in self.modes and mode in ("checkpoints", "tasks"):
            kind = (
                "checkpoint"
                if mode == "checkpoints"
                else "task_result"
                if "result" in payload
                else "task"
            )
            self._put(
                "debug",
                {
                    "step": step,
                    "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
                    "type": kind,
                    "payload": payload,
                },
            )

    def saw(self, names: Iterable[Any]) -> None:
        """Messages with these ids are known already."""
        known = set(names)
        for sink in self.sinks:
            sink.seen_messages |= known

    def put_message(
        self, message: Any, metadata: Mapping[str, Any], name: Any, *, once: bool = False
    ) -> None:
        """Add a chunk of the mode "messages"; `once`: only where its id is new."""
        for sink in self.sinks:
            if "messages" not in sink.modes or (once and name in sink.seen_messages):
                continue
            if name is not None:
                sink.seen_messages.add(name)
            sink.put((self.ns, "messages", (message, metadata)))

    def put_at(self, ns: tuple[str, ...], mode: str, payload: Any) -> None:
        """Add a chunk that is shown as one of another namespace."""
        for sink in self.sinks:
            if mode in sink.modes:
                sink.put((ns, mode, payload))

    def _put(self, mode: str, payload: Any) -> None:
        self.put_at(self.ns, mode, payload)


def update_chunk(
    task: TaskRun, keys: Sequence[str] | str, *, cached: bool = False
) -> dict[str, Any]:
    """The `updates` chunk of one finished task."""
    chunk: dict[str, Any] = {task.name: task_update(task.writes or (), keys)}
    if cached:
        chunk["__metadata__"] = {"cached": True}
    return chunk


def task_started(task: TaskRun) -> dict[str, Any]:
    """The `tasks` chunk that announces a task."""
    payload: dict[str, Any] = {
        "id": task.id,
        "name": task.name,
        "input": task.task.input,
        "triggers": task.task.triggers,
    }
    metadata = task.user_metadata
    if metadata:
        payload["metadata"] = metadata
    return payload


def task_ended(task: TaskRun, keys: Sequence[str]) -> dict[str, Any]:
    """The `tasks` chunk that tells how a task ended."""
    return {
        "id": task.id,
        "name": task.name,
        "error": task.failure,
        "result": fold_writes(w for w in task.writes or () if w[0] in keys),
        "interrupts": [interrupt_dict(i) for i in task.interrupts],
    }


def interrupt_dict(interrupt: Interrupt) -> dict[str, Any]:
    """An interrupt as the `tasks` and `checkpoints` chunks show it."""
    return {
        "value": interrupt.value,
        "id": interrupt.id,
        "response_schema": interrupt.response_schema,
    }


__all__ = [
    "INTERRUPT",
    "Outlet",
    "Sink",
    "interrupt_dict",
    "task_ended",
    "task_started",
    "update_chunk",
]
