"""Write rules: from what a node returned to the writes it makes.

A rule is compiled once per node from its edges: the state updates, the control writes of
commands, the static edges, and the branches whose routers decide at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepwell._engine.binding import Bound
from stepwell._plan.spec import ROOT
from stepwell._plan.tasks import Write
from stepwell.channels.base import MISSING
from stepwell.channels.binop import unwrap_overwrite
from stepwell.constants import END, START, TASKS
from stepwell.errors import (
    ErrorCode,
    InvalidUpdateError,
    NotFoundError,
    ParentCommand,
    create_error_message,
    of_langgraph,
)
from stepwell.managed.base import ManagedValueSpec, Scratchpad
from stepwell.types import Command, Overwrite, Send, annotated_keys, update_tuples

if TYPE_CHECKING:
    from stepwell._engine.run import Run
    from stepwell._engine.task import TaskRun


def to_channel(node: str) -> str:
    """The channel whose write triggers `node`."""
    return f"branch:to:{node}"


_STEERING = ("Command", "Send")
"""What LangGraph's programs steer with; an instance of LangGraph's own class is a mistake here."""


class UnroutedError(NotFoundError, KeyError):
    """A router's answer is not in its `path_map`; a KeyError, as in LangGraph."""

    __str__ = Exception.__str__  # a KeyError shows the repr of its text


def refuse_steering(value: Any, node: str | None = None) -> None:
    """Refuse LangGraph's own `Command` or `Send`, which would otherwise mean nothing.

    Raises:
        InvalidUpdateError: It is one.
    """
    if type(value).__name__ in _STEERING and (said := of_langgraph(value)):
        subject = f"Node {node!r} returned {value!r:.100}" if node else f"Got {value!r:.100}"
        raise InvalidUpdateError(f"{subject}: {said}.", node=node)


class Branch:
    """One conditional edge: a router and what its answers stand for."""

    __slots__ = (
        "bare", "ends", "keys", "managed", "mapper", "name", "passthrough", "router", "watched",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        router: Bound,
        *,
        ends: Mapping[Hashable, str] | None,
        keys: Sequence[str],
        mapper: Callable[[dict[str, Any]], Any] | None,
        passthrough: bool,
        managed: Sequence[tuple[str, ManagedValueSpec]] = (),
    ) -> None:
        self.managed = tuple(managed)
        self.name = name
        self.router = router
        self.ends = ends
        self.keys = tuple(keys)
        self.watched = frozenset(keys)
        self.bare = self.keys == (ROOT,)
        self.mapper = mapper
        self.passthrough = passthrough

    def view(self, output: Any, run: Run, writes: Sequence[Write]) -> Any:
        """What the router is shown: the state with the node's own writes applied."""
        state, keys = run.state, self.keys
        written: dict[str, list[Any]] = {}
        for channel, each in writes:
            if channel in self.watched:
                written.setdefault(channel, []).append(each)
        for channel in run.spec.passing:
            if channel in state.live and channel in self.watched:
                written.setdefault(channel, [])
        known = state.values
        if keys == run.spec.state_keys:
            value = known.copy()
        else:
            value = {k: known[k] for k in keys if k in known}
        reorder = False
        for key, values in written.items():
            found = state.channels[key].preview(values)
            if found is MISSING:
                value.pop(key, None)
            else:
                reorder = reorder or key not in value
                value[key] = found
        if self.bare:
            return value.get(ROOT)
        if reorder:
            value = {k: value[k] for k in keys if k in value}
        for key, managed in self.managed:
            value[key] = managed.get(Scratchpad(run.step, run.stop))
        if self.mapper is not None:
            return self.mapper(value)
        return {**output, **value} if self.passthrough and isinstance(output, dict) else value

    def writes(self, answer: Any, node: str) -> list[Write]:
        """The writes that the router's answer stands for, after `node`.

        Raises:
            UnroutedError: The answer is not in the branch's `path_map`.
            ValueError: The answer names no destination.
            InvalidUpdateError: A packet is addressed to END, or is LangGraph's.
        """
        ends = self.ends
        if type(answer) is str:  # as nearly always
            target = answer if ends is None else ends.get(answer)
            if target == END:
                return []
            if target is not None and target != START:
                return [(to_channel(target), None)]
        answers = answer if isinstance(answer, (list, tuple)) else (answer,)
        writes: list[Write] = []
        for item in answers:
            if isinstance(item, Send):
                if item.node == END:
                    msg = "Cannot send a packet to the END node"
                    raise InvalidUpdateError(msg)
                writes.append((TASKS, item))
                continue
            if type(item) is not str:
                refuse_steering(item)
            if ends is None:
                target = item
            else:
                try:
                    target = ends[item]
                except KeyError:
                    known = ", ".join(repr(key) for key in ends)
                    msg = (
                        f"Router {self.name!r} of node {node!r} returned {item!r:.100}, which is "
                        f"not in its path_map. It knows {known}, and takes Sends."
                    )
                    raise UnroutedError(msg, node=node) from None
            if target is None or target == START:
                msg = (
                    f"Branch {self.name!r} did not return a valid destination: {item!r}. "
                    "Return a node name, END, a Send, or a list of them."
                )
                raise ValueError(msg)
            if target != END:
                writes.append((to_channel(target), None))
        return writes


