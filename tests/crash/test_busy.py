"""Busy threads between processes: stopping and undoing runs that live, froze, or died."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell import open_saver
from stepwell._journal import core
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import LoadRequest
from tests.crash import _busy
from tests.crash._busy import KINDS, LEASE_TTL_S, build, build_crossing

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A process of `_busy` and what it says."""

    def __init__(self, process: asyncio.subprocess.Process, gate: Path) -> None:
        self.process = process
        self.gate = gate

    async def says(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(40):
            line = await self.process.stdout.readline()
        assert line, f"the process ended with {await self.process.wait()}"
        said: dict[str, Any] = json.loads(line)
        return said

    def go_on(self) -> None:
        """Open its gate."""
        self.gate.touch()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that several processes can open."""
    if request.param == "postgres":
        named: str = request.getfixturevalue("pg_url")
        return named
    return f"sqlite:///{tmp_path}/busy.db"


@asynccontextmanager
async def holder(
    url: str, gate: Path, thread: str = "t", kind: str = "graph", *more: str
) -> AsyncIterator[Child]:
    """A child whose run has reached its gate."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, _busy.__file__, url, str(gate), thread, kind, *more,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    child = Child(process, gate)
    try:
        assert "reached" in await child.says()
        yield child
    finally:
        await child.end()


def config(thread: str = "t", **more: Any) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread}, **more}


async def requested(saver: Saver, thread: str = "t") -> str:
    """The request on the thread's row, once there is one."""
    journal = await saver.journal()
    async with asyncio.timeout(30):
        while True:
            loaded = await journal.load(LoadRequest(saver.key(thread), "", 0))
            if loaded.thread is not None and loaded.thread.request is not None:
                return loaded.thread.request
            await asyncio.sleep(0.02)


