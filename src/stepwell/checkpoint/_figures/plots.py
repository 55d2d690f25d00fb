"""Small plots as SVG, to stand in a page. Every text that comes in is escaped here.

Colours and fonts are those of the page around, by class; sizes are in units of the view box.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from stepwell.checkpoint._figures import wording

WIDTH: Final = 560
_ROW: Final = 26
_LABEL: Final = 170
_VALUE: Final = 80
_PLOT_HEIGHT: Final = 150
_FOOT: Final = 22


class Bar(NamedTuple):
    """One value. `shown`: the value in words; `kind`: a class, for its colour."""

    name: str
    value: float
    shown: str
    kind: str = "bar"


def bars(title: str, values: Sequence[Bar]) -> str:
    """Horizontal bars, one below the other, with their names and values."""
    most = max([bar.value for bar in values], default=0) or 1
    room = WIDTH - _LABEL - _VALUE
    parts = []
    for n, bar in enumerate(values):
        top = n * _ROW
        width = max(room * bar.value / most, 1.5 if bar.value else 0)
        parts.append(
            f"<g><title>{escape(bar.name)}: {escape(bar.shown)}</title>"
            f'<text class="name" x="{_LABEL - 8}" y="{top + 17}">{_cut(bar.name, 21)}</text>'
            f'<rect class="{bar.kind}" x="{_LABEL}" y="{top + 5}" width="{width:.1f}" '
            f'height="16" rx="2"/><text class="value" x="{_LABEL + width + 6:.1f}" '
            f'y="{top + 17}">{escape(bar.shown)}</text></g>'
        )
    return _svg(title, len(values) * _ROW or 1, parts)


def columns(title: str, values: Sequence[Bar], *, ends: tuple[str, str], most: str) -> str:
    """Columns side by side, over an axis that says where it begins and ends. `most`: the
    highest value in words."""
    highest = max([bar.value for bar in values], default=0) or 1
    step = WIDTH / max(len(values), 1)
    base = _PLOT_HEIGHT + 14
    parts = [
        _top(most),
    ]
    for n, bar in enumerate(values):
        height = max(_PLOT_HEIGHT * bar.value / highest, 1.5 if bar.value else 0)
        if height:
            parts.append(
                f'<rect class="{bar.kind}" x="{n * step + step * 0.08:.1f}" '
                f'y="{base - height:.1f}" width="{step * 0.84:.1f}" height="{height:.1f}">'
                f"<title>{escape(bar.name)}: {escape(bar.shown)}</title></rect>"
            )
    parts.append(_axis(base, ends))
    return _svg(title, base + _FOOT, parts)


def curve(title: str, values: Sequence[float], *, ends: tuple[str, str], most: str) -> str:
    """A line over an axis, with the area below it filled."""
    highest = max(values, default=0) or 1
    base = _PLOT_HEIGHT + 14
    step = WIDTH / max(len(values) - 1, 1)
    points = [(n * step, base - _PLOT_HEIGHT * value / highest) for n, value in enumerate(values)]
    if len(points) == 1:
        points.append((float(WIDTH), points[0][1]))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [
        _top(most),
        f'<polygon class="area" points="0,{base} {line} {WIDTH},{base}"/>',
        f'<polyline class="line" points="{line}"/>',
        _axis(base, ends),
    ]
    return _svg(title, base + _FOOT, parts)


def share(title: str, values: Sequence[Bar]) -> str:
    """One bar, divided by share."""
    total = sum(bar.value for bar in values) or 1
    parts, left = [], 0.0
    for bar in values:
        width = WIDTH * bar.value / total
        if width:
            parts.append(
                f'<rect class="{bar.kind}" x="{left:.1f}" y="0" width="{width:.1f}" height="22">'
                f"<title>{escape(bar.name)}: {escape(bar.shown)}</title></rect>"
            )
        left += width
    return _svg(title, 22, parts, 'preserveAspectRatio="none" style="height:24px" ')


def _top(most: str) -> str:
    return (
        f'<line class="grid" x1="0" y1="14" x2="{WIDTH}" y2="14"/>'
        f'<text class="tick" x="0" y="10">{escape(most)}</text>'
    )


def _axis(base: float, ends: tuple[str, str]) -> str:
    return (
        f'<line class="axis" x1="0" y1="{base}" x2="{WIDTH}" y2="{base}"/>'
        f'<text class="tick" x="0" y="{base + 16}">{escape(ends[0])}</text>'
        f'<text class="tick end" x="{WIDTH}" y="{base + 16}">{escape(ends[1])}</text>'
    )


def _cut(name: str, longest: int) -> str:
    return escape(wording.shown(name, longest))


def _svg(title: str, height: float, parts: Sequence[str], more: str = "") -> str:
    return (
        f'<svg role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {height}" {more}'
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


__all__ = ["WIDTH", "Bar", "bars", "columns", "curve", "share"]
