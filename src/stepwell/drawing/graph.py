"""The shape of a graph as data, and as text: Mermaid, ASCII, JSON.

`graph.get_graph()` returns a `Graph`. Names and texts are LangChain's
(`langchain_core.runnables.graph`); nothing here opens a connection.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, is_dataclass
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from stepwell._dataclass import dataclass
from stepwell._ids import RANDOM_IDS
from stepwell.drawing import _ascii
from stepwell.drawing._mermaid import mermaid
from stepwell.errors import GraphDefinitionError, UsageError


class CurveStyle(Enum):
    """How Mermaid bends edges."""

    BASIS = "basis"
    BUMP_X = "bumpX"
    BUMP_Y = "bumpY"
    CARDINAL = "cardinal"
    CATMULL_ROM = "catmullRom"
    LINEAR = "linear"
    MONOTONE_X = "monotoneX"
    MONOTONE_Y = "monotoneY"
    NATURAL = "natural"
    STEP = "step"
    STEP_AFTER = "stepAfter"
    STEP_BEFORE = "stepBefore"


@dataclass
class NodeStyles:
    """How Mermaid paints nodes: the style of ordinary ones, of the first and of the last."""

    default: str = "fill:#f2f0ff,line-height:1.2"
    first: str = "fill-opacity:0"
    last: str = "fill:#bfb6fc"


class MermaidDrawMethod(Enum):
    """LangChain's ways to make a PNG. Stepwell has none; see `Graph.draw_mermaid_png`."""

    PYPPETEER = "pyppeteer"
    API = "api"


class Edge(NamedTuple):
    """An edge between two nodes, which it names by id."""

    source: str
    target: str
    data: Any = None
    """The label."""
    conditional: bool = False
    """Whether a router or a command decides."""

    def copy(self, *, source: str | None = None, target: str | None = None) -> Edge:
        """The edge with other ends."""
        return self._replace(source=source or self.source, target=target or self.target)


class Node(NamedTuple):
    """A node; `data` is the function or graph it runs, None for START and END."""

    id: str
    name: str
    data: Any
    metadata: dict[str, Any] | None

    def copy(self, *, id: str | None = None, name: str | None = None) -> Node:
        """The node under another id or name."""
        return self._replace(id=id or self.id, name=name or self.name)


