"""Names of a module that are imported when somebody asks for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any


def late_names(
    module: str, sources: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a module. Type checkers must not see them: of a module that
    has a `__getattr__` they believe every name, misspelled ones too.

    Args:
        module: Its own name, `__name__`.
        sources: The modules that the names are imported from, by name. Type checkers are told
            of them by an import under `TYPE_CHECKING`.
    """

    def find(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        __import__(sources[name])
        found = getattr(sys.modules[sources[name]], name)
        setattr(sys.modules[module], name, found)  # asked once
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *sources})

    return find, names


__all__ = ["late_names"]
