"""The benchmark suite's own promises: its tables say what was measured, and judge it rightly."""

from __future__ import annotations

import argparse
import importlib.util
import json

import pytest

from benchmarks import keep, pages, systems
from benchmarks.__main__ import arguments_of, chosen, refuse_what_cannot_be
from benchmarks.keep import Kept, medium_of
from benchmarks.measure import measure, take
from benchmarks.report import scale_table, spread, table, verdict
from benchmarks.suite import CASES, Case, Reading
from benchmarks.workloads import NEEDS, PLACED, WORKLOADS, graphs
from benchmarks.workloads.micro import installed

GOALS = {
    "W1", "W1b", "W1c", "W2-10", "W2-100", "W2-1000", "W2b", "W3", "W3s", "W3p", "W4s-64",
    "W4s-256", "W4p-64", "W4p-256", "W4ls", "W4lp", "W5", "W5p", "W5t-10", "W5t-growth", "W6",
    "W6p", "W6h-10", "W6h-1000", "W6m", "W7", "W7-dists", "W7-mb", "W7m", "W8m", "W8s", "W8p",
    "W8s-2", "W8p-2", "W9s-sync", "W9s-async", "W9p-sync", "W9p-async", "W9s-sync-lost",
}  # fmt: skip
READING = Reading(id="X", title="something", metric="us", unit="us", goal=8, share=0.5,
                  times={"langgraph": 25, "burr": 5}, only_on={"share": "disk"})  # fmt: skip
CASE = Case(name="X", workload="chain", place="sqlite", readings=(READING,))


def result(system, us, number=0, case="X"):
    return {"system": system, "case": case, "round": number, "figures": {"us": us},
            "peak_mib": 1.0, "fdatasync_ms": 0.5, "loop_ms": 5.0}  # fmt: skip


def found(**of):
    return {name: {0: of[name]} if name in of else {} for name in systems.NAMES}


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_tables_of_the_docs_are_those_of_the_kept_figures(page):
    """After a run: `python -m benchmarks --tables`."""
    text = page.read_text(encoding="utf-8")
    assert pages.MARKED.search(text)
    assert pages.with_figures(text) == text


def test_every_goal_is_a_line_of_the_table():
    judged = {r.id for c in CASES for r in c.readings if r.goal is not None or r.times or r.share}
    assert judged >= GOALS


def test_every_case_has_a_workload_and_a_name_of_its_own():
    assert {case.workload for case in CASES} == set(WORKLOADS)
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({r.id for case in CASES for r in case.readings}) == len(
        [r for case in CASES for r in case.readings]
    )
    assert set(NEEDS) <= set(WORKLOADS) >= PLACED


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        ({"stepwell": 8.0, "langgraph": 200.0, "burr": 40.0, "floor": 4.0}, "yes"),
        ({"stepwell": 8.1, "langgraph": 900.0, "burr": 90.0, "floor": 8.0}, "NO (<= 8)"),
        ({"stepwell": 8.0, "langgraph": 160.0, "burr": 40.0, "floor": 4.0},
         "NO (25x LangGraph: 20)"),
        ({"stepwell": 8.0, "langgraph": 200.0, "burr": 40.0, "floor": 2.0},
         "NO (0.5 of the floor: 0.25)"),
        ({"stepwell": 8.0, "langgraph": 200.0, "floor": 4.0}, "not measured: 5x Burr"),
    ],
)  # fmt: skip
def test_a_goal_is_reached_when_value_and_ratios_are(systems, said):
    assert verdict(READING, found(**systems), "disk") == said


def test_a_goal_for_a_disk_is_not_asked_for_in_memory():
    systems = {"stepwell": 8.0, "langgraph": 200.0, "burr": 40.0, "floor": 2.0}
    assert verdict(READING, found(**systems), "tmpfs") == "yes"


def test_larger_is_better_where_the_reading_says_so():
    reading = Reading(id="X", title="x", metric="per_s", unit="/s", goal=100, more=True)
    assert verdict(reading, found(stepwell=100.0), "disk") == "yes"
    assert verdict(reading, found(stepwell=99.0), "disk") == "NO (>= 100)"


