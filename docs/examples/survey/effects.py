"""What tasks did in the outside world: a log beside the database, which no fence protects."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Effect:
    """One line: an attempt of a task began, or ended."""

    event: Literal["start", "end"]
    task: str
    file: str
    pid: int
    attempt: int


def append(log: str, effect: Effect) -> None:
    """Add a line, in one write: a kill leaves it whole or absent. On disk when this returns."""
    line = json.dumps(asdict(effect)).encode() + b"\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(log: str) -> list[Effect]:
    """All lines, in the order in which they were written."""
    try:
        text = Path(log).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [Effect(**json.loads(line)) for line in text.splitlines()]


def tasks(effects: Iterable[Effect], event: str, *, pids: Iterable[int]) -> list[str]:
    """Tasks of the lines with this event, written by one of these processes; one per line."""
    wanted = set(pids)
    return [e.task for e in effects if e.event == event and e.pid in wanted]
