"""Fairness between processes: when to leave a thread to others for a while."""

from __future__ import annotations

from stepwell.checkpoint.driver import ThreadKey

POLL_LEAST_S = 0.05
POLL_MOST_S = 1.0
_LOCAL_TURNS_MAX = 8
_CONTESTS_MAX = 1000
_OTHERS_MAX = 64
_HASTE_MOST = 10


def poll_interval(seen_s: float) -> float:
    """Longest pause between two tries, `seen_s` after a waiter first saw the owner's epoch."""
    return min(POLL_MOST_S, max(POLL_LEAST_S, seen_s / 2))


class _Contest:
    """What one process knows of a thread that it shares with others.

    `others`: the workers seen as owners, with the last epoch that each was seen under. Epochs
    count claims one by one, so they tell who has had the thread since whom.
    """

    __slots__ = (
        "free_since", "latest", "longest_s", "mine", "others", "streak", "wanted_since",
        "window_s", "yields",
    )  # fmt: skip

    def __init__(self) -> None:
        self.streak = 0
        self.longest_s = 0.0
        self.wanted_since: float | None = None
        self.mine = 0
        """Epoch of the last claim that ended here; before there is one, the first that we saw."""
        self.latest = 0
        """The newest epoch seen."""
        self.others: dict[bytes, int] = {}
        self.yields = False
        """Whether it is the others' turn."""
        self.window_s = 0.0
        """How long the others need to notice that the thread is free."""
        self.free_since: float | None = None
        """When it was first seen to be free, after it was last seen held."""

    def saw(self, owner: bytes | None, epoch: int) -> None:
        """Somebody else has claimed the thread under this epoch: `owner`, or, where that was
        over before we looked, most likely whoever had waited longest."""
        if owner is None:
            owner = min(self.others, key=lambda worker: self.others[worker], default=b"")
        self.others.pop(owner, None)
        self.others[owner] = epoch
        if len(self.others) > _OTHERS_MAX:
            del self.others[next(iter(self.others))]
        self.latest = max(self.latest, epoch)
        self.free_since = None
        self.streak = 0
        self.longest_s = 0.0
        self.wanted_since = None
        # Is it still the others' turn?
        owed = any(seen < self.mine for seen in self.others.values())
        if not owed or epoch - self.mine > _LOCAL_TURNS_MAX * (len(self.others) + 1):
            self.yields = False

    def nobody_came(self) -> None:
        """It was free long enough: those who have not come are not there any more."""
        self.yields = False
        self.others = {w: epoch for w, epoch in self.others.items() if epoch > self.mine}


class Courtesy:
    """Knows the threads that this process shares with others, and whose turn it is.

    A contest begins when another process is seen to wait for a thread, or to hold one that
    is wanted here. While it lasts, at most 8 claims of this process follow each other, and
    fewer if somebody has waited for 50 ms. Then it is the others' turn, until each of those
    known has had the thread once, in whatever order; nobody else is asked, and nothing is
    written for it. They come by polling, so a thread that stays free for as long as the longest
    poll interval of a waiter who saw our claims is not wanted by those who are still missing.
    """

    __slots__ = ("_contests",)

    def __init__(self) -> None:
        self._contests: dict[ThreadKey, _Contest] = {}

    def foreign(self, key: ThreadKey, owner: bytes, epoch: int) -> None:
        """Another process holds the thread under this epoch."""
        contest = self._contests.get(key)
        if contest is None:
            contest = self._begin(key)
            contest.mine = epoch
        contest.saw(owner, epoch)

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
        contest.mine = epoch
        contest.latest = max(contest.latest, epoch)
        contest.streak += 1
        contest.longest_s = max(contest.longest_s, held_s)
        waited_long = contest.wanted_since is not None and (
            now - contest.wanted_since >= POLL_LEAST_S
        )
        if waited_long or contest.streak >= _LOCAL_TURNS_MAX:
            contest.yields = True
            contest.free_since = now
            contest.window_s = poll_interval(contest.longest_s) + POLL_LEAST_S
            contest.streak = 0

    def haste(self, key: ThreadKey) -> float:
        """By how much to shorten the pauses between two tries: the longer others have had the
        thread since we did, the likelier we are to be the first who finds it free."""
        contest = self._contests.get(key)
        if contest is None:
            return 1.0
        rounds = (contest.latest - contest.mine) // (_LOCAL_TURNS_MAX + 1)
        return 1.0 / min(_HASTE_MOST, (1 + rounds) ** 2)

    def yields(self, key: ThreadKey) -> bool:
        """Whether the thread is to be looked at before it is claimed."""
        contest = self._contests.get(key)
        return contest is not None and contest.yields

    def left_s(self, key: ThreadKey, owner: bytes | None, epoch: int, now: float) -> float | None:
        """How long the thread is still to be left to others, after a look at its row.

        Args:
            key: The thread.
            owner: Who holds it, None: nobody.
            epoch: Of the row.
            now: On the journal's clock.

        Returns:
            Seconds; None: claim it, or wait for whoever holds it.
        """
        contest = self._contests.get(key)
        if contest is None:
            return None
        if owner is not None:
            contest.saw(owner, epoch)
            return None
        if epoch != contest.latest:
            contest.saw(None, epoch)
        if contest.free_since is None:
            contest.free_since = now
        left = contest.free_since + contest.window_s - now
        if left <= 0:
            contest.nobody_came()
            if not contest.others:
                del self._contests[key]
        return left if contest.yields else None
