"""Byte locks on the side file, asked about from other processes, forks included."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell._db import _filelock
from stepwell._db._filelock import ByteLocks
from stepwell.checkpoint.driver import Busy, ClaimRequest, Held, ThreadKey
from stepwell.checkpoint.sqlite._driver import SqliteDriver

HOLDER = """
import os, sys
from stepwell._db import _filelock
if sys.argv[2] == "classic":
    _filelock._open_descriptor = _filelock._ClassicDescriptor
locks = _filelock.ByteLocks(sys.argv[1])
byte = locks.take(lambda: int(sys.argv[3]))
child = os.fork() if sys.argv[4] == "fork" else None
if child == 0:                       # lives on, and does nothing, until its parent's killer says so
    os.write(1, b"child %a\\n" % locks.take(lambda: 5))
    sys.stdin.read()
    os._exit(0)
os.write(1, b"holds %d\\n" % byte)
sys.stdin.read()
"""


def draws(*numbers):
    return iter(numbers).__next__


@pytest.fixture(params=["ofd", "classic"])
def kind(request, monkeypatch):
    """Both kinds of locks; with classic ones in every object this test makes."""
    if request.param == "classic":
        monkeypatch.setattr(_filelock, "_open_descriptor", _filelock._ClassicDescriptor)
    elif not hasattr(_filelock.fcntl, "F_OFD_SETLK"):
        pytest.skip("this platform has no open file description locks")
    return request.param


@pytest.fixture
def side(tmp_path, kind):
    return str(tmp_path / "x.db-locks")


@pytest.fixture
def locks(side):
    opened = ByteLocks(side)
    yield opened
    opened.close()


def start_holder(side, kind, byte, *, fork=False):
    command = [sys.executable, "-c", HOLDER, side, kind, str(byte), "fork" if fork else "alone"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = dict(holder.stdout.readline().split() for _ in range(2 if fork else 1))
    if fork:
        assert said["child"] == "None", "a child has no locks of its own"
    return holder, int(said["holds"])


def end(holder):
    holder.stdin.close()
    holder.stdout.close()
    holder.wait()


def test_a_lock_of_another_process_is_seen_until_it_is_killed(side, kind, locks):
    holder, byte = start_holder(side, kind, 7_000_000_000)
    assert locks.is_free(byte) is False
    assert locks.is_free(byte + 1) is True
    holder.kill()
    holder.wait()
    assert locks.is_free(byte) is True
    end(holder)


def test_a_forked_child_does_not_keep_its_dead_parents_lock(side, kind, locks):
    holder, byte = start_holder(side, kind, 99, fork=True)
    assert locks.is_free(byte) is False, "the child's closing of the file freed nothing"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert locks.is_free(byte) is True, "the child still lives"
    end(holder)


def test_two_openings_in_one_process_see_each_other(side, locks):
    other = ByteLocks(side)
    byte = locks.take(draws(1 << 61))
    assert other.is_free(byte) is False
    assert other.take(draws(1 << 61, 12)) != byte, "a taken byte is not taken twice"
    other.close()
    assert locks.is_free(byte) is False
    locks.give_back(byte)
    assert locks.is_free(byte) is True


def test_closing_one_opening_leaves_the_locks_of_the_other(side, kind, locks):
    """Seen from another process: with classic locks, closing any descriptor would free all."""
    byte = locks.take(draws(41))
    for _ in range(3):
        other = ByteLocks(side)
        given_back = other.take(draws(42))
        other.close()
    code = "import sys; from stepwell._db import _filelock\n"
    code += f"_filelock._open_descriptor = _filelock._{'Classic' if kind == 'classic' else 'Ofd'}"
    code += "Descriptor\nlocks = _filelock.ByteLocks(sys.argv[1])\n"
    code += f"print(locks.is_free({byte}), locks.is_free({given_back})); locks.close()"
    asked = subprocess.run([sys.executable, "-c", code, side], check=True, capture_output=True)
    assert asked.stdout.split() == [b"False", b"True"]
    assert locks.is_free(byte) is False


def test_an_own_lock_is_not_free(locks):
    assert locks.is_free(locks.take(draws(3))) is False


def test_beyond_the_limit_one_byte_serves_all(side):
    few = ByteLocks(side, locks_max=3)
    other = ByteLocks(side)
    draw = itertools.count(100).__next__
    own = [few.take(draw) for _ in range(3)]
    shared = [few.take(draw) for _ in range(5)]
    assert len(set(own)) == 3
    assert len(set(shared)) == 1
    assert few.held == 4
    few.give_back(shared[0])
    assert other.is_free(shared[0]) is False, "it speaks for the others too"
    few.give_back(own[0])
    assert few.take(draw) not in shared
    few.close()
    assert other.is_free(shared[0]) is True
    other.close()


def test_given_back_twice_or_by_a_stranger_is_no_error(locks):
    byte = locks.take(draws(8))
    locks.give_back(None)
    locks.give_back(12345)
    locks.give_back(byte)
    locks.give_back(byte)
    assert locks.held == 0


def test_after_close_nothing_is_known_and_nothing_taken(side):
    locks = ByteLocks(side)
    locks.take(draws(8))
    locks.close()
    locks.close()
    assert (locks.take(draws(9)), locks.is_free(8), locks.held) == (None, None, 0)


def test_a_deleted_side_file_is_replaced_with_its_locks(side, locks):
    byte = locks.take(draws(8))
    locks.refresh()
    Path(side).unlink()
    stranger = ByteLocks(side)
    assert stranger.is_free(byte) is None, "who comes later cannot see the old file"
    locks.refresh()
    assert stranger.is_free(byte) is False
    locks.close()
    assert stranger.is_free(byte) is None, "a lock of the old file, for all one can know"
    stranger.close()


def test_who_still_has_the_old_side_file_knows_nothing_of_the_new_one(side, locks):
    Path(side).unlink()
    stranger = ByteLocks(side)
    byte = stranger.take(draws(8))
    assert locks.is_free(byte) is None
    locks.refresh()
    assert locks.is_free(byte) is False
    stranger.close()
    assert locks.is_free(byte) is True


def test_a_byte_is_in_the_range_of_lock_keys_and_keeps_its_random_part(side, locks):
    """Keys that differ stay different, and none is 0 or beyond 2**62."""
    numbers = [1, 2, 1 << 20, (1 << 33) - 1]
    bytes_ = [locks.take(draws(number)) for number in numbers]
    assert len(set(bytes_)) == len(numbers)
    assert all(0 < byte < 1 << 62 for byte in bytes_)
    assert all(locks.take(draws((1 << 62) - 1 - n)) < 1 << 62 for n in range(3))


def remove_side_file(database, *, put_another=False):
    side = Path(f"{database}-locks")
    side.unlink()
    if put_another:
        side.touch()


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_healthy_owner_keeps_its_thread_whatever_becomes_of_the_side_file(
    tmp_path, replaced
):
    """Idle, its heartbeat far away: a waiter that comes after the file was removed, or
    replaced, finds no evidence of death, and does not even suspect it."""
    path = tmp_path / "x.db"
    one, two = SqliteDriver(str(path)), SqliteDriver(str(path))
    await one.open()
    await one.migrate("auto")
    key = ThreadKey("", "t")
    ask = ClaimRequest(key, b"a" * 16, 10.0, 1 << 33, b"u" * 16)
    [claim] = await one.claim([ask])
    remove_side_file(path, put_another=replaced)
    await two.open()
    rival = ask._replace(worker=b"b" * 16)
    [busy] = await two.claim([rival])
    assert isinstance(busy, Busy)
    assert busy.lock_free is None
    await one.renew(b"a" * 16, [Held(key, claim.epoch, claim.lock_key)], 10.0)
    [busy] = await two.claim([rival])
    assert busy.lock_free is False, "the heartbeat has locked the byte in the file that is there"
    await one.close()
    await two.close()


async def test_whoever_claims_looks_for_the_side_file_that_is_there(tmp_path):
    """A process that opened the old one long ago, and holds nothing, sees the locks of those
    that came later, and they see its own."""
    path = tmp_path / "x.db"
    one, two = SqliteDriver(str(path)), SqliteDriver(str(path))
    await one.open()
    await one.migrate("auto")
    remove_side_file(path)
    await two.open()
    ask = ClaimRequest(ThreadKey("", "t"), b"a" * 16, 10.0, 1 << 33, b"u" * 16)
    [claim] = await two.claim([ask])
    rival = ask._replace(worker=b"b" * 16)
    [busy] = await one.claim([rival])
    assert busy.lock_free is False
    await one.claim([rival._replace(key=ThreadKey("", "other"))])
    [busy] = await two.claim([ask._replace(key=ThreadKey("", "other"))])
    assert busy.lock_free is False
    await two.close()
    [busy] = await one.claim([rival])
    assert busy.lock_free is True, "its process is gone"
    assert claim.lock_key is not None
    await one.close()


def test_a_side_file_that_cannot_be_opened_is_an_os_error(tmp_path, kind):
    with pytest.raises(OSError):
        ByteLocks(str(tmp_path / "no such folder" / "x.db-locks"))
