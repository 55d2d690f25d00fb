"""Rules about source text that no linter knows, as functions from a parsed file to findings."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

LINES_PER_FILE_MAX = 500
LINES_PER_FUNCTION_MAX = 70
POSITIONAL_PARAMETERS_MAX = 6

CLOCK_MODULES = {"time"}
DICE_MODULES = {"random", "secrets"}
NOW = {"now", "utcnow", "today"}
DRAWN_IDS = {"uuid1", "uuid4", "uuid6", "uuid7", "urandom", "token_bytes", "getrandbits"}
REVIVERS = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle"}
INTERPRETERS = {"eval", "exec", "compile", "__import__"}
VAGUE = re.compile(r"(?:^|_)(?:managers?|helpers?|utils?|common|data|info|misc)(?:_|$)")
VAGUE_CLASS = re.compile(r"Manager|Helper|Util|Common")
LANGGRAPHS = {"IsLastStepManager", "RemainingStepsManager"}


class Source(NamedTuple):
    """One module of the package: dotted name, file, text, tree."""

    module: str
    path: Path
    text: str
    tree: ast.Module


def source(module: str, text: str, path: Path = Path("planted.py")) -> Source:
    return Source(module, path, text, ast.parse(text))


def package_sources() -> Iterator[Source]:
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield source(module, path.read_text(encoding="utf-8"), path)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported; `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def time_and_chance(file: Source) -> Iterator[str]:
    """Time comes from `_clock`, chance from `_ids`: both are injected, so runs can be replayed."""
    allowed = {"stepwell._clock": CLOCK_MODULES, "stepwell._ids": DICE_MODULES}.get(
        file.module, set()
    )
    for line, name in _imports(file.tree):
        top = name.partition(".")[0]
        if top in (CLOCK_MODULES | DICE_MODULES) - allowed:
            yield f"{line}: imports {top}"
        if name.rpartition(".")[2] in DRAWN_IDS and file.module != "stepwell._ids":
            yield f"{line}: imports {name}"
    for node in ast.walk(file.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        called, owner = node.func.attr, ast.unparse(node.func.value)
        if called in NOW and owner.endswith(("datetime", "date")):
            yield f"{node.lineno}: asks {owner}.{called}()"
        if called in DRAWN_IDS and owner in {"uuid", "os", "random", "secrets"}:
            yield f"{node.lineno}: draws {owner}.{called}()"


LATE_NAMES = ("stepwell._late", "__import__")
"""It imports what the code of the package names."""


def bytes_become_code(file: Source) -> Iterator[str]:
    """What is read from a database is never run, and names in it are never imported."""
    for line, name in _imports(file.tree):
        if name.partition(".")[0] in REVIVERS:
            yield f"{line}: imports {name.partition('.')[0]}"
        if name == "importlib.import_module" and not file.module.startswith("stepwell.cli"):
            yield f"{line}: imports import_module"
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = ast.unparse(node.func)
            if name in INTERPRETERS and (file.module, name) != LATE_NAMES:
                yield f"{node.lineno}: calls {name}()"
            if name.endswith("import_module") and not file.module.startswith("stepwell.cli"):
                yield f"{node.lineno}: calls {name}()"


def too_long(file: Source) -> Iterator[str]:
    """A file fits in a head, a function on a screen."""
    lines = file.text.count("\n")
    if lines > LINES_PER_FILE_MAX:
        yield f"1: {lines} lines, {LINES_PER_FILE_MAX} at most"
    for function in _functions(file.tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > LINES_PER_FUNCTION_MAX:
            limit = LINES_PER_FUNCTION_MAX
            yield f"{function.lineno}: {function.name} has {length} lines, {limit} at most"


def too_many_parameters(file: Source) -> Iterator[str]:
    """Positional parameters are few; options are named."""
    for function in _functions(file.tree):
        given = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        count = len(given) - (given[:1] in (["self"], ["cls"]))
        if count > POSITIONAL_PARAMETERS_MAX:
            limit = POSITIONAL_PARAMETERS_MAX
            yield f"{function.lineno}: {function.name} has {count} parameters, {limit} at most"


def vague_names(file: Source) -> Iterator[str]:
    """A name says what the thing does."""
    for part in file.module.split("."):
        if VAGUE.search(part):
            yield f"1: module name {part}"
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.ClassDef) or node.name in LANGGRAPHS:
            continue
        if VAGUE_CLASS.search(node.name):
            yield f"{node.lineno}: class name {node.name}"


def unfinished(file: Source) -> Iterator[str]:
    """Nothing is left for later; only what calls itself a base leaves methods to its children."""
    classes = [node for node in file.tree.body if isinstance(node, ast.ClassDef)]
    bases = [node for node in classes if (ast.get_docstring(node) or "").startswith("Base of")]
    left_to_children = {inner for base in bases for inner in ast.walk(base)}
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Raise) or node in left_to_children:
            continue
        if "NotImplementedError" in ast.unparse(node):
            yield f"{node.lineno}: raises NotImplementedError"


RULES: tuple[Callable[[Source], Iterator[str]], ...] = (
    time_and_chance,
    bytes_become_code,
    too_long,
    too_many_parameters,
    vague_names,
    unfinished,
)
