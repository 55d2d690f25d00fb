"""What is said of a claim that somebody else has taken over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.errors import StaleWriterError

if TYPE_CHECKING:
    from stepwell._journal.outbox import Outbox


def stale_writer(outbox: Outbox, found: int | None, outcome: str) -> StaleWriterError:
    """The error of a claim that was lost; `found` = the epoch of the row now, None = no row."""
    name = outbox.key.thread_id
    if found is None:
        what = f"Thread {name!r} was deleted while a run held it."
    else:
        what = f"Another worker took over thread {name!r}."
    return StaleWriterError(
        f"{what} This run ends here; run the thread again to go on from what is stored.",
        thread_id=name,
        epoch=outbox.epoch,
        found_epoch=found,
        outcome=outcome,
    )


__all__ = ["stale_writer"]
