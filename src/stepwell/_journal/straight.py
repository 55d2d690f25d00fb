"""The short way of a checkpoint to a driver that commits without waiting.

Nothing is gained there by letting slices gather: one that its run waits for before anything else
is committed where it is appended, without a ticket, a queue or a turn of the loop. Whatever is not
the usual case (the driver raises or refuses) goes the way of all slices, which knows what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stepwell._journal.slices import Sent, Ticket
from stepwell.checkpoint.driver import CommitOutcome, Committed, Slice

if TYPE_CHECKING:
    from stepwell._journal.batcher import Lane


def commit_at_once(
    lane: Lane, commit: Callable[[Sequence[Slice]], list[CommitOutcome]], sent: Sent
) -> Ticket | None:
    """Commit a slice that nobody has sent before. None: it is durable."""
    outbox, sent_at = sent.outbox, lane.now()
    failure: Exception | None = None
    outcome: CommitOutcome | None = None
    try:
        (outcome,) = commit((sent.slice,))
    except Exception as error:  # noqa: BLE001  # sorted out by the lane
        failure = error
    if type(outcome) is Committed:
        upto, landed, request, wanted = outcome
        if not landed:
            outbox.renewed_at = sent_at
            outbox.outage.since = None
            outbox.complete(sent, upto)
            if wanted or request is not None:
                outbox.notice(request, wanted=wanted)
            return None
    sent.ticket = ticket = lane.new_ticket()
    lane.tried(sent, failure, outcome, sent_at)
    return ticket


__all__ = ["commit_at_once"]
