"""The shape of a graph, and drawings of it; see `Pregel.get_graph`."""

from stepwell.drawing.graph import CurveStyle, Edge, Graph, MermaidDrawMethod, Node, NodeStyles

__all__ = ["CurveStyle", "Edge", "Graph", "MermaidDrawMethod", "Node", "NodeStyles"]
