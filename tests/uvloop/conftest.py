"""Everything in this folder runs on loops of uvloop."""

from __future__ import annotations

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """What pytest-asyncio makes loops with."""
    return {"uvloop": uvloop.new_event_loop}
