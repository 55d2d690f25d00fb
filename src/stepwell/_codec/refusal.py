"""Why and where a value cannot be stored: what a user gets to read."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, TypeAlias

from stepwell.errors import UnsupportedTypeError


class Place(str):
    """A step of a path that is already written the way it is shown, such as `.name`."""

    __slots__ = ()


_STEPS_SHOWN = 40

Step: TypeAlias = str | int | Place


class Refusal(Exception):  # noqa: N818  # never leaves the codec
    """A value that cannot be stored. Gathers its path while it travels outwards.

    `steps` grows from the inside out. `chain` holds the containers passed, each with the
    number of steps that lead from it to the value refused.
    """

    def __init__(self, kind: type, problem: str, remedy: str, *, deep: bool = False) -> None:
        super().__init__(problem)
        self.kind = kind
        self.problem = problem
        self.remedy = remedy
        self.deep = deep
        self.steps: list[Step] = []
        self.chain: list[tuple[Any, int]] = []

    def leave(self, container: Any, step: Step) -> None:
        """Note that the refused value was reached from `container` by `step`."""
        self.steps.append(step)
        self.chain.append((container, len(self.steps)))


def too_deep(kind: type, levels_max: int) -> Refusal:
    """The document would have more levels than are allowed."""
    return Refusal(
        kind,
        f"more than {levels_max} levels of nesting",
        "Store a flatter value (a tuple, set or object counts as two or three levels).",
        deep=True,
    )


def unregistered(kind: type, base: type | None) -> Refusal:
    """The class is not in the allow-list. `base`: its nearest base that can be stored."""
    name = kind.__qualname__
    problem = f"an instance of {kind.__module__}.{name}, which cannot be stored as it is"
    if base is not None:
        problem += f" (that {base.__qualname__} can be does not cover its subclasses)"
    convert = "onvert the value to a supported type before it is returned."
    if kind.__module__ == "builtins":  # functions, generators, classes, modules
        return Refusal(kind, problem, f"C{convert}")
    known = (
        base is not None
        or dataclasses.is_dataclass(kind)
        or issubclass(kind, Enum | BaseException)
        or hasattr(kind, "__pydantic_fields_set__")
        or hasattr(kind, "__attrs_attrs__")
    )
    call = f"stepwell.register({name}{'' if known else ', encode=..., decode=...'})"
    if known:
        call += ", or name it in the state schema"
    return Refusal(kind, problem, f"Register the class ({call}), or c{convert}")


def unsupported(refusal: Refusal, channel: str | None) -> UnsupportedTypeError:
    """The error a user sees: what, where, and what to do."""
    path = render_path(refusal.steps)
    problem, remedy = refusal.problem, refusal.remedy
    if refusal.deep and (circle := _find_circle(refusal)) is not None:
        start, path = circle
        problem = f"a reference back to {start}: the value contains itself"
        remedy = "Store a value without circular references."
    where = f"Channel {channel!r}" if channel is not None else "The value"
    kind = refusal.kind
    return UnsupportedTypeError(
        f"{where} holds, at {path}, {problem}. {remedy}",
        channel=channel,
        path=path,
        type_name=f"{kind.__module__}.{kind.__qualname__}",
    )


def _find_circle(refusal: Refusal) -> tuple[str, str] | None:
    """Path of the first container met twice, and of its second meeting."""
    first: dict[int, int] = {}
    for container, depth in reversed(refusal.chain):
        if (start := first.setdefault(id(container), depth)) != depth:
            return render_path(refusal.steps[start:]), render_path(refusal.steps[depth:])
    return None


def render_path(steps: list[Step]) -> str:
    """`$['a'][3].name` for steps given from the inside out; the middle of a long one is cut."""
    shown = [step if type(step) is Place else f"[{short(step)}]" for step in reversed(steps)]
    if len(shown) > _STEPS_SHOWN:
        half = _STEPS_SHOWN // 2
        shown = [*shown[:half], f"...{len(shown) - 2 * half} more...", *shown[-half:]]
    return "$" + "".join(shown)


def short(key: Any) -> str:
    """A dict key for a message: literals cut to 40 characters, anything else by its type."""
    if type(key) in (str, float, bool, bytes, type(None)) or (
        type(key) is int and key.bit_length() < 128  # Python refuses to spell longest ones
    ):
        text = repr(key)
        return text if len(text) <= 40 else text[:36] + "..."
    return f"<{type(key).__qualname__}>"


def at_field(steps: list[Step], _state: Any) -> None:
    """Rewrite the outermost step: the state is a dict of attributes."""
    if steps and type(steps[-1]) is str:
        steps[-1] = Place("." + steps[-1])


def at_section(steps: list[Step], _state: Any) -> None:
    """The state is a dict of named parts: of attributes, of items, or the value itself."""
    if steps and steps[-1] == "args":
        steps[-1] = Place(".args")
    elif len(steps) > 1 and steps.pop() != "value":
        at_field(steps, None)


def at_content(steps: list[Step], _state: Any) -> None:
    """The state is a list that begins with the items."""
    if steps:
        steps.pop()


def at_pair(steps: list[Step], state: Any) -> None:
    """The state is a flat list: key, value, key, value."""
    if steps and isinstance(steps[-1], int):
        index = steps[-1]
        key = f"[{short(state[index - 1])}]" if index % 2 else f".keys()[{index // 2}]"
        steps[-1] = Place(key)


def at_pair_content(steps: list[Step], state: Any) -> None:
    """The state is a list that begins with a flat list of pairs."""
    at_content(steps, state)
    at_pair(steps, state[0])


def at_element(steps: list[Step], _state: Any) -> None:
    """The state is a list of elements without an order."""
    if steps:
        steps[-1] = Place("{*}")


def at_tzinfo(steps: list[Step], _state: Any) -> None:
    """The state is a date or time with its time zone."""
    if steps:
        steps[-1] = Place(".tzinfo")
