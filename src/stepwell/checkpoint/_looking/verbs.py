"""What a saver tells of what it keeps, beyond listings: differences, figures, health.

What these are made with is loaded when somebody asks: most programs never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stepwell.checkpoint._looking import listing, reading
from stepwell.checkpoint._upkeep.keeping import Keeping
from stepwell.checkpoint.driver import TallyQuery
from stepwell.errors import UsageError

if TYPE_CHECKING:
    from stepwell.checkpoint._figures.health import Health, HealthThresholds
    from stepwell.checkpoint._figures.report import Report
    from stepwell.checkpoint._figures.stats import Stats


class Looking(Keeping):
    """The part of a saver that compares and counts what is stored."""

    async def adiff(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What leads from the values of one checkpoint to those of another: an RFC 6902 patch.

        It is made of the stored form, which is JSON: no class of the state needs to be known
        here, and what JSON cannot say appears under a tag (`{"$tuple": [1, 2]}`). Channels that
        only lead from node to node are left out. 1, 1.0 and true are different values.

        Args:
            a: A config; without `checkpoint_id` it names the newest checkpoint of its thread
                and `checkpoint_ns`.
            b: Another one; of the same thread, or of any other in this scope.

        Returns:
            Operations `{"op": "add" | "remove" | "replace", "path": ..., "value": ...}`, to be
            applied in order; none if the values are the same.

        Raises:
            NotFoundError: There is no such checkpoint.
            UsageError: A config names no thread.
            InvalidIdError: A thread id is none.
            CorruptRecordError: A record is damaged.
        """
        from stepwell.checkpoint._looking.diffing import difference

        places = [reading.place_of(config) for config in (a, b)]
        keys = [self.key(place.thread_id) for place in places]

        async def compare() -> list[dict[str, Any]]:
            reader = await self._reader()
            named = zip(keys, places, strict=True)
            old, new = [await reading.stored_values(reader, *each) for each in named]
            return difference(old, new)

        return await self.at_home(compare)

    def diff(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Sync twin of `adiff`."""
        return self._now(lambda: self.adiff(a, b), "diff")

    async def astats(self, *, deep: bool = False) -> Stats:
        """How much this scope holds: by status, by graph.

        Two queries, however much there is: threads have counters.

        Args:
            deep: Also read every record, and say what each channel takes. That takes as long as
                reading the database; a slice at a time is in memory, and runs go on meanwhile.

        Raises:
            UsageError: `deep` is no bool.
            CorruptRecordError: `deep`: a record is damaged.
            StorageError: The database did not answer.
        """
        from stepwell.checkpoint._figures.stats import bytes_by_channel, stats_of

        if not isinstance(deep, bool):
            raise UsageError(f"deep must be True or False, not {deep!r:.100}.")

        async def count() -> Stats:
            journal = await self.journal()
            tallies = await journal.tally(TallyQuery(self._scope))
            vitals = await journal.vitals()
            channels = await bytes_by_channel(journal, self._scope) if deep else None
            return stats_of(tallies, vitals.bytes, channels)

        return await self.at_home(count)

    def stats(self, *, deep: bool = False) -> Stats:
        """Sync twin of `astats`."""
        return self._now(lambda: self.astats(deep=deep), "stats")

    async def areport(self, *, since: datetime | float | None = None, deep: bool = True) -> Report:
        """A report on this scope: totals, storage, growth, what failed, what waits; and how
        long things took in this process, if a `Meter` observes the saver.

        Args:
            since: Aware datetime or unix seconds: where growth begins. None: with the oldest
                thread.
            deep: Also read every record, and say what each channel takes (`astats`).

        Returns:
            A report with `to_dict()`, `to_json()`, `to_text()` and `to_html()`.

        Raises:
            UsageError: An argument is none that it can be.
            CorruptRecordError: `deep`: a record is damaged.
            StorageError: The database did not answer.
        """
        from stepwell.checkpoint._figures.report import collect

        begin = listing.unix_seconds(since, "since")
        if not isinstance(deep, bool):
            raise UsageError(f"deep must be True or False, not {deep!r:.100}.")

        async def make() -> Report:
            journal = await self.journal()
            return await collect(journal, self._scope, since=begin, deep=deep, clock=self._clock)

        return await self.at_home(make)

    def report(self, *, since: datetime | float | None = None, deep: bool = True) -> Report:
        """Sync twin of `areport`."""
        return self._now(lambda: self.areport(since=since, deep=deep), "report")

    async def ahealth(self, thresholds: HealthThresholds | None = None) -> Health:
        """How this saver and its database are: reachable, fast, not full, nothing left lying.

        It opens the saver if it is not open, and takes `thresholds.timeout_s` at most (5 s by
        default). A database that cannot be reached is no error here: the verdict is "fail". What
        is measured about runs and latencies needs a `Meter` among the saver's observers.

        Args:
            thresholds: From where on a figure is a warning or a failure; None: the defaults.

        Returns:
            A verdict and the checks that it is made of.

        Raises:
            UsageError: `thresholds` is none; or the saver is closed, or cannot be used here.
        """
        from stepwell.checkpoint._figures.health import HealthThresholds, look

        limits = HealthThresholds() if thresholds is None else thresholds
        if not isinstance(limits, HealthThresholds):
            raise UsageError(f"thresholds must be HealthThresholds or None, not {limits!r:.100}.")
        return await self.at_home(lambda: look(self.journal, self._scope, limits, self._clock))

    def health(self, thresholds: HealthThresholds | None = None) -> Health:
        """Sync twin of `ahealth`."""
        return self._now(lambda: self.ahealth(thresholds), "health")


__all__ = ["Looking"]