class WriteRule:
    """What one node's return value writes."""

    __slots__ = ("branches", "edges", "keys", "node", "ordered_keys", "root")

    def __init__(self, node: str, keys: Sequence[str]) -> None:
        self.node = node
        self.ordered_keys = tuple(keys)
        self.keys = frozenset(keys)
        self.root = self.ordered_keys == (ROOT,)
        self.edges: tuple[Write, ...] = ()
        self.branches: tuple[Branch, ...] = ()

    def own_writes(self, output: Any) -> list[Write]:
        """State updates, control writes and static edges, in this order.

        Raises:
            InvalidUpdateError: The node returned something that is no update.
            ParentCommand: The node commands the parent graph.
        """
        keys = self.keys
        if type(output) is dict and not self.root:
            writes = list(output.items()) if output.keys() <= keys else self._updates(output)
        elif output is None:
            writes = []
        else:
            writes = self._root_updates(output) if self.root else self._updates(output)
            writes.extend(_control(output))
        if self.edges:
            writes.extend(self.edges)
        return writes

    async def run(self, output: Any, task: TaskRun) -> list[Write]:
        """All writes of a finished task; routers are asked here."""
        writes = self.own_writes(output)
        if task.sent:
            writes = [*task.sent, *writes]
        for branch in self.branches:
            value = branch.view(output, task.run, writes)
            router = branch.router
            answer = router.now(value, task) if router.now else await router.call(value, task)
            if hasattr(answer, "__await__"):
                answer = await answer
            writes.extend(branch.writes(answer, self.node))
        return writes

    def _updates(self, output: Any) -> list[Write]:
        keys = self.keys
        if isinstance(output, dict):
            return [(k, v) for k, v in output.items() if k in keys]
        if isinstance(output, Command):
            if output.graph == Command.PARENT:
                return []
            return [(k, v) for k, v in output.update_as_tuples() if k in keys]
        if isinstance(output, (list, tuple)) and any(isinstance(o, Command) for o in output):
            return [w for o in output if o is not None for w in self._updates(o)]
        refuse_steering(output, self.node)
        if annotated_keys(type(output)) and not hasattr(output, "ainvoke"):
            return list(update_tuples(output, self.ordered_keys))
        for item in output if isinstance(output, (list, tuple)) else ():
            refuse_steering(item, self.node)
        if self.node == START:
            msg = (
                f"Expected dict, got {output!r:.100}: the input must be a dict of the state's keys "
                f"({', '.join(self.ordered_keys)}), not {type(output).__name__}."
            )
            raise InvalidUpdateError(
                create_error_message(
                    message=msg, error_code=ErrorCode.INVALID_GRAPH_NODE_RETURN_VALUE
                )
            )
        msg = create_error_message(
            message=(
                f"Expected dict, got {output!r}: node {self.node!r} must return a dict of updates, "
                "a Command, an object of the state's type, or None."
            ),
            error_code=ErrorCode.INVALID_GRAPH_NODE_RETURN_VALUE,
        )
        raise InvalidUpdateError(msg, node=self.node)

    def _root_updates(self, output: Any) -> list[Write]:
        if isinstance(output, Command):
            return [] if output.graph == Command.PARENT else list(output.update_as_tuples())
        if isinstance(output, (list, tuple)) and any(isinstance(o, Command) for o in output):
            return [w for o in output for w in self._root_updates(o)]
        if type(output).__name__ in _STEERING:
            refuse_steering(output, self.node)
        return [(ROOT, output)]


