"""Drawings that only Stepwell makes, and what it refuses to make."""

import operator
import sys
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.drawing import Graph, NodeStyles
from stepwell.drawing._ascii import Arc, row_layout
from stepwell.drawing._yaml import to_yaml
from stepwell.errors import UsageError
from stepwell.graph import END, START, StateGraph


class State(TypedDict):
    log: Annotated[list, operator.add]


def step(state: State) -> dict[str, Any]:
    return {"log": []}


@pytest.fixture
def graph() -> Any:
    builder = StateGraph(State).add_node("a", step).add_node("b", step).add_node("c", step)
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", END)
    return builder.add_conditional_edges("a", lambda s: "c", ["c", END]).compile()


@pytest.fixture
def without_grandalf(monkeypatch):
    monkeypatch.setitem(sys.modules, "grandalf", None)


def drawn(*edges: str) -> Graph:
    """A graph of nodes with one letter each; an edge is two letters, `?` makes it conditional."""
    graph = Graph()
    for name in dict.fromkeys(c for e in edges for c in e if c.isalpha()):
        graph.add_node(None, name)
    for edge in edges:
        graph.add_edge(graph.nodes[edge[0]], graph.nodes[edge[1]], conditional="?" in edge)
    return graph


# --- ASCII ----------------------------------------------------------------------------------


def test_ascii_without_grandalf_shows_rows_of_boxes(graph, without_grandalf):
    assert graph.get_graph().draw_ascii().split("\n") == [
        "   +-----------+    ",
        "   | __start__ |    ",
        "   +-----------+    ",
        "          *         ",
        "          *         ",
        "          *         ",
        "       +---+        ",
        "       | a |        ",
        "       +---+        ",
        "       **  ..       ",
        "      *    . .      ",
        "    **     .  ..    ",
        "+---+    +---+  .   ",
        "| b |    | c |   .  ",
        "+---+    +---+    . ",
        "    **     *    ..  ",
        "      *    *   .    ",
        "       **  * ..     ",
        "    +---------+     ",
        "    | __end__ |     ",
        "    +---------+     ",
    ]


@pytest.mark.parametrize(
    "edges",
    [
        ["ab"], ["ab", "ba"], ["aa"], ["ab", "bc", "ca", "ad"], ["ab", "cd"], ["ac", "bc"],
        ["ab", "bc", "cd", "ad", "ac?", "da"], ["ab", "ac", "ad", "ae", "ed", "db"],
    ],
    ids="-".join,
)  # fmt: skip
def test_ascii_without_grandalf_shows_every_node_once(edges, without_grandalf):
    """Loops, several parts, long edges: no node is lost, none covers another."""
    graph = drawn(*edges)
    text = graph.draw_ascii()
    for name in graph.nodes:
        assert text.count(f"| {name} |") == 1
    assert len({len(line) for line in text.split("\n")}) == 1


@pytest.mark.parametrize("edges", [["aa"], ["ab", "bb"], ["ab", "ba", "bc", "cc"]], ids="-".join)
def test_a_graph_that_grandalf_gives_up_on_is_drawn_all_the_same(edges):
    """LangChain's `draw_ascii` raises ValueError for nodes that lead to themselves."""
    pytest.importorskip("grandalf")
    graph = drawn(*edges)
    text = graph.draw_ascii()
    assert all(f"| {name} |" in text for name in graph.nodes)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefg"), st.sampled_from("abcdefg")), min_size=1, max_size=15
    )
)
def test_rows_of_the_plain_layout_go_down_along_edges(edges):
    """Boxes of one row do not touch, and an edge that closes no circle leads to a lower row."""
    names = {c: c * 3 for e in edges for c in e}
    boxes, lines = row_layout(names, [Arc(s, t, conditional=False) for s, t in edges])
    assert sorted(b.text.strip() for b in boxes) == sorted(names.values())
    for one in boxes:
        for other in boxes:
            if one is not other and one.y == other.y:
                assert abs(one.x - other.x) > (one.width + other.width) / 2
    row = {b.text.strip()[0]: b.y for b in boxes}
    after: dict[str, set[str]] = {}
    for source, target in edges:
        after.setdefault(source, set()).add(target)

    def reaches(source: str, goal: str, seen: frozenset[str] = frozenset()) -> bool:
        return source == goal or any(
            reaches(t, goal, seen | {source}) for t in after.get(source, ()) if t not in seen
        )

    for source, target in edges:
        if not reaches(target, source):
            assert row[source] < row[target]
    assert len(lines) == sum(s != t for s, t in edges)


