"""Find the graph that a node is, or calls."""

from stepwell.pregel._subgraphs import subgraph_of

__all__ = ["subgraph_of"]
