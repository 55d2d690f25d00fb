"""One round in a process of its own: `python -m tests.torture._round MODULE ID ORDER OUT`."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import orjson

from tests.torture._figures import Budget, Figures
from tests.torture._registry import load_from


def run(module: str, id: str, order: dict[str, Any]) -> Figures:
    """Do what the order says; whatever is raised is a failure of the round."""
    found = load_from([importlib.import_module(module)])[id]
    with tempfile.TemporaryDirectory(prefix=f"stepwell-{id}-") as folder:
        budget = Budget(
            folder=Path(folder), seconds=order["seconds"], cases=order["cases"],
            places=found.places & frozenset(order["places"]),
        )  # fmt: skip
        try:
            told = found.run(order["seed"], budget)
            if inspect.isawaitable(told):
                told = asyncio.run(_awaited(told))
        except Exception:
            return Figures(1, [traceback.format_exc(limit=-6)])
    if not told.cases:
        told.failures.append("the round did nothing")
    return told


async def _awaited(told: Any) -> Figures:
    return await told


def main(module: str, id: str, order: str, out: str) -> None:
    figures = run(module, id, orjson.loads(order))
    Path(out).write_bytes(orjson.dumps(figures.as_json()))


if __name__ == "__main__":
    main(*sys.argv[1:])
