"""Bytes from the database are never code: nothing in the package could make them so."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stepwell
from stepwell._codec import builtin, late

SOURCE = Path(stepwell.__file__).parent
MODULES = {
    "pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib",
    "importlib", "imp", "pkgutil", "runpy", "code", "codeop", "yaml", "jsonpickle",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}


def offences(source: str) -> list[str]:
    """Imports of modules, and names, that could turn bytes into code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Name) and node.id in CALLS | MODULES - {"code"}:
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.Attribute) and node.attr in {"import_module", "__import__"}:
            found.append(f"{node.lineno}: .{node.attr}")
        found += [f"{node.lineno}: {n}" for n in names if n.split(".")[0] in MODULES]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from marshal import loads", "import importlib.util", "eval('1')",
        "run = exec", "__import__('os')", "x.import_module('a')", "def f():\n import dill",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source):
    assert offences(source)


IMPORT_WHAT_THEY_ARE_TOLD = ("cli/_writing.py", "_late.py")
"""`stepwell resume --graph module:name`: what is imported stands on the command line; and names of
modules that are imported when they are asked for, from tables in the source."""


def test_no_module_of_the_package_can_run_bytes():
    files = list(SOURCE.rglob("*.py"))
    assert len(files) > 20
    found = {str(path.relative_to(SOURCE)): offences(path.read_text("utf-8")) for path in files}
    allowed = [line for name in IMPORT_WHAT_THEY_ARE_TOLD for line in found.pop(name)]
    assert allowed
    assert all("import" in line for line in allowed)
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_what_is_imported_late_stands_in_the_source():
    """The tables of `late_names` are texts that begin with the package's name, and nothing else."""
    tables = [
        node.args[1]
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "late_names"
    ]
    assert tables
    for table in tables:
        found = ast.unparse(table)
        assert isinstance(table, ast.Dict), found
        assert all(isinstance(v, ast.Constant) and v.value.startswith("stepwell.")
                   for v in table.values), found  # fmt: skip


def test_the_codec_reads_no_attribute_by_a_name_it_was_given():
    """getattr and friends take constants only: no name from a document reaches them."""
    for path in (SOURCE / "_codec").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"getattr", "attrgetter", "methodcaller", "globals", "locals"}
            ):
                name = node.args[1]
                assert isinstance(name, ast.Constant), f"{path.name}:{node.lineno}"


LATE = ("decimal", "fractions", "zoneinfo", "ipaddress", "pathlib")


def test_modules_of_rare_types_are_imported_when_the_first_value_is_met():
    """They would cost a tenth of a second's worth of imports to programs that never use them."""
    program = f"""
import sys
before = set(sys.modules)
from stepwell._codec import Codec
late = {LATE!r}
assert not [name for name in late if name in set(sys.modules) - before], "imported too early"
codec = Codec()
assert str(codec.decode(b'{{"$decimal":"1.5"}}', True)) == "1.5"
from fractions import Fraction
assert codec.encode(Fraction(1, 2)).data == b'{{"$fraction":[1,2]}}'
assert "ipaddress" not in set(sys.modules) - before
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_tag_is_readable_by_one_entry_only():
    for tag in late._BY_TAG:
        assert late.builtin_of_key(tag) is not None
    assert set(builtin.BY_KEY) == {entry.key for entry in builtin.BY_CLASS.values()}
    assert all(key.startswith("$") and key[1].isalpha() for key in builtin.BY_KEY)
