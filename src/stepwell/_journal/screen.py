"""What may be stored of a value: the view of a user on what must stay off the disk.

A screen is asked for every value before it is encoded, under the name it is stored under:
a channel, or one of `__interrupt__`, `__resume__`, `__error__`, `__metadata__`. What it lets
through is the very same object, so that a caller sees by identity whether anything is hidden.

Some channels carry others: the input, the output and what a `Send` or a task call brings are
often dicts of the state's keys. Those are asked for as a whole, and then key by key.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from stepwell._plan.spec import PREVIOUS, RETURN
from stepwell.constants import END, START, TASKS
from stepwell.errors import UsageError
from stepwell.types import KEEP, OMIT, Overwrite, Send

_log = logging.getLogger("stepwell")

ERROR: Final = "__error__"
INTERRUPT: Final = "__interrupt__"
METADATA: Final = "__metadata__"
RESUME: Final = "__resume__"
NOT_STORED: Final = "(not stored)"
"""Stands where the text of an error was omitted."""

_CARRIERS: Final = frozenset((START, END, PREVIOUS, RETURN, TASKS))
_OWN: Final = ("branch:to:", "join:")
"""How channels begin that hold nothing of the user's."""

Where = Callable[[str, Any], Any]


class Screen:
    """Decides what is stored of a value.

    Args:
        omit: Names whose values are not stored.
        redact: What is stored in place of values, by name.
        where: Asked for every other value with its name; `KEEP`, `OMIT`, or what is stored
            in its place.
        inner: A screen that looks first; this one sees what that one lets through.
    """

    __slots__ = ("_inner", "_omit", "_redact", "_where")

    def __init__(
        self,
        omit: Collection[str],
        redact: Mapping[str, Any],
        where: Where | None,
        inner: Screen | None = None,
    ) -> None:
        self._omit = frozenset(omit)
        self._redact = dict(redact)
        self._where = where
        self._inner = inner

    def see(self, name: str, value: Any) -> Any:
        """The value itself, or what is stored in its place, or `OMIT`."""
        if name.startswith(_OWN):
            return value
        if type(value) is Overwrite:
            seen = self._asked(name, value.value)
            return value if seen is value.value else seen if seen is OMIT else Overwrite(seen)
        if type(value) is dict and value.keys() == {"__overwrite__"}:
            seen = self.see(name, Overwrite(value["__overwrite__"]))
            return seen if seen is OMIT or seen.value is not value["__overwrite__"] else value
        return self._asked(name, value)

    def _asked(self, name: str, value: Any) -> Any:
        if self._inner is not None:
            value = self._inner.see(name, value)
            if value is OMIT:
                return OMIT
        if name in self._omit:
            return OMIT
        if name in self._redact:
            return self._redact[name]
        if self._where is None:
            return value
        said = self._where(name, value)
        return value if said is KEEP else said

    # -- values that carry others -------------------------------------------------------

    def inside(self, channel: str, value: Any) -> Any:
        """A value without what its parts hide: the same object, if they hide nothing."""
        if channel not in _CARRIERS:
            return value
        if type(value) is list and channel == TASKS:
            sends = [self.inside(channel, item) for item in value]
            return value if _same(sends, value) else sends
        if isinstance(value, Send):
            arg = self._parts(value.arg)
            return value if arg is value.arg else Send(value.node, arg, timeout=value.timeout)
        return self._parts(value)

    def _parts(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return self._keys(value)
        names = _fields(value)
        seen = {n: self.see(n, getattr(value, n)) for n in names if hasattr(value, n)}
        changed = {n: s for n, s in seen.items() if s is not getattr(value, n)}
        if not changed:
            return value
        if isinstance(value, tuple):
            return value._replace(**{n: None if s is OMIT else s for n, s in changed.items()})  # type: ignore[attr-defined]
        other = copy.copy(value)
        for name, part in changed.items():
            # The field has to be there for the class to be revived; it holds nothing.
            object.__setattr__(other, name, None if part is OMIT else part)
        return other

    def _keys(self, value: Mapping[Any, Any]) -> Any:
        seen = {k: self.see(k, v) if isinstance(k, str) else v for k, v in value.items()}
        if all(seen[k] is v for k, v in value.items()):
            return value
        other: Any = copy.copy(value) if isinstance(value, dict) else dict(value)
        for key, part in seen.items():
            if part is OMIT:
                del other[key]
            else:
                other[key] = part
        return other

    # -- what is no channel -------------------------------------------------------------

    def interrupts(self, asked: Sequence[list[Any]]) -> list[list[Any]]:
        """Questions as `dump_interrupts` makes them: they keep their ids, whatever is hidden."""
        found = []
        for value, id_, schema in asked:
            seen = self.see(INTERRUPT, value)
            found.append([None if seen is OMIT else seen, id_, schema])
        return found

    def answers(self, answers: Iterable[Any]) -> list[Any]:
        """Answers of one task in their order, up to the first that is not stored: it would be
        asked for again, and those behind it with it."""
        found = []
        for answer in answers:
            seen = self.see(RESUME, answer)
            if seen is OMIT:
                break
            found.append(seen)
        return found

    def error(self, text: str) -> str:
        """The text of an error. A `where` that fails itself hides it: the error it fails on
        must be recorded."""
        try:
            seen = self.see(ERROR, text)
        except Exception as exc:  # noqa: BLE001  # user code, while another error is handled
            _log.warning(
                "where= raised %s on the text of an error, which is not stored.",
                type(exc).__name__,
            )
            return NOT_STORED
        return NOT_STORED if seen is OMIT else str(seen)

    def failure(self, error: BaseException | str) -> BaseException | str:
        """An exception, or its repr where that is all that can be stored of it."""
        if isinstance(error, str):
            return self.error(error)
        try:
            text = repr(error)
        except Exception:  # noqa: BLE001  # user code: then its text cannot be judged
            return NOT_STORED
        seen = self.error(text)
        return error if seen == text else seen

    def metadata(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Metadata of a run or a checkpoint.

        Raises:
            UsageError: What is to stand in its place is no mapping.
        """
        seen = self.see(METADATA, metadata)
        if seen is OMIT:
            return {}
        if not isinstance(seen, Mapping):
            msg = f"What a filter puts in place of {METADATA} must be a dict, not {seen!r:.80}."
            raise UsageError(msg)
        return seen

    def output(self, value: Any, keys: Sequence[str] | str) -> Any:
        """What a run returned, where its row keeps that."""
        if isinstance(keys, str):
            seen = self.see(keys, self.inside(keys, value))
            return None if seen is OMIT else seen
        return self._keys(value) if isinstance(value, Mapping) else value

    def given(self, value: Any) -> Any:
        """What a caller gave: the part of it that may be compared with later calls."""
        seen = self.see(START, self.inside(START, value))
        return None if seen is OMIT else seen

    def passes(self, writes: Iterable[tuple[str, Any]]) -> bool:
        """Whether nothing of these writes is hidden."""
        return all(
            self.inside(channel, value) is value and self.see(channel, value) is value
            for channel, value in writes
        )


def _same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return all(a is b for a, b in zip(some, others, strict=True))


def _fields(value: Any) -> Iterable[str]:
    """Names of the fields of a dataclass, model, attrs class or named tuple; else none."""
    cls = type(value)
    if dataclasses.is_dataclass(cls):
        return [f.name for f in dataclasses.fields(cls)]
    if hasattr(cls, "model_fields"):
        return [*cls.model_fields, *(getattr(value, "model_extra", None) or ())]
    if hasattr(cls, "__attrs_attrs__"):
        return [a.name for a in cls.__attrs_attrs__]
    return getattr(cls, "_fields", ()) if isinstance(value, tuple) else ()


def untracked_screen(channels: Collection[str]) -> Screen | None:
    """What hides channels that are never stored in values that carry others; None: none are."""
    return Screen(channels, {}, None) if channels else None


def screen_of(omit: Any, redact: Any, where: Any, inner: Screen | None) -> Screen:
    """The screen that options of `with_filter` describe, behind `inner`.

    Raises:
        UsageError: An option is none that it can be.
    """
    if isinstance(omit, str) or not isinstance(omit, Collection) or not _texts(omit):
        raise UsageError(f"omit= takes a collection of names of channels, not {omit!r:.80}.")
    redact = {} if redact is None else redact
    if not isinstance(redact, Mapping) or not _texts(redact):
        raise UsageError(f"redact= takes a dict: name of a channel -> value, not {redact!r:.80}.")
    if where is not None and not callable(where):
        raise UsageError(f"where= takes a function of channel and value, not {where!r:.80}.")
    if both := sorted(set(omit) & redact.keys()):
        raise UsageError(f"{both[0]!r} cannot be in omit= and in redact= at once.")
    if not (omit or redact or where):
        raise UsageError("with_filter() needs omit=, redact= or where=: else it hides nothing.")
    return Screen(omit, redact, where, inner)


def _texts(names: Iterable[Any]) -> bool:
    return all(isinstance(name, str) for name in names)


__all__ = ["NOT_STORED", "Screen", "screen_of", "untracked_screen"]
