"""What a page shows as printed is what its blocks print, but for numbers and times."""

from __future__ import annotations

import itertools
import os
import re

import pytest

from tests.arch._rules import ROOT
from tests.docs.test_code_blocks import run

MARK = "<!-- what the page has printed so far -->\n```text\n"
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if MARK in page.read_text("utf-8")]


def shape(text):
    """Lines without numbers, units and lengths; those that are alike then, once."""
    lines = []
    for line in text.splitlines():
        masked = re.sub(r"\d[\d.,:]*( (us|ms|s|min|h|d|B|KiB|MiB)\b)?", "9", line)
        masked = re.sub(r"\b(ok|warn|fail)\b", "ok", masked)  # a busy machine is slow
        lines.append(" ".join(re.sub(r"#+", "#", masked).split()))
    return [line for line, _ in itertools.groupby(lines) if line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_shown_is_what_is_printed(page, monkeypatch, tmp_path, capsys):
    """Run with STEPWELL_REDRAW=1 to write what is printed into the page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARK)
    shown, _, after = rest.partition("```")
    monkeypatch.chdir(tmp_path)
    run(page, monkeypatch)
    printed = capsys.readouterr().out.rstrip() + "\n"
    if os.environ.get("STEPWELL_REDRAW"):
        page.write_text(f"{before}{MARK}{printed}```{after}", encoding="utf-8")
    else:
        assert shape(shown) == shape(printed)


def test_there_are_such_pages():
    assert PAGES


def test_another_text_is_seen():
    assert shape("a 1 ms\n") == shape("a 2.5 us\n") != shape("b 1 ms\n")
