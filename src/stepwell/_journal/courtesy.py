"""Fairness between processes: when to leave a thread to others for a while."""

from __future__ import annotations

from stepwell.checkpoint.driver import ThreadKey

POLL_LEAST_S = 0.05
POLL_MOST_S = 1.0
_LOCAL_TURNS_MAX = 8
_CONTESTS_MAX = 1000


def poll_interval(seen_s: float) -> float:
    """Longest pause between two tries, `seen_s` after a waiter first saw the owner's epoch."""
    return min(POLL_MOST_S, max(POLL_LEAST_S, seen_s / 2))


class _Contest:
    __slots__ = ("away_until", "epoch", "longest_s", "streak", "wanted_since")

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.streak = 0
        self.longest_s = 0.0
        self.wanted_since: float | None = None
        self.away_until: float | None = None
        self.epoch = 0


class Courtesy:
    """Knows the threads that this process shares with others, and whose turn it is.

    A contest begins when another process is seen to wait for a thread, or to hold one that
    is wanted here. While it lasts, at most 8 claims of this process follow each other, and
    fewer if somebody has waited for 50 ms; then the process stays away for as long as the
    longest poll interval of a waiter that saw those claims. If nobody came in that time, the
    contest is over.
    """

    __slots__ = ("_contests",)

    def __init__(self) -> None:
        self._contests: dict[ThreadKey, _Contest] = {}

    def foreign(self, key: ThreadKey) -> None:
        """Another process holds the thread, or has held it."""
        contest = self._contests.get(key)
        if contest is None:
            self._begin(key)
        else:
            contest.begin_anew()

    def _begin(self, key: ThreadKey) -> _Contest:
        if len(self._contests) >= _CONTESTS_MAX:
            del self._contests[next(iter(self._contests))]
        contest = self._contests[key] = _Contest()
        return contest

    def released(
        self, key: ThreadKey, epoch: int, *, wanted: bool, held_s: float, now: float
    ) -> None:
        """A claim of this process ended; `wanted`: somebody was seen to wait for it."""
        contest = self._contests.get(key)
        if contest is None:
            if not wanted:
                return
            contest = self._begin(key)
        if wanted and contest.wanted_since is None:
            contest.wanted_since = now - held_s
        contest.streak += 1
        contest.longest_s = max(contest.longest_s, held_s)
        waited_long = contest.wanted_since is not None and (
            now - contest.wanted_since >= POLL_LEAST_S
        )
        if waited_long or contest.streak >= _LOCAL_TURNS_MAX:
            contest.away_until = now + poll_interval(contest.longest_s) + POLL_LEAST_S
            contest.epoch = epoch

    def away(self, key: ThreadKey, now: float) -> tuple[float, int] | None:
        """How many seconds to stay away, and the epoch of the last claim made here; None if
        the thread need not be left to anybody."""
        contest = self._contests.get(key)
        if contest is None or contest.away_until is None:
            return None
        if contest.away_until <= now:
            del self._contests[key]
            return None
        return contest.away_until - now, contest.epoch
