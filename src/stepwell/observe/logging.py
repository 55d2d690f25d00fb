"""Events as log records of the standard library, with everything that is known in `extra`.

    open_saver(url, observe=LogObserver())

Loggers are `stepwell` (runs, supersteps, tasks, retention), `stepwell.journal` (commits, loads,
retries) and `stepwell.lock` (waits and lost leases). Nothing is configured here: levels and
handlers are the program's. Values of states are in no event, and so in no line.
"""

from __future__ import annotations

import logging
import re
from dataclasses import fields
from typing import Any, Final

from stepwell.constants import START
from stepwell.errors import UsageError
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

_RUNS = logging.getLogger("stepwell")
_JOURNAL = logging.getLogger("stepwell.journal")
_LOCK = logging.getLogger("stepwell.lock")

_PLACES: Final[dict[type[Event], tuple[logging.Logger, int]]] = {
    RunStarted: (_RUNS, logging.INFO),
    RunFinished: (_RUNS, logging.INFO),
    RunRecovered: (_RUNS, logging.INFO),
    SuperstepFinished: (_RUNS, logging.DEBUG),
    TaskStarted: (_RUNS, logging.DEBUG),
    TaskFinished: (_RUNS, logging.DEBUG),
    Pruned: (_RUNS, logging.INFO),
    CommitFinished: (_JOURNAL, logging.DEBUG),
    LoadFinished: (_JOURNAL, logging.DEBUG),
    StorageRetried: (_JOURNAL, logging.INFO),
    LockWaited: (_LOCK, logging.INFO),
    LeaseLost: (_LOCK, logging.WARNING),
}
_HUMP: Final = re.compile(r"(?<!^)(?=[A-Z])")
_NAMES: Final = {kind: _HUMP.sub("_", kind.__name__).lower() for kind in _PLACES}
_FIELDS: Final = {kind: tuple(f.name for f in fields(kind)) for kind in _PLACES}


class LogObserver:
    """Writes each event as one record: `event name=value ...`, and the same in `extra`.

    The record has the attributes `event` ("run_finished") and those of the event that are known
    (`thread_id`, `run_id`, `duration_s`, ...). What ended badly is a warning: runs and tasks that
    failed, lost leases, slow commits.

    Args:
        slow_commit_s: Commits that take so many seconds, or longer, are warnings; None: none is.

    Raises:
        UsageError: `slow_commit_s` is no number.
    """

    def __init__(self, *, slow_commit_s: float | None = None) -> None:
        given = slow_commit_s
        if given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
            raise UsageError(f"slow_commit_s must be a number of seconds, not {given!r:.100}.")
        self._slow_commit_s = given

    def __call__(self, event: Event, /) -> None:
        """Log an event."""
        kind = type(event)
        if kind not in _PLACES or getattr(event, "node", None) == START:
            return
        logger, level = _PLACES[kind]
        name = _NAMES[kind]
        if isinstance(event, CommitFinished) and self._is_slow(event):
            name, level = "slow_commit", logging.WARNING
        elif isinstance(event, RunFinished):
            level = logging.WARNING if event.status == "failed" else level
        elif isinstance(event, TaskFinished):
            level = logging.WARNING if event.outcome == "error" else level
        if not logger.isEnabledFor(level):
            return
        told: dict[str, Any] = {
            field: value
            for field in _FIELDS[kind]
            if (value := getattr(event, field)) is not None and value != ()
        }
        # Names of users stand there as Python writes them: no line can be forged with one.
        line = " ".join(f"{field}={value!r}" for field, value in told.items())
        logger.log(level, "%s %s", name, line, extra={"event": name, **told})

    def _is_slow(self, event: CommitFinished) -> bool:
        return self._slow_commit_s is not None and event.duration_s >= self._slow_commit_s


__all__ = ["LogObserver"]
