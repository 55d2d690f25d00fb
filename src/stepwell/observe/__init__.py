"""Watch what Stepwell does: events, and the protocol of those who receive them.

An observer is any callable that takes one event. It is called on the event loop, between
two steps of the engine, so it must not block.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stepwell.observe._events import (
    CommitFinished,
    Event,
    LeaseLost,
    LoadFinished,
    LockWaited,
    Pruned,
    RunFinished,
    RunRecovered,
    RunStarted,
    StorageRetried,
    SuperstepFinished,
    TaskFinished,
    TaskStarted,
)

if TYPE_CHECKING:
    from stepwell.observe._meter import BOUNDS_S, Latency, Meter

_log = logging.getLogger("stepwell")

T = TypeVar("T")


class Observer(Protocol):
    """Receives every event. Must not block; what it raises is logged once and counted."""

    def __call__(self, event: Event, /) -> None: ...


class TaskObserver(Observer, Protocol):
    """An observer that also sets something around the code of tasks, such as a current span."""

    def enter_task(self, event: TaskStarted, /) -> None:
        """An attempt of a task is about to run. Called in the context (`contextvars`) that its
        code will see, and nobody else: what is set there holds for that code alone."""


class Observers:
    """Hands each event to several observers, none of which can harm the engine.

    False in a boolean context when nobody listens, so that the sender need not build events
    in vain: `if observers: observers(TaskStarted(...))`.
    """

    __slots__ = ("_complained", "_observers", "entering", "errors")

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._complained: set[int] = set()
        self.entering = tuple(
            (place, enter)
            for place, each in enumerate(self._observers)
            if callable(enter := getattr(each, "enter_task", None))
        )
        """Those who set something around tasks, each with its place."""
        self.errors = 0
        """How many calls of an observer raised."""

    def __bool__(self) -> bool:
        return bool(self._observers)

    def find(self, kind: type[T]) -> T | None:
        """The first observer of a class; None if there is none."""
        return next((each for each in self._observers if isinstance(each, kind)), None)

    def __call__(self, event: Event, /) -> None:
        for position, observer in enumerate(self._observers):
            self._hand(position, observer, event)

    def enter_task(self, event: TaskStarted, /) -> None:
        """Let those who want to set something around the code of a task, here."""
        for position, enter in self.entering:
            self._hand(position, enter, event)

    def _hand(self, position: int, receive: Callable[[Any], object], event: Event) -> None:
        try:
            receive(event)
        except Exception:  # noqa: BLE001  # whatever it is, the engine goes on
            self.errors += 1
            # A broken observer fails at every event: one line is enough to find it.
            if position not in self._complained:
                self._complained.add(position)
                _log.exception(
                    "The observer %r raised on %s; later failures of it are only counted.",
                    self._observers[position],
                    type(event).__name__,
                )


def __getattr__(name: str) -> object:
    """`Meter` and what belongs to it: most programs do without, and should not load it."""
    if name in {"BOUNDS_S", "Latency", "Meter"}:
        from stepwell.observe import _meter

        return getattr(_meter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "BOUNDS_S",
    "CommitFinished",
    "Event",
    "Latency",
    "LeaseLost",
    "LoadFinished",
    "LockWaited",
    "Meter",
    "Observer",
    "Observers",
    "Pruned",
    "RunFinished",
    "RunRecovered",
    "RunStarted",
    "StorageRetried",
    "SuperstepFinished",
    "TaskFinished",
    "TaskObserver",
    "TaskStarted",
]
