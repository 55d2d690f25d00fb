"""What may be on a disk after the power went: a model of files, fsyncs and lost writes.

* A write or truncate is certain once the file was synced after it. Before that, any of the
  unsynced ones may have arrived, in any order, and of one write any of its 512-byte sectors.
  (SQLite takes for granted, as everybody does, that a sector is written whole, and that a write
  leaves the sectors beside it alone.)
* That a file was created, removed or renamed is certain once its *folder* was synced; before
  that a prefix of those changes has arrived (file systems keep them in a journal).
* A sync that failed has lost the writes before it, and no later sync brings them back: the kernel
  takes their pages for written. Programs go on reading them, until the power goes.
"""

from __future__ import annotations

import random
from typing import Literal

from tests.torture._shim import Op

SECTOR = 512
Loss = Literal["nothing", "unsynced", "suffix", "torn"]
LOSSES: tuple[Loss, ...] = ("nothing", "unsynced", "suffix", "torn")


class _File:
    def __init__(self) -> None:
        self.certain = bytearray()
        self.pending: list[tuple[int, Op]] = []

    def synced(self) -> None:
        for _, op in self.pending:
            _apply(self.certain, op, None)
        self.pending.clear()

    def failed_to_sync(self) -> None:
        self.pending = [(number, op) for number, op in self.pending if op.kind == "T"]


class Disk:
    """The disk while the recorded operations happen to it, one after the other."""

    def __init__(self) -> None:
        self._number = 0
        self._files: dict[str, _File] = {}
        self._certain_names: dict[str, _File] = {}
        self._name_ops: list[tuple[int, Op, _File | None]] = []

    def apply(self, op: Op) -> None:
        """One more operation of the program."""
        if op.name.endswith(("-shm", "-acks", "-locks")):
            return  # nothing in them outlives the processes
        self._number += 1
        if op.kind == "S" and not op.name:
            for _, named, file in self._name_ops:
                _rename(self._certain_names, named, file)
            self._name_ops.clear()
        elif op.kind == "C":
            self._files[op.name] = _File()
            self._name_ops.append((self._number, op, self._files[op.name]))
        elif op.kind in "UM":
            file = self._files.pop(op.name)
            if op.kind == "M":
                self._files[op.new_name] = file
            self._name_ops.append((self._number, op, file))
        elif op.kind == "S":
            self._files[op.name].synced()
        elif op.kind == "F":
            if op.name:
                self._files[op.name].failed_to_sync()
        elif op.kind in "WT":
            self._files[op.name].pending.append((self._number, op))

    def image(self, loss: Loss, chance: random.Random) -> dict[str, bytes]:
        """Files by name, as they may be found after the power went now.

        `loss`: of what was not synced, "nothing" is lost, or all ("unsynced"), or what came after
        some moment ("suffix"), or anything, sector by sector ("torn").
        """
        until = self._number if loss in ("nothing", "torn") else 0
        if loss == "suffix":
            until = chance.randint(0, self._number)
        names_until = chance.randint(0, self._number) if loss == "torn" else until
        names = dict(self._certain_names)
        for number, op, file in self._name_ops:
            if number <= names_until:
                _rename(names, op, file)
        kept = 0.0 if loss != "torn" else chance.choice((0.1, 0.5, 0.9))
        image: dict[str, bytes] = {}
        for name, file in names.items():
            found = bytearray(file.certain)
            for number, op in file.pending:
                if loss == "torn":
                    _apply(found, op, lambda: chance.random() < kept)
                elif number <= until:
                    _apply(found, op, None)
            image[name] = bytes(found)
        return image


def _rename(names: dict[str, _File], op: Op, file: _File | None) -> None:
    if op.kind == "C":
        assert file is not None
        names[op.name] = file
    else:
        moved = names.pop(op.name, None)
        if op.kind == "M" and moved is not None:
            names[op.new_name] = moved


def _apply(content: bytearray, op: Op, arrives) -> None:
    """Do a write or truncate; if `arrives`, only the sectors for which it says yes."""
    if op.kind == "T":
        if arrives is None or arrives():
            del content[op.offset :]
            content.extend(bytes(op.offset - len(content)))
        return
    at = op.offset
    end = op.offset + len(op.bytes)
    while at < end:
        upto = end if arrives is None else min(end, (at // SECTOR + 1) * SECTOR)
        if arrives is None or arrives():
            content.extend(bytes(max(0, upto - len(content))))
            content[at:upto] = op.bytes[at - op.offset : upto - op.offset]
        at = upto
