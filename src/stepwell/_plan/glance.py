"""A state as it is looked at, not run: its values, and what is due, without making its channels.

What is stored of most channels is their value. Only those of which that is not so are made, one
by one, where they are asked. The outcome is that of `ThreadState` and `plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell._plan.spec import GraphSpec
from stepwell._plan.tasks import Task, pushed
from stepwell.channels.base import MISSING
from stepwell.constants import TASKS


def values_at(spec: GraphSpec, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the state keys that hold one, given the stored forms of channels."""
    values: dict[str, Any] = {}
    plain, empty = spec.as_stored, spec.empty
    for key in spec.state_keys:
        if key in stored:
            if key in plain:
                values[key] = stored[key]
                continue
        elif key in empty:
            continue
        channel = spec.channels[key].from_checkpoint(stored.get(key, MISSING))
        if channel.is_available():
            values[key] = channel.get()
    return values


def due_at(
    spec: GraphSpec,
    stored: Mapping[str, Any],
    versions: Mapping[str, int],
    seen: Mapping[str, Mapping[str, int]],
) -> list[Task]:
    """The tasks of the next superstep, without their input: sends in their order, then due nodes
    in the order in which the graph defines them."""
    tasks: list[Task] = []
    if TASKS in stored and TASKS in spec.stepping:
        tasks = pushed(spec, spec.channels[TASKS].from_checkpoint(stored[TASKS]))
    if not versions or not (spec.waits or not spec.triggers.isdisjoint(stored)):
        return tasks
    plain, empty = spec.as_stored, spec.empty
    for name, node in spec.nodes.items():
        known = seen.get(name)
        for trigger in node.triggers:
            if known is not None and versions.get(trigger, 0) <= known.get(trigger, 0):
                continue
            if trigger in stored:
                available = trigger in plain or _holds(spec, trigger, stored[trigger])
            else:
                available = trigger not in empty and _holds(spec, trigger, MISSING)
            if available:
                tasks.append(Task(node, None))
                break
    return tasks


def _holds(spec: GraphSpec, channel: str, stored: Any) -> bool:
    return spec.channels[channel].from_checkpoint(stored).is_available()


__all__ = ["due_at", "values_at"]
