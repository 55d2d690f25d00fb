"""The program `stepwell`, given what it cannot use: each verb says what is wrong, and its code."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from pathlib import Path
from typing import Any

import pytest

from stepwell import Keyring, open_saver
from stepwell.cli import main
from tests._postgres import server_dsn
from tests.engine._whole import populate

MISTAKES = [
    ("threads --limit -1", 2, "limit must be a whole number, 0 or more"),
    ("threads --limit nan", 2, "--limit"),
    ("threads --after zz", 2, "no cursor of this listing"),
    ("threads --dsn foo://bar", 2, "does not know 'foo'"),
    ("threads --dsn /etc/passwd", 3, "not an SQLite database"),
    ("threads --dsn /", 3, "it is a folder"),
    ("history t0 --limit -1", 2, "limit must be a whole number"),
    ("history t0 --after zz", 2, "must name a checkpoint"),
    ("show ''", 2, "thread_id is empty"),
    ("show t0 --at zz", 1, "no checkpoint 'zz'"),
    ("show t0 --ns nope", 1, "no namespace 'nope'"),
    ("history t0 --ns nope", 1, "no namespace 'nope'"),
    ("tree t0 --ns nope", 1, "no namespace 'nope'"),
    ("tree nope", 1, "no thread 'nope'"),
    ("diff t0 zz yy", 1, "no checkpoint 'zz'"),
    ("top --interval-s -1", 2, "--interval-s is a number of seconds from 0.1 to 86400, not -1"),
    ("top --interval-s nan", 2, "not nan"),
    ("top --interval-s inf", 2, "not inf"),
    ("top --interval-s 0", 2, "not 0"),
    ("top --limit -1", 2, "limit must be a whole number"),
    ("verify nope", 1, "no thread 'nope'"),
    ("verify --heads", 2, "it goes with --repair"),
    ("verify --repair", 2, "say --yes"),
    ("report --format csv", 2, "--html"),
    ("bench --runs -1", 2, "runs must be a whole number"),
    ("bench --threads 0", 2, "threads must be a whole number"),
    ("fork t0 --at zz", 1, "no checkpoint 'zz'"),
    ("resume nope --graph a:b", 1, "no thread 'nope'"),
    ("resume asked --graph a:b --answer {", 2, "--answer is no JSON"),
    ("delete nope --yes", 1, "no thread 'nope'"),
    ("delete nope", 1, "no thread 'nope'"),
    ("delete t0", 2, "say --yes"),
    ("prune nope --keep-last 1 --yes", 1, "no thread 'nope'"),
    ("prune --keep-last 1", 2, "say --yes"),
    ("prune --keep-last -1 --yes", 2, "keep_last must be a whole number"),
    ("prune --max-age nan --yes", 2, "max_age must be at least 0 and finite"),
    ("prune --max-age 1e400 --yes", 2, "max_age must be at least 0 and finite"),
    ("prune --max-age=-5d --yes", 2, "max_age must be at least 0 and finite"),
    ("prune --thread-ttl 5x --yes", 2, "--thread-ttl is a number of s, m, h, d or w"),
    ("archive $D/kept nope", 1, "no thread 'nope'"),
    ("archive '' t0", 2, "names no place for archives"),
    ("archive $D/a.db t0", 3, "cannot be written"),
    ("archive $D/kept --delete", 2, "say --yes"),
    ("archive $D/kept --thread-ttl nan", 2, "thread_ttl must be at least 0 and finite"),
    ("backup ''", 2, "names no database"),
    ("backup /nonexistent/a.db", 3, "the folder /nonexistent does not exist"),
    ("backup $D/a.db", 2, "holds threads already"),
    ("restore /nonexistent/a.db", 2, "There is no file"),
    ("restore $D/a.db", 2, "holds threads already"),
    ("migrate --sql --dsn memory://", 2, "no schema"),
    ("migrate --dsn /nonexistent/a.db", 3, "the folder /nonexistent does not exist"),
    ("nope", 2, "Unknown command"),
    ("threads --nope", 2, "Unknown option"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It holds a database, `a.db`."""
    place: Path = tmp_path_factory.mktemp("mistakes")

    async def fill() -> None:
        async with open_saver(f"sqlite:///{place}/a.db") as saver:
            await populate(saver)

    asyncio.run(fill())
    return place


@pytest.fixture
def stepwell(folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a line here: (exit code, what it printed, what it said besides)."""
    monkeypatch.setenv("STEPWELL_DSN", f"sqlite:///{folder}/a.db")

    def run(line: str) -> tuple[int, str, str]:
        code = main(shlex.split(line.replace("$D", str(folder))))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(("line", "code", "said"), MISTAKES, ids=[line for line, *_ in MISTAKES])
def test_a_mistake_is_told(stepwell: Any, line: str, code: int, said: str) -> None:
    """With one line, the code on the page, and no traceback; nothing is written."""
    got, _, err = stepwell(line)
    assert (got, said in err) == (code, True), err
    assert "Traceback" not in err
    assert err.startswith(("stepwell: ", "Works in a scratch place"))
    assert len(json.loads(stepwell("threads")[1])) == 5


def test_what_does_exist_is_done_all_the_same(stepwell: Any) -> None:
    """Names that are not there come after the result, and do not hold it up."""
    code, out, err = stepwell("archive $D/some t0 nope t1 also-not")
    told = json.loads(out)
    assert (code, told["threads"], told["skipped"]) == (1, 2, 0)
    assert err == "stepwell: There is no thread 'nope', 'also-not'.\n"


@pytest.mark.postgres
def test_a_role_that_is_not_there_is_told(stepwell: Any) -> None:
    """By its name and where; a password is never shown."""
    start, _, rest = server_dsn().partition("://")
    dsn = f"{start}://nobody-here:hunter2@{rest.rpartition('@')[2]}"
    code, _, err = stepwell(f"threads --dsn {shlex.quote(dsn)}")
    assert code == 3
    assert "nobody-here" in err
    assert "hunter2" not in err


def test_a_restore_without_the_keyring_is_no_success(
    stepwell: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Nor is it one to restore what is in clear where all is to be encrypted: that is said."""

    async def fill() -> None:
        ring = Keyring({"old": bytes(32)}, "old")
        async with open_saver(f"sqlite:///{folder}/sealed.db", keyring=ring) as saver:
            await populate(saver)

    asyncio.run(fill())
    code, _, err = stepwell("restore $D/sealed.db --dsn $D/target.db")
    assert (code, "'old', which this saver does not have" in err) == (1, True), err
    assert stepwell("threads --dsn $D/target.db")[1] == "[]\n"
    monkeypatch.setenv("STEPWELL_KEYRING", "old=" + "A" * 43 + "=")
    code, out, err = stepwell("restore $D/sealed.db --dsn $D/target.db")
    assert (code, json.loads(out)["threads"]) == (0, 6), err
    with caplog.at_level(logging.WARNING, "stepwell"):
        assert stepwell("restore $D/a.db --dsn $D/other.db")[0] == 0
    assert "is in clear, and this saver has a keyring" in caplog.text
