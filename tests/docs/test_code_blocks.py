"""Every block of Python in the README and in the pages runs, one after the other, as for a reader.

A block that cannot run here says why in the line before it: `<!-- skip: next "reason" -->`.
"""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from unittest import SkipTest

import pytest
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from tests.arch._rules import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_CODE = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def run(path, monkeypatch):
    """Evaluate the blocks of one page in a module of its own; how many were not left out."""
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    document = Document.parse(str(path), PythonCodeBlockParser(), SkipParser())
    document.namespace = vars(module)
    done = 0
    for example in document.examples():
        with contextlib.suppress(SkipTest):
            example.evaluate()
            done += "python" in type(example.region.evaluator).__name__.lower()
    return done


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(page, monkeypatch)


@pytest.mark.postgres
def test_the_tutorial_runs_on_postgresql_as_well(monkeypatch, tmp_path, pg_url):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DESK_URL", pg_url)
    assert run(ROOT / "docs" / "tutorial.md", monkeypatch)
    assert not (tmp_path / "desk.db").exists()


def test_the_readme_shows_code():
    assert ROOT / "README.md" in WITH_CODE


def test_a_block_that_fails_is_seen(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        run(page, monkeypatch)