def test_print_ascii_prints_the_picture(graph, capsys):
    pytest.importorskip("grandalf")
    graph.get_graph().print_ascii()
    assert capsys.readouterr().out == graph.get_graph().draw_ascii() + "\n"


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["draw_mermaid_png", "draw_png"])
def test_images_are_refused_with_what_to_do_instead(graph, name):
    """LangChain would send the graph to a web service here."""
    with pytest.raises(UsageError, match=r"no web service.*draw_mermaid\(\)"):
        getattr(graph.get_graph(), name)(output_file_path="graph.png")


# --- Mermaid ----------------------------------------------------------------------------------


def test_colors_and_curves_can_be_plain_values(graph):
    text = graph.get_graph().draw_mermaid(curve_style="basis", node_colors={"first": "fill:#fff"})
    assert "curve: basis\n" in text
    assert "classDef first fill:#fff\n" in text
    assert f"classDef default {NodeStyles().default}\n" in text


def test_colors_of_another_kind_are_refused(graph):
    with pytest.raises(UsageError, match="node_colors"):
        graph.get_graph().draw_mermaid(node_colors="red")


def test_json_shows_models_by_name_or_schema():
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Question", text=(str, ...))
    graph = Graph()
    graph.add_node(model, "q")
    graph.add_node(int, "n")
    assert [n["data"] for n in graph.to_json()["nodes"]] == ["q", "n"]
    assert graph.to_json(with_schemas=True)["nodes"][0]["data"]["title"] == "Question"


def test_json_says_where_the_code_of_a_node_stands(graph):
    node = graph.get_graph().to_json()["nodes"][1]
    assert node == {
        "id": "a",
        "type": "runnable",
        "data": {"id": [*__name__.split("."), "step"], "name": "a"},
    }


# --- notebooks --------------------------------------------------------------------------------


def test_a_notebook_is_given_text_only(graph):
    """Three forms of the Mermaid text; nothing in them loads anything from elsewhere."""
    shown = graph._repr_mimebundle_(include=None, exclude=None)
    text = graph.get_graph().draw_mermaid()
    assert shown["text/vnd.mermaid"] == text
    assert text in shown["text/plain"]
    assert shown["text/html"].startswith('<pre class="mermaid">')
    assert "&lt;p&gt;__start__&lt;/p&gt;" in shown["text/html"]
    assert set(shown) == {"text/plain", "text/vnd.mermaid", "text/html"}
    assert "<script" not in shown["text/html"]
    assert "http" not in shown["text/html"]


# --- YAML -------------------------------------------------------------------------------------

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text("abc -:#'\"{}[],&*!|>%@`?.~0123xe+_=<yn\\/\n\té", max_size=12)
    | st.sampled_from(["true", "Null", "1e3", "0x1f", "2020-01-01", "1_000", "= " * 90])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=4))
def test_front_matter_reads_back(value):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(to_yaml(value)) == value


@given(
    st.dictionaries(
        st.text("abcXYZ_", min_size=1, max_size=8),
        st.text("abc -:#'\"{}[],&*!|>%@`?.~0123xe+_=<yn", max_size=12)
        | st.booleans()
        | st.integers(),
        max_size=4,
    )
)
def test_front_matter_is_written_as_pyyaml_writes_it(value):
    """For short texts in ASCII: LangChain's drawings come from PyYAML."""
    yaml = pytest.importorskip("yaml")
    assert to_yaml(value) == yaml.dump(value, default_flow_style=False)


def test_front_matter_refuses_what_it_cannot_say():
    with pytest.raises(TypeError, match="front matter"):
        to_yaml({"when": object()})
