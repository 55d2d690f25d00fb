"""The pytest plugin, as a project that uses it meets it: each test run is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# Whether or not the plugin is installed as an entry point, it is loaded once.
PLUGIN = ["-p", "no:stepwell", "-p", "stepwell.contrib.pytest_plugin", "-p", "no:randomly"]
GRAPH = """
    import asyncio
    from stepwell.graph import END, START, StateGraph

    def build(saver, node=None):
        async def plain(state: dict):
            await asyncio.sleep(0)
            return {"x": state["x"] + 1}
        graph = StateGraph(dict)
        graph.add_node("node", node or plain)
        graph.add_edge(START, "node")
        graph.add_edge("node", END)
        return graph.compile(saver)

    CONFIG = {"configurable": {"thread_id": "t"}}
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")

    def run_tests(code, *options):
        text = textwrap.dedent(GRAPH) + textwrap.dedent(code)
        (tmp_path / "test_it.py").write_text(text)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *PLUGIN, *options, "test_it.py"],
            cwd=tmp_path, capture_output=True, text=True, timeout=250, env=os.environ.copy(),
            check=False,
        )  # fmt: skip

    return run_tests


def test_a_saver_for_each_that_was_asked_for(run):
    """Async and sync tests, each on an empty database of its own; the others are left out."""
    done = run("""
        async def test_async(stepwell_saver):
            assert (await build(stepwell_saver).ainvoke({"x": 1}, CONFIG))["x"] == 2
            assert len([t async for t in stepwell_saver.alist_threads()]) == 1

        def test_sync(stepwell_saver):
            assert list(stepwell_saver.list_threads()) == []
            assert build(stepwell_saver).invoke({"x": 1}, CONFIG)["x"] == 2

        def test_names(request, stepwell_saver):
            assert type(stepwell_saver).__name__ in ("InMemorySaver", "SqliteSaver")
        """)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert "LEFT OUT: postgres" in done.stdout
    assert "never closed" not in done.stdout + done.stderr


def test_a_saver_that_cannot_start_fails(run):
    """It is not skipped: nobody would notice."""
    done = run(
        "def test_it(stepwell_saver): pass",
        "--stepwell-savers=memory,postgres",
        "--stepwell-postgres=postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1",
    )
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "the postgres saver cannot start" in done.stdout
    assert "LEFT OUT: sqlite (" in done.stdout


def test_a_server_has_to_be_named(run):
    done = run("def test_it(stepwell_saver): pass", "--stepwell-savers=postgres")
    assert "1 error" in done.stdout
    assert "say where, --stepwell-postgres=DSN" in done.stdout
    done = run("def test_it(stepwell_saver): pass", "--stepwell-savers=oracle")
    assert "oracle is no saver" in done.stdout + done.stderr


@pytest.mark.postgres
def test_a_server_is_shared_without_meeting_others(run, pg_dsn):
    """Each test sees its own threads, and leaves nothing behind."""
    done = run(
        """
        async def test_one(stepwell_saver):
            await build(stepwell_saver).ainvoke({"x": 1}, CONFIG)
            assert len([t async for t in stepwell_saver.alist_threads()]) == 1

        def test_two(stepwell_saver):
            assert list(stepwell_saver.list_threads()) == []
            build(stepwell_saver).invoke({"x": 1}, CONFIG)
        """,
        "--stepwell-savers=postgres",
        f"--stepwell-postgres={pg_dsn}",
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_kills_pass_and_fail(run):
    """A graph that recovers passes; one that keeps what it knows in memory fails, with places."""
    done = run("""
        SEEN = []

        async def forgetful(state: dict):
            SEEN.append(1)
            await asyncio.sleep(0)
            return {"x": len(SEEN)}

        async def test_recovers(stepwell_crash, stepwell_saver):
            reports = await stepwell_crash.acheck(build(stepwell_saver), {"x": 1}, CONFIG, every=3)
            assert len(reports) > 3

        def test_sync(stepwell_crash):
            from stepwell.checkpoint.memory import InMemorySaver
            assert stepwell_crash.check(build(InMemorySaver()), {"x": 1}, CONFIG, every=5)

        async def test_does_not_recover(stepwell_crash):
            from stepwell.checkpoint.memory import InMemorySaver
            await stepwell_crash.acheck(build(InMemorySaver(), forgetful), {"x": 1}, CONFIG)
        """)
    assert "1 failed, 3 passed" in done.stdout, done.stdout + done.stderr
    assert "The graph does not recover from" in done.stdout
    assert "the state is another one" in done.stdout


def test_a_clock_shows_its_seed(run):
    code = """
        def test_it(stepwell_clock):
            async def main():
                await asyncio.sleep(3600)
            stepwell_clock.run(main())
            assert stepwell_clock.seed == 5
        """
    assert "1 passed" in run(code, "--stepwell-seed=5").stdout
    failed = run(code, "--stepwell-seed=6").stdout
    assert "--stepwell-seed=6 replays this run" in failed


def test_loading_the_plugin_loads_no_driver(run):
    """Nor the testing package: a test run without durable graphs pays for none of it."""
    done = run(
        """
        import sys

        def test_it():
            loaded = [name for name in sys.modules if name.startswith("stepwell.")]
            assert "stepwell.contrib.pytest_plugin" in loaded
            assert not [n for n in loaded if n.endswith("_driver")]
            assert not [n for n in loaded if n.startswith("stepwell.testing")]
            assert not {"aiosqlite", "asyncpg"} & sys.modules.keys()
        """.replace("import asyncio", "")
    )
    assert "1 passed" in done.stdout, done.stdout
