"""The program `stepwell`: look at threads and look after their database, from a shell.

Reading verbs never write; writing verbs say so in their help. What they print is a table on a
terminal and JSON elsewhere. Needs the extra: `pip install 'stepwell[cli]'`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from stepwell.cli._codes import USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Default: those of the process.

    Returns:
        The exit code: 0 fine, 1 a problem was found, 2 wrong usage, 3 the storage is not
        available, 4 a conflict (a thread is busy), 130 stopped by Ctrl-C.
    """
    try:
        import cyclopts
        import rich
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"The program stepwell needs {error.name}, which is not installed: "
            "pip install 'stepwell[cli]'\n"
        )
        return USAGE
    del cyclopts, rich
    if isinstance(sys.stdout, io.TextIOWrapper):  # in a locale that has not all characters
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    from stepwell.cli._program import run

    return run(sys.argv[1:] if arguments is None else list(arguments))


__all__ = ["main"]
