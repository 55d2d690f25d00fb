"""What the planner needs to know of a compiled graph; computed once per graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from stepwell.channels.base import BaseChannel
from stepwell.channels.simple import (
    Moulds,
    empty_unless_stored,
    is_simple,
    shows_what_is_stored,
)
from stepwell.constants import START

PREVIOUS = "__previous__"
"""The channel of what an entrypoint saves for its next run."""
RETURN = "__return__"
"""What a task call's result is recorded under. It is no channel of the graph."""
ROOT = "__root__"
"""The one key of a state that is no mapping."""


class NodeSpec:
    """One node as the planner and the engine see it.

    `reads` are the state keys its input is made of (None: the bare value of `__root__`);
    `body`, `writer`, `policy` and `cache` belong to the engine and are opaque here, and so is
    `described`, which says how the node was given, for drawings. `handler` is the name of the
    node that runs in its place when it has failed.
    """

    __slots__ = (
        "bare",
        "body",
        "cache",
        "consumables",
        "copies",
        "deferred",
        "described",
        "handler",
        "hidden",
        "managed_reads",
        "mapper",
        "metadata",
        "name",
        "order",
        "policy",
        "reads",
        "reads_all",
        "takes_input",
        "triggers",
        "writer",
    )

    def __init__(self, name: str, *, hidden: bool = False) -> None:
        self.name = name
        self.hidden = hidden
        self.order = (1, name, 0)
        """Where its task stands among others, if an edge has triggered it."""
        self.triggers: tuple[str, ...] = ()
        self.reads: tuple[str, ...] | None = ()
        self.bare = ROOT
        """The key whose bare value is the input, where `reads` is None."""
        self.reads_all = False
        self.copies = False
        """Whether its input is simply a copy of all state keys."""
        self.takes_input = False
        """Whether it is given the run's input as it is, instead of state."""
        self.managed_reads: tuple[tuple[str, Any], ...] = ()
        self.mapper: Callable[[dict[str, Any]], Any] | None = None
        self.consumables: tuple[str, ...] = ()
        self.deferred = False
        self.metadata: Mapping[str, Any] = {}
        self.policy: Any = None
        self.cache: Any = None
        self.handler: str | None = None
        self.described: Any = None
        self.body: Any = None
        self.writer: Any = None


_BLANK: Final[dict[type, bytes]] = {list: b"[]", dict: b"{}"}


class GraphSpec:
    """A graph, frozen for running."""

    __slots__ = (
        "after",
        "as_stored",
        "bare_output",
        "bare_state",
        "blank",
        "born",
        "born_live",
        "channels",
        "empty",
        "entry",
        "finishing",
        "fresh_channels",
        "input_view",
        "name",
        "nodes",
        "output_keys",
        "output_set",
        "output_steps",
        "output_view",
        "passing",
        "prepares",
        "simple",
        "state_keys",
        "state_order",
        "state_set",
        "state_view",
        "stepping",
        "told",
        "triggered_by",
        "triggers",
        "untracked",
        "waits",
    )

    def __init__(
        self,
        name: str,
        *,
        nodes: Mapping[str, NodeSpec],
        channels: Mapping[str, BaseChannel[Any, Any, Any]],
        state_keys: Sequence[str],
        output_keys: Sequence[str],
        bare: bool = False,
    ) -> None:
        """`bare`: the state is the one key's value, as it is with `__root__`."""
        self.name = name
        self.told: set[str] = set()
        """Channels of which it was said that nodes change their values in place."""
        self.nodes = dict(nodes)
        self.channels = dict(channels)
        self.state_keys = tuple(state_keys)
        self.state_set = frozenset(state_keys)
        self.state_order = {k: i for i, k in enumerate(state_keys)}
        self.output_keys = tuple(output_keys)
        self.output_set = frozenset(output_keys)
        self.bare_state = bare or self.state_keys == (ROOT,)
        self.bare_output = bare or self.output_keys == (ROOT,)
        self.input_view: str | tuple[str, ...] = START
        """The channel that input is written to, or those that its keys are."""
        self.entry: NodeSpec | None = None
        """The hidden first node, if it does nothing but spread a dict over the state's keys."""
        self.output_view = output_keys[0] if self.bare_output else self.output_keys
        """The keys that make up the output, or the one that is it."""
        self.state_view = state_keys[0] if self.bare_state else self.state_keys
        """The keys that make up a snapshot's values, or the one that is it."""
        self.stepping = frozenset(k for k, c in self.channels.items() if c.steps)
        self.passing = tuple(k for k in self.state_keys if k in self.stepping)
        """State keys whose values may not outlive the superstep that sees them."""
        self.simple = frozenset(k for k, c in self.channels.items() if is_simple(c))
        self.as_stored = frozenset(k for k, c in self.channels.items() if shows_what_is_stored(c))
        """Channels whose value is their stored form, if there is one."""
        self.empty = frozenset(k for k, c in self.channels.items() if empty_unless_stored(c))
        """Channels that hold nothing if nothing of them is stored."""
        self.finishing = tuple(k for k, c in self.channels.items() if c.finishes)
        self.output_steps = any(self.channels[k].steps for k in self.output_keys)
        self.prepares = {k: p for k, c in self.channels.items() if (p := c.prepare) is not None}
        """What is done to writes of some channels before they are stored."""
        self.fresh_channels = Moulds(self.channels).make
        empty = self.fresh_channels()
        self.born = tuple(k for k in self.state_keys if empty[k].is_available())
        """The state keys that hold a value in a new state: what their reducers start from."""
        self.born_live = frozenset(k for k in self.stepping if empty[k].is_available())
        self.untracked = frozenset(k for k, c in self.channels.items() if not c.persisted)
        known = {k: _BLANK.get(type(empty[k].get())) for k in self.born if k not in self.untracked}
        self.blank = {k: data for k, data in known.items() if data is not None}
        """The encodings of those that a node can change in place before anything is recorded."""
        triggered_by: dict[str, list[str]] = {}
        for node in self.nodes.values():
            node.triggers = tuple(sorted(node.triggers))
            node.consumables = tuple(t for t in node.triggers if self.channels[t].consumes)
            node.reads_all = node.reads == self.state_keys and not self.bare_state
            plain = node.mapper is None and not node.managed_reads and not node.takes_input
            node.copies = node.reads_all and plain
            for trigger in node.triggers:
                triggered_by.setdefault(trigger, []).append(node.name)
        self.triggered_by = {k: tuple(v) for k, v in triggered_by.items()}
        self.triggers = frozenset(triggered_by)
        self.waits = not self.triggers <= self.empty
        """Whether a trigger may hold something although nothing is stored of it."""
        self.after = {
            k: tuple(self.nodes[name] for name in sorted(v)) for k, v in triggered_by.items()
        }
        """The nodes that a write of a channel makes due, sorted by name."""

    def in_order(self, values: dict[str, Any]) -> dict[str, Any]:
        """Values by key, in the order in which the schema names the keys."""
        if len(values) < 2:
            return values
        return {k: values[k] for k in self.state_keys if k in values}


__all__ = ["PREVIOUS", "RETURN", "ROOT", "START", "GraphSpec", "NodeSpec"]