@dataclass
class Graph:
    """Nodes by id, and edges."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there are any nodes."""
        return bool(self.nodes)

    # -- building ----------------------------------------------------------------------------

    def next_id(self) -> str:
        """A fresh id for a node that has no name of its own."""
        return RANDOM_IDS.uid().hex()

    def add_node(
        self, data: Any, id: str | None = None, *, metadata: dict[str, Any] | None = None
    ) -> Node:
        """Add a node and return it.

        Raises:
            GraphDefinitionError: The id is taken.
        """
        if id is not None and id in self.nodes:
            msg = f"Node with id {id} already exists"
            raise GraphDefinitionError(msg, node=id)
        key = id or self.next_id()
        node = Node(key, _name(key, data), data, metadata)
        self.nodes[key] = node
        return node

    def remove_node(self, node: Node) -> None:
        """Remove a node and its edges."""
        self.nodes.pop(node.id)
        self.edges = [e for e in self.edges if node.id not in (e.source, e.target)]

    def add_edge(
        self, source: Node, target: Node, data: Any = None, conditional: bool = False
    ) -> Edge:
        """Add an edge and return it.

        Raises:
            GraphDefinitionError: One of its nodes is not in the graph.
        """
        for label, node in (("Source", source), ("Target", target)):
            if node.id not in self.nodes:
                msg = f"{label} node {node.id} not in graph"
                raise GraphDefinitionError(msg, node=node.id)
        edge = Edge(source.id, target.id, data, conditional)
        self.edges.append(edge)
        return edge

    def extend(self, graph: Graph, *, prefix: str = "") -> tuple[Node | None, Node | None]:
        """Add the nodes and edges of another graph, their ids under `prefix:`.

        The two are not connected.

        Returns:
            The first and the last node of what was added, None where it is not clear.
        """
        if all(_is_uuid(key) for key in graph.nodes):
            prefix = ""

        def moved(key: str) -> str:
            return f"{prefix}:{key}" if prefix else key

        for key, node in graph.nodes.items():
            self.nodes[moved(key)] = node.copy(id=moved(key))
        self.edges.extend(
            e.copy(source=moved(e.source), target=moved(e.target)) for e in graph.edges
        )
        first, last = graph.first_node(), graph.last_node()
        return (
            first.copy(id=moved(first.id)) if first else None,
            last.copy(id=moved(last.id)) if last else None,
        )

    def reid(self) -> Graph:
        """The same graph with names in place of ids that are UUIDs."""
        ids: dict[str, list[str]] = {}
        for node in self.nodes.values():
            ids.setdefault(node.name, []).append(node.id)
        renamed = {
            key: (name if len(keys) == 1 else f"{name}_{number}") if _is_uuid(key) else key
            for name, keys in ids.items()
            for number, key in enumerate(keys, 1)
        }
        return Graph(
            {renamed[key]: node.copy(id=renamed[key]) for key, node in self.nodes.items()},
            [e.copy(source=renamed[e.source], target=renamed[e.target]) for e in self.edges],
        )

    # -- ends --------------------------------------------------------------------------------

    def first_node(self) -> Node | None:
        """The one node that no edge leads to; None if there is none, or several."""
        return self._first()

    def last_node(self) -> Node | None:
        """The one node that no edge leaves; None if there is none, or several."""
        return self._last()

    def _first(self, without: Sequence[str] = ()) -> Node | None:
        entered = {e.target for e in self.edges if e.source not in without}
        return self._only(entered.union(without))

    def _last(self, without: Sequence[str] = ()) -> Node | None:
        left = {e.source for e in self.edges if e.target not in without}
        return self._only(left.union(without))

    def _only(self, excluded: set[str]) -> Node | None:
        found = [node for key, node in self.nodes.items() if key not in excluded]
        return found[0] if len(found) == 1 else None

    def trim_first_node(self) -> None:
        """Remove the first node, if it has one edge and another node then is the first."""
        first = self.first_node()
        if (
            first
            and self._first([first.id])
            and len({e for e in self.edges if e.source == first.id}) == 1
        ):
            self.remove_node(first)

    def trim_last_node(self) -> None:
        """Remove the last node, if it has one edge and another node then is the last."""
        last = self.last_node()
        if (
            last
            and self._last([last.id])
            and len({e for e in self.edges if e.target == last.id}) == 1
        ):
            self.remove_node(last)

    # -- showing -----------------------------------------------------------------------------

    def to_json(self, *, with_schemas: bool = False) -> dict[str, list[dict[str, Any]]]:
        """Nodes and edges as JSON values; ids that are UUIDs become numbers.

        Args:
            with_schemas: Show nodes that are pydantic models by their JSON schema.
        """
        ids: dict[str, Any] = {
            key: number if _is_uuid(key) else key for number, key in enumerate(self.nodes)
        }
        edges = []
        for edge in self.edges:
            shown = {"source": ids[edge.source], "target": ids[edge.target]}
            if edge.data is not None:
                shown["data"] = edge.data
            if edge.conditional:
                shown["conditional"] = True
            edges.append(shown)
        nodes = [
            {"id": ids[key], **_node_json(node, with_schemas)} for key, node in self.nodes.items()
        ]
        return {"nodes": nodes, "edges": edges}

    def draw_mermaid(
        self,
        *,
        with_styles: bool = True,
        curve_style: Any = CurveStyle.LINEAR,
        node_colors: NodeStyles | Mapping[str, str] | None = None,
        wrap_label_n_words: int = 9,
        frontmatter_config: dict[str, Any] | None = None,
    ) -> str:
        """The graph as Mermaid text, which GitHub and many editors render.

        Args:
            with_styles: False for the edges alone.
            curve_style: How edges are bent: a `CurveStyle` or its value.
            node_colors: Styles of nodes (CSS, by class).
            wrap_label_n_words: After how many words the label of an edge is wrapped.
            frontmatter_config: Mermaid's configuration, for instance
                `{"config": {"theme": "neutral"}}`.
        """
        styles: Mapping[str, str] | None = None
        if with_styles:
            colors = NodeStyles() if node_colors is None else node_colors
            styles = _styles(colors)
        return mermaid(
            self.reid(),
            styles=styles,
            curve=str(getattr(curve_style, "value", curve_style)),
            words=wrap_label_n_words,
            front_matter=frontmatter_config or {},
        )

    def draw_ascii(self) -> str:
        """The graph as boxes and lines of characters.

        The layout is grandalf's, and the picture LangChain's, if that package is installed
        (extra `draw`); else a simpler one. Lines of `*` are edges, those of `.` conditional.
        """
        arcs = [_ascii.Arc(e.source, e.target, e.conditional) for e in self.edges]
        return _ascii.draw({node.id: node.name for node in self.nodes.values()}, arcs)

    def print_ascii(self) -> None:
        """Print `draw_ascii`."""
        print(self.draw_ascii())  # noqa: T201  # what the method is for

    def draw_mermaid_png(self, **options: Any) -> bytes:  # noqa: ARG002
        """Not available: Stepwell draws text.

        LangChain sends the Mermaid text to a web service here. A graph may be confidential,
        so it does not leave the process.

        Raises:
            UsageError: Always; it says what to do instead.
        """
        _no_image("draw_mermaid_png")

    def draw_png(
        self,
        output_file_path: str | None = None,  # noqa: ARG002
        fontname: str | None = None,  # noqa: ARG002
        labels: Any = None,  # noqa: ARG002
    ) -> bytes | None:
        """Not available: Stepwell draws text.

        Raises:
            UsageError: Always; it says what to do instead.
        """
        _no_image("draw_png")


