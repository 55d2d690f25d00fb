"""Shapes and small functions that LangGraph's checkpoint package offers beside its savers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NotRequired, TypeAlias, TypedDict

from stepwell._clock import SYSTEM_CLOCK
from stepwell._ids import RANDOM_IDS
from stepwell._shapes import CheckpointMetadata
from stepwell.channels.base import MISSING, BaseChannel
from stepwell.config import RunnableConfig
from stepwell.errors import EmptyChannelError

ChannelVersions: TypeAlias = dict[str, str | int | float]
"""Version by channel."""
PendingWrite: TypeAlias = tuple[str, str, Any]
"""(task id, channel, value)"""


class Checkpoint(TypedDict):
    """A checkpoint as `get` and `list` of a saver give it; Stepwell stores differences."""

    v: int
    id: str
    ts: str
    channel_values: dict[str, Any]
    channel_versions: ChannelVersions
    versions_seen: dict[str, ChannelVersions]
    updated_channels: list[str] | None
    pending_sends: NotRequired[list[Any]]


ERROR: Final = "__error__"
SCHEDULED: Final = "__scheduled__"
INTERRUPT: Final = "__interrupt__"
RESUME: Final = "__resume__"
WRITES_IDX_MAP: Final = {ERROR: -1, SCHEDULED: -2, INTERRUPT: -3, RESUME: -4}
LATEST_VERSION: Final = 2
EXCLUDED_METADATA_KEYS: Final = {
    "checkpoint_id", "checkpoint_map", "checkpoint_ns", "langgraph_checkpoint_ns",
    "langgraph_node", "langgraph_path", "langgraph_step", "langgraph_triggers", "thread_id",
}  # fmt: skip
"""Keys that tell where a run stands, and are not stored as its metadata."""


def get_checkpoint_id(config: RunnableConfig) -> str | None:
    """The checkpoint id a config names."""
    found: str | None = config["configurable"].get("checkpoint_id")
    return found


def get_checkpoint_metadata(
    config: RunnableConfig, metadata: CheckpointMetadata | Mapping[str, Any]
) -> dict[str, Any]:
    """Metadata with the plain values that a config's metadata and configurable keys add.

    Nothing of Stepwell calls it: only `config["metadata"]` is stored.
    """
    merged = {k: _without_nul(v) for k, v in metadata.items()}
    for given in (config.get("metadata"), config.get("configurable")):
        for key, value in (given or {}).items():
            if key in merged or key in EXCLUDED_METADATA_KEYS or key.startswith("__"):
                continue
            if isinstance(value, (str, int, float)):
                merged[key] = _without_nul(value)
    return merged


def get_serializable_checkpoint_metadata(
    config: RunnableConfig, metadata: CheckpointMetadata | Mapping[str, Any]
) -> dict[str, Any]:
    """As `get_checkpoint_metadata`, without the key `writes` of former releases."""
    merged = get_checkpoint_metadata(config, metadata)
    merged.pop("writes", None)
    return merged


def _without_nul(value: Any) -> Any:
    return value.replace("\0", "") if isinstance(value, str) else value


def copy_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """A copy whose mappings can be changed; the values in them are shared."""
    return {
        "v": checkpoint["v"],
        "ts": checkpoint["ts"],
        "id": checkpoint["id"],
        "channel_values": dict(checkpoint["channel_values"]),
        "channel_versions": dict(checkpoint["channel_versions"]),
        "versions_seen": {k: dict(v) for k, v in checkpoint["versions_seen"].items()},
        "pending_sends": list(checkpoint.get("pending_sends", ())),
        "updated_channels": checkpoint.get("updated_channels"),
    }


def empty_checkpoint() -> Checkpoint:
    """A checkpoint of nothing, with a name of its own."""
    return {
        "v": LATEST_VERSION,
        "id": RANDOM_IDS.run_id(),
        "ts": datetime.fromtimestamp(SYSTEM_CLOCK.wall(), UTC).isoformat(),
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
        "pending_sends": [],
        "updated_channels": None,
    }


def create_checkpoint(
    checkpoint: Checkpoint,
    channels: Mapping[str, BaseChannel[Any, Any, Any]] | None,
    step: int,  # noqa: ARG001  # part of LangGraph's ids, not of ours
    *,
    id: str | None = None,
) -> Checkpoint:
    """The checkpoint that follows `checkpoint`, with the values the channels hold now."""
    values = checkpoint["channel_values"] if channels is None else {}
    for name, channel in (channels or {}).items():
        if name in checkpoint["channel_versions"]:
            stored = channel.checkpoint()
            if stored is not MISSING:
                values[name] = stored
    following = empty_checkpoint()
    following["id"] = id or following["id"]
    following["channel_values"] = values
    following["channel_versions"] = checkpoint["channel_versions"]
    following["versions_seen"] = checkpoint["versions_seen"]
    following["pending_sends"] = checkpoint.get("pending_sends", [])
    return following


def writes_sort_key(task_path: str, task_id: str = "", idx: int = 0) -> tuple[str, str, int]:
    """How the writes of one superstep sort."""
    return (task_path, task_id, idx)


__all__ = [
    "ERROR", "EXCLUDED_METADATA_KEYS", "INTERRUPT", "LATEST_VERSION", "RESUME", "SCHEDULED",
    "WRITES_IDX_MAP", "ChannelVersions", "Checkpoint", "CheckpointMetadata", "EmptyChannelError",
    "PendingWrite", "copy_checkpoint", "create_checkpoint", "empty_checkpoint",
    "get_checkpoint_id", "get_checkpoint_metadata", "get_serializable_checkpoint_metadata",
    "writes_sort_key",
]  # fmt: skip
