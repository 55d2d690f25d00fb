"""A breakpoint holds although the process died that was about to stop there."""

from __future__ import annotations

import pytest

from stepwell import open_saver
from stepwell.testing import EffectLog, crash_everywhere
from tests.testkit._flows import build, config


@pytest.mark.parametrize("stop", [{"interrupt_before": ["join"]}, {"interrupt_after": ["part"]}])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_breakpoint_is_not_passed_by_whoever_takes_over(durability, stop):
    """Killed between the barrier before it and the record that the run stopped: nobody has
    said that it may go on, so it stops there again. Once somebody has, it goes on."""
    async with open_saver("memory://") as saver:
        graph = build(saver, EffectLog(None), **stop)
        given = {"limit": 2}
        reports = await crash_everywhere(graph, given, config("new"), durability=durability)
        assert [r.to_dict() for r in reports if not r.ok] == []
        await graph.ainvoke(given, config("t"))
        assert (await graph.aget_state(config("t"))).next == ("join",)
        reports = await crash_everywhere(graph, None, config("t"), durability=durability)
        assert [r.to_dict() for r in reports if not r.ok] == []
        assert reports[0].expected["n"] == 2
