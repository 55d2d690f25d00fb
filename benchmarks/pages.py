"""The tables in the docs, made from the figures that are kept in `benchmarks/results`.

A page holds `<!-- figures: NAME -->` and `<!-- end of figures -->`; what stands between is made
here, and a test compares.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from benchmarks.keep import described, record_path
from benchmarks.report import failures_text, scale_table, table
from benchmarks.suite import CASES

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (DOCS / "benchmarks.md", DOCS / "scale.md")
MARKED = re.compile(r"<!-- figures: (\w+) -->\n.*?<!-- end of figures -->", re.DOTALL)


def rendered(name: str) -> str:
    """What stands in a page for the figures of that name."""
    path = record_path(name)
    if not path.exists():
        return "Not recorded yet."
    whole = json.loads(path.read_text(encoding="utf-8"))
    cases = [case for case in CASES if case.name in whole["cases"]]
    if whole["scale"]:
        text = scale_table(whole["results"], cases)
    else:
        text = table(whole["results"], cases, judged=True, medium=whole["medium"])
    failed = f"\n\n{failures_text(whole['failures'])}" if whole["failures"] else ""
    return f"{described(whole)}\n\n{text}{failed}{_pictures(name)}"


def _pictures(name: str) -> str:
    folder = record_path(name).with_suffix("")
    paths = [os.path.relpath(path, DOCS) for path in sorted(folder.glob("*.png"))]
    return "".join(f"\n\n![{Path(path).stem}, {name}]({path})" for path in paths)


def with_figures(text: str) -> str:
    """A page with its tables as they are to be."""
    return MARKED.sub(
        lambda m: f"<!-- figures: {m[1]} -->\n{rendered(m[1])}\n<!-- end of figures -->", text
    )


def write_pages() -> None:
    """Write the tables of all pages anew."""
    for page in PAGES:
        page.write_text(with_figures(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"written: {page}", file=sys.stderr)