async def statuses(saver: Saver, thread: str = "t") -> list[str]:
    return [run.status async for run in saver.alist_runs(thread)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_of_another_process_is_interrupted(url: str, tmp_path: Path, kind: str) -> None:
    """What it runs is finished and recorded; it begins nothing more; the caller here goes on
    where it stopped, and nothing that was finished runs twice."""
    async with holder(url, tmp_path / "gate", "t", kind) as child, open_saver(url) as saver:
        graph = KINDS[kind](saver, str(child.gate))
        here = asyncio.ensure_future(
            graph.ainvoke(None, config(run_id="here"), on_conflict="interrupt")
        )
        assert await requested(saver) == "interrupt:here"
        child.go_on()
        said = await child.says()
        assert (said["error"], said["policy"], said["by"]) == (
            "run_preempted", "interrupt", "here"
        )  # fmt: skip
        async with asyncio.timeout(30):
            result = await here
        assert result["log"][-3:] == ["first slow", "second slow", "third slow"]
        assert await statuses(saver) == ["done", "cancelled"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_of_another_process_is_undone(url: str, tmp_path: Path, kind: str) -> None:
    """It is cancelled in the middle of a node, by its heartbeat, and leaves nothing."""
    async with holder(url, tmp_path / "gate", "t", kind) as child, open_saver(url) as saver:
        graph = KINDS[kind](saver, str(child.gate))
        async with asyncio.timeout(30):
            result = await graph.ainvoke(
                {"ask": "b"}, config(run_id="here"), on_conflict="rollback"
            )
        said = await child.says()
        assert (said["error"], said["policy"], said["by"]) == ("run_preempted", "rollback", "here")
        assert result["log"] == ["first b", "second b", "third b"]
        assert await statuses(saver) == ["done", "superseded"]


async def test_a_run_of_another_process_is_cancelled_and_awaited(url: str, tmp_path: Path) -> None:
    """`acancel` and `await_run` reach over processes."""
    async with holder(url, tmp_path / "gate") as child, open_saver(url) as saver:
        graph = build(saver, str(child.gate))
        waiting = asyncio.ensure_future(graph.await_run(config(), timeout=40))
        stopping = asyncio.ensure_future(graph.acancel(config(), reason="late", timeout=40))
        assert await requested(saver) == "cancel:late"  # by `stopping`: it has seen the run
        assert await graph.acancel(config(), timeout=0.1) is False
        child.go_on()
        said = await child.says()
        assert (said["error"], said["policy"], said["by"]) == ("run_preempted", "cancel", None)
        assert await stopping is True
        assert (await waiting).status == "cancelled"
        info = await saver.aget_thread("t")
        assert info is not None
        assert (info.status, info.next) == ("idle", ("third",))
        assert (await graph.ainvoke(None, config()))["log"][-1] == "third slow"


async def _after_death(url: str, gate: Path, die: Callable[[Child], None], policy: Any) -> Any:
    """What a call here returns after the worker's death, with the graph and its saver's say."""
    async with holder(url, gate) as child:
        die(child)
        async with open_saver(url) as saver:
            graph = build(saver, str(gate))
            async with asyncio.timeout(40):
                result = await graph.ainvoke({"ask": "b"}, config(), on_conflict=policy)
            runs = await statuses(saver)
            said = None
            if die is freeze:
                child.process.send_signal(signal.SIGCONT)
                child.go_on()
                said = await child.says()
            state = await graph.aget_state(config())
    assert state.values == result
    return result["log"], runs, said


def kill(child: Child) -> None:
    child.process.kill()


def freeze(child: Child) -> None:
    child.process.send_signal(signal.SIGSTOP)


EXPECTED = {
    "wait": (["first slow", "second slow", "third slow"], "done"),
    "interrupt": (["first slow"], "cancelled"),
    "rollback": ([], "superseded"),
}


@pytest.mark.parametrize("policy", ["interrupt", "rollback"])
async def test_the_run_of_a_killed_process(url: str, tmp_path: Path, policy: str) -> None:
    """interrupt: closed where it stands; rollback: undone. Neither runs its nodes here."""
    log, runs, _ = await _after_death(url, tmp_path / "gate", kill, policy)
    kept, status = EXPECTED[policy]
    assert log == [*kept, "first b", "second b", "third b"]
    assert runs == ["done", status]


@pytest.mark.parametrize("policy", ["interrupt", "rollback"])
async def test_the_run_of_a_frozen_process(url: str, tmp_path: Path, policy: str) -> None:
    """The same once its lease is over; when it wakes up, everything it writes is refused."""
    log, runs, said = await _after_death(url, tmp_path / "gate", freeze, policy)
    kept, status = EXPECTED[policy]
    assert log == [*kept, "first b", "second b", "third b"]
    assert runs == ["done", status]
    assert said["error"] == "stale_writer"


@pytest.mark.parametrize("die", [kill, freeze])
async def test_cancelling_the_run_of_a_dead_process(
    url: str, tmp_path: Path, die: Callable[[Child], None]
) -> None:
    """It is closed where it stands, and None goes on with it."""
    gate = tmp_path / "gate"
    async with holder(url, gate) as child:
        die(child)
        async with open_saver(url) as saver:
            graph = build(saver, str(gate))
            assert await graph.acancel(config(), timeout=4 * LEASE_TTL_S + 10) is True
            info = await saver.aget_thread("t")
            assert info is not None
            assert (info.status, info.next, info.orphaned) == ("idle", ("second",), False)
            assert await statuses(saver) == ["cancelled"]
            child.go_on()
            result = await graph.ainvoke(None, config())
            assert result["log"] == ["first slow", "second slow", "third slow"]


@pytest.mark.parametrize("policy", ["wait", "interrupt"])
async def test_a_circle_through_two_processes_ends(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """A run here waits for a thread there whose run waits for ours: nobody sees the circle,
    but a wait that begins while a thread is held is bounded."""
    monkeypatch.setattr(core, "_NESTED_WAIT_MAX_S", _busy.CIRCLE_S)
    crossing = asyncio.Event()
    monkeypatch.setattr(_busy, "say", lambda **_: crossing.set())
    gate = tmp_path / "gate"
    async with (
        holder(url, gate, "there", "crossing", "here", policy) as child,
        open_saver(url, lease_ttl_s=LEASE_TTL_S) as saver,
    ):
        graph = build_crossing(saver, str(gate), "there", policy)
        run = asyncio.ensure_future(graph.ainvoke({"ask": "x"}, config("here")))
        async with asyncio.timeout(60):
            await crossing.wait()
        child.go_on()
        async with asyncio.timeout(4 * _busy.CIRCLE_S + 10):
            mine = (await run)["log"]
        said = await child.says()
    ends = {*mine, *said.get("result", {}).get("log", [])}
    # At least one gave up; the other may have been let through after that.
    assert ends & {"held", "timeout"}
    assert ends <= {"held", "timeout", "crossed"}
