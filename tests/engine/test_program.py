"""The program `stepwell`: every verb, in this process on each database, and as a process."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint._upkeep.keeping import Keeping
from stepwell.cli import main
from stepwell.cli._program import program
from stepwell.graph import START, StateGraph
from tests._postgres import execute, fresh_name, server_dsn
from tests.arch._rules import ROOT
from tests.engine._whole import State, config, graph_of, populate

FULL = Path("/dev/full")
PAGE = (ROOT / "docs" / "program.md").read_text(encoding="utf-8")
VERBS = {
    *("threads", "show", "history", "diff", "tree", "stats", "report", "health", "doctor", "top"),
    *("verify", "fork", "resume", "delete", "prune", "archive", "backup", "restore", "migrate"),
    "bench",
}


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], scope="module"
)
def filled(request, tmp_path_factory):
    """Address of a database with threads of all sorts; these tests only read it."""
    if request.param == "sqlite":
        dsn = f"sqlite:///{tmp_path_factory.mktemp('cli')}/a.db"
        asyncio.run(_fill(dsn))
        yield dsn
        return
    name = fresh_name("cli")
    asyncio.run(execute(f'CREATE SCHEMA "{name}"'))
    separator = "&" if "?" in server_dsn() else "?"
    dsn = f"{server_dsn()}{separator}options=-csearch_path%3D{name}"
    asyncio.run(_fill(dsn))
    yield dsn
    asyncio.run(execute(f'DROP SCHEMA "{name}" CASCADE'))


async def _fill(dsn: str) -> None:
    async with open_saver(dsn) as saver:
        await populate(saver)


@pytest.fixture
def stepwell(capsys, monkeypatch):
    """Runs the program here: (exit code, what it printed, what it said besides)."""
    monkeypatch.delenv("STEPWELL_DSN", raising=False)

    def run(*arguments: str):
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def ids_of(stepwell, dsn, name):
    _, out, _ = stepwell("history", name, "--dsn", dsn)
    return [row["checkpoint_id"] for row in json.loads(out)]


def test_reading_verbs(stepwell, filled):
    code, out, _ = stepwell("threads", "--dsn", filled, "--order", "thread_id")
    assert code == 0
    assert [row["thread_id"] for row in json.loads(out)] == ["asked", "long", "t0", "t1", "t2"]
    _, out, _ = stepwell("threads", "--dsn", filled, "--status", "interrupted")
    assert [row["thread_id"] for row in json.loads(out)] == ["asked"]
    _, out, _ = stepwell("threads", "--dsn", filled, "--scope", "other/€")
    assert [row["thread_id"] for row in json.loads(out)] == ["t0"]

    code, out, _ = stepwell("show", "t1", "--dsn", filled)
    shown = json.loads(out)
    assert (code, shown["status"], shown["values"]["log"][-1]) == (0, "done", "by hand")
    assert shown["metadata"]["who"] == "ann"
    ids = ids_of(stepwell, filled, "t2")
    _, out, _ = stepwell("show", "t2", "--at", ids[-1], "--dsn", filled)
    assert json.loads(out)["checkpoint_id"] == ids[-1]
    assert stepwell("show", "asked", "--dsn", filled)[1].count("more?") == 1

    _, out, _ = stepwell("diff", "t2", ids[1], ids[0], "--dsn", filled)
    assert {op["op"] for op in json.loads(out)} <= {"add", "remove", "replace"}
    _, out, _ = stepwell("tree", "t2", "--dsn", filled)
    assert len(json.loads(out)) == len(ids)
    _, out, _ = stepwell("tree", "t2", "--dsn", filled, "--format", "table")
    assert all(i in out for i in ids)
    assert "│   ├── " in out

    for verb in ("stats", "report", "health", "doctor", "verify", "top"):
        code, out, err = stepwell(verb, "--dsn", filled)
        assert code == 0, (verb, out, err)
        json.loads(out)
    assert json.loads(stepwell("stats", "--by", "channel", "--dsn", filled)[1])[0]["channel"]
    assert json.loads(stepwell("stats", "--by", "graph", "--dsn", filled)[1])[0]["threads"] == 5
    assert "<html" in stepwell("report", "--html", "--shallow", "--dsn", filled)[1]
    code, out, _ = stepwell("migrate", "--check", "--dsn", filled)
    assert (code, json.loads(out)["current"]) == (0, True)
    assert "current" in stepwell("migrate", "--sql", "--dsn", filled)[1]


def test_pages(stepwell, filled):
    seen, after = [], []
    while True:
        _, out, _ = stepwell("threads", "--dsn", filled, "--limit", "2", *after)
        rows = json.loads(out)
        if not rows:
            break
        seen += [row["thread_id"] for row in rows]
        after = ["--after", rows[-1]["cursor"]]
    assert sorted(seen) == ["asked", "long", "t0", "t1", "t2"]
    first = json.loads(stepwell("history", "t0", "--dsn", filled, "--limit", "3")[1])
    second = json.loads(
        stepwell("history", "t0", "--dsn", filled, "--limit", "3", "--after", first[-1]["cursor"])[
            1
        ]
    )
    both = [row["checkpoint_id"] for row in first + second]
    assert both == ids_of(stepwell, filled, "t0")[:6]


def test_formats(stepwell, filled):
    command = ("threads", "--dsn", filled, "--order", "thread_id", "--format")
    assert len(stepwell(*command, "jsonl")[1].splitlines()) == 5
    rows = list(csv.DictReader(io.StringIO(stepwell(*command, "csv")[1])))
    assert [row["thread_id"] for row in rows] == ["asked", "long", "t0", "t1", "t2"]
    table = stepwell(*command, "table")[1].splitlines()
    assert table[0].split()[:2] == ["thread_id", "status"]
    assert len(table) == 6
    assert "log" in stepwell("show", "t0", "--dsn", filled, "--format", "table")[1]


def test_errors_and_their_codes(stepwell, filled, tmp_path):
    assert stepwell("show", "none", "--dsn", filled)[0] == 1
    assert stepwell("nothing")[0] == 2
    assert stepwell("threads", "--dsn", filled, "--status", "lost")[0] == 2
    code, _, err = stepwell("threads")
    assert (code, "STEPWELL_DSN" in err) == (2, True)
    code, _, err = stepwell("threads", "--dsn", tmp_path / "none.db")
    assert (code, "There is no file" in err) == (2, True)
    assert not (tmp_path / "none.db").exists()
    assert stepwell("threads", "--dsn", "postgresql://localhost:1/none")[0] == 3
    code, _, err = stepwell("delete", "t0", "--dsn", filled)
    assert (code, "--yes" in err) == (2, True)
    assert stepwell("restore", "x", "--dsn", filled, "--scope", "a")[0] == 2
    assert stepwell("prune", "--dsn", filled, "--yes")[0] == 2


@pytest.fixture
def mine(tmp_path):
    """A database of one's own, to be written."""
    dsn = f"sqlite:///{tmp_path}/mine.db"
    asyncio.run(_fill(dsn))
    return dsn


