"""Drawings in the pages are those of the graphs as they are."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.arch._rules import ROOT

EXAMPLES = ROOT / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))

from survey.graph import build  # noqa: E402

MARK = "<!-- drawing of the survey -->\n```mermaid\n"
PLACES = {ROOT / "docs" / "drawing.md": True, ROOT / "README.md": False}
"""Page -> whether nodes and colours are drawn too, or only edges."""


@pytest.mark.parametrize("page", PLACES, ids=lambda page: page.name)
def test_the_survey_is_drawn_as_it_is(page):
    """Run with STEPWELL_REDRAW=1 to write the drawing into the page."""
    text = page.read_text(encoding="utf-8")
    drawing = build().compile().get_graph().draw_mermaid(with_styles=PLACES[page])
    before, _, rest = text.partition(MARK)
    shown, _, after = rest.partition("```")
    assert after, f"{page.name} has lost its drawing"
    if os.environ.get("STEPWELL_REDRAW"):
        page.write_text(f"{before}{MARK}{drawing}```{after}", encoding="utf-8")
    else:
        assert shown == drawing


def test_a_drawing_names_every_node_of_the_survey():
    shown = (ROOT / "docs" / "drawing.md").read_text(encoding="utf-8")
    assert all(re.search(rf"\b{name}\({name}\)", shown) for name in build().nodes)
