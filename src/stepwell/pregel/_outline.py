"""Which edges a compiled graph has, found by walking it without running its functions.

Edges are not stored in a compiled graph: it has channels that nodes write and channels that
trigger nodes. The walk runs the planner on an empty state; every node writes what its static
edges always write and, the first time, everything its routers and commands were declared to
write. An edge is a write of one node that triggered another.

The outline is LangGraph's (`langgraph/pregel/_draw.py`, version 1.2), so that drawings agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from stepwell._engine.write import WriteRule, to_channel
from stepwell._plan.apply import Outside, TaskWrites, apply
from stepwell._plan.spec import GraphSpec, NodeSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Task, Write, plan
from stepwell.constants import END, START

_STEPS_MAX: Final = 251
"""Supersteps after which a graph that goes round in circles was seen often enough (odd, as in
LangGraph: where it stops decides which of two nodes in a circle leads to the end)."""


class Link(NamedTuple):
    """An edge from node to node."""

    source: str
    target: str
    conditional: bool
    label: str | None

    def key(self) -> tuple[str, str, bool, str]:
        """What links are sorted by; a link without a label comes first."""
        return self.source, self.target, self.conditional, self.label or ""


class Outline(NamedTuple):
    """The edges of a graph."""

    first: tuple[str, ...]
    """Nodes that input triggers."""
    links: tuple[Link, ...]
    """One per pair of nodes, sorted."""


class _Mark(NamedTuple):
    """A node's write to a channel, as far as an edge is told by it."""

    channel: str
    conditional: bool
    label: str | None


def outline(spec: GraphSpec) -> Outline:
    """The edges of the graph, ends included."""
    if START not in spec.channels:
        return _of_channels(spec)
    walk = _Walk(spec)
    return Outline(walk.first, tuple(_with_ends(walk.links, tuple(walk.wrote))))


def _of_channels(spec: GraphSpec) -> Outline:
    """The edges of a graph of bare channels: from who writes one to whom it triggers."""
    inputs = (spec.input_view,) if isinstance(spec.input_view, str) else spec.input_view
    first = sorted({name for channel in inputs for name in spec.triggered_by.get(channel, ())})
    links = [
        Link(name, target, conditional=False, label=None)
        for name, node in spec.nodes.items()
        for entry in node.writer.entries
        for target in spec.triggered_by.get(entry.channel, ())
    ]
    entries = [Link(START, name, conditional=False, label=None) for name in first]
    found = _with_ends([*links, *entries], ())
    return Outline(tuple(first), tuple(link for link in found if link.source != START))


def _with_ends(found: Iterable[Link], last: tuple[str, ...]) -> Iterator[Link]:
    """The links without doubles, and those to END that no write shows."""
    unique: dict[tuple[str, str], Link] = {}
    for link in sorted(found, key=Link.key):
        unique.setdefault((link.source, link.target), link)
    for link in unique.values():
        yield link._replace(label=None) if link.label == link.target else link
    sources = {link.source for link in unique.values()}
    targets = {link.target for link in unique.values()}
    if ends := sorted(targets - sources - {END}):
        yield from (Link(node, END, conditional=False, label=None) for node in ends)
    elif len(last) == 1 and END not in targets:
        yield Link(last[0], END, conditional=True, label=None)


def _declared(node: NodeSpec) -> Iterator[tuple[str, str | None]]:
    """(node, label) for every place that a command or a router may go to."""
    if node.described is not None:
        yield from node.described.destinations.items()
    if isinstance(node.writer, WriteRule):
        for branch in node.writer.branches:
            for answer, target in (branch.ends or {}).items():
                yield target, str(answer)


class _Walk:
    """The supersteps of a graph in which everything declared happens once."""

    def __init__(self, spec: GraphSpec) -> None:
        self.links: set[Link] = set()
        self.wrote: dict[str, set[_Mark]] = {}
        """Per node of the last superstep, what it wrote."""
        self._ever_wrote: dict[str, set[_Mark]] = {}
        self._declared: dict[str, set[_Mark]] = {}
        state = ThreadState(spec)
        if START in spec.channels:
            apply(spec, state, [(Outside(""), [(START, {})])])
        tasks = plan(spec, state, inputs=False)
        self.first = tuple(task.name for task in tasks)
        for _ in range(_STEPS_MAX):
            if not tasks:
                break
            self.wrote = {}
            apply(spec, state, [self._run(task) for task in tasks])
            self._ever_wrote.update(self.wrote)
            tasks = plan(spec, state, inputs=False)
            self._connect(tasks)

    def _run(self, task: Task) -> TaskWrites:
        node = task.node
        writes: list[Write] = list(getattr(node.writer, "edges", ()))
        labels: dict[str, str | None] = {}
        if node.name not in self._declared:
            marks = self._declared[node.name] = set()
            for target, label in _declared(node):
                if target == END:
                    self.links.add(Link(node.name, END, conditional=True, label=label))
                    continue
                channel = to_channel(target)
                writes.append((channel, None))
                labels[channel] = label
                marks.add(_Mark(channel, conditional=True, label=label))
        self.wrote[node.name] = self._declared[node.name] | {
            _Mark(c, conditional=c in labels, label=labels.get(c)) for c, _ in writes
        }
        return task, writes

    def _connect(self, tasks: list[Task]) -> None:
        """Links to the tasks that are due now, from whatever wrote to one of their triggers."""
        writers: dict[str, list[tuple[str, _Mark]]] = {}
        for source, marks in self._ever_wrote.items():
            for mark in marks:
                writers.setdefault(mark.channel, []).append((source, mark))
        for task in tasks:
            fresh = False
            for trigger in task.node.triggers:
                for source, mark in writers.get(trigger, ()):
                    self.links.add(Link(source, task.name, mark.conditional, mark.label))
                    if mark in self.wrote.get(source, ()):
                        fresh = True
                    else:
                        self._ever_wrote[source].discard(mark)
            if not fresh:
                self.links.update(
                    Link(source, task.name, conditional=True, label=None) for source in self.wrote
                )


__all__ = ["Link", "Outline", "outline"]