def test_writing_verbs(stepwell, mine, tmp_path, monkeypatch):
    ids = ids_of(stepwell, mine, "t2")
    code, out, _ = stepwell("fork", "t2", "--at", ids[-3], "--as", "t2b", "--dsn", mine)
    assert (code, json.loads(out)["thread_id"]) == (0, "t2b")
    assert ids_of(stepwell, mine, "t2b") == ids[-3:]

    (tmp_path / "shop_graph.py").write_text(
        "from tests.engine._whole import graph_of\ngraph = graph_of(None)\nother = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, err = stepwell(
        "resume", "asked", "--graph", "shop_graph:graph", "--answer", '"yes"', "--dsn", mine
    )
    assert (code, json.loads(out)["status"]) == (0, "done"), err
    assert json.loads(stepwell("show", "asked", "--dsn", mine)[1])["values"]["log"][-1] == "yes"
    for place in ("shop_graph", "shop_graph:none", "no_such:graph", "shop_graph:other"):
        assert stepwell("resume", "asked", "--graph", place, "--dsn", mine)[0] == 2

    code, out, _ = stepwell("delete", "t0", "none", "--dry-run", "--dsn", mine)
    assert (code, json.loads(out)["threads"]) == (1, 1)  # one of them is not there
    code, out, err = stepwell("delete", "t0", "none", "--yes", "--dsn", mine)
    assert (code, json.loads(out)["threads"]) == (1, 1)
    assert err == "stepwell: There is no thread 'none'.\n"
    assert stepwell("show", "t0", "--dsn", mine)[0] == 1

    planned = json.loads(stepwell("prune", "--keep-last", "2", "--dry-run", "--dsn", mine)[1])
    done = json.loads(stepwell("prune", "--keep-last", "2", "--yes", "--dsn", mine)[1])
    assert planned["checkpoints"] == done["checkpoints"] > 0
    assert planned | {"dry_run": False} == done


