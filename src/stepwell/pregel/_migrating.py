"""Bringing the threads of a graph to its state version."""

from __future__ import annotations

from stepwell._engine.arguments import flag, whole
from stepwell.checkpoint._results import MigrateReport
from stepwell.pregel._base import Compiled


class MigrationVerbs(Compiled):
    """The part of a compiled graph that concerns versions of its state."""

    async def amigrate_states(
        self, *, dry_run: bool = False, limit: int | None = None
    ) -> MigrateReport:
        """Bring this graph's threads that are of an older state version to today's.

        Each gets one more checkpoint. Threads are found by the name the graph was compiled
        with. Called again, it goes on with those that are left; threads it leaves are migrated
        whenever they are read or go on.

        Args:
            dry_run: Write nothing, only say what would be done.
            limit: Threads at most.

        Raises:
            UsageError: The graph has no checkpointer.
            StorageError: The database does not answer; what was migrated is.
        """
        from stepwell._engine.bulk import migrate_states

        saver = self._saver("amigrate_states")
        limit = None if limit is None else whole("limit", limit, 0)
        return await saver.at_home(
            lambda: migrate_states(
                self._program, saver, dry_run=flag("dry_run", dry_run), limit=limit
            )
        )

    def migrate_states(self, *, dry_run: bool = False, limit: int | None = None) -> MigrateReport:
        """Sync twin of `amigrate_states`."""
        return self._sync(
            "migrate_states", lambda: self.amigrate_states(dry_run=dry_run, limit=limit)
        )


__all__ = ["MigrationVerbs"]
