"""Versions of a graph's state, as its description declares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from stepwell._plan.migrations import Migration
from stepwell.errors import GraphDefinitionError


class Versions:
    """The part of a `StateGraph` that knows how states of older versions are read."""

    migrations: dict[int, Migration]
    """By the version that each leads away from."""

    def add_migration(
        self,
        from_version: int,
        migrate: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        nodes: Mapping[str, str] | None = None,
    ) -> Self:
        """Say how a state of one version becomes one of the next.

        Threads of an older version are read through the chain of migrations that leads to the
        `state_version` the graph is compiled with; the first checkpoint that is written then
        records the difference. `amigrate_states` does it for many threads at once.

        Args:
            from_version: The version that `migrate` leads away from, to the next one.
            migrate: Given a dict of the state's stored values by key, those of keys that exist
                no more among them; returns the dict of all values of the next version. It must
                be pure: it may be called again for the same state, also to read an old one.
            nodes: Nodes that were renamed: their old names, and what each is called now. The
                thread goes on at them. A graph inside such a node begins anew.

        Raises:
            GraphDefinitionError: There is one from that version already, or the arguments are
                not such. Gaps in the chain are found by `compile`.
        """
        if not isinstance(from_version, int) or isinstance(from_version, bool) or from_version < 0:
            msg = f"from_version must be a whole number from 0 on, not {from_version!r}."
            raise GraphDefinitionError(msg)
        if not callable(migrate):
            msg = f"migrate must be a function of a dict of values, not {migrate!r}."
            raise GraphDefinitionError(msg)
        if from_version in self.migrations:
            msg = f"There is a migration from version {from_version} already."
            raise GraphDefinitionError(msg)
        renamed = dict(nodes or {})
        for name in (*renamed, *renamed.values()):
            if not isinstance(name, str) or not name or "+" in name:
                msg = f"nodes= names nodes by text without '+'; {name!r} is not."
                raise GraphDefinitionError(msg)
        if len(set(renamed.values())) != len(renamed):
            msg = "nodes= gives two nodes the same new name."
            raise GraphDefinitionError(msg)
        self.migrations[from_version] = Migration(migrate, renamed)
        return self


__all__ = ["Versions"]
