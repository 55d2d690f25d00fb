#!/usr/bin/env python3
"""Survey real Python sources with a graph whose process is killed half-way, and check the result.

    python docs/examples/survey.py                  the standard library, on SQLite
    python docs/examples/survey.py ~/src/project    any other folder
    python docs/examples/survey.py --postgres       on a PostgreSQL server that it starts
    python docs/examples/survey.py --help           the rest

The parts are in the folder `survey`: graph.py is what a user of Stepwell writes, worker.py runs
it, supervisor.py kills it and looks on, verify.py counts everything once more without Stepwell.
"""

import sys

from survey.command import main

if __name__ == "__main__":
    sys.exit(main())
