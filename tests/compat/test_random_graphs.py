"""Random graphs, random operations: both engines say the same after every one.

STEPWELL_COMPAT_GRAPHS sets how many graphs, STEPWELL_TEST_SEED where they start; a failure
prints the seed of its graph, the graph cut down to what still fails, and the difference.
"""

import asyncio
import difflib
import os
import pprint
import warnings
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from tests.compat.random_graphs import Mismatch, Plan, Seen, draw, run, smaller

GRAPHS = int(os.environ.get("STEPWELL_COMPAT_GRAPHS", "30"))
FIRST = int(os.environ.get("STEPWELL_TEST_SEED", "0"))
FAILURES_SHOWN = 3

pytestmark = [pytest.mark.compat, pytest.mark.timeout(60 + 3 * GRAPHS)]


def outcome(plan: Plan, subject: str) -> Seen | Exception:
    """What the run saw, or how it failed. A graph that LangGraph cannot build is no finding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return asyncio.run(run(plan, subject))
        except Exception as error:
            return error


def cut_down(plan: Plan, failure: Mismatch, subject: str) -> tuple[Plan, Mismatch]:
    """The smallest plan found that the engines still disagree on."""
    tries = 150
    shrinking = True
    while shrinking and tries:
        shrinking = False
        for candidate in smaller(plan):
            tries -= 1
            found = outcome(candidate, subject)
            if isinstance(found, Mismatch):
                plan, failure, shrinking = candidate, found, True
                break
            if not tries:
                break
    return plan, failure


def shown(value: Any) -> list[str]:
    return pprint.pformat(value, width=110, sort_dicts=False).splitlines()


def report(seed: int, plan: Plan, failure: Exception, subject: str) -> str:
    if not isinstance(failure, Mismatch):
        return f"seed {seed}: {failure!r}\n{pprint.pformat(plan)}"
    plan, failure = cut_down(plan, failure, subject)
    diff = difflib.unified_diff(
        shown(failure.reference), shown(failure.subject), "langgraph", subject, lineterm="", n=3
    )
    lines = "\n".join(list(diff)[:120])
    return f"seed {seed}, after: {failure.operation}\n{pprint.pformat(plan, width=110)}\n{lines}"


def compare(subject: str, graphs: int) -> None:
    reports: list[str] = []
    failed: list[int] = []
    seen = Seen()
    having = dict.fromkeys(("forks", "sends", "interrupts", "failures"), 0)
    for seed in range(FIRST, FIRST + graphs):
        plan = draw(seed)
        found = outcome(plan, subject)
        if isinstance(found, Exception):
            failed.append(seed)
            if len(reports) < FAILURES_SHOWN:
                reports.append(report(seed, plan, found, subject))
            continue
        seen.operations.extend(found.operations)
        for what in having:
            having[what] += bool(getattr(found, what))
    figures = ", ".join(f"{n} with {what}" for what, n in having.items())
    print(f"{graphs} graphs, {len(seen.operations)} operations; {figures}")
    if failed:
        pytest.fail(
            f"STEPWELL_TEST_SEED={failed[0]} STEPWELL_COMPAT_GRAPHS=1 replays the first; "
            f"seeds that fail: {failed}\n\n" + "\n\n".join(reports),
            pytrace=False,
        )
    if graphs >= 30:
        assert all(having.values()), "the generator has grown too tame"


def test_langgraph_agrees_with_itself() -> None:
    """The comparison is sound: nothing in it depends on timing or on how ids look."""
    compare("langgraph", min(GRAPHS, 8))


def test_stepwell_agrees_with_langgraph() -> None:
    compare("stepwell", GRAPHS)
