"""The program `stepwell` on a database with many threads: every verb, in pages, groups and pipes.

docs/program.md says what these take on ten thousand threads; here are some hundred.
"""

from __future__ import annotations

import asyncio
import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.cli import main
from stepwell.graph import START, StateGraph
from stepwell.types import interrupt
from tests._postgres import fresh_schema, server_dsn

THREADS = 240
KINDS = ["done"] * 17 + ["asks", "asks", "fails"]
PER_KIND = {"done": THREADS * 17 // 20, "asks": THREADS * 2 // 20, "fails": THREADS // 20}


class Letter(TypedDict, total=False):
    kind: str
    text: str


async def read(state: Letter) -> dict[str, Any]:
    return {"text": f"read: {state['kind']}"}


async def answer(state: Letter) -> dict[str, Any]:
    if state["kind"] == "asks":
        return {"text": interrupt("may it be sent?")}
    if state["kind"] == "fails":
        raise ValueError("the printer is out of paper")
    return {"text": "answered"}


async def fill(saver: Saver) -> None:
    graph = StateGraph(Letter).add_sequence([read, answer]).add_edge(START, "read")
    letters = [{"kind": KINDS[n % len(KINDS)]} for n in range(THREADS)]
    configs = [{"configurable": {"thread_id": f"customer-{n:05}"}} for n in range(THREADS)]
    await graph.compile(saver, name="letters").abatch(letters, configs, return_exceptions=True)


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], scope="module"
)
def dsn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a database of many letters."""

    @asynccontextmanager
    async def filled() -> AsyncIterator[str]:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('many')}/a.db"
            async with open_saver(url) as saver:
                await fill(saver)
            yield url
            return
        async with fresh_schema() as schema:
            async with open_saver(server_dsn(), schema=schema) as saver:
                await fill(saver)
            separator = "&" if "?" in server_dsn() else "?"
            yield f"{server_dsn()}{separator}options=-csearch_path%3D{schema}"

    with asyncio.Runner() as runner:
        opened = filled()
        yield runner.run(opened.__aenter__())
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture
def stepwell(dsn: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the program here; what it printed, as it is or as what its JSON says."""
    monkeypatch.setenv("STEPWELL_DSN", dsn)

    def run(*arguments: str) -> Any:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out) if out.startswith(("[", "{")) and "jsonl" not in arguments else out

    return run


def test_listings_of_all_threads(stepwell: Any) -> None:
    """In pages, in one, and in every form: each thread once."""
    seen: list[str] = []
    after: list[str] = []
    while rows := stepwell("threads", "--limit", "70", *after):
        seen += [row["thread_id"] for row in rows]
        after = ["--after", rows[-1]["cursor"]]
    names = sorted(f"customer-{n:05}" for n in range(THREADS))
    assert sorted(seen) == names
    every = ("threads", "--limit", "1000", "--format")
    lines = stepwell(*every, "jsonl").splitlines()
    assert sorted(json.loads(line)["thread_id"] for line in lines) == names
    rows = list(csv.DictReader(io.StringIO(stepwell(*every, "csv"))))
    assert sorted(row["thread_id"] for row in rows) == names
    table = stepwell(*every, "table").splitlines()
    assert sorted(line.split()[0] for line in table[1:]) == names
    assert len(stepwell("threads", "--limit", "1000", "--status", "failed")) == PER_KIND["fails"]


def test_figures_of_all_threads(stepwell: Any) -> None:
    stats = stepwell("stats")
    assert stats["threads"] == THREADS
    assert (stats["by_status"]["done"], stats["by_status"]["interrupted"]) == (
        PER_KIND["done"], PER_KIND["asks"]
    )  # fmt: skip
    assert {row["channel"] for row in stepwell("stats", "--by", "channel")} == {"kind", "text"}
    assert stepwell("report")["stats"]["threads"] == THREADS
    assert stepwell("verify")["threads"] == THREADS
    assert stepwell("health")["verdict"] == "ok"
    assert all(check["verdict"] == "ok" for check in stepwell("doctor"))


def test_a_database_is_copied_archived_and_pruned(stepwell: Any, tmp_path: Path) -> None:
    copy, own = str(tmp_path / "copy.db"), f"sqlite:///{tmp_path}/own.db"
    assert stepwell("backup", copy)["threads"] == THREADS
    assert stepwell("restore", copy, "--dsn", own)["threads"] == THREADS
    assert stepwell("stats", "--dsn", own)["by_status"] == stepwell("stats")["by_status"]
    ended = THREADS - PER_KIND["asks"]
    assert stepwell("archive", str(tmp_path / "kept"), "--dsn", own)["threads"] == ended
    rule = ("prune", "--keep-last", "1", "--dsn", own)
    planned = stepwell(*rule, "--dry-run")
    assert planned["checkpoints"] > THREADS
    assert stepwell(*rule, "--yes") == planned | {"dry_run": False}
    pruned = stepwell("prune", "--thread-ttl", "0s", "--yes", "--dsn", own)
    assert pruned["threads"] == ended
    assert stepwell("verify", "--dsn", own)["threads"] == PER_KIND["asks"]


@pytest.mark.parametrize("verb", [("threads", "--limit", "5"), ("history", "customer-00001")])
def test_a_terminal_of_eighty_columns(dsn: str, verb: tuple[str, ...]) -> None:
    """One line for each row, none cut or folded; the next page is named as a shell takes it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-m", "stepwell.cli", *verb, "--dsn", dsn], stdout=theirs,
        stderr=subprocess.PIPE, env={**environment, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    _, said = child.communicate()
    os.close(ours)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).split()
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).splitlines()
    assert child.returncode == 0, said
    assert all(len(line) <= 80 for line in text)
    assert lines[0] in ("thread_id", "checkpoint_id")
    rows = [line for line in text[1:] if line.strip()]
    assert len(rows) == (5 if verb[0] == "threads" else 4)
    assert all(re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row) for row in rows)
    if verb[0] == "threads":
        assert re.search(rb"There may be more: --after '\[\"updated\",[^']+\]'\n", said)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""
