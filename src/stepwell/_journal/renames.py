"""Nodes that have other names since a state was stored, found wherever a state names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stepwell._codec.entry import CLASS_MARK
from stepwell.constants import START, TASKS

_TO: Final = "branch:to:"
_JOIN: Final = "join:"
INNER: Final = (_TO, _JOIN, "__pregel", START)
"""How names of channels begin that are no part of a state: they lead from node to node."""
_SEND: Final = CLASS_MARK + "stepwell:Send"


class Renames:
    """Other names of nodes, in the channels by which nodes are triggered and in their values.

    Works on parsed JSON, as the state is folded from records.

    Args:
        nodes: The old names, and what each has become.
    """

    __slots__ = ("_nodes",)

    def __init__(self, nodes: Mapping[str, str]) -> None:
        self._nodes = nodes

    def node(self, name: str) -> str:
        """What a node is called now."""
        return self._nodes.get(name, name)

    def channel(self, name: str) -> str:
        """What a channel is called now."""
        if name.startswith(_TO):
            return _TO + self.node(name.removeprefix(_TO))
        if name.startswith(_JOIN):
            members, _, end = name.removeprefix(_JOIN).rpartition(":")
            return f"{_JOIN}{'+'.join(map(self.node, members.split('+')))}:{self.node(end)}"
        return name

    def value(self, channel: str, value: Any) -> Any:
        """The value of a channel, with the nodes in it that sends or a join are waiting for."""
        if channel == TASKS and isinstance(value, list):
            return [self._packet(item) for item in value]
        return self._members(value) if channel.startswith(_JOIN) else value

    def _packet(self, item: Any) -> Any:
        if not isinstance(item, dict) or not isinstance(item.get(_SEND), dict):
            return item
        packet = item[_SEND]
        return {_SEND: {**packet, "node": self.node(packet["node"])}}

    def _members(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.node(value)
        if isinstance(value, list):
            return [self._members(item) for item in value]
        if isinstance(value, dict):
            return {k: self._members(v) for k, v in value.items()}
        return value


__all__ = ["INNER", "Renames"]
