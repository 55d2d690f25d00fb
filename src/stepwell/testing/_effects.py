"""What nodes did, told by themselves, outside the database."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from stepwell._ids import RANDOM_IDS
from stepwell.config import get_config
from stepwell.constants import NS_SEP
from stepwell.errors import UsageError
from stepwell.runtime import Runtime
from stepwell.testing._lines import LineLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One execution of a task, as its node told it.

    Attributes:
        thread: The thread of its run.
        step: The superstep it is a part of.
        task: Its task id.
        epoch: The epoch of the claim that it ran under.
        nonce: Differs for every execution.
        ns: Namespace of the graph it belongs to.
        checkpoint: The checkpoint that the superstep goes on from; None if the node did not say.
        run: The run's id.
        node: The node's name.
        at: Seconds since the host booted.
        pid: The process.
    """

    thread: str
    step: int
    task: str
    epoch: int
    nonce: str
    ns: str = ""
    checkpoint: str | None = None
    run: str | None = None
    node: str | None = None
    at: float = 0.0
    pid: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


class EffectLog(LineLog):
    """Where nodes write down that they run: one line each time, on the disk before they go on.

    In a node::

        async def charge(state: State, runtime: Runtime) -> dict:
            effects.record(runtime)
            ...
    """

    def append(  # type: ignore[override]  # what a line holds is fixed here
        self, thread: str, step: int, task_id: str, epoch: int, nonce: str, **more: Any
    ) -> None:
        """Write down one execution. `more`: other fields of `Effect`.

        Raises:
            OSError: It could not be written.
        """
        super().append(
            {
                "thread": thread, "step": step, "task": task_id, "epoch": epoch, "nonce": nonce,
                "at": self.now(), "pid": os.getpid(), **more,
            }
        )  # fmt: skip

    def record(self, runtime: Runtime[Any]) -> None:
        """Write down that the node that is running here has begun. For sync and async nodes.

        Raises:
            UsageError: The run has no thread, so that nothing of it can be checked.
        """
        told = runtime.execution_info
        if told is None or told.thread_id is None or runtime.epoch is None:
            raise UsageError("Effects are checked against a thread: run the graph with a saver.")
        around = get_config().get("metadata", {})
        self.append(
            told.thread_id,
            around.get("langgraph_step", 0),
            told.task_id,
            runtime.epoch,
            RANDOM_IDS.run_id(),
            ns=NS_SEP.join(
                told.checkpoint_ns.split(NS_SEP)[:-1]
            ),  # the last part is the task's own
            checkpoint=told.checkpoint_id,
            run=told.run_id,
            node=around.get("langgraph_node"),
        )

    def effects(self) -> list[Effect]:
        """Everything that was written down, in that order."""
        return [Effect(**record) for record in self.records()]


__all__ = ["Effect", "EffectLog"]
