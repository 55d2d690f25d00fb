"""T6 and T7, small: what is left of SQLite's files when the power goes or the disk fails."""

from __future__ import annotations

import random

import pytest

from tests.torture import t06_power, t07_faults
from tests.torture._disk import SECTOR, Disk
from tests.torture._figures import Budget
from tests.torture._registry import compiler
from tests.torture._shim import Op

needs_compiler = pytest.mark.skipif(
    compiler() is None,
    reason="no C compiler: what lies between SQLite and the disk is written in C",
)
IMAGES = 50


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_was_acknowledged_survives_a_power_cut(tmp_path, seed, capsys):
    """With "full" nothing acknowledged is lost, also after a sync has failed; with "normal" only
    the newest of a thread; every thread comes to its right end."""
    figures = t06_power.run(seed, Budget(folder=tmp_path, cases=IMAGES, places=frozenset()))
    with capsys.disabled():
        print(f"\nT6 seed {seed}: {figures.line()}")
    assert figures.cases >= IMAGES
    assert figures.counts["acknowledged under full"] > 0
    assert not figures.failures


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_without_the_wait_for_fsync_the_same_check_finds_losses(tmp_path, seed):
    """Sabotage: a program that does not wait for the disk, held to the promise of one that does."""
    ops = t06_power.recording(tmp_path, "normal")
    chance = random.Random(seed)
    figures = t06_power.images(ops, "full", chance, tmp_path / "images", count=30)
    assert any("acknowledged are lost" in failure for failure in figures.failures)


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_failing_operation_ends_typed_or_is_absorbed(tmp_path, seed, capsys):
    """Every fifth operation on the files fails; nothing acknowledged is lost, nobody is told less
    than the truth, and the saver works again as soon as the disk does."""
    figures = t07_faults.run(seed, Budget(folder=tmp_path, cases=1, places=frozenset()))
    with capsys.disabled():
        print(f"\nT7 seed {seed}: {figures.line()}")
    assert not figures.failures
    for what in ("folding", "running"):
        assert figures.counts[f"sweeps of {what} to the last operation"] == 1
    assert figures.cases > 20
    assert {"running: went on", "folding: went on"} & figures.stages.keys()


# --- the model of the disk --------------------------------------------------------------------


def _op(kind: str, name: str = "f", offset: int = 0, content: bytes = b"") -> Op:
    return Op(kind, name, offset, len(content), content, "")


def _disk(*ops: Op) -> Disk:
    disk = Disk()
    for op in ops:
        disk.apply(op)
    return disk


CREATED = (_op("C"), _op("W", content=b"old"), _op("S"), _op("S", ""))


def test_a_synced_file_in_a_synced_folder_is_certain():
    assert _disk(*CREATED).image("unsynced", random.Random(0)) == {"f": b"old"}


def test_a_file_in_a_folder_that_was_not_synced_may_be_missing():
    assert _disk(*CREATED[:-1]).image("unsynced", random.Random(0)) == {}


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_whose_removal_was_not_synced_may_come_back(synced):
    ops = (*CREATED, _op("U"), *([_op("S", "")] if synced else []))
    assert ("f" in _disk(*ops).image("unsynced", random.Random(0))) is not synced
    assert _disk(*ops).image("nothing", random.Random(0)) == {}


def test_sectors_of_writes_that_were_not_synced_arrive_one_by_one():
    """In any combination, whole, and never outside of what was written."""
    write = _op("W", offset=SECTOR // 2, content=b"n" * 2 * SECTOR)
    disk = _disk(_op("C"), _op("W", content=b"o" * 4 * SECTOR), _op("S"), _op("S", ""), write)
    found = {disk.image("torn", random.Random(i))["f"] for i in range(200)}
    half = SECTOR // 2
    assert found == {
        b"o" * half + a * half + b * SECTOR + c * half + b"o" * (SECTOR + half)
        for a in (b"o", b"n")
        for b in (b"o", b"n")
        for c in (b"o", b"n")
    }


def test_what_a_failed_sync_lost_no_later_sync_brings_back():
    disk = _disk(*CREATED, _op("W", content=b"new"), _op("F"), _op("S"))
    assert disk.image("nothing", random.Random(0)) == {"f": b"old"}
