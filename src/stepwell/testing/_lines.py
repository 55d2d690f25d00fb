"""A file of JSON lines that several processes append to, and that survives their death."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from stepwell._clock import SYSTEM_CLOCK, Clock, since_boot

_OPTIONS = orjson.OPT_NON_STR_KEYS


class LineLog:
    """Records as lines of JSON: on the disk when `append` returns, in the order of appending.

    Each record is written by one call with `O_APPEND`, so records of several processes never
    mix. A process that dies inside that call leaves half a line; the next record begins on a
    line of its own, and the half is left out (and counted) when the file is read.

    Args:
        path: The file; made when something is appended. None: the records stay in memory.
        sync: Whether each record is flushed to the disk; a test that kills no processes can
            do without.
        clock: For the time of a record; None: the seconds since this host booted, which are
            the same for all its processes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        sync: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.torn = 0
        """Half lines that the last reading left out."""
        self._sync = sync
        self._clock = clock
        self._file: int | None = None
        self._kept: list[bytes] = []

    def now(self) -> float:
        """Seconds on the clock that records are stamped with."""
        if self._clock is not None:
            return self._clock.monotonic()
        booted = since_boot()
        return SYSTEM_CLOCK.monotonic() if booted is None else booted

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, and flush it.

        Raises:
            OSError: It could not be written whole.
        """
        line = orjson.dumps(record, option=_OPTIONS)
        if self.path is None:
            self._kept.append(line)
            return
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        whole = b"\n" + line + b"\n"
        written = os.write(self._file, whole)
        if written != len(whole):
            raise OSError(f"{written} of {len(whole)} bytes of a record fitted into {self.path}.")
        if self._sync:
            os.fsync(self._file)

    def records(self) -> list[dict[str, Any]]:
        """All whole records, of all processes, in the order in which they were appended."""
        lines = self._kept if self.path is None else _lines(self.path)
        found: list[dict[str, Any]] = []
        self.torn = 0
        for line in lines:
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                self.torn += 1
                continue
            found.append(record)
        return found

    def close(self) -> None:
        """Close the file; the next `append` opens it again. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line]
    except FileNotFoundError:
        return []
