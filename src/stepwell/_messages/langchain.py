"""What Stepwell knows of LangChain, without importing it.

Everything here asks `sys.modules`: where nobody has imported LangChain there are no objects
of it either. Which classes may be stored is decided by the tables below alone, never by what
is read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, get_args

MODULE: Final = "langchain_core.messages"
CLASSES: Final = (
    "HumanMessage", "AIMessage", "SystemMessage", "ToolMessage", "FunctionMessage", "ChatMessage",
    "RemoveMessage", "HumanMessageChunk", "AIMessageChunk", "SystemMessageChunk",
    "ToolMessageChunk", "FunctionMessageChunk", "ChatMessageChunk",
)  # fmt: skip
"""The classes of messages that are stored; their type ids are `langchain_core.messages:<name>`."""
TEXT: Final = f"{MODULE}.base:TextAccessor"
"""The type id of what `message.text` is: a str that can also be called."""
PLAIN: Final = {
    "langchain_core.documents.base": ("Document", "Blob"),
    "langchain_core.prompt_values": (
        "StringPromptValue", "ChatPromptValue", "ChatPromptValueConcrete", "ImagePromptValue",
    ),
    "langchain_core.agents": ("AgentAction", "AgentActionMessageLog", "AgentFinish", "AgentStep"),
}  # fmt: skip
"""Classes besides messages that only hold what they are given, by the module that defines them;
their type ids are `<module>:<name>`, what a schema that names them stores as well."""


def class_under(type_id: str) -> type | None:
    """The class of a stored object, if it is in a table and its module has been imported."""
    module, _, name = type_id.partition(":")
    if name in PLAIN.get(module, ()):
        # Not by getattr: a package may import what is asked of it.
        found = vars(sys.modules[module]).get(name) if module in sys.modules else None
        return found if isinstance(found, type) else None
    known = type_id == TEXT or (module == MODULE and name in CLASSES)
    if not known or module not in sys.modules:
        return None
    found = getattr(sys.modules[module], name, None)
    return found if isinstance(found, type) else None


def type_id_of(cls: type) -> str | None:
    """The type id of a class in a table, None for any other."""
    if cls.__name__ in PLAIN.get(cls.__module__, ()):
        type_id = f"{cls.__module__}:{cls.__name__}"
        return type_id if class_under(type_id) is cls else None
    if not cls.__module__.startswith(MODULE):
        return None
    type_id = TEXT if cls.__name__ == "TextAccessor" else f"{MODULE}:{cls.__name__}"
    return type_id if class_under(type_id) is cls else None


def convert(messages: Sequence[Any]) -> list[Any]:
    """Messages as objects of LangChain, which has to be imported already."""
    converted: list[Any] = sys.modules[MODULE].convert_to_messages(list(messages))
    return converted


def names_messages(annotation: Any) -> bool:
    """Whether a type annotation speaks of LangChain's messages: `list[AnyMessage]`, say."""
    waiting, seen = [annotation], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, type) and part.__module__.startswith(MODULE):
            return True
        if id(part) not in seen:
            seen.add(id(part))
            waiting.extend(get_args(part))
    return False


__all__ = ["CLASSES", "MODULE", "PLAIN", "class_under", "convert", "names_messages", "type_id_of"]
