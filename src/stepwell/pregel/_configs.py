"""Configs, one over another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from stepwell._engine.arguments import ArgumentError
from stepwell.config import RunnableConfig
from stepwell.constants import CONF

Config: TypeAlias = RunnableConfig | Mapping[str, Any]


def merge_configs(*configs: Mapping[str, Any] | None) -> RunnableConfig:
    """The last one wins; metadata and `configurable` are merged, tags are added up."""
    merged: dict[str, Any] = {}
    for config in configs:
        for key, value in (config or {}).items():
            known = merged.get(key)
            if key in ("metadata", "configurable"):
                merged[key] = {**(known or {}), **(value or {})}
            elif key == "tags":
                merged[key] = [*(known or ()), *(value or ())]
            elif value is not None:
                merged[key] = value
    return merged  # type: ignore[return-value]  # the keys are those of the configs


_PLACE = ("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map")


def inherited(outer: Mapping[str, Any], given: Mapping[str, Any]) -> RunnableConfig:
    """The config of a graph called inside a node: the node's own, and what the caller says.

    A config that names a place of its own does not inherit the node's. Metadata that tells of
    the node is not passed on, and tags that the node has are not added twice.
    """
    configurable = given.get(CONF) or {}
    base = dict(outer)
    if any(configurable.get(key) for key in _PLACE):
        base[CONF] = {}
    known = base.get("tags") or ()
    if tags := given.get("tags"):
        given = {**given, "tags": [t for t in tags if t not in known]}
    merged = merge_configs(base, given)
    merged["metadata"] = {
        k: v
        for k, v in (merged.get("metadata") or {}).items()
        if not k.startswith("langgraph_") and k not in ("thread_id", "checkpoint_ns")
    }
    return merged


def config_list(config: Config | Sequence[Config] | None, length: int) -> list[Config | None]:
    """A config for each of `length` inputs. A run id names one run: the first.

    Raises:
        ArgumentError: There are more configs than inputs, or fewer.
    """
    if isinstance(config, Sequence):
        if len(config) != length:
            msg = f"config must be a list of the same length as inputs, {length}, not {len(config)}"
            raise ArgumentError(msg)
        return list(config)
    if config is None or config.get("run_id") is None:
        return [config] * length
    others = {k: v for k, v in config.items() if k != "run_id"}
    return [config, *[others] * (length - 1)]


def key_list(keys: str | Sequence[str | None] | None, length: int) -> list[str | None]:
    """An idempotency key for each of `length` inputs: keys are unique per thread, so one may do
    for inputs of different threads.

    Raises:
        ArgumentError: There are more keys than inputs, or fewer.
    """
    if keys is None or isinstance(keys, str):
        return [keys] * length
    if len(keys) != length:
        msg = f"idempotency_key must be a str or a list of {length}, not of {len(keys)}"
        raise ArgumentError(msg)
    return list(keys)


__all__ = ["Config", "config_list", "inherited", "key_list", "merge_configs"]