def _no_image(name: str) -> NoReturn:
    msg = (
        f"{name} is not available: Stepwell makes no images and calls no web service. Render the "
        "text of draw_mermaid() (GitHub, notebooks, editors and the `mmdc` command do), or print "
        "draw_ascii()."
    )
    raise UsageError(msg)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _name(key: str, data: Any) -> str:
    """The id, or the name of the data where the id is a UUID."""
    if data is None or not _is_uuid(key):
        return key
    name = data.get_name() if hasattr(data, "get_name") else getattr(data, "__name__", key)
    return str(name).removeprefix("Runnable")


def _styles(colors: Any) -> Mapping[str, str]:
    if isinstance(colors, Mapping):
        return {**asdict(NodeStyles()), **colors}
    if is_dataclass(colors) and not isinstance(colors, type):
        return asdict(colors)
    msg = f"node_colors must be NodeStyles(...) or a mapping of class to style, not {colors!r:.100}"
    raise UsageError(msg)


def _node_json(node: Node, with_schemas: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    data = node.data
    if inspect.isclass(data):
        schema = getattr(data, "model_json_schema", None) if with_schemas else None
        kind = "schema" if hasattr(data, "model_json_schema") else "unknown"
        shown = {"type": kind, "data": schema() if schema else _name(node.id, data)}
    elif data is not None:
        source = data if hasattr(data, "__qualname__") else type(data)
        path = [*(getattr(source, "__module__", None) or "").split("."), source.__qualname__]
        shown = {"type": "runnable", "data": {"id": path, "name": _name(node.id, data)}}
    if node.metadata is not None:
        shown["metadata"] = node.metadata
    return shown


__all__ = ["CurveStyle", "Edge", "Graph", "MermaidDrawMethod", "Node", "NodeStyles"]
