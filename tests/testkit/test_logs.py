"""Histories and effect logs: nothing that was written is lost, whatever happens to the writer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import EmptyInputError, UsageError
from stepwell.testing import EffectLog, History
from stepwell.testing._lines import LineLog
from tests.testkit._flows import build, config

WRITER = """
import sys
from stepwell.testing import History
history = History(sys.argv[1])
for n in range(50):
    operation = history.invoke("run", thread=sys.argv[2], value={"n": n, "filler": "x" * 300})
    operation.ok(checkpoint=f"{sys.argv[2]}-{n}")
"""


def test_records_come_back_in_the_order_of_writing(tmp_path):
    log = LineLog(tmp_path / "log")
    for n in range(3):
        log.append({"n": n})
    assert [record["n"] for record in log.records()] == [0, 1, 2]
    log.close()
    log.close()
    log.append({"n": 3})
    assert len(LineLog(tmp_path / "log").records()) == 4
    log.close()


def test_a_torn_last_line_is_left_out_and_what_follows_is_not(tmp_path):
    """A process died inside its write; another one goes on in the same file."""
    path = tmp_path / "log"
    first = LineLog(path)
    first.append({"n": 1})
    first.append({"n": 2})
    first.close()
    whole = path.read_bytes()
    for cut in range(1, 8):
        path.write_bytes(whole[:-cut])
        later = LineLog(path)
        later.append({"n": 3})
        numbers = [record["n"] for record in later.records()]
        # Without its newline alone, the line is whole.
        assert numbers == ([1, 2, 3] if cut == 1 else [1, 3])
        assert later.torn == (cut > 1)
        later.close()


def test_several_processes_write_one_history(tmp_path):
    """No line of one is lost or mixed with one of another, and each one's order stays."""
    path = tmp_path / "history.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"w{n}"], env=os.environ.copy())
        for n in range(3)
    ]
    assert [writer.wait(200) for writer in writers] == [0, 0, 0]
    history = History(path)
    events = history.events()
    assert len(events) == 300
    assert history.torn == 0
    assert [event.n for event in events] == list(range(300))
    for n in range(3):
        told = [e.checkpoint for e in events if e.thread == f"w{n}" and e.what == "ok"]
        assert told == [f"w{n}-{i}" for i in range(50)]
    assert len({event.pid for event in events}) == 3
    assert all(each.outcome == "ok" for each in history.operations())


def test_a_record_that_does_not_fit_is_told(tmp_path):
    """A disk that takes half a line: the writer hears of it, the file stays readable."""
    log = LineLog(tmp_path / "log")
    log.append({"n": 1})
    real = os.write
    try:
        os.write = lambda file, data: real(file, data[:5])
        with pytest.raises(OSError, match="of a record fitted"):
            log.append({"n": 2})
    finally:
        os.write = real
    log.append({"n": 3})
    assert [record["n"] for record in log.records()] == [1, 3]
    log.close()


def test_ends_of_operations_are_told_apart():
    """An operation that never ended, and one of an unknown end, may still take effect."""
    history = History(None)
    acknowledged, failed, unknown, open_ = (history.invoke("run", thread=t) for t in "abcd")
    acknowledged.ok(checkpoint="c")
    failed.fail(ValueError("no"))
    unknown.unknown("gone")
    found = {each.begin.thread: each for each in history.operations()}
    assert [found[t].outcome for t in "abcd"] == ["ok", "fail", "unknown", "unknown"]
    assert found["a"].ended == 4
    assert found["c"].ended == found["d"].ended == float("inf")
    assert found["b"].end.error == "ValueError('no')"
    assert open_.metadata == {"stepwell_op": found["d"].begin.op}


def test_a_value_that_cannot_be_stored_is_kept_as_text():
    history = History(None)
    history.invoke("run", thread="t", value={"fine": {1: (2, 3)}, "odd": object()})
    value = history.events()[0].value
    assert value["odd"]["$repr"].startswith("<object")
    assert "fine" in value


async def test_a_run_that_never_began_has_failed_and_others_are_unknown():
    """What was refused before anything was written is told from what broke on its way."""
    history, saver = History(None), InMemorySaver()
    graph = build(saver, EffectLog(None))
    with pytest.raises(EmptyInputError):
        await history.arun(graph, None, config("t"))
    with pytest.raises(TypeError):
        await history.arun(graph, {"limit": "many"}, config("t"))
    assert [each.outcome for each in history.operations()] == ["fail", "unknown"]


async def test_nodes_tell_where_they_ran():
    effects = EffectLog(None)
    graph = build(InMemorySaver(), effects)
    await graph.ainvoke({"limit": 1}, config("t"))
    shown = [s async for s in graph.aget_state_history(config("t"))]
    names = {s.config["configurable"]["checkpoint_id"]: s for s in shown}
    told = effects.effects()
    assert [e.node for e in told] == ["count", "part", "part", "part", "join", "ask"]
    assert [e.step for e in told] == [1, 2, 2, 2, 3, 4]
    for effect in told:
        assert effect.task in {task.id for task in names[effect.checkpoint].tasks}
        assert (effect.ns, effect.thread) == ("", "t")
        assert effect.to_dict()["nonce"]
    assert len({e.nonce for e in told}) == len(told)


async def test_effects_need_a_thread():
    graph = build(None, EffectLog(None))
    with pytest.raises(UsageError, match="run the graph with a saver"):
        await graph.ainvoke({"limit": 1})
