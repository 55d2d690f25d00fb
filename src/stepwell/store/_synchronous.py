"""The verbs of a store that LangGraph's asynchronous classes have as coroutines."""

from __future__ import annotations

from concurrent.futures import Future

from stepwell.store._database import DatabaseStore


class SyncVerbs(DatabaseStore):
    """Base of the stores whose `setup` and verbs of expiry block."""

    def setup(self) -> None:
        """Sync twin of `asetup`."""
        self._now(self.asetup, "setup")

    def sweep_ttl(self) -> int:
        """Sync twin of `asweep_ttl`."""
        return self._now(self.asweep_ttl, "sweep_ttl")

    def start_ttl_sweeper(self, sweep_interval_minutes: int | None = None) -> Future[None]:
        """Delete expired items again and again, in the background.

        Args:
            sweep_interval_minutes: Default: the configured one, else 5.

        Returns:
            A future that ends with the sweeper; cancelling it ends the sweeper. It is done
            already, if the store was opened without `ttl`.
        """
        return self._sweeper.start(self.ttl_config, sweep_interval_minutes)

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """End what `start_ttl_sweeper` began. `timeout` in seconds; None: no limit.

        Returns:
            Whether it has ended, or never ran.
        """
        return self._sweeper.stop(timeout)
