"""Names that graphs, nodes and configs share. Values are LangGraph's where it defines them."""

import sys
from typing import Final

START: Final = sys.intern("__start__")
"""The virtual node every run enters by."""
END: Final = sys.intern("__end__")
"""The virtual node a finished branch leaves by."""
TAG_HIDDEN: Final = sys.intern("langsmith:hidden")
"""Tag of a node that streams and interrupts leave out."""
TAG_NOSTREAM: Final = sys.intern("nostream")
"""Tag of a node whose messages are not streamed."""
CONF: Final = "configurable"
"""Key of a config under which thread_id and checkpoint_id live."""
TASKS: Final = sys.intern("__pregel_tasks")
"""Channel of the pending `Send` packets."""
CONFIG_KEY_CHECKPOINTER: Final = "__pregel_checkpointer"
"""Accepted for compatibility; Stepwell keeps no engine data in configs."""
NS_SEP: Final = "|"
"""Separates the levels of a namespace."""
NS_END: Final = ":"
"""Separates a node's name from its task's id in a level of a namespace."""

__all__ = [
    "CONF",
    "CONFIG_KEY_CHECKPOINTER",
    "END",
    "NS_END",
    "NS_SEP",
    "START",
    "TAG_HIDDEN",
    "TAG_NOSTREAM",
    "TASKS",
]
