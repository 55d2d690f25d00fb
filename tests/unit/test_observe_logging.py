"""Events as log records: where they go, what they say, and what they cost when nobody asks."""

from __future__ import annotations

import json
import logging

import pytest

from stepwell import observe
from stepwell.errors import UsageError
from stepwell.observe import (
    CommitFinished,
    Event,
    LeaseLost,
    LoadFinished,
    LockWaited,
    Pruned,
    RunFinished,
    RunRecovered,
    RunStarted,
    StorageRetried,
    SuperstepFinished,
    TaskFinished,
    TaskStarted,
)
from stepwell.observe.logging import _FIELDS, LogObserver

WHO = {"thread_id": "t", "run_id": "r", "ns": ""}
TASK = {**WHO, "node": "n", "task_id": "i", "step": 2}
INFO, DEBUG, WARNING = logging.INFO, logging.DEBUG, logging.WARNING
EVENTS = [
    (RunStarted(**WHO, graph="g"), "stepwell", INFO),
    (RunFinished(**WHO, graph="g"), "stepwell", INFO),
    (RunFinished(**WHO, graph="g", status="failed", error="ValueError"), "stepwell", WARNING),
    (RunRecovered(**WHO), "stepwell", INFO),
    (SuperstepFinished(**WHO, step=1), "stepwell", DEBUG),
    (TaskStarted(**TASK), "stepwell", DEBUG),
    (TaskFinished(**TASK), "stepwell", DEBUG),
    (TaskFinished(**TASK, outcome="error", error="KeyError"), "stepwell", WARNING),
    (Pruned(thread_id="t", checkpoints=3), "stepwell", INFO),
    (CommitFinished(threads=1, rows=2, bytes=3, duration_s=0.5), "stepwell.journal", DEBUG),
    (LoadFinished(verb="claim"), "stepwell.journal", DEBUG),
    (StorageRetried(verb="commit", attempt=1, delay_s=0.1, error="storage"), "stepwell.journal",
     INFO),
    (LockWaited(thread_id="t", waited_s=1.0, won=True), "stepwell.lock", INFO),
    (LeaseLost(thread_id="t", epoch=3, noticed_by="commit"), "stepwell.lock", WARNING),
]  # fmt: skip
# What a record has by itself, and what `Logger.makeRecord` refuses beside it.
OWN = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"}


def test_every_event_is_among_them():
    kinds = {
        kind
        for name in observe.__all__
        if isinstance(kind := getattr(observe, name), type) and issubclass(kind, Event)
    }
    assert {type(event) for event, _, _ in EVENTS} == kinds - {Event}


@pytest.mark.parametrize(("event", "logger", "level"), EVENTS)
def test_an_event_is_one_record(event, logger, level, caplog):
    with caplog.at_level(DEBUG, "stepwell"):
        LogObserver()(event)
    [record] = caplog.records
    assert (record.name, record.levelno) == (logger, level)
    told = {name: value for name, value in vars(record).items() if name not in OWN}
    assert told.pop("event") == record.getMessage().partition(" ")[0]
    for name, value in told.items():
        assert getattr(event, name) == value
        assert f"{name}={value!r}" in record.getMessage()
    assert set(told) == {
        name for name in type(event).__dataclass_fields__ if getattr(event, name) not in (None, ())
    }
    assert json.loads(json.dumps(told)) == told


def test_slow_commits_are_warnings(caplog):
    log = LogObserver(slow_commit_s=0.5)
    with caplog.at_level(INFO, "stepwell"):
        for seconds in (0.4, 0.5, 3.0):
            log(CommitFinished(threads=1, rows=2, bytes=3, duration_s=seconds))
    assert [(r.event, r.levelno, r.duration_s) for r in caplog.records] == [
        ("slow_commit", WARNING, 0.5),
        ("slow_commit", WARNING, 3.0),
    ]


def test_a_name_cannot_forge_a_line(caplog):
    with caplog.at_level(INFO, "stepwell"):
        LogObserver()(RunStarted(thread_id="t\nERROR root: stolen %s", graph="\u001b[2J"))
    [record] = caplog.records
    assert record.getMessage().isprintable()
    assert record.thread_id == "t\nERROR root: stolen %s"


def test_what_nobody_reads_is_not_put_together(caplog, monkeypatch):
    monkeypatch.setitem(_FIELDS, TaskStarted, ("absent",))
    with caplog.at_level(INFO, "stepwell"):
        LogObserver()(TaskStarted(**TASK))
    with caplog.at_level(DEBUG, "stepwell"), pytest.raises(AttributeError):
        LogObserver()(TaskStarted(**TASK))
    assert caplog.records == []


def test_the_input_is_nobodys_node(caplog):
    with caplog.at_level(DEBUG, "stepwell"):
        LogObserver()(TaskStarted(**{**TASK, "node": "__start__"}))
        LogObserver()(Event())
    assert caplog.records == []


@pytest.mark.parametrize("given", ["1", True, [1]])
def test_a_threshold_is_a_number(given):
    with pytest.raises(UsageError):
        LogObserver(slow_commit_s=given)
