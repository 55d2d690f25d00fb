"""Health is told in bounded time, whatever the database does, and says what is the matter."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import RunRow, RunStatus, ThreadChange, ThreadStatus
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import UsageError
from stepwell.figures import Check, Health, HealthThresholds
from stepwell.graph import START, StateGraph
from stepwell.observe import Meter
from stepwell.testing import FaultPlan, FaultyDriver
from tests.unit._saver_records import checkpoint, claimed

CALM = HealthThresholds(
    reply_s=None, save_p50_s=None, save_p99_s=None, load_p50_s=None, load_p99_s=None,
    lag_s=None, disk_free_bytes=None, lease_age_share=None, timeout_s=30.0,
)  # fmt: skip
"""For tests of other things: a busy machine is no failure of theirs."""
NAMES = [
    "database", "schema", "reply_s", "storage_bytes", "disk_free_bytes", "orphans",
    "lease_age_share", "queue_share", "lag_s", "error_rate", "save_p50_s", "save_p99_s",
    "load_p50_s", "load_p99_s", "lock_wait_p99_s",
]  # fmt: skip


class State(TypedDict, total=False):
    """Whether to fail."""

    fail: bool


def build(saver: Saver) -> Any:
    """Fails if it is told to."""

    def node(state: State) -> dict[str, Any]:
        if state["fail"]:
            raise ValueError("told to")
        return {}

    return StateGraph(State).add_node("node", node).add_edge(START, "node").compile(saver)


def config(thread_id: str) -> dict[str, Any]:
    """A config of a thread."""
    return {"configurable": {"thread_id": thread_id}}


def worst(health: Health) -> set[str]:
    """Names of the checks that are neither fine nor unmeasured."""
    return {check.name for check in health.checks if check.status in {"warn", "fail"}}


async def test_a_saver_that_is_well_says_so(saver: Saver) -> None:
    """Opened or not yet; every check is there, in words too, and all of it is JSON."""
    health = await saver.ahealth(CALM)
    assert (health.verdict, worst(health)) == ("ok", set())
    assert [check.name for check in health.checks] == NAMES
    assert all(check.message for check in health.checks)
    assert health["database"].status == "ok"
    assert health["orphans"].value == 0
    assert health["queue_share"].value == 0
    assert health["error_rate"].status == "unmeasured"
    assert health["schema"].status == "ok"
    with pytest.raises(KeyError):
        health["none"]
    told = json.loads(json.dumps(health.to_dict()))
    assert told["verdict"] == "ok"
    assert told["checks"][0]["name"] == "database"


async def test_a_run_that_was_cut_off_is_found(saver: Saver) -> None:
    """One is a warning, many are a failure; of another scope they are not ours."""
    for number in range(3):
        async with claimed(saver, f"t{number}") as handle:
            handle.append_status(
                run_row=RunRow(run=1, run_id="r", status=RunStatus.RUNNING),
                thread=ThreadChange(status=ThreadStatus.RUNNING, run=1),
            )
            await handle.flushed()
            held = await saver.ahealth(CALM)
            assert held["orphans"].value == number
    health = await saver.ahealth(CALM)
    assert (health.verdict, worst(health)) == ("warn", {"orphans"})
    assert health["orphans"].message == "3 of 3 threads that run."
    strict = HealthThresholds(**{**_options(CALM), "orphans": (1, 3)})
    assert (await saver.ahealth(strict)).verdict == "fail"
    assert (await saver.scoped("other").ahealth(CALM)).verdict == "ok"


def _options(limits: HealthThresholds) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in limits.__slots__}


async def test_lease_age_is_that_of_the_oldest(saver: Saver) -> None:
    """A running thread whose lease is not renewed comes near its end."""
    async with claimed(saver, "t") as handle:
        handle.append_status(
            run_row=RunRow(run=1, run_id="r", status=RunStatus.RUNNING),
            thread=ThreadChange(status=ThreadStatus.RUNNING, run=1),
        )
        await handle.flushed()
        limits = HealthThresholds(**{**_options(CALM), "lease_age_share": (0.0, 2.0)})
        check = (await saver.ahealth(limits))["lease_age_share"]
        assert check.status == "warn"
        assert check.value is not None
        assert 0 <= check.value < 1


async def test_runs_and_latencies_are_those_of_the_meter() -> None:
    """Rates need some runs; thresholds are counted from, inclusive."""
    async with open_saver("memory://", observe=Meter()) as saver:
        graph = build(saver)
        for number in range(9):
            await graph.ainvoke({"fail": False}, config(f"t{number}"))
        few = await saver.ahealth(CALM)
        assert few["error_rate"].status == "unmeasured"
        with pytest.raises(ValueError, match="told"):
            await graph.ainvoke({"fail": True}, config("t9"))
        health = await saver.ahealth(CALM)
        assert health["error_rate"] == Check(
            name="error_rate", status="warn", value=0.1, warn=0.05, fail=0.25,
            message="1 of 10 runs failed lately.",
        )  # fmt: skip
        assert health["save_p99_s"].value is not None
        assert health["load_p50_s"].status == "ok"
        assert health["lock_wait_p99_s"].message == "None lately."
        strict = HealthThresholds(**{**_options(CALM), "save_p50_s": (0.0, 0.0)})
        assert worst(await saver.ahealth(strict)) == {"error_rate", "save_p50_s"}


class Hand:
    """A clock that is moved by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


