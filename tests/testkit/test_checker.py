"""The checker is checked: it sees every planted bug, and nothing where nothing is wrong."""

from __future__ import annotations

import asyncio
import os

import pytest

from stepwell.checkpoint.memory import InMemorySaver
from stepwell.testing import EffectLog, History, acheck_history, check_history
from stepwell.testing._case import Case
from stepwell.testing._check import INVARIANTS, check_case
from stepwell.testing._stored import StoredDatabase
from tests.testkit._cases import clean_case
from tests.testkit._flows import Client, build, config
from tests.testkit._mutations import PLANTED

HISTORIES = int(os.environ.get("STEPWELL_TEST_HISTORIES", "60"))
"""Clean histories per test run; the long run has 1,000."""


@pytest.fixture(scope="module")
def clean() -> Case:
    return asyncio.run(clean_case())


def told(case):
    return sorted({violation.invariant for violation in check_case(case)})


def test_a_clean_case_is_clean(clean):
    """With a kill, a takeover, a question, an update and a fork in it."""
    assert check_case(clean) == []
    assert len(clean.events) > 70
    assert len(clean.effects) > 40


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_caught(clean, name):
    expected, mutation = PLANTED[name]
    found = told(mutation(clean))
    assert expected & set(found), f"expected one of {expected}, told were {found}"


def test_the_score_of_planted_bugs(clean):
    """Printed, and complete: every invariant has a bug that it alone, or first, tells of."""
    caught = [n for n, (expected, mutate) in PLANTED.items() if expected & set(told(mutate(clean)))]
    print(f"planted bugs caught: {len(caught)} of {len(PLANTED)}")
    assert len(caught) == len(PLANTED) >= 20
    needed = {invariant for expected, _ in PLANTED.values() for invariant in expected}
    assert needed == {f"I{n}" for n in range(1, 11)}


@pytest.mark.parametrize("left_out", INVARIANTS, ids=lambda check: check.__name__)
def test_no_invariant_is_idle(clean, left_out):
    """Without any one of the checks, some planted bug would go unnoticed."""
    others = [check for check in INVARIANTS if check is not left_out]
    missed = [
        name
        for name, (expected, mutate) in PLANTED.items()
        if not expected & {v.invariant for check in others for v in check(mutate(clean))}
    ]
    assert missed


def test_an_empty_case_is_clean():
    assert check_case(Case(events=[], database=StoredDatabase(threads={}))) == []


async def clean_history(seed):
    """Three clients at once on three threads of a real engine."""
    saver, history, effects = InMemorySaver(), History(None), EffectLog(None)
    graph = build(saver, effects)
    await asyncio.gather(
        *(Client(graph, history, seed * 10 + n).work(threads=3, operations=6) for n in range(3))
    )
    return await acheck_history(history, saver, effects=effects, graph=graph), history


async def test_clean_histories_raise_no_alarm():
    """Runs of three durabilities, questions, updates, reads, journeys back, all at once."""
    acknowledged = 0
    for seed in range(HISTORIES):
        violations, history = await clean_history(seed)
        assert violations == [], f"seed {seed}"
        acknowledged += sum(e.verb == "superstep" for e in history.events())
    print(f"clean histories: {HISTORIES}, {acknowledged} acknowledged supersteps, 0 false alarms")
    assert acknowledged > HISTORIES


def test_the_checker_has_a_sync_form(tmp_path):
    """Run, update and read through the synchronous forms too; the graph need not be given."""
    saver, effects = InMemorySaver(), EffectLog(tmp_path / "effects.jsonl")
    with History(tmp_path / "history.jsonl") as history:
        graph = build(saver, effects)
        output = history.run(graph, {"limit": 1}, config("t"))
        assert output["n"] == 1
        history.update(graph, config("t"), {"tag": "x"}, as_node="ask")
        assert history.read(graph, config("t")).values["tag"] == "x"
        assert check_history(history, saver, effects=effects) == []
        history.delete(saver, "t")
        assert check_history(history, saver, effects=effects) == []
    saver.close()


async def test_what_a_database_lost_is_told(tmp_path):
    """The same through the public door: a database that forgot what it had acknowledged."""
    history = History(tmp_path / "history.jsonl")
    await history.arun(build(InMemorySaver(), EffectLog(None)), {"limit": 1}, config("t"))
    [*violations] = await acheck_history(history, InMemorySaver())
    assert {v.invariant for v in violations} == {"I1"}
    assert violations[0].to_dict()["thread"] == "t"
    assert "the thread is gone" in violations[0].message
