"""Versions of a graph's state: how the state of an older one becomes that of today.

A migration is a pure function from the stored values of one version to those of the next. It
is given a dict of its own: what it does to it is seen by nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

from stepwell.errors import GraphDefinitionError, GraphMismatchError

Values = dict[str, Any]


class Migration(NamedTuple):
    """The way from one version to the next: values, and nodes that have another name there."""

    migrate: Callable[[Values], Values]
    nodes: Mapping[str, str]


class Migrations:
    """The chain of a graph's migrations, up to the version it has now.

    Args:
        steps: By the version that each leads away from.
        version: Today's.

    Raises:
        GraphDefinitionError: A version between the first of them and today's has none, or one
            leads past today's.
    """

    __slots__ = ("_steps", "oldest", "version")

    def __init__(self, steps: Mapping[int, Migration], version: int) -> None:
        self._steps = dict(steps)
        self.version = version
        self.oldest = min(steps, default=version)
        """The oldest version that can be read."""
        for step in range(self.oldest, version):
            if step not in self._steps:
                msg = (
                    f"There is no migration from state version {step} to {step + 1}: add it with "
                    f"add_migration({step}, ...), or compile with another state_version."
                )
                raise GraphDefinitionError(msg)
        if past := [step for step in steps if step >= version]:
            msg = (
                f"The migration from version {min(past)} leads past the graph's state version, "
                f"{version}: compile with state_version={max(past) + 1}."
            )
            raise GraphDefinitionError(msg)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def check(self, version: int, *, thread_id: str) -> None:
        """Refuse a state that cannot be read.

        Raises:
            GraphMismatchError: It is newer than the graph, or older than the chain.
        """
        if version > self.version:
            msg = (
                f"Thread {thread_id!r} has state version {version}, the graph only knows "
                f"{self.version}: deploy the newer graph."
            )
        elif self._steps and version < self.oldest:
            msg = (
                f"Thread {thread_id!r} has state version {version}, and the graph's migrations "
                f"begin at {self.oldest}: add those before, or delete the thread."
            )
        else:
            return
        raise GraphMismatchError(msg, thread_id=thread_id)

    def values(
        self, stored: Mapping[str, Any], version: int, *, thread_id: str, upto: int | None = None
    ) -> Values:
        """The stored values of `version` as those of today, or of version `upto`.

        Raises:
            GraphMismatchError: A migration failed, or returned no dict.
        """
        values = deepcopy(dict(stored))
        for step in range(version, self.version if upto is None else upto):
            try:
                values = self._steps[step].migrate(values)
            except Exception as exc:
                msg = (
                    f"The migration of thread {thread_id!r} from state version {step} to "
                    f"{step + 1} failed ({exc!r}). Nothing was changed; correct the migration."
                )
                raise GraphMismatchError(msg, thread_id=thread_id) from exc
            _check_returned(values, step, thread_id)
        return values

    def nodes(self, version: int) -> dict[str, str]:
        """Nodes of `version` that have another name today, with that name."""
        names: dict[str, str] = {}
        for step in range(version, self.version):
            renamed = self._steps[step].nodes
            names = {old: renamed.get(new, new) for old, new in names.items()}
            for old, new in renamed.items():
                names.setdefault(old, new)
        return {old: new for old, new in names.items() if old != new}


def _check_returned(values: Any, step: int, thread_id: str) -> None:
    if isinstance(values, dict) and all(isinstance(key, str) for key in values):
        return
    msg = (
        f"The migration from state version {step} to {step + 1} returned "
        f"{type(values).__name__}; it must return the dict of all values, by key."
    )
    raise GraphMismatchError(msg, thread_id=thread_id)


__all__ = ["Migration", "Migrations", "Values"]
