"""Names that graphs, nodes and configs share. Values are LangGraph's where it defines them."""

from __future__ import annotations

import sys
from typing import Any, Final
from warnings import warn

from stepwell.warnings import LangGraphDeprecatedSinceV10

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

_OLD: Final = {
    "CONFIG_KEY_CHECKPOINT_ID": "checkpoint_id",
    "CONFIG_KEY_CHECKPOINT_MAP": "checkpoint_map",
    "CONFIG_KEY_CHECKPOINT_NS": "checkpoint_ns",
    "CONFIG_KEY_THREAD_ID": "thread_id",
    "ERROR": "__error__",
    "INPUT": "__input__",
    "INTERRUPT": "__interrupt__",
    "NO_WRITES": "__no_writes__",
    "NULL_TASK_ID": "00000000-0000-0000-0000-000000000000",
    "OVERWRITE": "__overwrite__",
    "PREVIOUS": "__previous__",
    "PULL": "__pregel_pull",
    "PUSH": "__pregel_push",
    "RESUME": "__resume__",
    "RETURN": "__return__",
}
"""Names that LangGraph made private; older code still imports them from here."""


def __getattr__(name: str) -> Any:
    if name in ("Send", "Interrupt"):
        warn(
            f"Importing {name} from stepwell.constants is deprecated. Please use "
            f"'from stepwell.types import {name}' instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        from stepwell import types  # only for this

        return getattr(types, name)
    if name in _OLD:
        warn(
            f"Importing {name} from stepwell.constants is deprecated: it is private.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        return sys.intern(_OLD[name])
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


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
