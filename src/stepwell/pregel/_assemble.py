"""From nodes and channels, as `Pregel(...)` is given them, to what the engine runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from stepwell._codec import GLOBAL, Registry, register_schema
from stepwell._engine.binding import identity_of
from stepwell._engine.program import Program
from stepwell._engine.recall import Caching, cache_namespace
from stepwell._engine.retry import NodePolicy
from stepwell._engine.timed import sync_timeout
from stepwell._ids import digest16
from stepwell._plan.spec import GraphSpec, NodeSpec
from stepwell.channels import Topic
from stepwell.channels.base import BaseChannel
from stepwell.constants import CONF, NS_END, NS_SEP, TAG_HIDDEN, TASKS
from stepwell.errors import GraphDefinitionError
from stepwell.managed.base import is_managed_value
from stepwell.pregel._node import ChannelRule, NodeBuilder, PregelNode, body_of
from stepwell.types import CachePolicy, RetryPolicy, Send

Keys = str | Sequence[str]
Channels = dict[str, BaseChannel[Any, Any, Any]]

_RESERVED = frozenset(
    ("__input__", "__interrupt__", "__resume__", "__error__", "__no_writes__",
     "__error_source_node__", "__pregel_push", "__pregel_pull", "checkpoint_id", "checkpoint_map",
     "checkpoint_ns", TAG_HIDDEN, CONF, NS_SEP, NS_END)
)  # fmt: skip


class Parts:
    """What a `Pregel` is made of, checked.

    Raises:
        GraphDefinitionError: A name is reserved, or names nothing.
    """

    def __init__(
        self,
        nodes: Mapping[str, PregelNode | NodeBuilder],
        channels: Mapping[str, Any] | None,
        *,
        inputs: Keys,
        outputs: Keys,
        shown: Keys | None,
    ) -> None:
        given = channels or {}
        self.managed = {k: v for k, v in given.items() if is_managed_value(v)}
        self.channels: Channels = {}
        for name, channel in given.items():
            if name not in self.managed:
                self.channels[name] = _channel(name, channel)
        self.nodes = {
            name: node.build() if isinstance(node, NodeBuilder) else node
            for name, node in nodes.items()
        }
        self.inputs, self.outputs, self.shown = inputs, outputs, shown
        self._check()

    def _check(self) -> None:
        for kind, names in (
            ("Channel", self.channels), ("Managed", self.managed), ("Node", self.nodes),
        ):  # fmt: skip
            for name in names:
                if name in _RESERVED:
                    msg = f"{kind} name '{name}' is reserved"
                    raise GraphDefinitionError(msg)
        subscribed: set[str] = set()
        for name, node in self.nodes.items():
            if not isinstance(node, PregelNode):
                msg = f"Invalid node type {type(node)}, expected PregelNode or NodeBuilder"
                raise TypeError(msg)
            self._known(_listed(node.channels), f"Node {name} reads channel", self.managed)
            subscribed.update(node.triggers)
        self._known(subscribed, "Subscribed channel")
        self._known(_listed(self.inputs), "Input channel")
        if subscribed.isdisjoint(_listed(self.inputs)):
            msg = f"None of the input channels {self.inputs} are subscribed to by any node"
            raise GraphDefinitionError(msg)
        self._known([*_listed(self.outputs), *_listed(self.shown or ())], "Output channel")

    def _known(self, names: Collection[str], what: str, more: Collection[str] = ()) -> None:
        for name in names:
            if name not in self.channels and name not in more:
                known = repr(sorted(self.channels))[:100]
                msg = f"{what} '{name}' not in known channels: '{known}'"
                raise GraphDefinitionError(msg)

    def program(
        self,
        name: str,
        *,
        retry: Sequence[RetryPolicy],
        cached: CachePolicy[Any] | None,
        context_schema: Any = None,
    ) -> Program:
        """The engine's form.

        Raises:
            GraphDefinitionError: A sync node has a timeout.
        """
        own = {k: c for k, c in self.channels.items() if k != TASKS}
        spec = GraphSpec(
            name,
            nodes={key: self._node(key, node, retry, cached) for key, node in self.nodes.items()},
            channels={**own, TASKS: Topic(Send, key=TASKS)},
            state_keys=list(own),
            output_keys=_listed(self.outputs),
        )
        spec.input_view = self.inputs if isinstance(self.inputs, str) else tuple(self.inputs)
        spec.output_view = self.outputs if isinstance(self.outputs, str) else spec.output_keys
        if self.shown is not None:
            spec.state_view = self.shown if isinstance(self.shown, str) else tuple(self.shown)
        for node in spec.nodes.values():
            node.writer.prepares = spec.prepares
        registry = Registry(GLOBAL)
        for channel in own.values():
            register_schema(registry, channel.typ)
        if context_schema is not None:
            register_schema(registry, context_schema)
        program = Program(spec, registry)
        program.context_mapper = _maker(context_schema)
        program.retry = tuple(retry)
        program.fingerprint = fingerprint(spec)
        return program

    def _node(
        self,
        name: str,
        given: PregelNode,
        retry: Sequence[RetryPolicy],
        cached: CachePolicy[Any] | None,
    ) -> NodeSpec:
        node = NodeSpec(name, hidden=TAG_HIDDEN in given.tags)
        node.triggers = tuple(dict.fromkeys(given.triggers))
        if isinstance(given.channels, str):
            node.reads, node.bare = None, given.channels
        else:
            node.reads = tuple(k for k in given.channels if k not in self.managed)
            node.managed_reads = tuple(
                (k, self.managed[k]) for k in given.channels if k in self.managed
            )
        node.metadata = dict(given.metadata)
        node.described = given
        node.body = body_of(name, given.bound)
        if given.timeout is not None and not node.body.is_async:
            raise sync_timeout(name)
        policies = given.retry_policy or tuple(retry)
        if policies or given.timeout is not None:
            node.policy = NodePolicy(policies, given.timeout)
        if (caching := given.cache_policy or cached) is not None:
            node.cache = Caching(caching, cache_namespace(identity_of(given.action), name))
        node.writer = ChannelRule(given.writers)
        return node


def _listed(keys: Keys) -> list[str]:
    return [keys] if isinstance(keys, str) else list(keys)


def _maker(schema: Any) -> Callable[[dict[str, Any]], Any] | None:
    """How a dict becomes an object of the schema; None where it stays a dict."""
    if is_dataclass(schema) or hasattr(schema, "__pydantic_validator__"):
        return lambda values: schema(**values)
    return None


def _channel(name: str, channel: Any) -> BaseChannel[Any, Any, Any]:
    if not isinstance(channel, BaseChannel):
        msg = f"Channel '{name}' must be a channel or a managed value, not {channel!r:.80}"
        raise GraphDefinitionError(msg)
    own = channel.copy()
    own.key = name
    return own


def fingerprint(spec: GraphSpec) -> str:
    """A digest of what a thread depends on: nodes, their triggers, channels and their kinds."""
    parts = [f"n:{n.name}:{','.join(n.triggers)}" for n in spec.nodes.values()]
    parts += [f"c:{k}:{type(c).__name__}" for k, c in spec.channels.items()]
    return digest16(*sorted(parts)).hex()


__all__ = ["Keys", "Parts", "fingerprint"]
