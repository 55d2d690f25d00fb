"""Graphs as Mermaid text, byte for byte as LangChain writes it (langchain-core 1.x)."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from stepwell.drawing._yaml import to_yaml
from stepwell.errors import GraphDefinitionError

if TYPE_CHECKING:
    from stepwell.drawing.graph import Edge, Graph, Node

_SAFE: Final = frozenset(string.ascii_letters + string.digits + "_-")
_ENTITIES: Final = str.maketrans(
    {
        "#": "#35;", "[": "#91;", "]": "#93;", "(": "#40;", ")": "#41;", "{": "#123;",
        "}": "#125;", '"': "#quot;", "<": "#60;", ">": "#62;", "|": "#124;",
    }
)  # fmt: skip
_MARKDOWN: Final = ("*", "_", "`")


def mermaid(
    graph: Graph,
    *,
    styles: Mapping[str, str] | None,
    curve: str,
    words: int,
    front_matter: Mapping[str, Any],
) -> str:
    """The graph as Mermaid text.

    Args:
        graph: Its ids must be readable (see `Graph.reid`).
        styles: Class name -> style; None for edges alone, without nodes and colours.
        curve: How edges are bent.
        words: After how many words the label of an edge is wrapped.
        front_matter: Mermaid's configuration; the curve is added to it.

    Raises:
        GraphDefinitionError: Two subgraphs in different places have one name.
    """
    chart = _Chart(graph, styled=styles is not None, words=words)
    lines = [*chart.lines()]
    if styles is None:
        return "graph TD;\n" + "".join(lines)
    config = front_matter.get("config", {})
    flowchart = {**config.get("flowchart", {}), "curve": curve}
    head = to_yaml({**front_matter, "config": {**config, "flowchart": flowchart}})
    classes = (f"\tclassDef {name} {style}\n" for name, style in styles.items())
    return f"---\n{head}---\ngraph TD;\n" + "".join([*lines, *classes])


class _Chart:
    """The nodes and edges, sorted into the boxes of subgraphs by the `:` in their ids."""

    def __init__(self, graph: Graph, *, styled: bool, words: int) -> None:
        self.styled = styled
        self.words = words
        first, last = graph.first_node(), graph.last_node()
        self.first = first.id if first else None
        self.last = last.id if last else None
        self.nodes: dict[str, list[Node]] = {}
        for node in graph.nodes.values():
            self.nodes.setdefault(node.id.rpartition(":")[0], []).append(node)
        self.edges: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            self.edges.setdefault(_shared(edge.source, edge.target), []).append(edge)
        self.boxes: set[str] = set()

    def lines(self) -> Iterator[str]:
        if self.styled:
            yield from map(self.node, self.nodes.get("", ()))
        yield from self.box(self.edges.get("", []), "")
        for prefix, edges in self.edges.items():
            if prefix and ":" not in prefix:
                yield from self.box(edges, prefix)
                self.boxes.add(prefix)
        if self.styled:
            for prefix, nodes in self.nodes.items():
                if prefix and ":" not in prefix and prefix not in self.boxes:
                    self.boxes.add(prefix)
                    yield f"\tsubgraph {prefix}\n"
                    yield from map(self.node, nodes)
                    yield "\tend\n"

    def box(self, edges: list[Edge], prefix: str) -> Iterator[str]:
        """The edges under one prefix with their nodes, and the boxes right below it."""
        loop = len(edges) == 1 and edges[0].source == edges[0].target
        framed = bool(prefix) and not loop
        if framed:
            name = prefix.rpartition(":")[2]
            if name in self.boxes:
                msg = (
                    f"Found duplicate subgraph '{name}': two subgraphs in different places have "
                    "this name. Give the nodes they are names of their own."
                )
                raise GraphDefinitionError(msg, node=name)
            self.boxes.add(name)
            yield f"\tsubgraph {name}\n"
            if self.styled:
                yield from map(self.node, self.nodes.get(prefix, ()))
        yield from map(self.edge, edges)
        for nested, inner in self.edges.items():
            if nested.startswith(f"{prefix}:") and ":" not in nested[len(prefix) + 1 :]:
                yield from self.box(inner, nested)
        if framed:
            yield "\tend\n"

    def node(self, node: Node) -> str:
        label = node.name.rpartition(":")[2]
        if label.startswith(_MARKDOWN) and label.endswith(_MARKDOWN):
            label = f"<p>{label}</p>"
        if shown := list(_metadata_lines(node.metadata or {})):
            label = f"{label}<hr/><small><em>" + "\n".join(shown) + "</em></small>"
        if node.id == self.last:
            return f"\t{_safe(node.id)}([{label}]):::last\n"
        if node.id == self.first:
            return f"\t{_safe(node.id)}([{label}]):::first\n"
        return f"\t{_safe(node.id)}({label})\n"

    def edge(self, edge: Edge) -> str:
        if edge.data is None:
            arrow = " -.-> " if edge.conditional else " --> "
        else:
            label = self.wrapped(str(edge.data))
            arrow = (
                f" -. &nbsp;{label}&nbsp; .-> "
                if edge.conditional
                else f" -- &nbsp;{label}&nbsp; --> "
            )
        return f"\t{_safe(edge.source)}{arrow}{_safe(edge.target)};\n"

    def wrapped(self, label: str) -> str:
        words = label.split()
        if len(words) <= self.words:
            return label
        parts = (words[i : i + self.words] for i in range(0, len(words), self.words))
        return "&nbsp<br>&nbsp".join(" ".join(part) for part in parts)


def _shared(source: str, target: str) -> str:
    """The subgraph that both ends of an edge lie in."""
    pairs = zip(source.split(":"), target.split(":"), strict=False)
    return ":".join(a for a, b in pairs if a == b)


def _safe(name: str) -> str:
    """A node id that Mermaid reads: other characters become a backslash and their code."""
    return "".join(c if c in _SAFE else f"\\{ord(c):x}" for c in name)


def _metadata_lines(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key, value in metadata.items():
        if isinstance(value, (str, int, float)):
            shown = str(value)
        elif isinstance(value, (list, tuple, set)) and _all_plain(value):
            items = [str(item) for item in value]
            shown = ", ".join(sorted(items) if isinstance(value, set) else items)
        else:
            continue
        yield f"{key} = {shown}".translate(_ENTITIES)


def _all_plain(values: Iterable[Any]) -> bool:
    return all(isinstance(v, (str, int, float)) for v in values)


__all__ = ["mermaid"]