async def test_what_is_not_durable_yet_is_counted() -> None:
    """How much waits, and for how long: while a commit does not come back."""
    gate, sent = asyncio.Event(), asyncio.Event()

    class Slow(FaultyDriver):
        async def commit(self, batch: Any) -> Any:
            sent.set()
            await gate.wait()
            return await super().commit(batch)

    clock = Hand()
    driver = Slow(MemoryDriver(clock), FaultPlan())
    saver = Saver(driver, clock=clock, queue_rows_max=4)
    async with saver, claimed(saver, "t") as handle:
        checkpoint(handle, {"x": ["s", 1]})
        await sent.wait()
        checkpoint(handle, {"x": ["s", 2]})
        clock.now += 3
        limits = HealthThresholds(**{**_options(CALM), "lag_s": (2.0, 15.0)})
        health = await saver.ahealth(limits)
        assert worst(health) == {"queue_share", "lag_s"}
        assert (health["queue_share"].value, health["lag_s"].value) == (0.5, 3.0)
        gate.set()
        await handle.flushed()
        assert (await saver.ahealth(limits)).verdict == "ok"


def _nowhere(tmp_path: Path) -> dict[str, Saver]:
    """Savers whose database cannot be reached, each in its way."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "noise.db").write_bytes(b"this is no database, not at all" * 100)
    broken = FaultPlan().fail("vitals", at=1, times=1000)
    return {
        "no folder": open_saver(f"sqlite:///{tmp_path}/file/x.db"),
        "no database": open_saver(f"sqlite:///{tmp_path}/noise.db"),
        "nobody listens": open_saver("postgresql://u:secret@127.0.0.1:1/db"),
        "it fails": Saver(FaultyDriver(MemoryDriver(), broken)),
    }


@pytest.mark.parametrize("case", ["no folder", "no database", "nobody listens", "it fails"])
async def test_a_database_that_cannot_be_reached_is_a_finding(case: str, tmp_path: Path) -> None:
    """The verdict is "fail", nothing is raised, and no password is shown."""
    saver = _nowhere(tmp_path)[case]
    try:
        health = await saver.ahealth(HealthThresholds(timeout_s=20.0))
        assert health.verdict == "fail"
        assert health["database"].status == "fail"
        assert health["database"].message
        assert health["orphans"].status == health["reply_s"].status == "unmeasured"
        assert "secret" not in json.dumps(health.to_dict())
    finally:
        await saver.aclose()


@pytest.mark.parametrize("verb", ["open", "vitals", "threads"])
async def test_a_database_that_hangs_is_a_finding(verb: str) -> None:
    """What it does not say in time is not waited for."""
    never = asyncio.Event()

    class Hangs(FaultyDriver):
        async def _call(self, name: str, do: Any) -> Any:
            if name == verb:
                await never.wait()
            return await super()._call(name, do)

    saver = Saver(Hangs(MemoryDriver(), FaultPlan()))
    try:
        health = await saver.ahealth(HealthThresholds(timeout_s=0.05))
        assert health.verdict == "fail"
        assert health["database"].message == "No answer in 50 ms."
        assert health["reply_s"].status == ("ok" if verb == "threads" else "unmeasured")
    finally:
        never.set()
        await saver.aclose()


async def test_a_server_that_says_nothing_is_a_finding() -> None:
    """It takes the connection, and that is all."""
    quiet = asyncio.Event()

    async def listen(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await quiet.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    saver = open_saver(f"postgresql://u@127.0.0.1:{port}/db")
    try:
        health = await saver.ahealth(HealthThresholds(timeout_s=0.2))
        assert (health.verdict, health["database"].status) == ("fail", "fail")
    finally:
        quiet.set()
        server.close()
        await saver.aclose()


async def test_another_schema_is_a_finding(tmp_path: Path) -> None:
    """A newer one, which this release must not touch."""
    url = f"sqlite:///{tmp_path}/t.db"
    async with open_saver(url) as saver:
        assert (await saver.ahealth(CALM))["schema"].value == 1
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("UPDATE stepwell_meta SET value = '99' WHERE name = 'schema_version'")
    connection.close()
    newer = open_saver(url)
    health = await newer.ahealth(CALM)
    assert worst(health) == {"schema"}
    assert "99" in health["schema"].message
    await newer.aclose()
    unseen = open_saver(url, migrate="off")
    assert worst(await unseen.ahealth(CALM)) == {"schema"}
    await unseen.aclose()


async def test_it_gets_well_again() -> None:
    """The same saver, once the database is back."""
    plan = FaultPlan().fail("vitals", at=1, times=2)
    async with Saver(FaultyDriver(MemoryDriver(), plan)) as saver:
        verdicts = [(await saver.ahealth(CALM)).verdict for _ in range(3)]
    assert verdicts == ["fail", "fail", "ok"]
    assert plan.calls["vitals"] == 3  # nothing is tried again behind our back


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reply_s", (2.0, 0.5)), ("disk_free_bytes", (10, 20)), ("orphans", 1), ("lag_s", (1,)),
        ("lag_s", (True, 2)), ("lag_s", [1, 2]), ("timeout_s", 0), ("timeout_s", None),
        ("timeout_s", float("inf")),
    ],
)  # fmt: skip
def test_thresholds_are_pairs(name: str, value: Any) -> None:
    """Warn, then fail; the worse one second."""
    with pytest.raises(UsageError, match=name):
        HealthThresholds(**{name: value})


async def test_misuse_is_told() -> None:
    """A closed saver, and thresholds that are none, are the caller's mistakes."""
    saver = open_saver("memory://")
    with pytest.raises(UsageError):
        await saver.ahealth({"reply_s": (1, 2)})  # type: ignore[arg-type]
    async with saver:
        pass
    with pytest.raises(UsageError):
        await saver.ahealth()


def test_the_sync_form_does_the_same() -> None:
    """`health` where no loop runs."""
    with open_saver("memory://") as saver:
        assert saver.health(CALM).verdict == "ok"
