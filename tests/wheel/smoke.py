"""A program of `nox -s wheel`: is the package whole where nothing else is installed?"""

from __future__ import annotations

import importlib
import importlib.util
import operator
import pkgutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Annotated, TypedDict

import stepwell
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.graph import END, START, StateGraph

OPTIONAL = ("pydantic", "langgraph", "pytest", "hypothesis", "uvloop", "cryptography")

NEED_EXTRAS = ("stepwell.testing", "stepwell.contrib", "stepwell.cli.")


class State(TypedDict):
    """One list that grows and one number that is overwritten."""

    seen: Annotated[list[str], operator.add]
    count: int


def note(state: State) -> dict[str, object]:
    """Count what was seen."""
    return {"seen": [f"turn {state.get('count', 0) + 1}"], "count": state.get("count", 0) + 1}


def graph(saver: object) -> object:
    """A graph of one node on `saver`."""
    builder = StateGraph(State)
    builder.add_node("note", note)
    builder.add_edge(START, "note")
    builder.add_edge("note", END)
    return builder.compile(checkpointer=saver)


def check(*, that: bool, why: str) -> None:
    """Stop the program unless `that` holds; asserts would vanish under -O."""
    if not that:
        sys.exit(f"smoke: {why}")


def main() -> None:
    """Look at the files, import everything, run a thread on memory and on a file."""
    home = Path(str(files("stepwell")))
    check(that=home.is_relative_to(sys.prefix), why=f"{home} is not the installed package")
    check(that=(home / "py.typed").is_file(), why="py.typed is not in the wheel")
    check(that=bool(list(home.rglob("*.sql"))), why="no migrations in the wheel")
    present = [name for name in OPTIONAL if importlib.util.find_spec(name)]
    check(that=not present, why=f"installed without extras, but there is {present}")
    for module in pkgutil.walk_packages(stepwell.__path__, "stepwell."):
        if not module.name.startswith(NEED_EXTRAS):
            importlib.import_module(module.name)

    config = {"configurable": {"thread_id": "smoke"}}
    with InMemorySaver() as saver:
        once = graph(saver).invoke({"seen": [], "count": 0}, config)
        check(that=once["seen"] == ["turn 1"], why=f"memory: {once}")
    with tempfile.TemporaryDirectory() as folder:
        for turn in (1, 2):
            with SqliteSaver.from_conn_string(f"{folder}/smoke.db") as saver:
                state = graph(saver).invoke({"seen": []}, config)
            check(that=state["count"] == turn, why=f"sqlite, opened {turn} times: {state}")
    print(f"1 passed, 0 failed: stepwell {stepwell.__version__} runs from its wheel")


if __name__ == "__main__":
    main()
