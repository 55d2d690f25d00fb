"""The harness tells what failed, with the seed, and never passes over what did not run."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.torture import __main__ as harness
from tests.torture import _planted
from tests.torture._record import PAGE, page
from tests.torture._registry import TITLES, load, load_from


def _run(tmp_path: Path, *argv: str) -> int:
    return harness.main([*argv, "--record"], load_from([_planted]), tmp_path)


def _recorded(tmp_path: Path) -> dict:
    (path,) = tmp_path.glob("*.json")
    return orjson.loads(path.read_bytes())


def test_rounds_that_hold_are_added_up(tmp_path, capsys):
    """Cases, stages, counts add up over rounds, of `worst` the greatest counts; every round has a
    seed of its own."""
    assert _run(tmp_path, "--only", "X1", "--seed", "7", "--rounds", "2", "--cases", "3") == 0
    assert "X1 seed 8: 3 cases, 0 failed" in capsys.readouterr().out
    told = _recorded(tmp_path)["tests"]["X1"]
    assert (told["rounds"], told["cases"], told["failures"]) == (2, 6, [])
    assert told["stages"] == {"seed 7": 3, "seed 8": 3}
    assert (told["counts"], told["worst"]) == ({"seen": 6}, {"pause_s": 0.75})


def test_a_failure_fails_the_run_and_names_the_seed(tmp_path, capsys):
    assert _run(tmp_path, "--only", "X2", "--seed", "4", "--rounds", "2") == 1
    assert "--only X2 --seed 5 --rounds 1" in capsys.readouterr().out
    assert _recorded(tmp_path)["tests"]["X2"]["failures"] == [{"seed": 5, "what": "lost at 5"}]


@pytest.mark.parametrize(
    ("id", "says"), [("X3", "ValueError: no"), ("X4", "-9"), ("X5", "did nothing")]
)
def test_a_round_that_raises_dies_or_does_nothing_has_failed(tmp_path, id, says):
    assert _run(tmp_path, "--only", id, "--rounds", "1") == 1
    (failure,) = _recorded(tmp_path)["tests"][id]["failures"]
    assert says in failure["what"]


def test_what_is_left_out_is_said(tmp_path, capsys):
    """Without its database a torture does not pass: it is left out, in words and in the record."""
    argv = ("--only", "X1,X6", "--rounds", "1", "--cases", "1", "--leave-out", "postgres")
    assert _run(tmp_path, *argv) == 0
    assert "LEFT OUT: X6" in capsys.readouterr().out
    told = _recorded(tmp_path)
    assert (list(told["tests"]), told["left_out"]) == (["X1"], ["X6", "postgres"])


def test_a_database_that_cannot_start_fails_the_run(tmp_path, capsys, monkeypatch):
    def broken() -> str:
        raise OSError("no server")

    monkeypatch.setattr(harness._postgres, "server_dsn", broken)
    assert _run(tmp_path, "--only", "X6", "--rounds", "1") == 1
    assert "--leave-out postgres" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_an_unknown_id_is_refused(tmp_path):
    assert _run(tmp_path, "--only", "T0") == 2


def test_every_torture_is_in_the_table_of_titles():
    assert load().keys() <= TITLES.keys()


def test_the_page_is_the_one_that_the_record_gives():
    """docs/torture.md is written by `python -m tests.torture --table`, never by hand."""
    assert PAGE.read_text(encoding="utf-8") == page(load())
