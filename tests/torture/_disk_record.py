"""A program whose disk operations are recorded.

`_disk_record FOLDER LOG SYNCHRONOUS THREADS FAILING`: with FAILING > 0, so many syncs go well and
the next one fails; the program goes on as it can.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from pathlib import Path
from typing import Any

from stepwell import open_saver
from stepwell.errors import StorageError
from tests.crash._workload import Log
from tests.torture._disk_work import FOLDED, work
from tests.torture._shim import Shim

SESSIONS = 2


async def session(number: int, path: str, synchronous: Any, threads: int) -> int:
    """Open, work, fold, close: closing brings the log into the file and removes it. Rows folded."""
    url = f"sqlite:///{path}"
    async with open_saver(url, synchronous=synchronous, lease_ttl_s=1.0) as saver:
        names = [f"s{number}-{i}" for i in range(threads)]
        errors = await work(saver, names, Log(f"{path}-acks"), FOLDED)
        if errors:
            raise errors[0]
        return (await saver.acompact()).rows


def main(folder: str, log: str, synchronous: str, threads: str, failing: str) -> None:
    shim = Shim()
    path = str(Path(folder, "disk.db"))
    shim.watch(path)
    shim.record(log)
    if int(failing):
        shim.arm(int(failing), errno.EIO, syncs=True)
    for number in range(SESSIONS):
        try:
            if not asyncio.run(session(number, path, synchronous, int(threads))) and not shim.fired:
                raise RuntimeError("there was nothing to fold")
        except StorageError:
            if not shim.fired:
                raise
            asyncio.run(session(number, path, synchronous, int(threads)))
    shim.record(None)


if __name__ == "__main__":
    main(*sys.argv[1:])
