"""The hook of tests/conftest.py that tells which test has left something open in a circle."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.arch._rules import ROOT

pytestmark = pytest.mark.slow

OPEN = """
    import gc
    from tests.conftest import KEPT_MAX

    class Open:
        def __init__(self):
            self.itself = self

        def __del__(self):
            raise ResourceWarning("never closed")

    kept = []
"""


@pytest.fixture
def failed(tmp_path):
    """The tests of a file that fail."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")

    def run_tests(code):
        (tmp_path / "test_it.py").write_text(textwrap.dedent(OPEN) + textwrap.dedent(code))
        options = ["-p", "tests.conftest", "-p", "no:randomly", "-p", "no:cacheprovider", "-rfE"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, "test_it.py"],
            cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        )  # fmt: skip
        summary = [line.split() for line in done.stdout.splitlines() if "test_it.py::" in line]
        return [line[1].partition("::")[2] for line in summary if line[0] in ("ERROR", "FAILED")]

    return run_tests


def test_the_test_that_leaked_is_told(failed):
    code = """
        def test_one(): pass
        def test_two(): Open()
        def test_three(): pass
    """
    assert failed(code) == ["test_two"]


def test_what_many_tests_keep_is_looked_at_once(failed):
    """The second of these finds no more than it made itself."""
    code = """
        def test_one(): kept.extend([] for _ in range(KEPT_MAX + 1))
        def test_two(): assert len(gc.get_objects()) < KEPT_MAX
    """
    assert failed(code) == []


def test_what_was_exempt_amid_a_file_is_looked_at_when_it_ends(failed):
    code = """
        def test_one():
            kept.extend([] for _ in range(KEPT_MAX + 1))
            kept.append(Open())
        def test_two(): kept.clear()
        def test_three(): pass
    """
    assert failed(code) == ["test_three"]