class PreparingRule(WriteRule):
    """The rule of a graph in which writes to some channels are prepared before they are stored:
    messages are given their ids."""

    __slots__ = ("prepares",)

    def __init__(
        self, node: str, keys: Sequence[str], prepares: Mapping[str, Callable[[Any], Any]]
    ) -> None:
        super().__init__(node, keys)
        self.prepares = prepares

    def own_writes(self, output: Any) -> list[Write]:
        return prepare(self.prepares, super().own_writes(output))


def prepare(prepares: Mapping[str, Callable[[Any], Any]], writes: Sequence[Write]) -> list[Write]:
    """Writes as they are stored.

    An `Overwrite` stays as it is, for no reducer will see it, unless the channel has a way to
    prepare replacements too.
    """
    return [(c, v if (p := prepares.get(c)) is None else _prepared(p, v)) for c, v in writes]


def _prepared(prepare_one: Callable[[Any], Any], value: Any) -> Any:
    is_overwrite, replacement = unwrap_overwrite(value)
    if not is_overwrite:
        return prepare_one(value)
    replace = getattr(prepare_one, "replacement", None)
    return value if replace is None else Overwrite(replace(replacement))


def _control(output: Any) -> list[Write]:
    """The writes by which a returned command or packet steers the graph.

    Raises:
        ParentCommand: It is addressed to the parent graph.
    """
    if isinstance(output, Send):
        return [(TASKS, output)]
    commands = (
        [output]
        if isinstance(output, Command)
        else [o for o in output if isinstance(o, Command)]
        if isinstance(output, (list, tuple))
        else []
    )
    return [write for command in commands for write in goto_writes(command)]


def goto_writes(command: Command[Any]) -> list[Write]:
    """The writes of a command's `goto`.

    Raises:
        ParentCommand: The command is addressed to the parent graph.
    """
    if command.graph == Command.PARENT:
        raise ParentCommand(command)
    goto = command.goto
    if not isinstance(goto, (list, tuple, Send, str)):
        refuse_steering(goto)
        msg = f"Command(goto=...) takes node names and Sends, not {goto!r:.100}."
        raise InvalidUpdateError(msg)
    targets: Sequence[Any] = [goto] if isinstance(goto, (Send, str)) else goto
    writes: list[Write] = []
    for target in targets:
        if isinstance(target, Send):
            writes.append((TASKS, target))
        elif not isinstance(target, str):
            refuse_steering(target)
            msg = (
                f"Command(goto=...) takes node names and Sends, not {target!r:.100} "
                f"({type(target).__name__})."
            )
            raise InvalidUpdateError(msg)
        elif target != END:
            writes.append((to_channel(target), None))
    return writes


__all__ = [
    "Branch", "PreparingRule", "UnroutedError", "WriteRule", "goto_writes", "prepare",
    "refuse_steering", "to_channel",
]  # fmt: skip
