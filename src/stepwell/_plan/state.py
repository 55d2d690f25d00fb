"""The state of one namespace of one thread, as the planner holds it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from stepwell._plan.spec import PREVIOUS, GraphSpec
from stepwell.channels.base import MISSING, BaseChannel


class ThreadState:
    """Channels, their versions, and who has seen them.

    `version` grows by one at every barrier; `versions[c]` is the barrier that changed channel
    `c` last; `seen[n][c]` is the version of trigger `c` that node `n` last ran on. A node is
    due when a trigger is available at a version it has not seen. `interrupt_seen` is the
    version up to which breakpoints were passed. `updated` are the channels the last barrier
    made available with a new value, None when that is not known (after a load).

    `values` is the flat dict of the state keys that hold a value: nodes get copies of it, so
    reading 20 keys costs one dict copy.
    """

    __slots__ = (
        "changed_at",
        "channels",
        "interrupt_seen",
        "live",
        "seen",
        "updated",
        "values",
        "version",
        "versions",
    )

    def __init__(
        self,
        spec: GraphSpec,
        stored: Mapping[str, Any] | None = None,
        *,
        version: int = 0,
        versions: dict[str, int] | None = None,
        seen: dict[str, dict[str, int]] | None = None,
        interrupt_seen: int = 0,
    ) -> None:
        """Build the state from the stored forms of its channels (absent: empty)."""
        self.version = version
        self.versions: dict[str, int] = versions if versions is not None else {}
        self.seen: dict[str, dict[str, int]] = seen if seen is not None else {}
        self.interrupt_seen = interrupt_seen
        self.changed_at = max(self.versions.values(), default=0)
        self.updated: set[str] | None = None
        channels: dict[str, BaseChannel[Any, Any, Any]]
        values: dict[str, Any]
        live: set[str]
        if stored:
            channels = {
                k: c.from_checkpoint(stored.get(k, MISSING)) for k, c in spec.channels.items()
            }
            values = {k: channels[k].get() for k in spec.state_keys if channels[k].is_available()}
            live = {k for k in spec.stepping if channels[k].is_available()}
        else:
            channels = spec.fresh_channels()
            values = {k: channels[k].get() for k in spec.born}
            live = set(spec.born_live)
        self.channels, self.values, self.live = channels, values, live

    def copy(self, spec: GraphSpec) -> ThreadState:
        """A state that can be tried out: no reducer that works in place reaches this one."""
        stored = deepcopy({k: c.checkpoint() for k, c in self.channels.items()})
        return ThreadState(
            spec,
            stored,
            version=self.version,
            versions=dict(self.versions),
            seen={k: dict(v) for k, v in self.seen.items()},
            interrupt_seen=self.interrupt_seen,
        )

    @property
    def started(self) -> bool:
        """Whether anything was ever written."""
        return bool(self.versions)

    @property
    def previous(self) -> Any:
        """What the last run of an entrypoint saved on this thread; None if there is nothing."""
        channel = self.channels.get(PREVIOUS)
        return channel.get() if channel is not None and channel.is_available() else None

    def pass_breakpoints(self) -> None:
        """Breakpoints of what is due now count as passed."""
        self.interrupt_seen = self.changed_at

    @property
    def at_new_breakpoint(self) -> bool:
        """Whether anything changed since breakpoints were last passed."""
        return self.changed_at > self.interrupt_seen


__all__ = ["ThreadState"]