@pytest.mark.parametrize(
    ("given", "typed", "passes"),
    [
        (["--yes"], None, [False]),
        (["--dry-run"], None, [True]),
        ([], "yes\n", [True, False]),
        ([], "no\n", [True]),
        ([], None, []),
    ],
)
def test_pruning_looks_first_only_where_it_asks(stepwell, mine, monkeypatch, given, typed, passes):
    seen = []
    real = Keeping.aprune

    async def watched(self, *args, dry_run=False, **options):
        seen.append(dry_run)
        return await real(self, *args, dry_run=dry_run, **options)

    class Terminal(io.StringIO):
        def isatty(self):
            return typed is not None

    monkeypatch.setattr(Keeping, "aprune", watched)
    monkeypatch.setattr(sys, "stdin", Terminal(typed or ""))
    code, out, err = stepwell("prune", "--keep-last", "2", "--dsn", mine, *given)
    assert seen == passes
    assert code == (0 if given else {"yes\n": 0, "no\n": 1, None: 2}[typed])
    assert bool(out) == (code == 0)
    assert ("Delete 0 threads and" in err) == (typed is not None)


def test_bench(stepwell, mine, tmp_path):
    before = (tmp_path / "mine.db").read_bytes()
    counts = ("--runs", "3", "--threads", "4", "--turns", "20")
    code, out, err = stepwell("bench", "--dsn", mine, *counts)
    result = json.loads(out)
    assert code == 0
    assert (result["database"], result["runs"], result["threads"], result["turns"]) == (
        "sqlite", 3, 4, 20,
    )  # fmt: skip
    assert result["steps_per_s"] > 0
    assert "scratch" in err
    assert [line.strip() for line in err.splitlines()[1:]] == [
        "one client ...", "4 clients ...", "20 turns ...",
    ]  # fmt: skip
    assert (tmp_path / "mine.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    code, out, _ = stepwell("bench", "--dsn", mine, *counts, "--format", "table")
    assert (code, out.splitlines()[0].split()[:2]) == (0, ["database", "sqlite,"])
    assert stepwell("bench", "--dsn", mine, "--runs", "1")[0] == 2
    assert stepwell("bench", "--dsn", mine, "--scope", "a")[0] == 2
    assert stepwell("bench", "--dsn", tmp_path / "none.db")[0] == 2
    assert stepwell("bench")[0] == 2


def test_a_backup_and_its_way_back(stepwell, mine, tmp_path):
    code, out, _ = stepwell("backup", tmp_path / "b.db", "--dsn", mine)
    assert (code, json.loads(out)["threads"]) == (0, 6)
    assert stepwell("backup", tmp_path / "b.db", "--dsn", mine)[0] == 2
    code, out, _ = stepwell("restore", tmp_path / "b.db", "--dsn", f"sqlite:///{tmp_path}/c.db")
    assert (code, json.loads(out)["copied"]) == (0, 6)
    assert json.loads(stepwell("verify", "--dsn", tmp_path / "c.db")[1])["ok"]


def test_archives(stepwell, mine, tmp_path):
    code, out, _ = stepwell("archive", tmp_path / "archive", "--dsn", mine)
    assert (code, json.loads(out)["threads"]) == (0, 3)
    assert stepwell("archive", tmp_path / "archive", "t0", "--delete", "--dsn", mine)[0] == 2
    planned = ("archive", tmp_path / "archive", "t0", "--delete", "--dry-run", "--dsn", mine)
    assert json.loads(stepwell(*planned)[1])["deleted"] == 0
    code, out, _ = stepwell(
        "archive", tmp_path / "archive", "--thread-ttl", "0s", "--delete", "--yes", "--dsn", mine
    )
    assert json.loads(out)["deleted"] == 2  # t0 has a time of its own
    assert stepwell("show", "t1", "--dsn", mine)[0] == 1


def test_damage_is_a_problem(stepwell, mine, tmp_path):
    with sqlite3.connect(tmp_path / "mine.db") as connection:
        connection.execute("UPDATE stepwell_tail SET crc = crc + 1 WHERE seq = 3 AND ns = 0")
    connection.close()
    code, out, err = stepwell("verify", "--dsn", mine, "--format", "table")
    assert code == 1
    assert "checksum" in out
    assert "problems" in err
    assert stepwell("verify", "--repair", "--dsn", mine)[0] == 2  # nobody can be asked
    assert stepwell("verify", "--repair", "--dry-run", "--dsn", mine)[0] == 1
    assert stepwell("verify", "--repair", "--heads", "--yes", "--dsn", mine)[0] == 0


def test_a_schema_is_made_only_when_asked(stepwell, tmp_path):
    path = tmp_path / "new.db"
    code, out, _ = stepwell("migrate", "--check", "--dsn", path)
    assert (code, json.loads(out)["version"]) == (1, 0)
    assert "CREATE TABLE stepwell_thread" in stepwell("migrate", "--sql", "--dsn", path)[1]
    assert not path.exists()
    sqlite3.connect(path).close()
    assert stepwell("threads", "--dsn", path)[0] == 3  # a file without a schema is left alone
    assert stepwell("migrate", "--dsn", path)[0] == 0
    assert json.loads(stepwell("threads", "--dsn", path)[1]) == []


def test_a_busy_thread_is_a_conflict(stepwell, mine):
    async def hold_and_delete() -> int:
        async with open_saver(mine) as saver:
            handle = await (await saver.journal()).acquire(saver.key("t0"))
            code = await asyncio.to_thread(main, ["delete", "t0", "--yes", "--dsn", mine])
            await handle.release()
            return code

    assert asyncio.run(hold_and_delete()) == 4


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stepwell.cli", *map(str, arguments)],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


ODD = {
    "[/broken]": 2**70,
    "-dash": "lone \ud800",
    "\x1b[31mred": {(1, 2): 3, b"x": [{2**70: "\ud800"}], "when": float("nan")},
}


@pytest.fixture
def odd(tmp_path):
    """A database with names and values that terminals and JSON are not made for."""

    class Odd(TypedDict):
        value: Any

    async def fill() -> str:
        dsn = f"sqlite:///{tmp_path}/odd.db"
        async with open_saver(dsn) as saver:
            builder = StateGraph(Odd).add_node("n", lambda _: {}).add_edge(START, "n")
            graph = builder.compile(checkpointer=saver)
            for name, value in ODD.items():
                await graph.ainvoke({"value": value}, config(name) | {"metadata": {"m": value}})
        return dsn

    return asyncio.run(fill())


def test_whatever_a_state_holds_is_shown(stepwell, odd):
    shown = {}
    for name in ODD:
        code, out, _ = stepwell("show", "--dsn", odd, "--", name)
        assert code == 0
        shown[name] = json.loads(out)["values"]["value"]
        assert stepwell("history", "--dsn", odd, "--", name)[0] == 0
    assert shown["[/broken]"] == 2**70
    assert shown["-dash"] == "lone \ud800"
    assert shown["\x1b[31mred"] == {
        "(1, 2)": 3, "b'x'": [{str(2**70): "\ud800"}], "when": None,
    }  # fmt: skip
    assert {row["thread_id"] for row in json.loads(stepwell("threads", "--dsn", odd)[1])} == set(
        ODD
    )


def test_no_name_is_markup_or_moves_the_cursor(stepwell, odd):
    for verb in ("threads", "show", "history", "tree"):
        for name in ODD:
            named = () if verb == "threads" else ("--", name)
            code, out, _ = stepwell(verb, "--dsn", odd, "--format", "table", *named)
            assert code == 0
            assert "\x1b[31m" not in out
            if verb != "history":
                assert name.replace("\x1b", r"\x1b") in out


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("verb", ["stats", "--help"])
def test_whoever_reads_may_go_away(mine, verb, form):
    reads, writes = os.pipe()
    os.close(reads)
    arguments = [verb] if verb == "--help" else [verb, "--format", form, "--dsn", mine]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "stepwell.cli", *arguments],
            stdout=writes, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writes)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(mine):
    with FULL.open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "stepwell.cli", "stats", "--dsn", mine],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ran.returncode == 3
    assert ran.stderr.startswith("stepwell: ")
    assert len(ran.stderr.splitlines()) == 1


