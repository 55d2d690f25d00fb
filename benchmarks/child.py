"""One measurement: one system, one workload, in a process of its own.

Prints one JSON object. `__main__.py` starts these processes and interleaves them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource

from benchmarks import systems
from benchmarks.workloads import WORKLOADS


async def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """The figures of one workload."""
    system = systems.load(arguments.system)
    parameters = json.loads(arguments.parameters)
    if arguments.workload == "talk":
        parameters["place"] = arguments.place
    async with system.opened(arguments.place, arguments.folder) as opened:
        figures = await WORKLOADS[arguments.workload](system, opened, arguments.n, **parameters)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"system": arguments.system, "figures": figures, "peak_mib": peak_mib}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=systems.NAMES)
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--place", default="none")
    parser.add_argument("--folder", default=".")
    parser.add_argument("--parameters", default="{}", help="JSON")
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    factory = None
    if arguments.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(measure(arguments))))


if __name__ == "__main__":
    main()
