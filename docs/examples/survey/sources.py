"""Python files: which there are, and what is in one of them."""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
FILES_MIN = 50

DECISIONS = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.IfExp,
    ast.ExceptHandler,
    ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)


@dataclass(frozen=True)
class FileFacts:
    """What the survey knows of one file. Sizes are counts."""

    path: str
    lines: int = 0
    definitions: int = 0
    """Functions, methods and classes, at any depth."""
    documented: int = 0
    """Those of them that have a docstring."""
    complexity: int = 0
    """Sum of the cyclomatic complexities of its functions."""
    peak: int = 0
    """The largest of them, and whose it is."""
    peak_name: str = ""
    imports: tuple[str, ...] = ()
    """Top-level names of the modules it imports absolutely, each once."""
    error: str = ""
    """Why it could not be parsed; the other counts are then 0."""


def standard_library() -> str:
    """Folder of the standard library of this interpreter."""
    return sysconfig.get_paths()["stdlib"]


def list_files(folder: str, limit: int) -> list[str]:
    """Paths of Python files below `folder`, sorted; at most `limit`, taken at even distances."""
    root = Path(folder)
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if SKIPPED.isdisjoint(path.relative_to(root).parts[:-1]) and path.is_file()
    )
    if len(found) <= limit:
        return found
    return [found[i * len(found) // limit] for i in range(limit)]


def analyse_file(folder: str, path: str) -> FileFacts:
    """Parse one file and count."""
    source = Path(folder, path).read_bytes()
    lines = len(source.splitlines())
    try:
        tree = ast.parse(source)
        functions = complexities(tree)
    except (SyntaxError, ValueError, RecursionError) as error:
        return FileFacts(path, lines, error=type(error).__name__)
    definitions = [node for node in ast.walk(tree) if isinstance(node, DEFINITIONS)]
    peak = max(functions, key=lambda name: functions[name], default="")
    return FileFacts(
        path,
        lines,
        definitions=len(definitions),
        documented=sum(ast.get_docstring(node, clean=False) is not None for node in definitions),
        complexity=sum(functions.values()),
        peak=functions.get(peak, 0),
        peak_name=peak.partition(" ")[0],
        imports=tuple(sorted(set(imported(tree)))),
    )


def complexities(tree: ast.Module) -> dict[str, int]:
    """Cyclomatic complexity by function: 1, and 1 more for each way its control flow may part.

    What stands in a nested function counts there; a lambda, a comprehension and the body of a
    class count for the function around them. The key is "qualified.name line".
    """
    found: dict[str, int] = {}

    def visit(node: ast.AST, names: tuple[str, ...], inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DEFINITIONS):
                own = (*names, child.name)
                key = f"{'.'.join(own)} {child.lineno}"
                if isinstance(child, FUNCTIONS):
                    found[key] = 1
                visit(child, own, key if key in found else inside)
                continue
            if inside:
                found[inside] += ways(child)
            visit(child, names, inside)

    visit(tree, (), "")
    return found


def ways(node: ast.AST) -> int:
    """How many more ways there are through a node than one."""
    if isinstance(node, DECISIONS):
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return 0


def imported(tree: ast.Module) -> Iterator[str]:
    """Top-level names of the modules that are imported absolutely."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def replace_file(path: Path, text: str) -> None:
    """Write a file so that nobody ever reads half of it, also not after a crash."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
