"""From a graph's description to what the engine runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stepwell._codec import GLOBAL, Registry, register_schema
from stepwell._engine.binding import Bound
from stepwell._engine.program import Program
from stepwell._engine.recall import Caching, cache_namespace, use_cache
from stepwell._engine.retry import NodePolicy
from stepwell._engine.timed import sync_timeout
from stepwell._engine.write import Branch, PreparingRule, WriteRule, to_channel
from stepwell._plan.spec import ROOT, GraphSpec, NodeSpec
from stepwell._plan.tasks import Write
from stepwell.channels import (
    EphemeralValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
)
from stepwell.channels.base import BaseChannel
from stepwell.constants import END, START, TASKS
from stepwell.errors import GraphDefinitionError
from stepwell.graph._described import NodeDef, NodeDefaults, handler_def
from stepwell.graph._schema import mapper_of
from stepwell.pregel._assemble import fingerprint
from stepwell.types import Send

if TYPE_CHECKING:
    from stepwell.graph.state import StateGraph


DEFAULT_HANDLER = "__default_error_handler__"


def with_defaults(
    nodes: Mapping[str, NodeDef], defaults: NodeDefaults, state_schema: Any
) -> dict[str, NodeDef]:
    """The nodes with the graph's defaults filled in, and the default error handler among them.

    Retries and timeouts are for handlers too; caching and error handlers are not.

    Raises:
        GraphDefinitionError: A sync node would have a timeout.
    """
    found = dict(nodes)
    if defaults.error_handler is not None:
        if DEFAULT_HANDLER in found:
            msg = f"Auto-generated default error handler node `{DEFAULT_HANDLER}` already exists."
            raise GraphDefinitionError(msg, node=DEFAULT_HANDLER)
        found[DEFAULT_HANDLER] = handler_def(defaults.error_handler, DEFAULT_HANDLER, state_schema)
    for name, node in found.items():
        regular = not node.is_error_handler
        known = replace(
            node,
            retry=node.retry or defaults.retry,
            timeout=node.timeout or defaults.timeout,
            cache=node.cache or (defaults.cache if regular else None),
            error_handler=node.error_handler
            or (DEFAULT_HANDLER if regular and defaults.error_handler is not None else None),
        )
        if known.timeout is not None and not known.bound.is_async:
            raise sync_timeout(name)
        found[name] = known
    return found


def assemble(builder: StateGraph, name: str, cache: Any) -> Program:
    """Compile the description: channels, triggers, write rules, all once."""
    channels: dict[str, BaseChannel[Any, Any, Any]] = {
        **builder.channels,
        TASKS: Topic(Send, key=TASKS),
        START: EphemeralValue(builder.input_schema, key=START),
    }
    nodes = {START: _start(builder)}
    described = with_defaults(builder.nodes, builder.node_defaults, builder.state_schema)
    for key, node in described.items():
        nodes[key] = _node(builder, key, node)
        channel: BaseChannel[Any, Any, Any] = (
            LastValueAfterFinish(Any, key=to_channel(key))
            if node.defer
            else EphemeralValue(Any, guard=False, key=to_channel(key))
        )
        channels[to_channel(key)] = channel
    _edges(builder, nodes, channels)
    _branches(builder, nodes)
    spec = GraphSpec(
        name,
        nodes=nodes,
        channels=channels,
        state_keys=list(builder.channels),
        output_keys=list(builder.schemas[builder.output_schema]),
    )
    if not (nodes[START].writer.branches or spec.finishing or spec.born_live):
        spec.entry = nodes[START]
    registry = Registry(GLOBAL)
    for schema in builder.schemas:
        register_schema(registry, schema)
    program = Program(spec, registry)
    use_cache(program, cache)
    program.context_mapper = mapper_of(builder.context_schema, [])
    program.fingerprint = fingerprint(spec)
    program.checkpoint_when_by_node = {
        name: policy
        for key, node in described.items()
        if (policy := node.checkpoint_when) is not None
        for name in (key, f"__error_handler__{key}")
    }
    return program


async def _pass_on(value: Any, _: object) -> Any:
    return value


def _start(builder: StateGraph) -> NodeSpec:
    """The hidden node that turns input into writes."""
    node = NodeSpec(START, hidden=True)
    node.body = Bound(START, _pass_on, None, is_async=True)
    node.triggers = (START,)
    node.takes_input = True
    node.writer = _rule(builder, START, list(builder.schemas[builder.input_schema]))
    return node


def _node(builder: StateGraph, key: str, described: NodeDef) -> NodeSpec:
    node = NodeSpec(key)
    keys = list(builder.schemas[described.input_schema])
    node.triggers = (to_channel(key),)
    node.reads = None if keys == [ROOT] else tuple(keys)
    node.managed_reads = tuple(
        (k, builder.managed[k]) for k in builder.managed_keys[described.input_schema]
    )
    node.mapper = mapper_of(described.input_schema, keys)
    node.deferred = described.defer
    node.metadata = dict(described.metadata)
    node.policy = (
        NodePolicy(described.retry, described.timeout)
        if described.retry or described.timeout
        else None
    )
    node.handler = described.error_handler
    if described.cache is not None:
        node.cache = Caching(described.cache, cache_namespace(described.identity, key))
    node.described = described
    node.body = described.bound
    node.writer = _rule(builder, key, list(builder.channels))
    return node


def _rule(builder: StateGraph, node: str, keys: Sequence[str]) -> WriteRule:
    prepares = {k: p for k, c in builder.channels.items() if (p := c.prepare) is not None}
    return PreparingRule(node, keys, prepares) if prepares else WriteRule(node, keys)


def _edges(
    builder: StateGraph,
    nodes: dict[str, NodeSpec],
    channels: dict[str, BaseChannel[Any, Any, Any]],
) -> None:
    static: dict[str, list[Write]] = {}
    for start, end in builder.edges:
        if end != END:
            static.setdefault(start, []).append((to_channel(end), None))
    for starts, end in builder.waiting_edges:
        if end == END:
            continue
        channel = f"join:{'+'.join(starts)}:{end}"
        barrier = NamedBarrierValueAfterFinish if nodes[end].deferred else NamedBarrierValue
        channels[channel] = barrier(str, starts, key=channel)
        nodes[end].triggers = (*nodes[end].triggers, channel)
        for start in starts:
            static.setdefault(start, []).append((channel, start))
    for start, writes in static.items():
        nodes[start].writer.edges = tuple(writes)


def _branches(builder: StateGraph, nodes: dict[str, NodeSpec]) -> None:
    for start, described in builder.branches.items():
        branches = []
        for name, branch in described.items():
            schema = branch.input_schema or (
                builder.nodes[start].input_schema
                if start in builder.nodes
                else builder.state_schema
            )
            keys: Sequence[str] = list(builder.schemas[schema])
            branches.append(
                Branch(
                    name,
                    branch.router,
                    ends=branch.ends,
                    keys=keys,
                    mapper=mapper_of(schema, list(keys)),
                    passthrough=branch.input_schema is None,
                    managed=[(k, builder.managed[k]) for k in builder.managed_keys[schema]],
                )
            )
        if branches:
            nodes[start].writer.branches = tuple(branches)


__all__ = ["assemble", "fingerprint", "with_defaults"]
