"""What importing the package does, and what its modules offer."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import types

import pytest

from tests.arch._rules import package_sources

LIGHT = ("stepwell", "stepwell.graph")
HEAVY = frozenset(
    {
        "aiosqlite",
        "asyncpg",
        "cryptography",
        "httpx",
        "langchain_core",
        "langgraph",
        "opentelemetry",
    }
    | {"pydantic", "pytest", "sqlite3", "starlette", "uvloop"}
)
# An old place of names, which says so.
pytestmark = pytest.mark.filterwarnings("ignore:Importing from stepwell.pregel.types is deprecated")

MODULES = sorted(file.module for file in package_sources() if not file.module.endswith("__main__"))

PUBLIC = [module for module in MODULES if "._" not in module]
# The parts of the contract kit are loaded through `stepwell.testing`, which readies pytest first.
LOADABLE = [module for module in MODULES if not module.startswith("stepwell.testing._")]


WITHOUT = frozenset(
    {
        "gzip", "html", "http", "ipaddress", "pathlib", "tempfile", "urllib.parse",
        "stepwell._codec.crypt", "stepwell._engine.bulk", "stepwell._engine.cancel",
        "stepwell._engine.goback", "stepwell._engine.recover", "stepwell._engine.rollback",
        "stepwell._engine.states", "stepwell._engine.update", "stepwell._journal.archiving",
        "stepwell._journal.checking", "stepwell._journal.copying", "stepwell._journal.pruning",
        "stepwell.checkpoint.base", "stepwell.checkpoint._upkeep.archiving",
        "stepwell.checkpoint._upkeep.backup", "stepwell.checkpoint._upkeep.pruning",
        "stepwell.checkpoint._upkeep.verifying", "stepwell.contrib", "stepwell.drawing",
        "stepwell.func", "stepwell.testing",
    }
)  # fmt: skip
"""What building a graph, and running it without a saver, has no use for."""
LATER = frozenset(
    {
        "_hashlib", "anyio", "asyncio", "orjson", "stepwell._codec", "stepwell._engine.entry",
        "stepwell._engine.run", "stepwell._journal", "stepwell.checkpoint.driver",
        "stepwell.graph._compiled_graph", "stepwell.pregel.main",
    }
)  # fmt: skip
"""What describing a graph has no use for: `compile` loads it."""
OURS_MAX = 58
"""Modules of the package that `import stepwell, stepwell.graph` loads at most."""
ALL_MAX = 125
"""With the standard library's, and with those of dependencies."""
COMPILED_OURS_MAX, COMPILED_ALL_MAX = 165, 305
"""The same, once a graph is compiled."""
COMPILED = """
import stepwell, stepwell.graph
async def node(state): return {}
saver = SAVER
builder = stepwell.graph.StateGraph(dict).add_node("node", node)
graph = builder.add_edge("__start__", "node").compile(checkpointer=saver)
"""


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter has loaded after `statement`."""
    return {name.partition(".")[0] for name in modules_after(statement)}


def modules_after(statement: str) -> set[str]:
    """Full names of the modules that a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_import_loads_no_database_client_and_no_optional_package(module):
    assert loaded_by(f"import {module}") & HEAVY == set()


def test_import_loads_what_a_graph_needs_and_no_more():
    loaded = modules_after("import stepwell, stepwell.graph")
    assert loaded & (WITHOUT | LATER) == set()
    assert_few(loaded, OURS_MAX, ALL_MAX)


def test_compiling_loads_what_running_needs_and_no_more():
    loaded = modules_after(COMPILED.replace("SAVER", "None"))
    assert loaded & WITHOUT == set()
    assert loaded >= LATER - {"_hashlib"}
    assert_few(loaded, COMPILED_OURS_MAX, COMPILED_ALL_MAX)