def test_a_locale_without_the_characters_of_a_name(mine):
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    asyncio.run(_copied(mine))
    ran = process("threads", "--dsn", mine, "--format", "table", **bare)
    assert (ran.returncode, "naïve €" in ran.stdout) == (0, True), ran.stderr


async def _copied(dsn: str) -> None:
    async with open_saver(dsn) as saver:
        await saver.acopy_thread("t0", "naïve €")


def test_a_backup_that_is_stopped_is_no_success(stepwell, mine, tmp_path, monkeypatch):
    async def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stepwell.checkpoint.sqlite.SqliteSaver.abackup", stopped)
    code, _, err = stepwell("backup", tmp_path / "b.db", "--dsn", mine)
    assert (code, err) == (130, "stepwell: stopped before it was done\n")


def test_a_check_of_a_thread_that_is_not_there_is_no_success(stepwell, filled):
    code, _, err = stepwell("verify", "t0", "tO", "--dsn", filled)
    assert code == 1
    assert err == "stepwell: There is no thread 'tO'.\n"


def test_help_is_a_result(stepwell):
    _, out, err = stepwell("--help")
    assert "verify" in out
    assert not err


def test_as_a_process(mine):
    listed = process("threads", STEPWELL_DSN=mine)
    assert (listed.returncode, len(json.loads(listed.stdout))) == (0, 5)
    assert process("show", "none", "--dsn", mine).returncode == 1
    assert process("--help").returncode == 0


def test_without_the_extra_it_says_what_is_missing(mine):
    code = (
        "import sys; sys.modules['cyclopts'] = None\n"
        "from stepwell.cli import main; sys.exit(main(['threads']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "pip install 'stepwell[cli]'" in ran.stderr


def test_every_verb_and_every_option_is_on_the_page():
    app = program()
    verbs = {name for name in app if not name.startswith("-")}
    assert verbs == VERBS
    for verb in verbs:
        assert f"stepwell {verb}" in PAGE, verb
        for argument in app[verb].assemble_argument_collection():
            for name in argument.names:
                if name.startswith("--") and not re.match(r"--(no|empty)-", name):
                    assert name in PAGE, (verb, name)
    assert State
    assert config("a")
    assert graph_of
