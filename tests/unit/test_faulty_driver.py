"""Planned faults happen exactly where the plan says, and leave what it says."""

import asyncio
import subprocess
import sys

import pytest

from stepwell.checkpoint.driver import (
    Committed,
    Driver,
    Relayout,
    Stale,
    TallyQuery,
    ThreadQuery,
)
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import StorageFullError, StorageUnavailableError, UsageError
from stepwell.testing import FaultPlan, FaultyDriver
from stepwell.testing._faulty import VERBS
from stepwell.testing._rows import (
    checkpoint,
    claim_request,
    contest,
    loaded,
    take,
    thread_key,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")


@pytest.fixture
def memory():
    return MemoryDriver()


async def rows(driver):
    return len((await loaded(driver, thread_key())).rows)


def test_it_is_a_driver_with_the_same_face(memory):
    faulty = FaultyDriver(memory, FaultPlan())
    assert isinstance(faulty, Driver)
    assert (faulty.name, faulty.capabilities) == (memory.name, memory.capabilities)


def test_every_verb_of_the_protocol_can_fail():
    """The list of verbs is that of the protocol: a new verb cannot be forgotten here."""
    verbs = {name for name in vars(Driver) if not name.startswith("_")} - {"forget"}
    assert verbs - {"name", "capabilities"} == set(VERBS)


async def test_every_verb_is_counted_and_fails(memory):
    plan = FaultPlan().fail("any", at=1, times=len(VERBS))
    faulty = FaultyDriver(memory, plan)
    held = (await take(memory, thread_key(), ALICE)).held
    calls = {
        "open": (), "close": (), "migrate": ("auto",), "claim": ([],), "commit": ([],),
        "renew": (ALICE, [held], 1.0), "release": (ALICE, [held]), "unlock": ([held],),
        "want": ([thread_key()],), "ask": ([],), "free_locks": ([],),
        "landed": (thread_key(), 1, 1), "load": ([],),
        "history": (thread_key(), "", None), "threads": (ThreadQuery(),),
        "namespaces": (thread_key(),), "runs": (thread_key(),),
        "keyed_run": (thread_key(), "k"), "delete": (held, ALICE),
        "layout": (thread_key(), ""), "write_segments": (Relayout(thread_key(), 0, 1),),
        "prune": (held, ALICE, Relayout(thread_key(), 0, 1)),
        "set_ttl": (thread_key(), 1.0), "reclaim": (),
        "tally": (TallyQuery(),), "vitals": (), "runs_numbered": ([],), "described": ([],),
        "page": (thread_key(), "", None, 1),
    }  # fmt: skip
    for verb, arguments in calls.items():
        with pytest.raises(StorageUnavailableError):
            await getattr(faulty, verb)(*arguments)
        assert plan.calls[verb] == 1
    assert plan.calls["any"] == len(VERBS)
    assert [verb for verb, _, _ in plan.fired] == list(calls)
    assert (await loaded(memory, thread_key())).thread.owner == ALICE


async def test_fail_reaches_nothing(memory):
    plan = FaultPlan().fail("commit", at=2)
    alice = await take(FaultyDriver(memory, plan), thread_key(), ALICE)
    await alice.append(checkpoint())
    piece = alice.slice(checkpoint())
    with pytest.raises(StorageUnavailableError) as caught:
        await alice.send(piece)
    assert caught.value.context["outcome"] == "none"
    assert await rows(memory) == 1
    assert await alice.send(piece) == Committed(2)
    assert plan.fired == [("commit", 2, "fail")]


async def test_fail_with_an_outcome_or_an_error_of_its_own(memory):
    plan = FaultPlan().fail("load", at=1, outcome="unknown").fail("load", 2, error=StorageFullError)
    faulty = FaultyDriver(memory, plan)
    with pytest.raises(StorageUnavailableError) as caught:
        await faulty.load([])
    assert caught.value.context["outcome"] == "unknown"
    with pytest.raises(StorageFullError):
        await faulty.load([])
    assert await faulty.load([]) == []


async def test_commit_then_fail_has_written(memory):
    plan = FaultPlan().commit_then_fail("commit", at=1, times=2)
    alice = await take(FaultyDriver(memory, plan), thread_key(), ALICE)
    piece = alice.slice(checkpoint())
    for _ in range(2):
        with pytest.raises(StorageUnavailableError) as caught:
            await alice.send(piece)
        assert caught.value.context["outcome"] == "unknown"
        assert await rows(memory) == 1
    assert await alice.send(piece) == Committed(1, landed=True)


async def test_delay_waits_before_the_call(memory):
    slept = []

    async def sleep(seconds):
        slept.append((seconds, await rows(memory)))

    plan = FaultPlan(sleep=sleep).delay("commit", at=1, seconds=2.5)
    alice = await take(FaultyDriver(memory, plan), thread_key(), ALICE)
    await alice.append(checkpoint())
    await alice.append(checkpoint())
    assert slept == [(2.5, 0)]
    assert await rows(memory) == 2


@pytest.mark.parametrize("done_first", [False, True])
async def test_cancel_reaches_the_caller(memory, done_first):
    """The task that calls is cancelled, for good: `cancelling()` says so, too."""
    plan = FaultPlan().cancel("commit", at=1, done_first=done_first)
    alice = await take(FaultyDriver(memory, plan), thread_key(), ALICE)
    task = asyncio.ensure_future(alice.send(alice.slice(checkpoint())))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1
    assert await rows(memory) == int(done_first)


async def test_drop_is_done_and_never_answers(memory):
    plan = FaultPlan().drop("commit", at=1)
    alice = await take(FaultyDriver(memory, plan), thread_key(), ALICE)
    task = asyncio.ensure_future(alice.send(alice.slice(checkpoint())))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    assert await rows(memory) == 1
    plan.hang_up()
    with pytest.raises(StorageUnavailableError) as caught:
        await task
    assert caught.value.context["outcome"] == "unknown"


async def test_a_dropped_call_can_be_given_up(memory):
    plan = FaultPlan().drop("claim", at=1)
    task = asyncio.ensure_future(contest(FaultyDriver(memory, plan), thread_key(), ALICE))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    plan.hang_up()
    assert (await loaded(memory, thread_key())).thread.owner == ALICE


@pytest.mark.parametrize("done_first", [False, True])
async def test_act_runs_beside_the_call(memory, done_first):
    """An action of the test comes between: here another worker steals the thread."""

    async def steal():
        seen = await contest(memory, thread_key(), BOB)
        await take(memory, thread_key(), BOB, confirmed=(seen.epoch, seen.beat))

    plan = FaultPlan().act("commit", 1, steal, done_first=done_first)
    alice = await take(FaultyDriver(memory, plan), thread_key(), ALICE)
    outcome = await alice.send(alice.slice(checkpoint()))
    assert isinstance(outcome, Committed if done_first else Stale)
    assert (await loaded(memory, thread_key())).thread.owner == BOB


async def test_counts_are_per_verb_and_over_all(memory):
    plan = FaultPlan().fail("load", at=2).fail("any", at=4)
    faulty = FaultyDriver(memory, plan)
    await faulty.load([])
    await faulty.claim([claim_request(thread_key(), ALICE)])
    with pytest.raises(StorageUnavailableError):
        await faulty.load([])
    with pytest.raises(StorageUnavailableError):
        await faulty.commit([])
    await faulty.load([])
    assert plan.calls == {"load": 3, "claim": 1, "commit": 1, "any": 5}
    assert [(verb, number) for verb, number, _ in plan.fired] == [("load", 2), ("commit", 1)]


async def test_unreached_rules_are_told(memory):
    """A plan whose faults did not all happen proves less than it seems to; it can be asked."""
    plan = FaultPlan().fail("load", at=1).drop("commit", at=9)
    with pytest.raises(StorageUnavailableError):
        await FaultyDriver(memory, plan).load([])
    assert [(rule.verb, rule.at) for rule in plan.unreached()] == [("commit", 9)]


def test_a_plan_that_cannot_happen_is_refused():
    with pytest.raises(UsageError, match="no verb 'comit'"):
        FaultPlan().fail("comit", at=1)
    with pytest.raises(UsageError, match="counted from 1"):
        FaultPlan().drop("commit", at=0)
    with pytest.raises(UsageError, match="counted from 1"):
        FaultPlan().drop("commit", at=1, times=0)


async def test_the_earlier_rule_goes_first(memory):
    plan = FaultPlan().fail("load", at=1, error=StorageFullError).fail("load", at=1)
    with pytest.raises(StorageFullError):
        await FaultyDriver(memory, plan).load([])
    assert len(plan.unreached()) == 1


async def test_forget_is_passed_on(memory):
    forgotten = []
    memory.forget = lambda: forgotten.append(True)
    plan = FaultPlan()
    FaultyDriver(memory, plan).forget()
    assert forgotten == [True]
    assert not plan.calls


def test_faults_need_no_pytest():
    """`stepwell.testing` loads pytest for the driver contract only, and the core never does."""
    code = (
        "import sys, stepwell.checkpoint.memory._driver, stepwell.testing;"
        "stepwell.testing.FaultPlan();"
        "sys.exit('pytest' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)
