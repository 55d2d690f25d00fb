"""The short way of a checkpoint to a driver that commits without waiting.

Nothing is gained there by letting records gather. So a checkpoint that nothing of its claim is
in front of, and that is to be durable before anything else happens, becomes a slice, is
committed and is done: no ticket, no queue. Whatever is not the usual case (the driver raises or
refuses, somebody observes) goes the way of all records, which knows what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stepwell._journal.batcher import Lane
from stepwell._journal.outbox import Outbox
from stepwell._journal.slices import Place, Ticket
from stepwell.checkpoint.driver import (
    CheckpointRow,
    CommitOutcome,
    Committed,
    RunRow,
    Slice,
    ThreadChange,
)


class Straight:
    """Appends checkpoints that are durable when `append` returns."""

    __slots__ = ("_commit", "_lane")

    def __init__(
        self, lane: Lane, commit_now: Callable[[Sequence[Slice]], list[CommitOutcome]]
    ) -> None:
        self._lane = lane
        self._commit = commit_now

    def append(
        self,
        outbox: Outbox,
        size: int,
        row: CheckpointRow,
        drop: Place | None,
        run: RunRow | None,
        thread: ThreadChange | None,
        *,
        let_go: bool,
    ) -> Ticket | None:
        """`Outbox.append` of a checkpoint, and its commit. None: it is durable.

        Raises:
            BaseException: The failure of an earlier record of this claim.
        """
        lane = self._lane
        if not outbox.is_bare or lane.is_taken:
            return outbox.append(size, row, drop, None, run, thread, let_go=let_go)
        piece = Slice(
            outbox.key, outbox.epoch, outbox.owner, outbox.durable_no, row.record_no,
            outbox.ttl_s, (row,), (), () if run is None else (run,), (),
            () if drop is None or not outbox.may_be_filed(drop) else (drop,),
            {row.ns: row.seq}, thread, let_go,
        )  # fmt: skip
        sent_at = lane.now()
        failure: Exception | None = None
        outcome: CommitOutcome | None = None
        try:
            (outcome,) = self._commit((piece,))
        except Exception as error:  # noqa: BLE001  # sorted out by the lane
            failure = error
        if isinstance(outcome, Committed) and not outcome.landed:
            outbox.append_durable(row, drop, sent_at, let_go=let_go)
            if outcome.wanted or outcome.request is not None:
                outbox.notice(outcome.request, wanted=outcome.wanted)
            return None
        # Queued after all, it becomes the same slice: this was its first attempt.
        ticket = outbox.append(size, row, drop, None, run, thread, let_go=let_go)
        lane.tried(outbox, failure, outcome, sent_at)
        return ticket


__all__ = ["Straight"]
