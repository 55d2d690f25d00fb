"""Locks on single bytes of a side file: evidence that a process lives.

The kernel drops a process's locks the moment it dies, and any other process can ask whether
a byte is locked. The side file holds nothing; it is never the database file, because closing
a descriptor of that one would drop the locks SQLite keeps there.

Two kinds. *Open file description* locks belong to one opening of the file: two savers in one
process do not disturb each other. *Classic* POSIX locks belong to the process: a second
opening sees no lock of its own process, and closing any opening drops them all; so there is
one descriptor per file in the process, shared, and closed when its last user goes.

The file may be removed or replaced while processes hold locks in it; who comes later cannot
see those. So a byte's number says which file it was drawn for, and that it is free in another
file is no evidence of anything.

A fork inherits open file descriptions, locks included: a child would keep its dead parent's
evidence alive. Children therefore close their descriptors as soon as they run.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

try:
    import fcntl
except ImportError:  # not a POSIX platform: leases alone must do
    HAS_FILE_LOCKS = False
else:
    HAS_FILE_LOCKS = True

LOCKS_MAX = 1000
"""The kernel walks a list per file: 1.3 us a lock at 100 of them, 86 us at 10,000."""

_RANDOM_BITS = 34
_FILE_BITS = 28
"""A byte's number, below 2**62: a digest of the file's device and inode, then random bits."""

_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


class _Descriptor(Protocol):
    """One way to lock bytes of one opened file."""

    def lock(self, byte: int) -> bool: ...
    def unlock(self, byte: int) -> None: ...
    def is_free(self, byte: int) -> bool: ...
    def identity(self) -> tuple[int, int]: ...
    def close(self) -> None: ...


class _OfdDescriptor:
    """Open file description locks (Linux). Raises OSError EINVAL where they do not exist."""

    _FLOCK = struct.Struct(
        "@hhqqi4x"
    )  # struct flock of 64-bit Linux: type, whence, start, len, pid

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._file = os.fdopen(fd, "r+b", buffering=0)  # warns when it is left open
        try:
            self.is_free(0)
        except OSError:
            self._file.close()
            raise

    def _call(self, command: int, kind: int, byte: int) -> int:
        asked = self._FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
        return int(self._FLOCK.unpack(fcntl.fcntl(self._file, command, asked))[0])

    def lock(self, byte: int) -> bool:
        try:
            self._call(fcntl.F_OFD_SETLK, fcntl.F_WRLCK, byte)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        return True

    def unlock(self, byte: int) -> None:
        self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, byte)

    def is_free(self, byte: int) -> bool:
        return self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte) == fcntl.F_UNLCK

    def identity(self) -> tuple[int, int]:
        return _identity(os.fstat(self._file.fileno()))

    def close(self) -> None:
        self._file.close()


class _ClassicFile:
    """The one descriptor of a file in this process, and the bytes it holds."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0
        self.held: set[int] = set()


class _ClassicDescriptor:
    """Classic POSIX locks, as one user of the process's only descriptor of the file."""

    _files: dict[tuple[int, int], _ClassicFile] = {}  # noqa: RUF012  # process-wide on purpose
    _guard = threading.Lock()

    def __init__(self, path: str) -> None:
        with self._guard:
            try:
                found = os.stat(path)  # noqa: PTH116  # an OSError is what is asked for
                file = self._files.get((found.st_dev, found.st_ino))
            except FileNotFoundError:
                file = None
            if file is None:
                file = _ClassicFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
                opened = os.fstat(file.fd)
                self._files[opened.st_dev, opened.st_ino] = file
            file.users += 1
        self._file = file
        self._mine: set[int] = set()

    def lock(self, byte: int) -> bool:
        with self._guard:
            if byte in self._file.held or not self._try(byte, fcntl.LOCK_EX):
                return False
            self._file.held.add(byte)
            self._mine.add(byte)
            return True

    def _try(self, byte: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._file.fd, kind | fcntl.LOCK_NB, 1, byte, os.SEEK_SET)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        return True

    def _drop(self, byte: int) -> None:
        fcntl.lockf(self._file.fd, fcntl.LOCK_UN, 1, byte, os.SEEK_SET)

    def unlock(self, byte: int) -> None:
        with self._guard:
            if byte in self._mine:
                self._mine.discard(byte)
                self._file.held.discard(byte)
                self._drop(byte)

    def is_free(self, byte: int) -> bool:
        with self._guard:
            if byte in self._file.held:
                return False
            # Shared, so that two processes that ask at the same time do not see each other.
            free = self._try(byte, fcntl.LOCK_SH)
            if free:
                self._drop(byte)
            return free

    def identity(self) -> tuple[int, int]:
        return _identity(os.fstat(self._file.fd))

    def close(self) -> None:
        for byte in list(self._mine):
            self.unlock(byte)
        with self._guard:
            self._file.users -= 1
            if not self._file.users:
                for key, file in list(self._files.items()):
                    if file is self._file:
                        del self._files[key]
                os.close(self._file.fd)

    @classmethod
    def after_fork(cls) -> None:
        """In the child: the parent's descriptors are no use, and must not outlive it."""
        cls._guard = threading.Lock()
        for file in cls._files.values():
            os.close(file.fd)
        cls._files.clear()


