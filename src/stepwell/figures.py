"""What `astats`, `areport` and `ahealth` of a saver return, and what they are asked with."""

from __future__ import annotations

from stepwell.checkpoint._figures.health import Check, Health, HealthThresholds
from stepwell.checkpoint._figures.report import Growth, Report, ThreadNote
from stepwell.checkpoint._figures.stats import GraphStats, Stats

__all__ = [
    "Check", "GraphStats", "Growth", "Health", "HealthThresholds", "Report", "Stats", "ThreadNote",
]  # fmt: skip
