"""Measurements of one system at one place, in a process of its own.

Prints a line of JSON for each: its figures, or why there are none. `measure.py` starts these
processes and interleaves them: one for each measurement, or (in a smoke run, where nothing is
compared) one for all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.workloads import ALONE, PLACED, WORKLOADS


async def measure(arguments: argparse.Namespace, wanted: dict[str, Any]) -> dict[str, Any]:
    """The figures of one workload."""
    system = systems.load(arguments.system)
    system.name, system.folder = arguments.system, f"{arguments.folder}/{wanted['case']}"
    Path(system.folder).mkdir()  # noqa: ASYNC240  # before anything is measured
    work, parameters = wanted["workload"], dict(wanted["parameters"])
    if work in PLACED:
        parameters["place"] = arguments.place
    at_place = nullcontext() if arguments.place == "-" or work in ALONE else system.opened(
        arguments.place, system.folder)  # fmt: skip
    async with at_place as opened:
        figures = await WORKLOADS[work](system, opened, wanted["n"], **parameters)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"figures": figures, "peak_mib": peak_mib}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=systems.NAMES)
    parser.add_argument("--place", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--cases", required=True, help="JSON: [{case, workload, n, parameters}]")
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    factory = None
    if arguments.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    for wanted in json.loads(arguments.cases):
        found = {"case": wanted["case"], "system": arguments.system}
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                found |= runner.run(measure(arguments, wanted))
        except Exception:
            found["error"] = traceback.format_exc()
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
