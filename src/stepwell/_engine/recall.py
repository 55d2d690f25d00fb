"""Results of tasks that were computed before: looked up before a superstep, kept after it.

A key is a namespace (the function and the node) and a digest of the input. What is kept is what
the task wrote, encoded by the graph's codec. Only a task that finished is kept. A cache that
fails costs a warning and the time to compute anew, never the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from stepwell._codec import Codec
from stepwell._engine.filing import leave
from stepwell._ids import digest16
from stepwell._journal.screen import untracked_screen
from stepwell._plan.tasks import Write
from stepwell.cache.base import BaseCache, FullKey, Namespace
from stepwell.errors import CodecError, UnsupportedTypeError, of_langgraph
from stepwell.types import CacheKey, CachePolicy

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell._engine.run import Run
    from stepwell._engine.task import TaskRun

logger = logging.getLogger("stepwell")

CACHE_NS_WRITES: Final = "__pregel_ns_writes"
_DYNAMIC: Final = "__dynamic__"


def cache_namespace(identity: str, *more: str) -> Namespace:
    """Where results of one function are kept: LangGraph's namespace.

    Args:
        identity: Module and qualified name of the function, "" if it has none.
        more: The node's name, for nodes.
    """
    return (CACHE_NS_WRITES, identity or _DYNAMIC, *more)


class Caching:
    """What is cached of one function, and under which keys."""

    __slots__ = ("ns", "policy")

    def __init__(self, policy: CachePolicy[Any], ns: Namespace) -> None:
        self.policy = policy
        self.ns = ns

    def key(
        self, codec: Codec, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> CacheKey:
        """The key of one call.

        Raises:
            UnsupportedTypeError: The arguments cannot be encoded, and the policy has no
                `key_func` that says what of them counts.
            TypeError: `key_func` returned neither str nor bytes.
        """
        named = dict(kwargs or {})
        if self.policy.key_func is None:
            lowered, _ = codec.lower([list(args), named])
            made: Any = orjson.dumps(lowered, option=orjson.OPT_SORT_KEYS)
        else:
            made = self.policy.key_func(*args, **named)
        if not isinstance(made, (str, bytes)):
            msg = (
                f"The key_func of the cache policy of {self.ns[-1]!r} must return a str or bytes, "
                f"not {type(made).__name__}."
            )
            raise TypeError(msg)
        return CacheKey(self.ns, digest16(made).hex(), self.policy.ttl)


class ResultCache:
    """A cache as one graph uses it."""

    __slots__ = ("_cache", "_codec", "_warned")

    def __init__(self, cache: BaseCache[bytes], codec: Codec) -> None:
        self._cache = cache
        self._codec = codec
        self._warned: set[Namespace] = set()

    def key_of(
        self, caching: Caching, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> CacheKey | None:
        """The key of one call; None, with one warning, if the codec cannot make one.

        Raises:
            TypeError: The policy's `key_func` returned neither str nor bytes.
        """
        try:
            return caching.key(self._codec, args, kwargs)
        except UnsupportedTypeError as exc:
            self._warn(caching.ns, "its input has no key; give its policy a key_func", exc)
            return None

    async def find(self, keys: Iterable[CacheKey]) -> dict[FullKey, bytes]:
        """What was kept under these keys, by (namespace, key); see `read`."""
        wanted = list(dict.fromkeys((k.ns, k.key) for k in keys))
        try:
            return await self._cache.aget(wanted)
        except Exception as exc:  # noqa: BLE001  # the cache is its owner's: say so, compute anew
            self._warn((), "the cache could not be read", exc)
            return {}

    def read(self, key: CacheKey, body: bytes) -> list[Write] | None:
        """The writes that were kept, every time anew; None, with one warning, if they cannot be
        read any more."""
        try:
            return [
                (channel, self._codec.revive(value, channel=channel) if tagged else value)
                for channel, value, tagged in orjson.loads(body)
            ]
        except (CodecError, TypeError, ValueError) as exc:
            self._warn(key.ns, "what was kept cannot be read", exc)
            return None

    async def keep(self, results: Iterable[tuple[CacheKey, Sequence[Write]]]) -> None:
        """Keep what finished tasks wrote. What cannot be encoded is not kept, with one warning."""
        pairs: dict[FullKey, tuple[bytes, int | None]] = {}
        for key, writes in results:
            try:
                pairs[key.ns, key.key] = (self._encode(writes), key.ttl)
            except UnsupportedTypeError as exc:
                self._warn(key.ns, "its result cannot be stored", exc)
        if not pairs:
            return
        try:
            await self._cache.aset(pairs)
        except Exception as exc:  # noqa: BLE001  # as above
            self._warn((), "the cache could not be written", exc)

    def _encode(self, writes: Sequence[Write]) -> bytes:
        encoded = [(c, self._codec.encode(v, channel=c)) for c, v in writes]
        return orjson.dumps([[c, orjson.Fragment(e.data), e.tagged] for c, e in encoded])

    def _warn(self, ns: Namespace, what: str, error: Exception) -> None:
        if ns in self._warned:
            return
        self._warned.add(ns)
        whose = f"Results of {ns[-1]!r} are not cached" if ns else "Nothing is cached"
        said = type(error).__name__
        if isinstance(error, CodecError):  # names types and places, and no value
            said = f"{said}: {error}"
        logger.warning("%s: %s: %s", whose, what, said)


async def recall(
    run: Run, cache: ResultCache, todo: Sequence[TaskRun]
) -> tuple[list[TaskRun], dict[TaskRun, CacheKey]]:
    """Give tasks of a superstep whose result is known their writes.

    Returns:
        The others, which are to be executed; and the keys of those whose result is to be kept.

    Raises:
        Exception: What a `key_func` raised.
    """
    keys: dict[TaskRun, CacheKey] = {}
    for task in todo:
        caching: Caching | None = task.task.node.cache
        key = None if caching is None else cache.key_of(caching, (task.task.input,))
        if key is not None:
            keys[task] = key
    found = await cache.find(keys.values()) if keys else {}
    for task, key in tuple(keys.items()):
        body = found.get((key.ns, key.key))
        task.writes = None if body is None else cache.read(key, body)
        if task.writes is not None:
            del keys[task]
    left = [t for t in todo if t.writes is None]
    for task in todo:
        if task.writes is not None:
            _settle(run, task, others=bool(left))
    return left, keys


async def recall_call(call: TaskRun) -> CacheKey | None:
    """Give a task call its writes, if its result is known; else the key to keep it under, None
    if it is not to be kept.

    Raises:
        Exception: What a `key_func` raised.
    """
    caching: Caching | None = call.task.node.cache
    program = call.run.graph
    if caching is None or program.cache is None:
        return None
    if program.call_results is None:
        program.call_results = ResultCache(program.cache, program.codec)
    cache = program.call_results
    key = cache.key_of(caching, *call.task.input)
    if key is None:
        return None
    body = (await cache.find([key])).get((key.ns, key.key))
    call.writes = None if body is None else cache.read(key, body)
    return key if call.writes is None else None


async def remember_call(call: TaskRun, key: CacheKey) -> None:
    """Keep the result of a task call that finished."""
    cache = call.run.graph.call_results
    if cache is not None and call.writes is not None and _shows_all(call.run, call):
        await cache.keep([(key, call.writes)])


def _settle(run: Run, task: TaskRun, *, others: bool) -> None:
    """Record and show a task whose result came from the cache."""
    if run.rec is not None:
        task.encoded = run.rec.encode(task.writes or ())
        if others and not (run.rec.exits or run.rec.held_back):
            leave(run.rec, task)
    run.publisher.recalled(task)
    if run.watch is not None:
        run.watch.task_finished(task)


async def remember(run: Run, keys: Mapping[TaskRun, CacheKey]) -> None:
    """Keep the results of the tasks of a superstep that finished; not what a handler did in the
    place of one."""
    results = run.graph.results
    if results is not None:
        await results.keep(
            (key, task.writes)
            for task, key in keys.items()
            if task.writes is not None and task.handled is None and _shows_all(run, task)
        )


def _shows_all(run: Run, task: TaskRun) -> bool:
    """Whether a result may be kept: of one that is hidden or untracked in part, nothing is."""
    screens = (
        untracked_screen(run.spec.untracked),
        None if run.rec is None else run.rec.handle.screen,
    )
    return all(s is None or s.passes(task.writes or ()) for s in screens)


def use_cache(program: Program, cache: Any) -> None:
    """Give a graph its cache. Without one, or without a node that uses it, it costs nothing.

    Raises:
        TypeError: It is no cache.
    """
    if cache is None:
        return
    if not isinstance(cache, BaseCache):
        msg = f"cache must be a stepwell.cache.base.BaseCache or None, not {type(cache).__name__}"
        if said := of_langgraph(cache):
            msg = f"{msg}: {said}"
        raise TypeError(msg)
    program.cache = cache
    if any(node.cache is not None for node in program.spec.nodes.values()):
        program.results = ResultCache(cache, program.codec)


__all__ = [
    "CACHE_NS_WRITES",
    "Caching",
    "ResultCache",
    "cache_namespace",
    "recall",
    "recall_call",
    "remember",
    "remember_call",
    "use_cache",
]
