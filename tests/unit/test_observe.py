"""Observers: everyone hears everything, and none of them can do harm."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from stepwell import observe
from stepwell.observe import Event, LockWaited, Observers, Pruned

EVENTS = [
    kind
    for name in observe.__all__
    if isinstance(kind := getattr(observe, name), type)
    and issubclass(kind, Event)
    and kind is not Event
]


def test_there_are_the_promised_events():
    """The names of the public sheet, no more and no fewer."""
    assert {kind.__name__ for kind in EVENTS} == {
        "RunStarted", "RunFinished", "SuperstepFinished", "TaskStarted", "TaskFinished",
        "CommitFinished", "LoadFinished", "LockWaited", "LeaseLost", "StorageRetried",
        "RunRecovered", "Pruned",
    }  # fmt: skip


@pytest.mark.parametrize("kind", EVENTS)
def test_events_are_frozen_slotted_and_say_where(kind):
    """Keyword-only, with thread, namespace and run; durations end in their unit."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    assert {"thread_id", "ns", "run_id"} <= set(fields)
    assert all(field.kw_only for field in fields.values())
    assert kind.__dataclass_params__.frozen
    assert not hasattr(kind(**_required(fields)), "__dict__")
    assert all(name.endswith("_s") for name, field in fields.items() if "float" in str(field.type))


def _required(fields):
    return {name: 0 for name, field in fields.items() if field.default is dataclasses.MISSING}


def test_every_observer_hears_every_event():
    first, second = [], []
    observers = Observers([first.append, second.append])
    events = [Pruned(threads=1), LockWaited(waited_s=0.5, won=True)]
    for event in events:
        observers(event)
    assert first == second == events


def test_nobody_listening_is_false():
    """So that a sender need not make events in vain."""
    assert not Observers()
    assert Observers([lambda _event: None])


def test_an_observer_that_raises_is_logged_once_and_counted(caplog):
    """The others go on hearing; an observer that must stop the program still can."""
    heard = []

    def broken(_event):
        raise ValueError("broken")

    observers = Observers([broken, heard.append, broken])
    with caplog.at_level(logging.ERROR, "stepwell"):
        for _ in range(5):
            observers(Pruned())
    assert len(heard) == 5
    assert observers.errors == 10
    assert len(caplog.records) == 2

    def quits(_event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Observers([quits])(Pruned())