def test_a_goal_is_as_far_away_as_the_machine_is_slow():
    """LangGraph took 200 where the goal was set; here it takes three times that."""
    slow = Reading(id="X", title="x", metric="us", unit="us", goal=8, paced=200)
    assert verdict(slow, found(stepwell=23.0, langgraph=600.0), "disk") == "yes (/ 3)"
    assert verdict(slow, found(stepwell=30.0, langgraph=600.0), "disk") == "NO (<= 8: 10)"
    assert verdict(slow, found(stepwell=7.0, langgraph=600.0), "disk") == "yes"
    assert verdict(slow, found(stepwell=9.0, langgraph=100.0), "disk") == "NO (<= 8)"
    assert verdict(slow, found(stepwell=9.0), "disk") == "NO (<= 8)"
    fast = Reading(id="X", title="x", metric="n", unit="/s", goal=100, paced=50, more=True)
    assert verdict(fast, found(stepwell=40.0, langgraph=10.0), "disk") == "yes (/ 5)"
    assert verdict(fast, found(stepwell=10.0, langgraph=10.0), "disk") == "NO (>= 100: 50)"
    none = Reading(id="X", title="x", metric="lost", unit="steps", goal=0)
    assert verdict(none, found(stepwell=0.0), "disk") == "yes"


def test_the_worst_round_counts_where_a_bound_is_promised():
    reading = Reading(id="X", title="x", metric="us", unit="steps", goal=1, of="max")
    case = Case(name="X", workload="chain", readings=(reading,))
    results = [result("stepwell", [0.0, 0.0], 0), result("stepwell", [0.0, 3.0], 1)]
    line = table(results, [case], judged=True, medium="disk").splitlines()[-1]
    assert "| 3 |" in line
    assert "NO (<= 1)" in line


def test_ratios_are_taken_round_by_round():
    results = [
        result("stepwell", [10.0], 0), result("langgraph", [100.0], 0),
        result("stepwell", [1.0], 1), result("langgraph", [10.0], 1),
        result("stepwell", [10.0], 2),
    ]  # fmt: skip
    lines = table(results, [CASE], judged=False, medium="disk").splitlines()
    cells = dict(zip(lines[0].split(" | "), lines[-1].split(" | "), strict=True))
    assert cells["times LangGraph"] == "10"
    assert cells["Stepwell"] == "10 (5.5-10)"
    assert cells["of the floor"] == "-"
    assert cells["fdatasync, ms"] == "0.5"


def test_quartiles_need_three_rounds():
    assert spread([1.0, 2.0], READING) == "1.5"
    assert spread([1.0, 2.0, 3.0], READING) == "2 (1.5-2.5)"


def test_a_line_without_stepwell_is_left_out():
    assert len(table([result("floor", [1.0])], [CASE], judged=True, medium="x").splitlines()) == 2


def test_large_sizes_have_a_column_for_each_place():
    cases = [case for case in CASES if case.name in ("RUNSm", "RUNSp")]
    results = [
        result("stepwell", [1.0], case=name) | {"figures": {"per_s": [value]}}
        for name, value in (("RUNSm", 7.0), ("RUNSp", 3.0))
    ]
    line = scale_table(results, cases).splitlines()[2]
    assert line == "| RUNS | 1,000 runs at once, chain of 10 | supersteps/s | 7 | - | 3 |"


def test_what_is_called_alike_in_two_large_cases_is_told_apart():
    cases = [case for case in CASES if case.name in ("THREADSm", "RUNSm", "LARGEm")]
    figures = {
        "THREADSm": {"grown_mib": [3.0]},
        "RUNSm": {"grown_mib": [7.0]},
        "LARGEm": {"run_stall_ms": [1.0], "read_stall_ms": [2.0]},
    }
    results = [result("stepwell", [], case=n) | {"figures": f} for n, f in figures.items()]
    cells = [line.split(" | ") for line in scale_table(results, cases).splitlines()[2:]]
    grown = [(line[0], line[3]) for line in cells if line[1].startswith("resident memory")]
    assert grown == [("| THREADS", "3"), ("| RUNS", "7"), ("| LARGE", "-")]
    stalls = [line[3] for line in cells if line[1].startswith("longest stall")]
    assert stalls == ["1", "2"]


def test_what_was_measured_is_on_the_disk_after_every_case(tmp_path, monkeypatch):
    path = tmp_path / "results" / "run.json"
    arguments = argparse.Namespace(folder=str(tmp_path), json=path, note="busy", seed=1,
                                   scale=False, uvloop=False)  # fmt: skip
    kept = Kept(arguments, [CASE])
    take(result("stepwell", [1.23456789]), CASE, 0, {"fdatasync_ms": 0.5, "loop_ms": 5.0}, kept)
    take(
        {"system": "burr", "case": "X", "error": "it broke"},
        CASE,
        0,
        {"fdatasync_ms": 0.5, "loop_ms": 5.0},
        kept,
    )
    kept.write()
    whole = json.loads(path.read_text())
    assert whole["results"][0]["figures"] == {"us": [1.235]}
    assert [f["system"] for f in whole["failures"]] == ["burr"]
    # Whoever reads it later has to know what it ran on, and which code.
    assert "GiB" in whole["machine"]
    assert whole["machine"] in kept.described
    assert {"SQLite", "stepwell", "orjson"} <= whole["versions"].keys()
    assert f"commit {whole['commit']}" in kept.described or not whole["commit"]
    monkeypatch.setattr(keep, "RESULTS", path.parent)
    monkeypatch.setattr(pages, "CASES", [CASE])
    assert "| X | something, us |" in pages.rendered("run")
    assert "burr failed at X in round 0" in pages.rendered("run")
    assert pages.rendered("other") == "Not recorded yet."


