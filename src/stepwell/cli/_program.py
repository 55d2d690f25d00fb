"""The program: its verbs, and what becomes of their errors."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError

from stepwell.cli._codes import CONFLICT, FINE, INTERRUPTED, PROBLEM, UNAVAILABLE, USAGE
from stepwell.cli._figures import COUNTING
from stepwell.cli._output import console, note
from stepwell.cli._reading import READING
from stepwell.cli._writing import WRITING
from stepwell.errors import (
    IdempotencyConflictError,
    InvalidIdError,
    NotFoundError,
    SequenceConflictError,
    StaleWriterError,
    StepwellError,
    StorageError,
    ThreadBusyError,
    UsageError,
)
from stepwell.version import __version__

_CODES: Final[Sequence[tuple[tuple[type[Exception], ...], int]]] = (
    (
        (ThreadBusyError, StaleWriterError, SequenceConflictError, IdempotencyConflictError),
        CONFLICT,
    ),
    ((UsageError, InvalidIdError, ValueError), USAGE),
    ((NotFoundError,), PROBLEM),
    ((StorageError,), UNAVAILABLE),
)
"""Looked through in order."""


def program() -> App:
    """The program with all its verbs."""
    app = App(
        name="stepwell",
        help="Look at threads, and look after their database.",
        version=__version__,
        help_format="plaintext",
        result_action="return_value",
    )
    for verb in (*READING, *COUNTING, *WRITING):
        app.command(verb)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the program; the exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        note(f"stepwell: {error}")
        return USAGE
    except KeyboardInterrupt:
        note("stepwell: stopped before it was done")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough
        _close()
        return FINE
    except OSError as error:
        note(f"stepwell: {error}")
        _close()
        return UNAVAILABLE
    except (StepwellError, ValueError) as error:
        note(f"stepwell: {error}")
        return next((code for kinds, code in _CODES if isinstance(error, kinds)), PROBLEM)
    return code


def _run(arguments: Sequence[str]) -> int:
    command, bound, _ = program().parse_args(
        list(arguments), exit_on_error=False, print_error=False, console=console()
    )
    result = command(*bound.args, **bound.kwargs)
    code = asyncio.run(result) if asyncio.iscoroutine(result) else result
    return code if isinstance(code, int) else FINE


def _close() -> None:
    """Let what is still in the buffer go nowhere, instead of into an error as the process ends."""
    try:
        place = sys.stdout.fileno()
    except OSError:
        return  # no file of the process
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, place)
    os.close(nowhere)


__all__ = ["program", "run"]
