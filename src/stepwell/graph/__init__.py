"""Graphs: describe them with `StateGraph`, compile them, run them."""

from typing import TYPE_CHECKING

from stepwell._late import late_names
from stepwell.constants import END, START
from stepwell.graph.message import MessageGraph, MessagesState, add_messages
from stepwell.graph.state import StateGraph

if TYPE_CHECKING:
    from stepwell.graph._compiled_graph import CompiledStateGraph

__all__ = [
    "END", "START", "CompiledStateGraph", "MessageGraph", "MessagesState", "StateGraph",
    "add_messages",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = late_names(
        __name__, {"CompiledStateGraph": "stepwell.graph._compiled_graph"}
    )
