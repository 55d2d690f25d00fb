"""What callers see of a state and of the writes of a task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from stepwell._plan.spec import GraphSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Write

logger = logging.getLogger("stepwell")


def project(spec: GraphSpec, state: ThreadState, keys: Sequence[str] | str) -> Any:
    """The values of `keys` (those that hold one), or the bare value of one key."""
    return of_values(spec, state.values, keys)


def of_values(spec: GraphSpec, values: dict[str, Any], keys: Sequence[str] | str) -> Any:
    """The same, given the values of all state keys."""
    if isinstance(keys, str):
        return values.get(keys)
    if keys == spec.state_keys:
        return values.copy()
    return {k: values[k] for k in keys if k in values}


def input_writes(spec: GraphSpec, given: Any) -> list[Write]:
    """The writes that input stands for.

    Raises:
        TypeError: It is no dict, although it goes to several channels.
    """
    view = spec.input_view
    if isinstance(view, str):
        return [(view, given)]
    if not isinstance(given, dict):
        msg = f"Expected input to be a dict of {', '.join(view)}, got {type(given).__name__}"
        raise TypeError(msg)
    for key in given:
        if key not in view:
            logger.warning("Input channel %s not found in %s", key, view)
    return [(key, value) for key, value in given.items() if key in view]


def output_selector(spec: GraphSpec) -> Sequence[str] | str:
    """The keys that make up the graph's output."""
    return spec.output_view


def state_selector(spec: GraphSpec) -> Sequence[str] | str:
    """The keys that make up a snapshot's values."""
    return spec.state_view


def fold_writes(writes: Iterable[Write]) -> dict[str, Any]:
    """{channel: value}; several writes to one channel become {"$writes": [...]}."""
    result: dict[str, Any] = {}
    repeated: set[str] = set()
    for channel, value in writes:
        if channel not in result:
            result[channel] = value
        elif channel in repeated:
            result[channel]["$writes"].append(value)
        else:
            repeated.add(channel)
            result[channel] = {"$writes": [result[channel], value]}
    return result


def task_result(writes: Sequence[Write], keys: Sequence[str] | str) -> Any:
    """The `result` a snapshot shows for a finished task."""
    if isinstance(keys, str):
        return fold_writes(w for w in writes if w[0] == keys).get(keys)
    result: dict[str, Any] = {}
    for channel, value in writes:
        if channel in result:
            return fold_writes(w for w in writes if w[0] in keys)
        if channel in keys:
            result[channel] = value
    return result


def task_update(writes: Sequence[Write], keys: Sequence[str] | str) -> Any:
    """What `stream_mode="updates"` shows for one task: its update, None, or a list of them."""
    if isinstance(keys, str):
        shown = [value for channel, value in writes if channel == keys]
    else:
        wanted = [w for w in writes if w[0] in keys]
        names = {channel for channel, _ in wanted}
        if not wanted:
            return None
        if len(names) == len(wanted):
            return dict(wanted)
        shown = [{channel: value} for channel, value in wanted]
    if not shown:
        return None
    return shown[0] if len(shown) == 1 else shown


__all__ = [
    "fold_writes", "input_writes", "of_values", "output_selector", "project", "state_selector",
    "task_result", "task_update",
]  # fmt: skip