@pytest.mark.parametrize(
    "saver", ["None", "stepwell.open_saver('memory://')", "stepwell.open_saver('sqlite://')"]
)
def test_the_first_run_imports_nothing(saver):
    """Else whoever makes the first call of a program would wait for it."""
    ran = """
import asyncio
async def run():
    loaded = set(sys.modules)
    await graph.ainvoke({}, {"configurable": {"thread_id": "1"}})
    assert sys.modules.keys() == loaded, sorted(sys.modules.keys() - loaded)
    if saver: await saver.aclose()
asyncio.run(run())
"""
    code = "import sys\n" + COMPILED.replace("SAVER", saver) + ran
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def assert_few(loaded: set[str], ours_max: int, all_max: int) -> None:
    ours = sorted(name for name in loaded if name.partition(".")[0] == "stepwell")
    assert len(ours) <= ours_max, (len(ours), ours)
    others = loaded - modules_after("pass")
    assert len(others) <= all_max, (len(others), sorted(others))


def test_names_that_are_loaded_late_are_there():
    late = (
        "assert stepwell.Retention(keep_last=1) and stepwell.Keyring and 'Keyring' in dir(stepwell)"
    )
    assert {"stepwell.checkpoint._upkeep.retention"} <= modules_after(f"import stepwell; {late}")
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = importlib.import_module("stepwell").absent


@pytest.mark.parametrize("module", ["stepwell", "stepwell.graph", "stepwell.graph.state",
                                    "stepwell.pregel"])  # fmt: skip
def test_names_that_are_loaded_late_are_listed_before(module):
    missing = "[n for n in m.__all__ if n not in dir(m)]"
    modules_after(
        f"import importlib; m = importlib.import_module({module!r}); assert not {missing}"
    )


@pytest.mark.parametrize("file", [f for f in package_sources() if "= late_names(" in f.text],
                         ids=lambda file: file.module)  # fmt: skip
def test_type_checkers_do_not_believe_misspelled_names(file):
    """They would, of a module in which they see a `__getattr__`."""
    assert not [
        node for node in file.tree.body if isinstance(node, ast.Assign) and "late_names" in
        ast.unparse(node.value)
    ]  # fmt: skip


def test_the_check_of_loaded_modules_sees_a_heavy_one():
    assert loaded_by("import sqlite3") & HEAVY == {"sqlite3"}


EACH_IN_A_CHILD = """
import os, sys
import aiosqlite, anyio.from_thread, asyncio, asyncpg, orjson  # slow, and not ours
broken = []
for module in sys.argv[1:]:
    child = os.fork()
    if not child:
        try:
            __import__(module)
        except BaseException as exc:
            print(f"{module}: {exc!r}", flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        broken.append(module)
sys.exit(len(broken) > 0)
"""


@pytest.mark.timeout(1800)  # one process after the other, beside whatever else runs
def test_every_public_module_imports_alone():
    """In a process of its own each, so that no order of imports is needed."""
    command = [sys.executable, "-c", EACH_IN_A_CHILD]
    done = subprocess.run([*command, *PUBLIC], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run(
        [*command, "stepwell.absent"], check=False, capture_output=True
    ).returncode


@pytest.mark.parametrize("module", LOADABLE)
def test_every_name_in_all_exists(module):
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", ())
    assert len(set(names)) == len(names), "named twice"
    assert [name for name in names if not hasattr(loaded, name)] == []
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []


def undocumented(module: object) -> list[str]:
    """What of `module.__all__`, methods too, has no docstring, not even an inherited one."""
    bare = []
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        bare += [name] if not inspect.getdoc(thing) else []
        methods = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else []
        bare += [f"{name}.{m}" for m, f in methods if m[0] != "_" and not _doc(thing, m)]
    return bare


def _doc(owner: type, name: str) -> str | None:
    """The docstring of a method, or of what it overrides."""
    written = (vars(c)[name].__doc__ for c in owner.__mro__ if name in vars(c))
    return next((doc for doc in written if doc), None)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_a_docstring(module):
    assert undocumented(importlib.import_module(module)) == []


def test_a_public_name_without_docstring_is_seen():
    class Bare: ...

    class Told:
        """Documented."""

        def method(self): ...

    module = types.SimpleNamespace(__all__=["Bare", "Told"], Bare=Bare, Told=Told)
    assert undocumented(module) == ["Bare", "Told.method"]
