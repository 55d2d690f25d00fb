"""What `stepwell.checkpoint.base` offers under LangGraph's names."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

from stepwell.channels import LastValue
from stepwell.checkpoint import base
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import UsageError

pytest.importorskip("langgraph", reason="langgraph, the package compared with, is not installed")


@pytest.fixture(scope="module")
def theirs() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("langgraph.checkpoint.base")


def test_savers_are_what_annotations_call_them() -> None:
    assert isinstance(InMemorySaver(), base.BaseCheckpointSaver)
    assert base.BaseCheckpointSaver[str] is base.BaseCheckpointSaver


def test_a_saver_of_ones_own_is_refused_and_told_of_drivers() -> None:
    with pytest.raises(UsageError, match=r"Mine derives.*docs/drivers.md"):
        type("Mine", (base.BaseCheckpointSaver,), {"__module__": "app"})


def test_a_saver_that_changes_how_things_are_stored_is_refused() -> None:
    with pytest.raises(UsageError, match="Mine overrides put,"):
        type("Mine", (InMemorySaver,), {"__module__": "app", "put": None})


def test_a_saver_may_have_verbs_of_its_own() -> None:
    mine = type("Mine", (InMemorySaver,), {"__module__": "app", "count": lambda _: 5})
    assert mine().count() == 5


def test_constants_are_langgraphs(theirs: Any) -> None:
    for name in ("WRITES_IDX_MAP", "EXCLUDED_METADATA_KEYS", "LATEST_VERSION", "ERROR", "RESUME"):
        assert getattr(base, name) == getattr(theirs, name)


def test_metadata_of_configs_is_langgraphs(theirs: Any) -> None:
    config = {
        "metadata": {"a": "x\0y", "b": 1, "c": [1], "step": 9, "__z": 1, "writes": {}},
        "configurable": {"thread_id": "t", "d": True, "e": None, "a": "later"},
    }
    given = {"source": "loop", "step": 1, "note": "n\0", "writes": {"x": 1}}
    for name in ("get_checkpoint_metadata", "get_serializable_checkpoint_metadata"):
        mine, other = getattr(base, name), getattr(theirs, name)
        assert mine(config, dict(given)) == other(config, dict(given))


def test_checkpoint_id_of_a_config(theirs: Any) -> None:
    for config in ({"configurable": {"checkpoint_id": "x"}}, {"configurable": {}}):
        assert base.get_checkpoint_id(config) == theirs.get_checkpoint_id(config)


def test_an_empty_checkpoint_has_langgraphs_shape(theirs: Any) -> None:
    mine, other = base.empty_checkpoint(), theirs.empty_checkpoint()
    assert {k: v for k, v in mine.items() if k not in ("id", "ts")} == {
        k: v for k, v in other.items() if k not in ("id", "ts")
    }
    assert mine["id"] != base.empty_checkpoint()["id"]


def test_copies_of_checkpoints_share_values_and_nothing_else(theirs: Any) -> None:
    checkpoint = base.empty_checkpoint()
    checkpoint["channel_values"]["a"] = [1]
    checkpoint["versions_seen"]["n"] = {"a": 1}
    copied = base.copy_checkpoint(checkpoint)
    assert copied == checkpoint == theirs.copy_checkpoint(checkpoint)
    assert copied["channel_values"]["a"] is checkpoint["channel_values"]["a"]
    copied["versions_seen"]["n"]["a"] = 2
    assert checkpoint["versions_seen"]["n"]["a"] == 1


def test_following_checkpoint_holds_what_the_channels_hold() -> None:
    channels = {"a": LastValue(int), "b": LastValue(int), "c": LastValue(int)}
    channels["a"].update([1])
    channels["c"].update([3])
    checkpoint = base.empty_checkpoint()
    checkpoint["channel_versions"] = {"a": 1, "b": 1}
    following = base.create_checkpoint(checkpoint, channels, 4, id="mine")
    assert (following["id"], following["channel_values"]) == ("mine", {"a": 1})
    kept = base.create_checkpoint(checkpoint, None, 4)
    assert kept["channel_values"] == {}
    assert kept["id"] not in (checkpoint["id"], "mine")


def test_writes_sort_by_path(theirs: Any) -> None:
    assert base.writes_sort_key("p", "t", 2) == theirs.writes_sort_key("p", "t", 2)
