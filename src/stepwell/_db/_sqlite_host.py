"""What the driver asks the machine it runs on: lease time, kind of file system, lock holders.

Everything here only looks at paths and at what the kernel publishes. The database file and
its `-wal` and `-shm` are never opened by hand: closing any descriptor of them would drop the
locks that SQLite holds in this process.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple, Protocol

from stepwell._clock import SYSTEM_CLOCK, since_boot

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MOUNTS = Path("/proc/self/mountinfo")
_LOCKS = Path("/proc/locks")

_OCTAL = re.compile(r"\\(\d{3})")  # how the list of mounts writes a space in a path

_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs",
        "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
    }
)  # fmt: skip

_WAL_WRITE_LOCK = 120  # byte of -shm that a writer locks (walformat.html, "WAL locks")


def log_bytes(file: str) -> int:
    """What the write-ahead log of a database file takes; 0 if there is none."""
    try:
        return Path(f"{file}-wal").stat().st_size
    except OSError:  # it went with the last connection
        return 0


def disk_free_bytes(file: str) -> int | None:
    """What is left for this user on the disk that a file lies on; None: it cannot be seen."""
    try:
        return shutil.disk_usage(Path(file).parent).free
    except OSError:
        return None


class LeaseTime(NamedTuple):
    """A moment on the clock that leases are counted on. Two moments with another `boot_id`
    cannot be compared: the earlier one's leases are over."""

    boot_id: int
    seconds: float


class LeaseClock(Protocol):
    """Where leases are counted. Tests inject one that they move."""

    def now(self) -> LeaseTime:
        """This moment."""


class HostLeaseClock:
    """Time since boot, which nobody can set; the wall clock where there is no such time."""

    def __init__(self) -> None:
        self._boot_id = _read_boot_id() if since_boot() is not None else 0

    def now(self) -> LeaseTime:
        booted = since_boot() if self._boot_id else None
        return LeaseTime(self._boot_id, SYSTEM_CLOCK.wall() if booted is None else booted)


def _read_boot_id() -> int:
    """63 bits of the kernel's name for this boot; 0 if it has none."""
    try:
        text = _BOOT_ID.read_text(encoding="ascii")
        return int(text.strip().replace("-", ""), 16) >> 65
    except (OSError, ValueError):
        return 0


def network_file_system(path: str) -> str | None:
    """The type of the network file system that `path` lies on; None if it is local, or if
    the platform does not say."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    folder = Path(os.path.realpath(path)).parent
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split()[4])
        # The last of several mounts on one point is the one that is seen.
        if folder.is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split()[0]
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def write_lock_holder(path: str) -> int | None:
    """The pid of the process that is inside a write transaction on the database at `path`.

    Read from the kernel's list of locks (Linux). None: nobody is, or it cannot be told.
    """
    try:
        inode = Path(f"{path}-shm").stat().st_ino
        lines = _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:  # 1: POSIX  ADVISORY  WRITE 4711 fe:00:2146412 120 120
        parts = line.split()
        if len(parts) != 8 or parts[1] != "POSIX" or parts[3] != "WRITE":
            continue
        held_inode = parts[5].rpartition(":")[2]
        if held_inode == str(inode) and parts[6] == str(_WAL_WRITE_LOCK):
            return int(parts[4]) if int(parts[4]) > 0 else None  # else: of another container
    return None


def why_not_openable(path: str) -> str:
    """What to do about a database file that cannot be opened, as the end of a sentence."""
    file = Path(path)
    if file.is_dir():
        return "it is a folder: name a file inside it"
    if not file.parent.exists():
        return f"the folder {file.parent} does not exist: create it first"
    if not file.parent.is_dir():
        return f"{file.parent} is not a folder"
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return f"this user may not create files in {file.parent}, and SQLite needs to"
    if file.exists() and not os.access(file, os.R_OK | os.W_OK):
        return "this user may not read and write it"
    return "check the path, and who may read and write there"
