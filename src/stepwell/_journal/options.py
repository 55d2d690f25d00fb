"""Settings of a journal, and what its parts share."""

from __future__ import annotations

from stepwell._clock import Clock
from stepwell._dataclass import dataclass
from stepwell._ids import Ids
from stepwell.checkpoint.driver import Driver
from stepwell.observe import Observers


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalOptions:
    """Times in seconds, sizes in bytes.

    `grace_s` is how long a suspected owner may take to show that it lives. `outage_budget_s`
    bounds how long a call or a record waits for a database that does not answer. The batch
    bounds limit one commit; the queue bounds are where producers begin to wait. `folds`: long
    stretches of rows are folded in the background.
    """

    lease_ttl_s: float = 10.0
    grace_s: float = 1.0
    outage_budget_s: float = 60.0
    batch_rows_max: int = 1000
    batch_bytes_max: int = 4 << 20
    queue_rows_max: int = 10_000
    queue_bytes_max: int = 64 << 20
    locks: bool = True
    folds: bool = True


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What every part of one opened journal works with."""

    driver: Driver
    options: JournalOptions
    clock: Clock
    ids: Ids
    observers: Observers
    worker: bytes
