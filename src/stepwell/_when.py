"""Policies that say which supersteps get a row of their own (`checkpoint_when`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from stepwell._dataclass import dataclass
from stepwell.errors import StepwellError


class PolicyError(StepwellError, ValueError):
    """A policy cannot be what it was given; the message says why."""

    code = "usage"


@dataclass(frozen=True, slots=True)
class Always:
    """Every superstep gets a row. This is the default."""


@dataclass(frozen=True, slots=True)
class Every:
    """A superstep gets a row if it is the n-th since the last one that got one.

    Args:
        n: Supersteps, at least 1; a process that dies takes at most n with it (and with
            `durability="async"` those that are on their way to the disk). 1 is `Always()`.

    Raises:
        ValueError: n is no whole number of at least 1.
    """

    n: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            msg = (
                f"Every(n) takes a number of supersteps, a whole one of at least 1, not "
                f"{self.n!r:.100} ({type(self.n).__name__}). Every(1) writes each; OnExit() none "
                "but those that have to be."
            )
            raise PolicyError(msg)


@dataclass(frozen=True, slots=True)
class OnExit:
    """Only what has to be written is: the input, questions, errors, the end.

    Other than with `durability="exit"`, the input is durable before the first node starts: a run
    whose process dies is an orphan that is found, and begun again.
    """


@dataclass(frozen=True, slots=True)
class When:
    """A superstep gets a row if a predicate says so.

    Args:
        predicate: Called at a barrier with {key: value} of the keys of the state that were
            written since the last row, each with the value that it has now (keys without a
            value left out). A plain function; it runs on the event loop, must not block, and
            must not change what it is shown. It is asked only where nothing else decides.

    Raises:
        ValueError: It is not callable, or asynchronous.
    """

    predicate: Callable[[Mapping[str, Any]], bool]

    def __post_init__(self) -> None:
        given = self.predicate
        if not callable(given):
            msg = (
                f"When(predicate) takes a function of the delta, not {given!r:.100} "
                f"({type(given).__name__})."
            )
            raise PolicyError(msg)
        inner = given
        while isinstance(inner, partial):
            inner = inner.func
        asynchronous = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        if any(test(f) for test in asynchronous for f in (inner, type(inner).__call__)):
            msg = (
                f"When(predicate) takes a plain function, not {given!r:.100}, which is async: "
                "what it returns would be true of every superstep."
            )
            raise PolicyError(msg)


CheckpointWhen: TypeAlias = Always | Every | OnExit | When
"""Which supersteps get a row: of a graph's runs, or of those that a node ran in."""

_ALL = (Always, Every, OnExit, When)


def checkpoint_policy(given: Any) -> CheckpointWhen | None:
    """A policy as it was given; `Every(1)` is `Always()`.

    Raises:
        ValueError: It is none.
    """
    if given is None:
        return None
    if not isinstance(given, _ALL):
        hint = ""
        if isinstance(given, type) and issubclass(given, _ALL):
            hint = f" Make one: {given.__name__}(...)."
        elif callable(given):
            hint = " A function goes into When(...)."
        msg = (
            "checkpoint_when must be Always(), Every(n), OnExit() or When(predicate), not "
            f"{given!r:.100} ({type(given).__name__}).{hint}"
        )
        raise PolicyError(msg)
    return Always() if given == Every(1) else given


__all__ = ["Always", "CheckpointWhen", "Every", "OnExit", "When", "checkpoint_policy"]
