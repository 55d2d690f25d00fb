"""What `astats`, `areport` and `ahealth` of a saver return, and what they are asked with."""

from __future__ import annotations

from stepwell.checkpoint._figures import GraphStats, Stats
from stepwell.checkpoint._health import Check, Health, HealthThresholds
from stepwell.checkpoint._report import Growth, Report, ThreadNote

__all__ = [
    "Check", "GraphStats", "Growth", "Health", "HealthThresholds", "Report", "Stats", "ThreadNote",
]  # fmt: skip
