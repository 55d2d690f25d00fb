"""The short way of a checkpoint to a driver that commits without waiting.

Nothing is gained there by letting slices gather: one that its run waits for before anything else
is committed where it is appended, without a ticket, a queue or a turn of the loop. Whatever is not
the usual case (the driver raises or refuses) goes the way of all slices, which knows what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stepwell._journal.slices import Ticket
from stepwell.checkpoint.driver import CommitOutcome, Committed, Slice

if TYPE_CHECKING:
    from stepwell._journal.batcher import Lane
    from stepwell._journal.outbox import Outbox


def commit_at_once(
    lane: Lane,
    commit: Callable[[Sequence[Slice]], list[CommitOutcome]],
    outbox: Outbox,
    piece: Slice,
) -> Ticket | None:
    """Commit a slice that nobody has sent before. None: it is durable."""
    if lane.busy:
        return lane.post(outbox, piece)
    sent_at = lane.now()
    failure: Exception | None = None
    outcome: CommitOutcome | None = None
    try:
        (outcome,) = commit((piece,))
    except Exception as error:  # noqa: BLE001  # sorted out by the lane
        failure = error
    if type(outcome) is Committed:
        _, landed, request, wanted = outcome
        if not landed:
            outbox.renewed_at = sent_at
            outbox.outage.since = None
            outbox.landed(piece)
            if wanted or request is not None:
                outbox.notice(request, wanted=wanted)
            return None
    sent = outbox.post(piece)
    sent.ticket = ticket = lane.new_ticket()
    lane.tried(sent, failure, outcome, sent_at)
    return ticket


__all__ = ["commit_at_once"]
