"""What a driver may offer on top of the SPI if it never has to wait for anything.

Such a driver answers within one step of the event loop; the journal then calls it directly
and saves the tasks that carry the calls of other drivers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from stepwell.checkpoint.driver import Busy, Claim, ClaimRequest, CommitOutcome, Slice


@runtime_checkable
class InlineCommit(Protocol):
    """`commit_now` means what `Driver.commit` means."""

    def commit_now(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """Write all slices; outcomes in order."""


@runtime_checkable
class InlineClaim(Protocol):
    """`claim_now` means what `Driver.claim` means."""

    def claim_now(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Claim each thread; outcomes in order."""


@runtime_checkable
class InlineOpen(Protocol):
    """`open` and `migrate` do not suspend whoever awaits them."""

    opens_at_once: Literal[True]
