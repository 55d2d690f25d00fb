"""How chunks of a run reach whoever streams it: their envelope, and what is printed of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from stepwell._engine.arguments import ArgumentError, one_of, refuse
from stepwell.constants import START

Version: TypeAlias = Literal["v1", "v2"]
Mapper: TypeAlias = "Callable[[dict[str, Any]], Any] | None"

MODES: Final = ("values", "updates", "custom", "messages", "checkpoints", "tasks", "debug")
DEBUG_PRINTS: Final = ("updates", "values")
"""What `debug=True` prints."""

_INTERRUPT: Final = "__interrupt__"
_BOLD, _YELLOW, _PLAIN = "\033[1m", "\033[0;33m", "\033[0m"


class Mappers(NamedTuple):
    """How dicts become objects of the graph's schemas, for `version="v2"`."""

    output: Mapper = None
    state: Mapper = None


def modes_of(name: str, given: Any) -> tuple[str, ...]:
    """Stream modes as a tuple.

    Raises:
        ArgumentError: One of them is none.
    """
    if isinstance(given, str) or not isinstance(given, Collection):
        given = (given,)
    for mode in given:
        if not isinstance(mode, str):
            raise refuse(name, given, "a mode or a list of modes")
        if mode not in MODES:
            msg = f"{name} {mode!r} is not one of {', '.join(MODES)}"
            raise ArgumentError(msg)
    return tuple(given)


class Envelope:
    """What becomes of each chunk: printed, left out, or given on in the form asked for.

    Forms: one mode gives its payload, a list of modes (mode, payload); with `subgraphs` the
    namespace stands before. `version="v2"` gives dicts {"type", "ns", "data"}, and of values
    also "interrupts"; values of a state whose schema is a class become objects of it.
    """

    __slots__ = ("_alone", "_mappers", "_print", "_version", "_wanted", "modes", "subgraphs")

    def __init__(
        self,
        stream_mode: Any,
        print_mode: Any = (),
        *,
        subgraphs: bool = False,
        version: Version = "v1",
        mappers: Mappers = Mappers(),  # noqa: B008  # immutable
    ) -> None:
        if version not in ("v1", "v2"):
            one_of("version", version, ("v1", "v2"))
        self._wanted = frozenset(modes_of("stream_mode", stream_mode))
        self._print = frozenset(modes_of("print_mode", print_mode)) if print_mode else frozenset()
        self.modes = self._wanted | self._print
        self.subgraphs = subgraphs
        self._alone = not isinstance(stream_mode, list)
        self._version = version
        self._mappers = mappers

    def show(self, ns: tuple[str, ...], mode: str, payload: Any) -> tuple[Any, ...]:
        """Print the chunk if that is wanted; the chunk to give on, in a tuple, or ()."""
        if mode in self._print:
            place = f"{_YELLOW}[graph={ns}]{_PLAIN} " if self.subgraphs and ns else ""
            print(f"{_BOLD}[{mode}]{_PLAIN} {place}{payload!r}")  # noqa: T201  # asked for
        if mode not in self._wanted:
            return ()
        if self._version == "v2":
            return (self._part(ns, mode, payload),)
        if self.subgraphs:
            return ((ns, payload) if self._alone else (ns, mode, payload),)
        return (payload if self._alone else (mode, payload),)

    def _part(self, ns: tuple[str, ...], mode: str, payload: Any) -> dict[str, Any]:
        if mode == "values":
            questions: tuple[Any, ...] = ()
            if isinstance(payload, dict):
                if _INTERRUPT in payload:
                    payload = dict(payload)
                    questions = payload.pop(_INTERRUPT)
                if self._mappers.output is not None:
                    payload = self._mappers.output(payload)
            return {"type": mode, "ns": ns, "data": payload, "interrupts": questions}
        if self._mappers.state is not None:
            if mode == "checkpoints":
                payload = _with_object(payload, self._mappers.state)
            elif mode == "debug" and payload["type"] == "checkpoint":
                inner = _with_object(payload["payload"], self._mappers.state)
                payload = {**payload, "payload": inner}
        return {"type": mode, "ns": ns, "data": payload}


def _with_object(payload: dict[str, Any], mapper: Callable[[dict[str, Any]], Any]) -> Any:
    """A `checkpoints` payload with its values as an object.

    The first checkpoint keeps its dict: not all keys hold a value yet.
    """
    if START in payload["next"] or not isinstance(payload["values"], dict):
        return payload
    return {**payload, "values": mapper(payload["values"])}


__all__ = ["DEBUG_PRINTS", "MODES", "Envelope", "Mapper", "Mappers", "Version", "modes_of"]
