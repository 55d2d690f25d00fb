"""The same figures once more, by a plain loop that shares no code with the graph.

Files are listed with `os.walk`; lines are counted by reading text; definitions and imports are
counted in the token stream, not in the tree; a decision is charged to the function found by
climbing up from it, not by walking down to it. So a mistake on either side shows.
"""

from __future__ import annotations

import ast
import os
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

PASSED_BY = ("site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__")
LAYOUT = (tokenize.NL, tokenize.COMMENT)
BEGINNINGS = (
    tokenize.ENCODING,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
)


@dataclass
class Recount:
    """Figures of a folder."""

    files: int = 0
    unreadable: int = 0
    lines: int = 0
    definitions: int = 0
    documented: int = 0
    complexity: int = 0
    imports: Counter[str] = field(default_factory=Counter)
    by_complexity: list[tuple[str, int]] = field(default_factory=list)
    by_documentation: list[tuple[str, Fraction, int]] = field(default_factory=list)

    def top(self, ranking: str, rows: int) -> list[str]:
        """Names in the first rows of a ranking."""
        if ranking == "imported":
            order = sorted(sorted(self.imports), key=self.imports.__getitem__, reverse=True)
            return order[:rows]
        if ranking == "complex":
            self.by_complexity.sort(key=lambda entry: entry[0])
            self.by_complexity.sort(key=lambda entry: entry[1], reverse=True)
            return [path for path, total in self.by_complexity[:rows] if total]
        self.by_documentation.sort(key=lambda entry: entry[0])
        self.by_documentation.sort(key=lambda entry: entry[2], reverse=True)
        self.by_documentation.sort(key=lambda entry: entry[1])
        return [path for path, _, _ in self.by_documentation[:rows]]


def recount(folder: str, limit: int) -> Recount:
    """Count everything below a folder."""
    total = Recount()
    for path in chosen(folder, limit):
        full = os.path.join(folder, path)  # noqa: PTH118
        total.files += 1
        total.lines += count_lines(full)
        try:
            tree = ast.parse(Path(full).read_bytes())
            complexity = count_complexity(tree)
        except (SyntaxError, ValueError, RecursionError):
            total.unreadable += 1
            continue
        definitions, names = read_tokens(full)
        documented = count_documented(tree)
        total.definitions += definitions
        total.documented += documented
        total.complexity += complexity
        total.imports.update(names)
        total.by_complexity.append((path, complexity))
        if definitions >= 5:
            total.by_documentation.append((path, Fraction(documented, definitions), definitions))
    return total


def chosen(folder: str, limit: int) -> list[str]:
    """The files of a survey."""
    paths: list[str] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in PASSED_BY]
        inside = "" if where == folder else os.path.relpath(where, folder).replace(os.sep, "/")
        paths += [
            f"{inside}/{name}".lstrip("/")
            for name in names
            if name.endswith(".py") and os.path.isfile(os.path.join(where, name))  # noqa: PTH113, PTH118
        ]
    paths.sort()
    if len(paths) > limit:
        step = Fraction(len(paths), limit)
        paths = [paths[int(step * i)] for i in range(limit)]
    return paths


def count_lines(path: str) -> int:
    """Lines of a file, whatever its encoding."""
    with open(path, encoding="latin-1") as text:  # noqa: PTH123
        return sum(1 for _ in text)


def read_tokens(path: str) -> tuple[int, set[str]]:
    """How often `def` and `class` stand in a file, and which modules are imported absolutely."""
    definitions, names = 0, set[str]()
    for statement in statements(path):
        definitions += statement.count("def") + statement.count("class")
        words = iter(statement)
        first = next(words)
        if first == "from":
            module = next(words)
            if module.isidentifier():
                names.add(module)
        elif first == "import":
            before = ","
            for word in words:
                if before == ",":
                    names.add(word)
                before = word
    return definitions, names


def statements(path: str) -> Iterator[list[str]]:
    """Tokens of each simple statement, and of each head of a compound one."""
    words: list[str] = []
    depth = 0
    with open(path, "rb") as file:  # noqa: PTH123
        for token in tokenize.tokenize(file.readline):
            if token.type in LAYOUT:
                continue
            if token.type in BEGINNINGS or (depth == 0 and token.string in {";", ":"}):
                if words:
                    yield words
                words = []
            elif token.type in (tokenize.NAME, tokenize.OP):
                depth += (token.string in {"(", "[", "{"}) - (token.string in {")", "]", "}"})
                words.append(token.string)
    if words:
        yield words


def count_documented(tree: ast.Module) -> int:
    """Functions and classes whose first statement is a text."""
    documented = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            match node.body[0]:
                case ast.Expr(value=ast.Constant(value=str())):
                    documented += 1
    return documented


def count_complexity(tree: ast.Module) -> int:
    """Functions, and every decision that has a function somewhere above it."""
    above: dict[ast.AST, ast.AST] = {}
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            above[child] = node
    total = 0
    for node in above:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                total += 1
                continue
            case ast.BoolOp(values=values):
                charge = len(values) - 1
            case ast.comprehension(ifs=conditions):
                charge = 1 + len(conditions)
            case ast.If() | ast.For() | ast.AsyncFor() | ast.While() | ast.IfExp():
                charge = 1
            case ast.ExceptHandler() | ast.match_case():
                charge = 1
            case _:
                continue
        place: ast.AST | None = node
        while place is not None and not isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef):
            place = above.get(place)
        total += charge if place is not None else 0
    return total
