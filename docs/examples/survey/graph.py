"""The survey as a graph: discover -> analyse (one task per file) -> rank -> review -> report."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from stepwell.graph import END, START, StateGraph
from stepwell.runtime import Runtime
from stepwell.types import Send, interrupt
from survey import effects
from survey.report import Row, write_report
from survey.sources import FileFacts, analyse_file, list_files

RANKINGS = {
    "complex": "Most complex files",
    "undocumented": "Least documented files",
    "imported": "Most imported modules",
}
KEPT = 50
"""Rows of a ranking that are kept, and that may be published."""
DEFINITIONS_MIN = 5
"""A file with fewer definitions is not ranked by its documentation."""


@dataclass(frozen=True)
class Decision:
    """What a person decided: which ranking is published, how long it is, or none at all."""

    publish: bool
    ranking: str = "complex"
    rows: int = 10


@dataclass(frozen=True)
class Places:
    """Where the effects go. Given to every run as its context, so no database holds it."""

    out: str
    effects: str


def add_counts(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    """Reducer: sums by key."""
    return left | {key: left.get(key, 0) + count for key, count in right.items()}


class Survey(TypedDict, total=False):
    """The state. Keys with a reducer collect what the tasks of the fan-out return."""

    folder: str
    limit: int
    files: list[str]
    facts: Annotated[list[FileFacts], operator.add]
    totals: Annotated[dict[str, int], add_counts]
    imports: Annotated[dict[str, int], add_counts]
    rankings: dict[str, list[Row]]
    decision: Decision
    reports: Annotated[list[str], operator.add]


class OneFile(TypedDict):
    """What a task of the fan-out is sent."""

    folder: str
    file: str


def discover(state: Survey) -> dict[str, Any]:
    """List the files."""
    return {"files": list_files(state["folder"], state["limit"])}


def one_task_per_file(state: Survey) -> list[Send]:
    """Fan out."""
    return [Send("analyse", OneFile(folder=state["folder"], file=f)) for f in state["files"]]


def analyse(task: OneFile, runtime: Runtime[Places]) -> dict[str, Any]:
    """Parse and count one file; runs in a thread, because it computes."""
    about = runtime.execution_info
    if about is None:
        raise RuntimeError("analyse was called outside of a run")

    def log(event: Literal["start", "end"]) -> None:
        effects.append(
            runtime.context.effects,
            effects.Effect(event, about.task_id, task["file"], os.getpid(), about.node_attempt),
        )

    log("start")
    runtime.stream_writer({"file": task["file"]})
    facts = analyse_file(task["folder"], task["file"])
    log("end")
    return {
        "facts": [facts],
        "totals": {
            "files": 1,
            "unreadable": int(bool(facts.error)),
            "lines": facts.lines,
            "definitions": facts.definitions,
            "documented": facts.documented,
            "complexity": facts.complexity,
        },
        "imports": dict.fromkeys(facts.imports, 1),
    }


def rank(state: Survey) -> dict[str, Any]:
    """Order files and modules, by three measures."""
    facts, imports = state["facts"], state.get("imports", {})
    hard = sorted((f for f in facts if f.complexity), key=lambda f: (-f.complexity, f.path))
    poor = sorted(
        (f for f in facts if f.definitions >= DEFINITIONS_MIN),
        key=lambda f: (f.documented / f.definitions, -f.definitions, f.path),
    )
    used = sorted(imports.items(), key=lambda item: (-item[1], item[0]))
    return {
        "rankings": {
            "complex": [
                Row(f.path, f.complexity, f"{f.peak_name} alone has {f.peak}") for f in hard[:KEPT]
            ],
            "undocumented": [
                Row(
                    f.path,
                    round(100 * f.documented / f.definitions, 1),
                    f"{f.documented} of {f.definitions} definitions",
                )
                for f in poor[:KEPT]
            ],
            "imported": [Row(name, count, "files import it") for name, count in used[:KEPT]],
        }
    }


def review(state: Survey) -> dict[str, Any]:
    """Ask a person which ranking to publish; ask again until the answer is one."""
    question = {
        "ask": "Which ranking shall be published, and how many rows of it?",
        "choices": list(RANKINGS),
        "first": {name: rows[0].name for name, rows in state["rankings"].items() if rows},
        "suggestion": "complex 10",
        "problem": "",
    }
    while True:
        try:
            return {"decision": read_answer(str(interrupt(question)))}
        except ValueError as error:
            question = {**question, "problem": str(error)}


def read_answer(text: str) -> Decision:
    """Understand "yes", "no", "imported", "undocumented 20", ...

    Raises:
        ValueError: It is no answer; the message says what one is.
    """
    words = text.lower().replace(",", " ").split()
    if words in (["no"], ["n"]):
        return Decision(publish=False)
    if words in ([], ["yes"], ["y"]):
        return Decision(publish=True)
    ranking, *rest = words if words[0] in RANKINGS else ("", *words)
    count = rest[0] if len(rest) == 1 else "" if rest else "10"
    if not ranking or not count.isdecimal() or not 1 <= int(count) <= KEPT:
        choices = ", ".join(RANKINGS)
        raise ValueError(
            f"{text!r} is no answer: say yes, no, or one of {choices}, "
            f"and after it the number of rows (1 to {KEPT})"
        )
    return Decision(publish=True, ranking=ranking, rows=int(count))


def publish_or_end(state: Survey) -> str:
    """Go on to the report only if the answer was not "no"."""
    return "report" if state["decision"].publish else END


def report(state: Survey, runtime: Runtime[Places]) -> dict[str, Any]:
    """Write the report; doing it twice leaves the same files."""
    decision = state["decision"]
    name = f"report-{decision.ranking}"
    write_report(
        Path(runtime.context.out, name),
        title=RANKINGS[decision.ranking],
        folder=state["folder"],
        totals=state["totals"],
        rows=state["rankings"][decision.ranking][: decision.rows],
        unreadable=sorted(f.path for f in state["facts"] if f.error),
    )
    return {"reports": [f"{name}.md", f"{name}.json"]}


def build() -> StateGraph:
    """The graph, not yet compiled."""
    return (
        StateGraph(Survey, context_schema=Places)
        .add_node(discover)
        .add_node(analyse)
        .add_node(rank)
        .add_node(review)
        .add_node(report)
        .add_edge(START, "discover")
        .add_conditional_edges("discover", one_task_per_file, ["analyse"])
        .add_edge("analyse", "rank")
        .add_edge("rank", "review")
        .add_conditional_edges("review", publish_or_end, ["report", END])
        .add_edge("report", END)
    )
