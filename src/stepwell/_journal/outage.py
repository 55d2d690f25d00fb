"""Waiting for a database that does not answer: how long, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeVar

from stepwell._journal.options import Surroundings
from stepwell.errors import StorageError
from stepwell.observe import StorageRetried

T = TypeVar("T")

_FIRST_S = 0.05
_MOST_S = 2.0


class Outage:
    """Since when the database has not answered one caller, over all that he asks of it."""

    __slots__ = ("since",)

    def __init__(self) -> None:
        self.since: float | None = None

    def failed(self, at: float) -> float:
        """A try has failed; when the first one did since the last answer."""
        if self.since is None:
            self.since = at
        return self.since

    def over(self) -> None:
        """There was an answer: the next failure begins a new outage."""
        self.since = None


current_outage: ContextVar[Outage | None] = ContextVar("stepwell_outage", default=None)
"""That of the run which is executing here: its reads share its time."""


class Backoff:
    """Growing, jittered pauses between tries, within a budget that starts at the first failure.

    Args:
        surroundings: Clock, randomness and observers of the journal.
        verb: The driver's verb, for events and the log.
        budget_s: Seconds from the first failure; the options' outage budget when None.
        outage: What other verbs have waited counts too, up to the options' outage budget.
    """

    __slots__ = ("_around", "_attempt", "_budget_s", "_deadline", "_outage", "_verb", "since")

    def __init__(
        self,
        surroundings: Surroundings,
        verb: str,
        budget_s: float | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._around = surroundings
        self._verb = verb
        self._budget_s = surroundings.options.outage_budget_s if budget_s is None else budget_s
        self._outage = outage
        self._deadline: float | None = None
        self._attempt = 0
        self.since: float | None = None
        """When the first failure since the last answer came."""

    @property
    def fresh(self) -> bool:
        """No failure since the last answer."""
        return self._attempt == 0

    def reset(self) -> None:
        """The database answered: the next failure begins a new outage."""
        self._deadline = self.since = None
        self._attempt = 0

    def next_delay(self, error: StorageError, until: float | None = None) -> float | None:
        """Seconds to wait before the next try; None when the time is used up.

        Args:
            error: Why the last try failed.
            until: A deadline on the journal's clock that replaces the budget.
        """
        now = self._around.clock.monotonic()
        if self._deadline is None:
            self.since = now
            self._deadline = now + self._budget_s
            if self._outage is not None:
                all_in_all = self._outage.failed(now) + self._around.options.outage_budget_s
                self._deadline = min(self._deadline, all_in_all)
        deadline = self._deadline if until is None else until
        if now >= deadline:
            return None
        self._attempt += 1
        most = min(_MOST_S, _FIRST_S * 2.0 ** min(self._attempt - 1, 16))
        delay = min(self._around.ids.uniform(most / 2, most), deadline - now)
        if self._around.observers:
            self._around.observers(
                StorageRetried(
                    verb=self._verb, attempt=self._attempt, delay_s=delay, error=error.code
                )
            )
        return delay


async def persist(
    surroundings: Surroundings,
    verb: str,
    call: Callable[[], Awaitable[T]],
    *,
    budget_s: float | None = None,
    outage: Outage | None = None,
) -> T:
    """Call until the storage answers, or the budget is used up.

    Only for verbs that may safely be repeated. `outage`: the time of a caller, who has waited for
    other verbs before, and is not to wait for each of them as long.

    Raises:
        StorageError: The last error: at once if it is not retryable.
    """
    backoff: Backoff | None = None
    while True:
        try:
            answer = await call()
            if backoff is not None and outage is not None:
                outage.over()
            return answer
        except StorageError as error:
            if not error.retryable:
                raise
            backoff = backoff or Backoff(surroundings, verb, budget_s, outage)
            delay = backoff.next_delay(error)
            if delay is None:
                raise
        await asyncio.sleep(delay)