def _identity(found: os.stat_result) -> tuple[int, int]:
    """Device and inode: no other file has them while this one is open somewhere."""
    return found.st_dev, found.st_ino


def _is_at(identity: tuple[int, int], path: str) -> bool:
    try:
        return identity == _identity(os.stat(path))  # noqa: PTH116  # an OSError is what is asked for
    except FileNotFoundError:
        return False


def _prefix_of(identity: tuple[int, int]) -> int:
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _FILE_BITS)


def _open_descriptor(path: str) -> _Descriptor:
    if hasattr(fcntl, "F_OFD_SETLK") and sys.platform == "linux" and sys.maxsize > 1 << 32:
        try:
            return _OfdDescriptor(path)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    return _ClassicDescriptor(path)


class ByteLocks:
    """The advisory locks of one driver: random bytes of the side file at `path`.

    Thread-safe. Beyond `locks_max` locks, callers share one byte that this object keeps for
    itself: it says as well that the process lives, but not which claim ended.

    Raises:
        OSError: the file cannot be opened or created, or its file system has no locks.
    """

    def __init__(self, path: str, locks_max: int = LOCKS_MAX) -> None:
        self.path = path
        self._descriptor: _Descriptor | None = _open_descriptor(path)
        self._identity = self._descriptor.identity()
        self._prefix = _prefix_of(self._identity)
        self._guard = threading.Lock()
        self._held: set[int] = set()
        self._shared: int | None = None
        self._locks_max = locks_max
        _open.add(self)

    @property
    def held(self) -> int:
        """How many bytes are locked now."""
        return len(self._held) + (self._shared is not None)

    def take(self, draw: Callable[[], int]) -> int | None:
        """Lock a fresh byte of the file, or the shared one when there are many already.

        Args:
            draw: gives random numbers; their low 34 bits tell bytes apart.

        Returns:
            Its number, in [1, 2**62); None after `close`.
        """
        with self._guard:
            if self._descriptor is None:
                return None
            if len(self._held) < self._locks_max:
                byte = self._lock_fresh(self._descriptor, draw)
                self._held.add(byte)
                return byte
            if self._shared is None:
                self._shared = self._lock_fresh(self._descriptor, draw)
            return self._shared

    def _lock_fresh(self, descriptor: _Descriptor, draw: Callable[[], int]) -> int:
        prefix = self._prefix << _RANDOM_BITS
        while True:
            byte = prefix | (draw() & ((1 << _RANDOM_BITS) - 1))
            if byte and byte not in self._held and byte != self._shared and descriptor.lock(byte):
                return byte

    def give_back(self, byte: int | None) -> None:
        """Unlock a byte that `take` returned. Any other byte, or the shared one, stays."""
        with self._guard:
            if byte in self._held and self._descriptor is not None:
                self._held.discard(byte)
                self._descriptor.unlock(byte)

    def is_free(self, byte: int) -> bool | None:
        """Whether nobody, in this process or another, holds `byte`. None when there is no
        telling: it is free, but was locked in another file; or this object is closed."""
        with self._guard:
            if self._descriptor is None:
                return None
            # A description does not conflict with itself, so our own bytes would look free.
            if byte in self._held or byte == self._shared:
                return False
            if not self._descriptor.is_free(byte):
                return False
            return True if byte >> _RANDOM_BITS == self._prefix else None

    def refresh(self) -> None:
        """If the side file was deleted or replaced, lock the same bytes in the one that is
        there now: nobody who comes later can see the old one. Costs one `stat`.

        Raises:
            OSError: the new file cannot be opened.
        """
        with self._guard:
            if self._descriptor is None or _is_at(self._identity, self.path):
                return
            fresh = _open_descriptor(self.path)
            for byte in (*self._held, *([] if self._shared is None else [self._shared])):
                fresh.lock(byte)
            self._descriptor.close()
            self._descriptor = fresh
            self._identity = fresh.identity()
            self._prefix = _prefix_of(self._identity)

    def close(self) -> None:
        """Give everything back. Idempotent."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, None
            self._held.clear()
            self._shared = None
            if descriptor is not None:
                descriptor.close()

    def _after_fork(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._guard = threading.Lock()  # another thread may have held it when we were forked
        self._held.clear()
        self._shared = None
        if isinstance(descriptor, _OfdDescriptor):
            descriptor.close()


_open: weakref.WeakSet[ByteLocks] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for locks in list(_open):
        locks._after_fork()  # noqa: SLF001
    _ClassicDescriptor.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
