"""What a compiled graph tells of its shape: drawings, and the graphs inside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from stepwell._engine.program import Program
from stepwell._plan.spec import NodeSpec
from stepwell.constants import END, START
from stepwell.pregel._subgraphs import Nestable, subgraph_of

if TYPE_CHECKING:
    from stepwell.drawing.graph import Graph
    from stepwell.pregel.main import Pregel


class Shape(Nestable):
    """The part of a compiled graph that shows what it is made of."""

    _program: Program
    _inside: Mapping[str, Pregel] = MappingProxyType({})
    """The graphs inside, by node."""

    def get_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> Iterator[tuple[str, Pregel]]:
        """The graphs that nodes of this one are, or call by name.

        Args:
            namespace: Only the graph at this place, for instance `parent|child` (names of
                nodes, without task ids); a nested one is found with `recurse` only.
            recurse: Also the graphs in these graphs.

        Returns:
            Pairs of (namespace, graph).
        """
        for name, graph in self._inside.items():
            if namespace is not None and namespace.split("|", 1)[0] != name:
                continue
            if namespace in (None, name):
                yield name, graph
            if namespace == name:
                return
            if recurse:
                rest = None if namespace is None else namespace[len(name) + 1 :]
                for inner, found in graph.get_subgraphs(namespace=rest, recurse=True):
                    yield f"{name}|{inner}", found

    async def aget_subgraphs(
        self, *, namespace: str | None = None, recurse: bool = False
    ) -> AsyncIterator[tuple[str, Pregel]]:
        """Async form of `get_subgraphs`."""
        for pair in self.get_subgraphs(namespace=namespace, recurse=recurse):
            yield pair

    def _find_subgraphs(self) -> None:
        """Look for the graphs inside, once, when the graph is compiled.

        Later would find more: a function that names the very graph it is a node of.
        """
        self._inside = {
            name: found
            for name, node in self._program.spec.nodes.items()
            if node.described is not None
            and (found := subgraph_of(node.described.action)) is not None
        }

    def get_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> Graph:
        """The shape of the graph, to be drawn.

        Routers without a path map or a `-> Literal[...]` annotation, and commands without one,
        do not tell where they lead; their edges are missing.

        Args:
            config: Accepted as in LangGraph; it does not change the shape.
            xray: Show the inside of subgraphs: True for all levels, or how many.
        """
        deeper = xray if isinstance(xray, bool) or xray <= 0 else xray - 1
        inside = (
            {name: sub.get_graph(config, xray=deeper) for name, sub in self.get_subgraphs()}
            if xray
            else {}
        )
        return _drawable(self._program, inside)

    async def aget_graph(
        self, config: Mapping[str, Any] | None = None, *, xray: int | bool = False
    ) -> Graph:
        """Async form of `get_graph`."""
        return self.get_graph(config, xray=xray)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """How a notebook shows the graph: its Mermaid text, in three forms, made here.

        `text/vnd.mermaid` is rendered by JupyterLab; `text/html` shows the text.
        """
        from html import escape

        text = self.get_graph().draw_mermaid()
        return {
            "text/plain": f"{self!r}\n{text}",
            "text/vnd.mermaid": text,
            "text/html": f'<pre class="mermaid">{escape(text)}</pre>',
        }


def _drawable(program: Program, inside: Mapping[str, Graph]) -> Graph:
    from stepwell.drawing.graph import Graph
    from stepwell.pregel._outline import outline

    spec = program.spec
    found = outline(spec)
    graph = Graph()
    for name, node in spec.nodes.items():
        described = node.described
        data = described.action if described is not None else node.body.call
        graph.add_node(data, name, metadata=_metadata(program, node) or None)
    if START not in spec.nodes:
        graph.add_node(None, START)
        for name in found.first:
            graph.add_edge(graph.nodes[START], graph.nodes[name])
    for link in found.links:
        if link.target == END and END not in graph.nodes:
            graph.add_node(None, END)
        source, target = graph.nodes[link.source], graph.nodes[link.target]
        graph.add_edge(source, target, link.label, link.conditional)
    for name, subgraph in inside.items():
        _replace(graph, name, subgraph)
    return graph


def _metadata(program: Program, node: NodeSpec) -> dict[str, Any]:
    """The node's own metadata, and what a drawing says of it besides."""
    metadata = dict(node.metadata)
    if node.deferred:
        metadata["defer"] = True
    stops = [
        when
        for when, names in (
            ("before", program.interrupt_before),
            ("after", program.interrupt_after),
        )
        if node.name in names
    ]
    if stops:
        metadata["__interrupt"] = ",".join(stops)
    tools = getattr(getattr(node.described, "action", None), "tools_by_name", None)
    if isinstance(tools, Mapping) and tools:
        metadata["__tools"] = list(tools)
    return metadata


def _replace(graph: Graph, name: str, subgraph: Graph) -> None:
    """Put the inside of a subgraph in the place of its node."""
    if len(subgraph.nodes) < 2 or not subgraph.first_node() or not subgraph.last_node():
        return
    subgraph.trim_first_node()
    subgraph.trim_last_node()
    del graph.nodes[name]
    first, last = graph.extend(subgraph, prefix=name)
    if first is None or last is None:
        return
    graph.edges = [
        edge.copy(
            source=last.id if edge.source == name else None,
            target=first.id if edge.target == name else None,
        )
        for edge in graph.edges
    ]


__all__ = ["Shape"]
