"""Describe a graph: nodes, edges, branches; then compile it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from stepwell._engine.arguments import OnConflict, nodes, run_defaults, seconds, text, whole
from stepwell._engine.binding import bind, identity_of
from stepwell._late import late_names
from stepwell._plan.migrations import Migration, Migrations
from stepwell._when import checkpoint_policy
from stepwell.channels.last_value import LastValue
from stepwell.constants import END, START
from stepwell.errors import GraphDefinitionError
from stepwell.graph._described import BranchDef, NodeDef, NodeDefaults, handler_def
from stepwell.graph._given import (
    branch_name,
    caching,
    check_name,
    check_schema,
    flag,
    former,
    function_of,
    labelled,
    labels,
    limits,
    name_and_action,
    no_more,
    policies,
    step_of_sequence,
    steps,
    storing,
)
from stepwell.graph._schema import (
    Channels,
    Managed,
    channels_of,
    command_targets,
    input_schema_of,
    literal_targets,
)  # fmt: skip
from stepwell.graph._versions import Versions
from stepwell.pregel._generic import ContextT, InputT, OutputT, Parametric, StateT
from stepwell.types import (
    All,
    CachePolicy,
    CheckpointWhen,
    Durability,
    RetryPolicy,
    TimeoutPolicy,
    TracePolicy,
)  # fmt: skip
from stepwell.warnings import LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from stepwell.cache.base import BaseCache
    from stepwell.checkpoint.base import Saver
    from stepwell.graph._compiled_graph import CompiledStateGraph

logger = logging.getLogger("stepwell")

_Answer = Hashable | Sequence[Hashable]
Router = Callable[..., _Answer] | Callable[..., Awaitable[_Answer]]


class StateGraph(Versions, Parametric[StateT, ContextT, InputT, OutputT]):
    """A graph whose nodes read and update a shared state.

    Args:
        state_schema: TypedDict, dataclass or pydantic model; its keys become channels, an
            `Annotated[T, reducer]` key is folded with the reducer, `Annotated[T, SomeChannel]`
            picks the channel.
        context_schema: Type of the `context` that a run is given; for type checkers and docs.
        input_schema: Keys that callers may pass; the state's by default.
        output_schema: Keys that callers get back; the state's by default.
        deprecated: `config_schema`, `input` and `output`, the former names of `context_schema`,
            `input_schema` and `output_schema`.

    Raises:
        GraphDefinitionError: The schemas contradict each other.
        TypeError: An unknown keyword.
    """

    def __init__(
        self,
        state_schema: type[StateT],
        context_schema: type[ContextT] | None = None,
        *,
        input_schema: type[InputT] | None = None,
        output_schema: type[OutputT] | None = None,
        **deprecated: Any,
    ) -> None:
        since = LangGraphDeprecatedSinceV10
        context_schema = former(
            deprecated, "config_schema", "context_schema", context_schema, since=since
        )
        input_schema = former(deprecated, "input", "input_schema", input_schema)
        output_schema = former(deprecated, "output", "output_schema", output_schema)
        no_more(deprecated, "StateGraph")
        self.nodes: dict[str, NodeDef] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.waiting_edges: dict[tuple[tuple[str, ...], str], None] = {}
        self.branches: dict[str, dict[str, BranchDef]] = defaultdict(dict)
        self.schemas: dict[Any, Channels] = {}
        self.managed_keys: dict[Any, tuple[str, ...]] = {}
        self.channels: Channels = {}
        self.managed: Managed = {}
        self.migrations: dict[int, Migration] = {}
        self.compiled = False
        self.node_defaults = NodeDefaults()
        self.state_schema = state_schema
        self.context_schema = context_schema
        self.input_schema = input_schema or state_schema
        self.output_schema = output_schema or state_schema
        self._add_schema(self.state_schema)
        for schema in (self.input_schema, self.output_schema):
            self._add_schema(schema, inner=False)

    def _add_schema(self, schema: Any, *, inner: bool = True) -> None:
        """Take over the keys of a schema; `inner`: it is seen by nodes, not by callers."""
        if schema in self.schemas:
            return
        check_schema(schema)
        channels, managed = channels_of(schema)
        if managed and not inner:
            msg = (
                f"Invalid managed channels detected in {getattr(schema, '__name__', '')}: "
                f"{', '.join(managed)}. Managed channels are not permitted in Input/Output schema."
            )
            raise GraphDefinitionError(msg)
        for key, channel in channels.items():
            known = self.channels.setdefault(key, channel)
            if known != channel and not isinstance(channel, LastValue):
                msg = f"Channel '{key}' already exists with a different type"
                raise GraphDefinitionError(msg)
        for key, kind in managed.items():
            if self.managed.setdefault(key, kind) is not kind:
                msg = f"Managed value '{key}' already exists with a different type"
                raise GraphDefinitionError(msg)
        self.managed_keys[schema] = tuple(managed)
        self.schemas[schema] = channels

    def _note_change(self, what: str) -> None:
        if self.compiled:
            logger.warning(
                "Adding %s to a graph that has already been compiled. This will not be "
                "reflected in the compiled graph.",
                what,
            )

    def add_node(
        self,
        node: str | Callable[..., Any],
        action: Callable[..., Any] | None = None,
        *,
        defer: bool = False,
        metadata: dict[str, Any] | None = None,
        input_schema: Any = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        error_handler: Callable[..., Any] | None = None,
        destinations: Mapping[str, str] | Sequence[str] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        trace_policy: TracePolicy | None = None,
        checkpoint_when: CheckpointWhen | None = None,
        **deprecated: Any,
    ) -> Self:
        """Add a node.

        Args:
            node: Its name, or its function (whose name it then takes).
            action: The function: takes the state, returns a dict of updates, a `Command`, or
                None. Sync or async; `config`, `runtime`, `writer` and `store` are injected into
                parameters of these names.
            defer: Run it only when nothing else is left to run.
            metadata: Shown to the node and in `tasks` chunks.
            input_schema: What of the state it is given; inferred from the annotation of its
                first parameter.
            retry_policy: When it is tried again; the first policy that covers the error counts.
            cache_policy: When its result is taken from the graph's cache instead.
            error_handler: Called with the node's input, and `error: NodeError`, once the node
                has failed for good; what it returns counts in the node's place.
            destinations: Nodes its commands may name; for drawing and validation only.
            timeout: Limit of one attempt in seconds (async nodes only).
            trace_policy: Accepted and kept; nothing is traced here.
            checkpoint_when: Whether supersteps that it ran in get a row; None: as the graph says.
            deprecated: `retry` and `input`, former names of `retry_policy` and `input_schema`.

        Raises:
            GraphDefinitionError: The name is taken, reserved or not usable; an option is.
            TypeError: An unknown keyword.
        """
        retry_policy = former(deprecated, "retry", "retry_policy", retry_policy)
        input_schema = former(deprecated, "input", "input_schema", input_schema)
        no_more(deprecated, "add_node")
        self._note_change("a node")
        name, action = name_and_action(node, action)
        check_name(name, self.nodes)
        bound = bind(action, name)
        schema = input_schema or input_schema_of(action)
        if schema is not None:
            self._add_schema(schema)
        shown = command_targets(action) if destinations is None else destinations
        handler = self._add_handler(name, error_handler, schema or self.state_schema)
        self.nodes[name] = NodeDef(
            bound=bound,
            input_schema=schema or self.state_schema,
            metadata=labels(metadata),
            defer=flag("defer", defer),
            retry=policies(retry_policy),
            timeout=limits(timeout),
            destinations=labelled(shown),
            action=action,
            cache=caching(cache_policy),
            error_handler=handler,
            identity=identity_of(action),
            trace=trace_policy,
            checkpoint_when=checkpoint_policy(checkpoint_when),
        )
        return self

    def _add_handler(self, node: str, action: Any, schema: Any) -> str | None:
        if action is None:
            return None
        name = f"__error_handler__{node}"
        if name in self.nodes:
            msg = f"Auto-generated error handler node `{name}` already exists."
            raise GraphDefinitionError(msg, node=name)
        self.nodes[name] = handler_def(action, name, schema)
        return name

    def set_node_defaults(
        self,
        *,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        error_handler: Callable[..., Any] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
    ) -> Self:
        """Say what holds for every node that says nothing of its own; applied by `compile`.

        Retries and timeouts are for error handlers too; caching and error handlers are not:
        a handler that fails fails the run. Subgraphs are not concerned.

        Args:
            retry_policy: As in `add_node`.
            cache_policy: As in `add_node`.
            error_handler: One node, `__default_error_handler__`, that stands in for all nodes
                without a handler of their own.
            timeout: As in `add_node`.
        """
        defaults = self.node_defaults
        if retry_policy is not None:
            defaults.retry = policies(retry_policy)
        if cache_policy is not None:
            defaults.cache = caching(cache_policy)
        if error_handler is not None:
            defaults.error_handler = error_handler
        if timeout is not None:
            defaults.timeout = limits(timeout)
        return self

    def add_edge(self, start_key: str | list[str], end_key: str) -> Self:
        """Run `end_key` after `start_key`; after all of them, if it is a list.

        Raises:
            GraphDefinitionError: END as a start, START as an end, or an unknown node in a list.
        """
        self._note_change("an edge")
        if not isinstance(start_key, (str, list, tuple)) or not isinstance(end_key, str):
            msg = f"add_edge joins node names, not {start_key!r} and {end_key!r}"
            raise GraphDefinitionError(msg)
        starts = [start_key] if isinstance(start_key, str) else list(start_key)
        if not starts:
            msg = f"The join before {end_key!r} has no start nodes: it would never fire."
            raise GraphDefinitionError(msg)
        if END in starts:
            msg = "END cannot be a start node"
            raise GraphDefinitionError(msg)
        if end_key == START:
            msg = "START cannot be an end node"
            raise GraphDefinitionError(msg)
        if isinstance(start_key, str):
            self.edges[(start_key, end_key)] = None
            return self
        for name in (*starts, end_key):
            if name not in self.nodes and not (name == end_key and name == END):
                msg = f"Need to add_node `{name}` first"
                raise GraphDefinitionError(msg, node=name)
        self.waiting_edges[(tuple(starts), end_key)] = None
        return self

    def add_conditional_edges(
        self,
        source: str,
        path: Router,
        path_map: Mapping[Hashable, str] | list[str] | None = None,
    ) -> Self:
        """Let a router decide what runs after `source`.

        Args:
            path: Given the state (with the writes of `source` applied); returns a node's name,
                END, a `Send`, or a list of them. Runs on the event loop: it must not block.
            path_map: What its answers stand for; its `-> Literal[...]` annotation by default.

        Raises:
            GraphDefinitionError: The source has a branch of the same name.
        """
        self._note_change("an edge")
        name = branch_name(path)
        if name in self.branches[source]:
            msg = f"Branch with name `{name}` already exists for node `{source}`"
            raise GraphDefinitionError(msg, node=source)
        ends: Mapping[Hashable, str] | None
        if isinstance(path_map, Mapping):
            ends = dict(path_map)
        elif path_map is not None:
            ends = {target: target for target in path_map}
        else:
            ends = literal_targets(function_of(path))
        schema = input_schema_of(function_of(path))
        if schema is not None:
            self._add_schema(schema)
        self.branches[source][name] = BranchDef(bind(path, name), ends, schema)
        return self

    def add_sequence(
        self, nodes: Sequence[Callable[..., Any] | tuple[str, Callable[..., Any]]]
    ) -> Self:
        """Add nodes and an edge from each to the next.

        Raises:
            GraphDefinitionError: The sequence is empty, or a name is taken.
        """
        if not steps(nodes):
            msg = "Sequence requires at least one node."
            raise GraphDefinitionError(msg)
        previous: str | None = None
        for node in nodes:
            name, action = step_of_sequence(node, self.nodes)
            self.add_node(name, action)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """Start at `key`: an edge from START."""
        return self.add_edge(START, key)

    def set_conditional_entry_point(
        self, path: Router, path_map: Mapping[Hashable, str] | list[str] | None = None
    ) -> Self:
        """Let a router decide where to start."""
        return self.add_conditional_edges(START, path, path_map)

    def set_finish_point(self, key: str) -> Self:
        """Finish after `key`: an edge to END."""
        return self.add_edge(key, END)

    def validate(self, interrupt: Sequence[str] | None = None) -> Self:
        """Check that every edge joins nodes that exist, and that there is a way in.

        Raises:
            GraphDefinitionError: Something is missing.
        """
        self._check_sources()
        self._check_targets()
        for name in interrupt or ():
            if name not in self.nodes:
                msg = f"Interrupt node `{name}` not found"
                raise GraphDefinitionError(msg, node=name)
        self.compiled = True
        return self

    def _all_edges(self) -> list[tuple[str, str]]:
        waiting = [(s, end) for starts, end in self.waiting_edges for s in starts]
        return [*self.edges, *waiting]

    def _check_sources(self) -> None:
        sources = {start for start, _ in self._all_edges()}
        sources.update(s for s, branches in self.branches.items() if branches)
        for source in sources:
            if source not in self.nodes and source != START:
                msg = f"Found edge starting at unknown node '{source}': add it with add_node."
                raise GraphDefinitionError(msg, node=source)
        if START not in sources:
            msg = "Graph must have an entrypoint: add at least one edge from START to another node"
            raise GraphDefinitionError(msg)

    def _check_targets(self) -> None:
        targets = {end for _, end in self._all_edges()}
        for start, branches in self.branches.items():
            for name, branch in branches.items():
                for end in (branch.ends or {}).values():
                    if end not in self.nodes and end != END:
                        msg = f"At '{start}' node, '{name}' branch found unknown target '{end}'"
                        raise GraphDefinitionError(msg, node=start)
        for node in self.nodes.values():
            targets.update(node.destinations)
        for target in targets:
            if target not in self.nodes and target != END:
                msg = f"Found edge ending at unknown node `{target}`: add it with add_node."
                raise GraphDefinitionError(msg, node=target)

    def compile(
        self,
        checkpointer: Saver | Literal[False] | None = None,
        *,
        cache: BaseCache[Any] | None = None,
        store: Any = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        debug: bool = False,
        name: str | None = None,
        transformers: Sequence[Any] | None = None,
        on_conflict: OnConflict = "wait",
        lock_timeout: float | None = None,
        durability: Durability | None = None,
        checkpoint_when: CheckpointWhen | None = None,
        state_version: int = 0,
        on_mismatch: Literal["accept", "warn", "refuse"] = "warn",
        strict: bool = False,
    ) -> CompiledStateGraph[StateT, ContextT, InputT, OutputT]:
        """Freeze the graph for running.

        Args:
            checkpointer: Where threads are kept; without one a run leaves nothing behind.
            cache: Where results of nodes with a `cache_policy` are kept; without one those
                policies have no effect.
            store: Handed to nodes as `store` and `runtime.store`.
            interrupt_before: Nodes (or "*") to stop before.
            interrupt_after: Nodes (or "*") to stop after.
            debug: Print the updates and values of every run.
            name: Stored with the graph's threads.
            transformers: Not supported: they belong to LangGraph's v3 event streams.
            on_conflict: What a run does when its thread is busy: "wait", "reject" (raise
                `ThreadBusyError`), "interrupt" or "rollback" the run that holds it.
            lock_timeout: Seconds to wait for a busy thread; None for ever, 0 not at all.
            durability: Default of the runs: "async" | "sync" | "exit".
            checkpoint_when: Which supersteps get a row: `Always()`, `Every(n)`, `OnExit()` or
                `When(predicate)`. None: all; inside another graph, as that one says.
            state_version: Version of the state's meaning; see `add_migration`.
            on_mismatch: What to do when another graph wrote the thread.
            strict: Unknown keys and in-place changes of the state are errors.

        Raises:
            GraphDefinitionError: The graph cannot run as it is.
            TypeError: The checkpointer is no saver, or the cache no cache.
            ValueError: An option is none of those it can be.
            UsageError: `transformers` are given.
        """
        # What runs graphs is three quarters of the package: loaded here, not by the first run.
        from stepwell.graph._compile import assemble
        from stepwell.graph._compiled_graph import CompiledStateGraph, without

        without(transformers)
        nodes("interrupt_before", interrupt_before, self.nodes)
        nodes("interrupt_after", interrupt_after, self.nodes)
        named = [n for names in (interrupt_before, interrupt_after) if names and names != "*"
                 for n in names]  # fmt: skip
        self.validate(named)
        run_defaults(on_conflict, on_mismatch, durability)
        program = assemble(self, text("name", name or "LangGraph"), cache)
        program.store = storing(store)
        program.interrupt_before = interrupt_before or ()
        program.interrupt_after = interrupt_after or ()
        program.on_conflict, program.durability = on_conflict, durability
        program.lock_timeout = seconds("lock_timeout", lock_timeout)
        program.checkpoint_when = checkpoint_policy(checkpoint_when)
        program.migrations = Migrations(self.migrations, whole("state_version", state_version, 0))
        program.on_mismatch, program.strict = on_mismatch, flag("strict", strict)
        graph = CompiledStateGraph(self, program, checkpointer)
        graph.debug = bool(debug)
        return graph


if not TYPE_CHECKING:
    __getattr__, __dir__ = late_names(
        __name__, {"CompiledStateGraph": "stepwell.graph._compiled_graph"}
    )

__all__ = ["CompiledStateGraph", "StateGraph"]