def test_a_system_that_fails_is_named_and_the_others_go_on(tmp_path):
    """In processes of their own: one workload that works, one whose parameters are wrong."""
    cases = [
        Case(name="bad", workload="chain", parameters={"sizes": 1}, readings=(READING,)),
        Case(name="good", workload="chain", parameters={"size": 1}, readings=(READING,)),
    ]
    arguments = argparse.Namespace(smoke=False, scale=False, uvloop=False, folder=str(tmp_path))
    bad, good = measure("floor", "none", cases, arguments)
    assert "unexpected keyword argument" in bad["error"]
    assert good["figures"]["us"]
    assert not list(tmp_path.iterdir())


async def test_a_peer_is_resumed_also_where_it_says_that_nothing_is_due():
    """Killed when a task's writes were durable and the checkpoint behind them was not, LangGraph
    says so of a run that has not ended. It goes on when it is told to."""
    pytest.importorskip("langgraph.checkpoint.memory")
    from langgraph.checkpoint.memory import InMemorySaver

    class Killed(InMemorySaver):
        dead = False

        async def aput(self, config, checkpoint, metadata, new_versions):
            if self.dead or metadata["step"] > 1:
                return config
            return await super().aput(config, checkpoint, metadata, new_versions)

        async def aput_writes(self, *given):
            if not self.dead:
                await super().aput_writes(*given)

    saver = Killed()

    def tick(number):
        if number == 4:
            saver.dead = True
            raise RuntimeError

    system = systems.load("langgraph")
    with pytest.raises(RuntimeError):
        await system.enduring(saver, 10, tick)("t", False)
    ticks = []
    saver.dead = False
    assert await system.enduring(saver, 10, ticks.append)("t", True) == 10
    assert ticks == list(range(3, 11))


async def test_a_run_that_waits_for_its_turn_of_the_loop_is_slow(monkeypatch):
    """Of runs that never wait, each ends before the next one begins."""
    clock = [0.0]

    class Busy:
        def chain(self, opened, length):
            async def run(thread):
                clock[0] += 1e-3
                return length

            return run

    monkeypatch.setattr(graphs.time, "perf_counter", lambda: clock[0])
    figures = await graphs.crowd(Busy(), None, 1, size=100)
    assert figures["p50_ms"][0] == pytest.approx(50, abs=1)
    assert figures["p99_ms"][0] == pytest.approx(100, abs=1)


def test_media(tmp_path):
    assert medium_of("/dev/shm") == "tmpfs"
    assert medium_of("/proc/self") == "disk"


def test_choosing_cases():
    names = {case.name for case in chosen(arguments_of([]))}
    assert "W1" in names
    assert not any(case.scale for case in chosen(arguments_of(["--smoke"])))
    assert all(case.scale for case in chosen(arguments_of(["--scale"])))
    assert [c.name for c in chosen(arguments_of(["--only", "W3s,W3p", "--no-postgres"]))] == ["W3s"]
    with pytest.raises(SystemExit, match="No such case: W99"):
        chosen(arguments_of(["--only", "W99"]))


def test_what_cannot_be_measured_is_told_before_anything_is(tmp_path, capsys, monkeypatch):
    def asked(*line):
        arguments = arguments_of(["--folder", str(tmp_path), *line])
        refuse_what_cannot_be(arguments, chosen(arguments))
        return arguments

    with pytest.raises(SystemExit, match="nothing to measure"):
        asked("--only", "W3p", "--no-postgres")
    with pytest.raises(SystemExit, match="at least one, not 0"):
        asked("--rounds", "0")
    with pytest.raises(SystemExit, match="/proc/none: nothing can be written there"):
        asked("--folder", "/proc/none")
    with pytest.raises(SystemExit, match="/proc: nothing can be written there"):
        asked("--json", "/proc/figures.json")
    with pytest.raises(SystemExit, match="/proc/pictures: nothing can be written there"):
        asked("--plots", "/proc/pictures")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert asked("--plots", str(tmp_path)).plots is None
    assert "LEFT OUT: pictures" in capsys.readouterr().err


def test_distributions_are_counted_with_all_they_require():
    sizes = installed(("pytest",))
    assert {"pytest", "pluggy", "iniconfig", "packaging"} <= sizes.keys()
    assert "hypothesis" not in sizes
    assert sizes["pytest"] > 100_000
