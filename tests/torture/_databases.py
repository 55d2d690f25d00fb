"""Databases of a round's own, for processes that are given a URL."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests._postgres import execute, fresh_name, server_dsn


@contextmanager
def database(place: str, folder: Path, name: str = "torture") -> Iterator[str]:
    """URL of an empty database: a file in `folder`, or one on the server of this session.

    Usable inside and outside an event loop.
    """
    if place == "sqlite":
        yield f"sqlite:///{folder}/{name}.db"
        return
    if place != "postgres":
        msg = f"there is no URL for {place!r}"
        raise ValueError(msg)
    made = fresh_name("db")
    aside(execute(f'CREATE DATABASE "{made}"'))
    try:
        yield urlunsplit(urlsplit(server_dsn())._replace(path=f"/{made}"))
    finally:
        aside(execute(f'DROP DATABASE "{made}" WITH (FORCE)'))


def aside(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that runs on a loop and in a thread of its own."""
    told: list[Any] = []

    def go() -> None:
        try:
            told.append(asyncio.run(work))
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if isinstance(told[0], BaseException):
        raise told[0]
    return told[0]
