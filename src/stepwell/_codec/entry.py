"""What the codec knows about one type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from stepwell._codec.refusal import Step
from stepwell._dataclass import dataclass

CLASS_MARK: Final = "$:"
"""Begins the key of a registered class; built-in types begin with "$" and a letter."""

Locate: TypeAlias = Callable[[list[Step], Any], None]
"""Rewrites the outermost step (the last of the list), which leads into an instance's state,
so that it reads like a step into the instance."""


class Misfit(Exception):  # noqa: N818  # never leaves the codec
    """A stored state that the class of today has no instance for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How instances of one type are taken apart and put together again.

    `take` gives a state made of supported values, `make` is its inverse and calls no
    constructor the user wrote. `plain`: the state is JSON already and needs no walk.
    `unordered`: the state is a list whose order means nothing. `lenient`: parts of the state
    that cannot be stored are replaced by their repr. `foreign`: `make` is the user's, and may
    change what it is handed.
    """

    key: str
    cls: type
    take: Callable[[Any], Any]
    make: Callable[[Any], Any]
    plain: bool = False
    unordered: bool = False
    lenient: bool = False
    locate: Locate | None = None
    foreign: bool = False
