"""Graphs: describe them with `StateGraph`, compile them, run them."""

from stepwell.constants import END, START
from stepwell.graph._compiled_graph import CompiledStateGraph
from stepwell.graph.message import MessageGraph, MessagesState, add_messages
from stepwell.graph.state import StateGraph

__all__ = [
    "END", "START", "CompiledStateGraph", "MessageGraph", "MessagesState", "StateGraph",
    "add_messages",
]  # fmt: skip
