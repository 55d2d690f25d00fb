"""What a compiled graph lets its owner say of all its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell._engine.arguments import ArgumentError, seconds
from stepwell.cache.base import BaseCache, Namespace
from stepwell.pregel._base import Compiled


class PolicyVerbs(Compiled):
    """The part of a compiled graph that concerns limits and the cache."""

    @property
    def step_timeout(self) -> float | None:
        """Seconds that a superstep may take, None for no limit. Beyond it, tasks that still run
        are cancelled and the run fails with `TimeoutError`; it can be resumed."""
        return self._program.step_timeout

    @step_timeout.setter
    def step_timeout(self, limit: float | None) -> None:
        self._change(step_timeout=seconds("step_timeout", limit))

    @property
    def cache(self) -> BaseCache[Any] | None:
        """Where results of nodes with a cache policy are kept."""
        return self._program.cache

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget the results of nodes; None: of all nodes of this graph.

        Raises:
            ValueError: The graph was compiled without a cache.
        """
        cache, namespaces = self._cached(nodes)
        cache.clear(namespaces)

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Async twin of `clear_cache`."""
        cache, namespaces = self._cached(nodes)
        await cache.aclear(namespaces)

    def _cached(self, nodes: Sequence[str] | None) -> tuple[BaseCache[Any], list[Namespace]]:
        cache, known = self._program.cache, self._program.spec.nodes
        if cache is None:
            msg = (
                "No cache is set for this graph. Cannot clear cache: compile it with one, "
                "compile(cache=InMemoryCache())."
            )
            raise ArgumentError(msg)
        used = [known[name].cache for name in nodes or known if name in known]
        return cache, [caching.ns for caching in used if caching is not None]


__all__ = ["PolicyVerbs"]
