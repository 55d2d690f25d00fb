"""Graphs as boxes and lines of characters.

Where the package grandalf is installed (extra `draw`), it lays the graph out, and the picture
is the one LangChain draws. Without it, or where it gives up, a plain layout is used: the nodes
in rows, by the longest way from a start; edges over several rows are led between the boxes of
the rows they pass.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

logger = logging.getLogger("stepwell")

_HEIGHT: Final = 3
"""Lines of a box: top, text, bottom."""

Point = tuple[float, float]


class Arc(NamedTuple):
    """An edge to lay out."""

    source: str
    target: str
    conditional: bool


class Box(NamedTuple):
    """A node with its place: the middle of its top line."""

    text: str
    x: float
    y: float

    @property
    def width(self) -> int:
        return len(self.text) + 2


class Line(NamedTuple):
    """An edge with its way."""

    points: Sequence[Point]
    conditional: bool


def draw(names: Mapping[str, str], arcs: Sequence[Arc]) -> str:
    """The picture of a graph: `names` of its nodes by id, and its edges."""
    try:
        import grandalf  # type: ignore[import-untyped]  # noqa: F401  # whether it is there
    except ModuleNotFoundError:
        return _picture(*row_layout(names, arcs))
    try:
        return _picture(*_grandalf_layout(names, arcs))
    except Exception:  # of many kinds: it gives up on loops, for instance
        logger.debug("grandalf cannot lay this graph out", exc_info=True)
        return _picture(*row_layout(names, arcs))


def _grandalf_layout(names: Mapping[str, str], arcs: Sequence[Arc]) -> tuple[list[Box], list[Line]]:
    """The layered layout of Sugiyama, Tagawa and Toda (1981), of the first connected part."""
    from grandalf.graphs import Edge, Graph, Vertex  # type: ignore[import-untyped]
    from grandalf.layouts import SugiyamaLayout  # type: ignore[import-untyped]
    from grandalf.routing import route_with_lines  # type: ignore[import-untyped]

    class View:
        """What grandalf asks of a node (w, h, xy) and of an edge (setpath)."""

        def __init__(self, width: int = 0) -> None:
            self.w, self.h = width, _HEIGHT
            self.xy: Point = (0, 0)
            self.path: list[Point] = []

        def setpath(self, points: list[Point]) -> None:
            self.path = points

    vertices = {}
    for key, name in names.items():
        vertices[key] = Vertex(f" {name} ")
        vertices[key].view = View(len(name) + 4)
    edges = [Edge(vertices[a.source], vertices[a.target], data=a.conditional) for a in arcs]
    for edge in edges:
        edge.view = View()
    part = Graph(vertices.values(), edges).C[0]
    layout = SugiyamaLayout(part)
    layout.init_all(roots=[v for v in part.sV if not v.e_in()], optimize=True)
    layout.yspace = _HEIGHT
    layout.xspace = min(v.view.w for v in vertices.values())
    layout.route_edge = route_with_lines
    layout.draw()
    return (
        [Box(v.data, *v.view.xy) for v in part.sV],
        [Line(e.view.path, bool(e.data)) for e in part.sE],
    )


# -- the plain layout ------------------------------------------------------------------------


def row_layout(names: Mapping[str, str], arcs: Sequence[Arc]) -> tuple[list[Box], list[Line]]:
    """Nodes in rows, edges as lines from row to row."""
    ranks = _ranks(list(names), arcs)
    rows: list[list[str]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    for key in names:
        rows[ranks[key]].append(key)
    ways = [_way(number, arc, ranks) for number, arc in enumerate(arcs)]
    for way in ways:
        for rank, bend in way[1:-1]:
            rows[rank].append(bend)
    widths = {key: len(name) + 4 for key, name in names.items()}
    _sort_rows(rows, ways)
    places = _places(rows, widths)
    boxes = [Box(f" {names[key]} ", *places[key]) for row in rows for key in row if key in names]
    lines = [
        Line([_anchor(places[key], key in names) for _, key in way], arc.conditional)
        for way, arc in zip(ways, arcs, strict=True)
        if len(way) > 1
    ]
    return boxes, lines


def _ranks(keys: Sequence[str], arcs: Iterable[Arc]) -> dict[str, int]:
    """The row of each node: one below the lowest node that leads to it.

    Edges that go back to a node on the way to them do not count.
    """
    after: dict[str, list[str]] = {key: [] for key in keys}
    for arc in arcs:
        after[arc.source].append(arc.target)
    order: list[str] = []
    state: dict[str, int] = {}
    back: set[tuple[str, str]] = set()
    entered = {target for targets in after.values() for target in targets}
    for root in [k for k in keys if k not in entered] + list(keys):
        stack = [(root, False)]
        while stack:
            key, left = stack.pop()
            if left:
                state[key] = 2
                order.append(key)
            elif key not in state:
                state[key] = 1
                stack.append((key, True))
                back.update((key, t) for t in after[key] if state.get(t) == 1)
                stack.extend((t, False) for t in reversed(after[key]) if t not in state)
    ranks = dict.fromkeys(keys, 0)
    position = {key: at for at, key in enumerate(reversed(order))}
    for key in reversed(order):
        for target in after[key]:
            if position[target] > position[key]:
                ranks[target] = max(ranks[target], ranks[key] + 1)
    return ranks


def _way(number: int, arc: Arc, ranks: Mapping[str, int]) -> list[tuple[int, str]]:
    """The (row, place) pairs an edge passes, from top to bottom."""
    ends = sorted([(ranks[arc.source], arc.source), (ranks[arc.target], arc.target)])
    (top, upper), (bottom, lower) = ends
    if upper == lower:
        return [(top, upper)]
    bends = [(rank, f"\0{number}") for rank in range(top + 1, bottom)]
    return [(top, upper), *((rank, f"{bend}.{rank}") for rank, bend in bends), (bottom, lower)]


def _sort_rows(rows: list[list[str]], ways: Sequence[Sequence[tuple[int, str]]]) -> None:
    """Put each place near the mean of its neighbours above, so that few lines cross."""
    above: dict[str, list[str]] = {}
    for way in ways:
        for (_, upper), (_, lower) in itertools.pairwise(way):
            above.setdefault(lower, []).append(upper)
    for upper_row, row in itertools.pairwise(rows):
        at = {key: index / max(len(upper_row) - 1, 1) for index, key in enumerate(upper_row)}

        def mean(key: str, at: dict[str, float] = at) -> float:
            known = [at[k] for k in above.get(key, ()) if k in at]
            return sum(known) / len(known) if known else 0.5

        row.sort(key=mean)


def _places(rows: Sequence[Sequence[str]], widths: Mapping[str, int]) -> dict[str, Point]:
    gap = 4
    full = max(
        (sum(widths.get(k, 1) for k in row) + gap * (len(row) - 1) for row in rows), default=0
    )
    places: dict[str, Point] = {}
    for number, row in enumerate(rows):
        used = sum(widths.get(k, 1) for k in row) + gap * (len(row) - 1)
        x = (full - used) / 2
        for key in row:
            width = widths.get(key, 1)
            places[key] = (x + width / 2, number * _HEIGHT * 2)
            x += width + gap
    return places


def _anchor(place: Point, is_box: bool) -> Point:
    """Where lines touch a place: the middle line of a box, or of the row that is passed."""
    return place[0], place[1] + 1 if is_box else place[1] + _HEIGHT / 2


# -- the picture -----------------------------------------------------------------------------


def _picture(boxes: Sequence[Box], lines: Sequence[Line]) -> str:
    """The boxes over the lines. Rounds as LangChain does, so that its pictures come out."""
    xs = [x for b in boxes for x in (b.x - b.width / 2.0, b.x + b.width / 2.0)]
    ys = [y for b in boxes for y in (b.y, b.y + _HEIGHT)]
    xs += [x for line in lines for x, _ in line.points]
    ys += [y for line in lines for _, y in line.points]
    left, top = min(xs), min(ys)
    width = math.ceil(math.ceil(max(xs)) - math.floor(left)) + 1
    cells = [[" "] * width for _ in range(round(max(ys) - top))]

    def at(point: Point) -> tuple[int, int]:
        return round(point[0] - left), round(point[1] - top)

    for line in lines:
        for start, end in itertools.pairwise(line.points):
            _stroke(cells, at(start), at(end), "." if line.conditional else "*")
    for box in boxes:
        _frame(cells, *at((box.x - box.width / 2.0, box.y)), box.text)
    return os.linesep.join("".join(row) for row in cells)


def _stroke(
    cells: list[list[str]], start: tuple[int, int], end: tuple[int, int], char: str
) -> None:
    """A straight line, one character per column or per row, whichever there are more of."""
    (x0, y0), (x1, y1) = sorted((start, end), key=lambda p: p[0])
    dx, dy = x1 - x0, y1 - y0
    if abs(dx) >= abs(dy):
        for x in range(x0, x1 + 1):
            cells[y0 if dx == 0 else y0 + round((x - x0) * dy / float(dx))][x] = char
    elif y0 < y1:
        for y in range(y0, y1 + 1):
            cells[y][x0 + round((y - y0) * dx / float(dy))] = char
    else:
        for y in range(y1, y0 + 1):
            cells[y][x1 + round((y - y1) * dx / float(dy))] = char


def _frame(cells: list[list[str]], x: int, y: int, text: str) -> None:
    right, bottom = x + len(text) + 1, y + _HEIGHT - 1
    for column in range(x, right):
        cells[y][column] = cells[bottom][column] = "-"
    for row in range(y, bottom):
        cells[row][x] = cells[row][right] = "|"
    for corner in (x, right):
        cells[y][corner] = cells[bottom][corner] = "+"
    cells[y + 1][x + 1 : right] = text


__all__ = ["Arc", "Box", "Line", "draw", "row_layout"]
