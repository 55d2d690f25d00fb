"""Schemas without pydantic, and what is imported when."""

import subprocess
import sys
from typing import Any, TypedDict

import pytest

from stepwell.errors import UsageError
from stepwell.graph import START, StateGraph


class State(TypedDict):
    n: int


def graph(schema: Any = State, **options: Any) -> Any:
    builder = StateGraph(schema, **options)
    return builder.add_node("a", lambda state: {}).add_edge(START, "a").compile()


@pytest.mark.parametrize(
    "verb",
    [
        "get_input_jsonschema", "get_output_jsonschema", "get_input_schema", "get_output_schema",
        "get_context_jsonschema",
    ],
)  # fmt: skip
def test_without_pydantic_schemas_name_the_extra(verb, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(UsageError, match=rf"{verb} needs pydantic.*stepwell\[pydantic\]"):
        getattr(graph(context_schema=State), verb)()


def test_without_pydantic_types_and_keys_are_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    compiled = graph()
    assert compiled.InputType is State
    assert compiled.stream_channels_list == ["n"]
    assert compiled.get_context_jsonschema() is None


def test_a_graph_is_built_run_and_drawn_without_extras():
    """In a process of its own: neither pydantic nor grandalf nor PyYAML is imported."""
    program = """
import sys
from typing import TypedDict
from stepwell.graph import START, StateGraph

class State(TypedDict):
    n: int

builder = StateGraph(State).add_node("a", lambda s: {"n": s["n"] + 1}).add_edge(START, "a")
graph = builder.compile()
assert graph.invoke({"n": 1}) == {"n": 2}
graph.get_graph().draw_mermaid()
print(sorted({"pydantic", "grandalf", "yaml", "langchain_core"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_a_model_under_the_name_of_the_graph():
    pytest.importorskip("pydantic")
    assert graph(int).get_input_jsonschema() == {
        "default": None,
        "title": "LangGraphInput",
        "type": "integer",
    }
