"""The rules of `_rules.py`: each one sees a planted breach, and the package keeps them all."""

from __future__ import annotations

import pytest

from tests.arch._rules import (
    RULES,
    SRC,
    Source,
    bytes_become_code,
    package_sources,
    source,
    time_and_chance,
    too_long,
    too_many_parameters,
    unfinished,
    vague_names,
)

BREACHES = [
    (time_and_chance, "import time"),
    (time_and_chance, "from time import monotonic"),
    (time_and_chance, "def f():\n    import random"),
    (time_and_chance, "from uuid import uuid4"),
    (time_and_chance, "import uuid\nuuid.uuid4()"),
    (time_and_chance, "import os\nos.urandom(4)"),
    (time_and_chance, "import datetime\ndatetime.datetime.now()"),
    (bytes_become_code, "import pickle"),
    (bytes_become_code, "from marshal import loads"),
    (bytes_become_code, "eval('1')"),
    (bytes_become_code, "from importlib import import_module"),
    (bytes_become_code, "import importlib\nimportlib.import_module('x')"),
    (too_long, "x = 1\n" * 501),
    (too_long, "def f():\n" + "    x = 1\n" * 70),
    (too_many_parameters, "def f(a, b, c, d, e, f, g): ..."),
    (too_many_parameters, "class C:\n    async def f(self, a, b, c, d, e, f, g): ..."),
    (vague_names, "class LockManager: ..."),
    (unfinished, "def f():\n    raise NotImplementedError"),
]


@pytest.mark.parametrize(("rule", "text"), BREACHES)
def test_a_planted_breach_is_seen(rule, text):
    assert list(rule(source("stepwell.planted", text)))


@pytest.mark.parametrize("module", ["stepwell.utils", "stepwell.lock_manager", "stepwell._data.x"])
def test_a_vague_module_name_is_seen(module):
    assert list(vague_names(source(module, "")))


@pytest.mark.parametrize(
    "text",
    [
        "import uuid\nuuid.UUID(int=4)",
        "import re\nre.compile('x')",
        "graph.compile()",
        "def f(self, a, b, c, d, e, f, *, g, h): ...",
        "class Database: ...",
        "from datetime import datetime\ndatetime.fromisoformat('2020-01-01')",
        "pool.timeout = 3",
        'class Thing:\n    "Base of things."\n    def f(self):\n        raise NotImplementedError',
    ],
)
def test_what_is_allowed_is_not_reported(text):
    assert [finding for rule in RULES for finding in rule(source("stepwell.fine", text))] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    found = [f"{_place(file)}:{finding}" for file in package_sources() for finding in rule(file)]
    assert not found, "\n".join([rule.__doc__ or "", *found])


def _place(file: Source) -> str:
    return str(file.path.relative_to(SRC.parent))
