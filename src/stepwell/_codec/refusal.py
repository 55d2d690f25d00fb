"""Why and where a value cannot be stored: what a user gets to read."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from stepwell.constants import START, TASKS
from stepwell.errors import UnsupportedTypeError
from stepwell.types import Send


class Place(str):
    """A step of a path that is already written the way it is shown, such as `.name`."""

    __slots__ = ()


_STEPS_SHOWN = 40

Step: TypeAlias = str | int | Place


class Spot(NamedTuple):
    """What somebody who reads an error calls the place a value was to be written to.

    `before`: until when it can still be converted. `schema`: how a schema names the class of
    what is written there, None where no schema speaks of it. `wrapped`: the outer steps of the
    path that are the record's, not the value's.
    """

    where: str
    before: str
    schema: str | None = None
    wrapped: int = 0


_SPOTS = {
    START: Spot("The input", "before it is passed in", "name it in the schema of the input"),
    "__interrupt__": Spot("The question", "before it is asked", wrapped=2),
    "__resume__": Spot("The answer", "before it is given", wrapped=1),
    "__metadata__": Spot('config["metadata"]', "before it is put there"),
    "__end__": Spot(
        "What the entrypoint returns", "before it is returned", "name it in the return annotation"
    ),
    "__previous__": Spot(
        "What the entrypoint saves", "before it is saved", "name it in the return annotation"
    ),
    "__return__": Spot(
        "What the task returns", "before it is returned", "name it in the return annotation"
    ),
    "__root__": Spot("The state", "before it is written", "name it in the state schema"),
}


class Refusal(Exception):  # noqa: N818  # never leaves the codec
    """A value that cannot be stored. Gathers its path while it travels outwards.

    `steps` grows from the inside out. `chain` holds the containers passed, each with the
    number of steps that lead from it to the value refused. `nameable`: a schema could name the
    class, `convertible`: the value could become one of a supported type; the remedy goes on with
    how, in words that depend on the place.
    """

    def __init__(
        self,
        kind: type,
        problem: str,
        remedy: str,
        *,
        deep: bool = False,
        convertible: bool = False,
        nameable: bool = False,
    ) -> None:
        super().__init__(problem)
        self.kind = kind
        self.problem = problem
        self.remedy = remedy
        self.deep = deep
        self.convertible = convertible
        self.nameable = nameable
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
    if kind.__module__ == "builtins":  # functions, generators, classes, modules
        return Refusal(kind, problem, "", convertible=True)
    known = (
        base is not None
        or dataclasses.is_dataclass(kind)
        or issubclass(kind, Enum | BaseException)
        or hasattr(kind, "__pydantic_fields_set__")
        or hasattr(kind, "__attrs_attrs__")
    )
    call = f"stepwell.register({name}{'' if known else ', encode=..., decode=...'})"
    remedy = f"Register the class ({call})"
    return Refusal(kind, problem, remedy, convertible=True, nameable=known)


def unsupported(
    refusal: Refusal, channel: str | None, node: str | None = None
) -> UnsupportedTypeError:
    """The error a user sees: what, where, and what to do.

    Args:
        refusal: What was refused.
        channel: Where it was to be written.
        node: The node that asked or is answered, where that is what is written.
    """
    spot = _spot(refusal, channel, node)
    steps = refusal.steps
    del steps[max(0, len(steps) - spot.wrapped) :]
    path = render_path(steps)
    problem, remedy = refusal.problem, _remedy(refusal, spot)
    if refusal.deep and (circle := _find_circle(refusal)) is not None:
        start, path = circle
        problem = f"a reference back to {start}: the value contains itself"
        remedy = "Store a value without circular references."
    kind = refusal.kind
    return UnsupportedTypeError(
        f"{spot.where} holds, at {path}, {problem}. {remedy}",
        channel=channel,
        path=path,
        type_name=f"{kind.__module__}.{kind.__qualname__}",
    )


def _spot(refusal: Refusal, channel: str | None, node: str | None) -> Spot:
    """The place in the words of whoever wrote the graph or calls it."""
    if channel is None:
        return Spot("The value", "before it is stored")
    if channel == TASKS:
        outer = len(refusal.chain) - 1
        for index in range(outer, max(-1, outer - 2), -1):  # one Send, or a list of them
            if type(send := refusal.chain[index][0]) is Send:
                where = f"The argument of Send to {send.node!r}"
                schema = f"annotate the input of node {send.node!r} with it"
                return Spot(where, "before it is sent", schema, outer - index + 1)
        return Spot("A Send", "before it is sent")
    spot = _SPOTS.get(channel)
    if spot is None:
        where = f"Channel {channel!r}"
        return Spot(where, "before it is written", "name it in the state schema")
    if node is not None:
        said = " that node {!r} asks" if channel == "__interrupt__" else " given to node {!r}"
        spot = spot._replace(where=spot.where + said.format(node))
    return spot


def _remedy(refusal: Refusal, spot: Spot) -> str:
    if not refusal.convertible:
        return refusal.remedy
    ways = [refusal.remedy] if refusal.remedy else []
    if refusal.nameable and spot.schema is not None:
        ways.append(spot.schema)
    ways.append(f"convert the value to a supported type {spot.before}")
    text = ", or ".join(ways)
    return f"{text[0].upper()}{text[1:]}."


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
