"""The C shim between SQLite and the disk: compiled, loaded, steered, and its log read."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.torture._registry import compiler

SOURCE = Path(__file__).with_name("_disk_shim.c")
ROOT = Path(__file__).resolve().parents[2]
_HEAD = struct.Struct("=cBqq")


def compiled(folder: Path) -> Path:
    """The shim as a library in `folder`."""
    library = folder / "disk_shim.so"
    if not library.exists():
        found = compiler()
        if found is None:
            msg = "there is no C compiler"
            raise RuntimeError(msg)
        command = [found, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


def under_shim(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this folder with the shim between it and the disk."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, text=True, check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(compiled(folder))},
    )  # fmt: skip


class Shim:
    """The shim that this process was started under."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._watch, self._record = library.shim_watch, library.shim_record
        self._arm, self._disarm, self._fired = (
            library.shim_arm, library.shim_disarm, library.shim_fired,
        )  # fmt: skip
        for function in (self._watch, self._record):
            function.argtypes, function.restype = [ctypes.c_char_p], None
        self._arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_long, ctypes.c_int]
        self._disarm.restype = self._fired.restype = ctypes.c_long

    def watch(self, prefix: str) -> None:
        """From now on it is about the files whose paths begin like this."""
        self._watch(os.fsencode(prefix))

    def record(self, path: str | None) -> None:
        """Write operations down; None ends it."""
        self._record(None if path is None else os.fsencode(path))

    def arm(
        self, number: int, error: int, *, times: int = 1, half: bool = False, syncs: bool = False
    ) -> None:
        """The operation with this number (1 = the next) fails, and `times` - 1 after it.

        `half`: a write that fails has written half of its bytes. `syncs`: only syncs count.
        """
        self._arm(number, error, times, int(half) | 2 * int(syncs))

    def disarm(self) -> int:
        """Nothing fails any more. Operations since `arm`."""
        return int(self._disarm())

    @property
    def fired(self) -> int:
        """How many operations failed since `arm`."""
        return int(self._fired())


class Op(NamedTuple):
    """One operation. `kind`: a letter as in the shim's source; `name`: of the file, without the
    folder; "" for the folder itself."""

    kind: str
    name: str
    offset: int
    size: int
    bytes: bytes
    new_name: str


def read_log(path: Path, folder: Path) -> list[Op]:
    """The operations of a log, in order."""
    return list(_ops(path.read_bytes(), str(folder)))


def _ops(log: bytes, folder: str) -> Iterator[Op]:
    names: dict[int, str] = {}
    at = 0
    while at < len(log):
        letter, file, offset, length = _HEAD.unpack_from(log, at)
        kind = letter.decode()
        at += _HEAD.size
        body = b""
        if kind in "NW":
            body = log[at : at + length]
            at += length
        if kind == "N":
            names[file] = os.fsdecode(body).removeprefix(folder).removeprefix("/")
        else:
            new_name = names[offset] if kind == "M" else ""
            yield Op(kind, names[file], offset, length, body, new_name)


def acknowledged(ops: Sequence[Op]) -> bytes:
    """What the program had written to its own log by then."""
    return b"".join(op.bytes for op in ops if op.kind == "W" and op.name.endswith("-acks"))
