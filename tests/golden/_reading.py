"""Everything that can be read of the golden threads, as plain JSON."""

from __future__ import annotations

from typing import Any

from stepwell.checkpoint.base import Saver
from tests.golden import _program as program

GRAPHS = {
    "done": program.plain,
    "exit": program.plain,
    "forked": program.plain,
    "asked": program.asking,
    "nested": program.nested,
    "failed": lambda saver: program.failing(saver, fails=False),
    "folded": lambda saver: program.failing(saver, fails=False),
    "orphan": lambda saver: program.dying(saver, dies=False),
}
"""The graph that each thread was written by."""


async def readable(saver: Saver) -> dict[str, Any]:
    """Histories, statuses and runs by thread."""
    return {thread: await _thread(saver, thread) for thread in GRAPHS}


async def _thread(saver: Saver, thread: str) -> dict[str, Any]:
    graph = GRAPHS[thread](saver)
    info = await saver.aget_thread(thread)
    assert info is not None
    journal = await saver.journal()
    history = {}
    for ns in ("", *await journal.namespaces(saver.key(thread))):
        config = program.at(thread)
        config["configurable"]["checkpoint_ns"] = ns
        history[ns] = [_state(s) async for s in graph.aget_state_history(config)]
    return {
        "status": info.status,
        "checkpoints": info.checkpoints,
        "runs": [run.status async for run in saver.alist_runs(thread)],
        "history": history,
    }


def _state(state: Any) -> dict[str, Any]:
    parent = state.parent_config
    return {
        "id": state.config["configurable"]["checkpoint_id"],
        "parent": parent and parent["configurable"]["checkpoint_id"],
        "step": state.metadata["step"],
        "source": state.metadata["source"],
        "next": list(state.next),
        "values": {name: ascii(value) for name, value in sorted(state.values.items())},
        "tasks": [
            [task.name, task.error and ascii(task.error), ascii(task.result),
             [[i.id, ascii(i.value)] for i in task.interrupts]]
            for task in state.tasks
        ],
    }  # fmt: skip
