"""What clients asked for and what they were told, outside the database."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import orjson

from stepwell._codec import Codec
from stepwell._ids import RANDOM_IDS
from stepwell.errors import CodecError
from stepwell.testing._lines import LineLog

Outcome = Literal["ok", "fail", "unknown"]

SUPERSTEP = "superstep"
"""The verb of what a run acknowledges on its way."""
NOT_COMPARABLE = "$repr"
"""The one key of a value that could not be written as the database would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a history.

    Attributes:
        n: Its place among all events of the history, counted from 0.
        what: "invoke": the operation is about to begin. "ok": it was acknowledged. "fail":
            it certainly did nothing. "unknown": it may have happened, wholly or not at all.
        op: Names the operation; the same in its invoke and its outcome.
        verb: "run" | "update" | "read" | "delete" | "prune" | "rollback" | "copy" |
            "superstep", or a word of the test's own.
        thread: The thread it is about.
        ns: The namespace.
        run: The run.
        epoch: The epoch, where the client knows it.
        step: The superstep that was acknowledged or read.
        task: The task.
        checkpoint: The checkpoint that was acknowledged or read; of a read, None says that
            nothing was there.
        value: What was asked for, or what was returned; as the database would store it.
        next: Of a read: the nodes that were still to run.
        done: Of a read: ids of tasks whose results were seen.
        from_checkpoint: The operation goes back to this checkpoint instead of the head.
        parts: Scalars, of this operation alone, that its one write puts into the state.
        durability: Of a run; "left out" if its graph has a policy (`checkpoint_when`) that does
            not write every superstep.
        error: Of a fail or an unknown.
        at: Seconds since the host booted.
        pid: The process.
    """

    n: int
    what: Literal["invoke", "ok", "fail", "unknown"]
    op: str
    verb: str
    thread: str | None = None
    ns: str = ""
    run: str | None = None
    epoch: int | None = None
    step: int | None = None
    task: str | None = None
    checkpoint: str | None = None
    value: Any = None
    next: tuple[str, ...] | None = None
    done: tuple[str, ...] = ()
    from_checkpoint: str | None = None
    parts: tuple[str | int, ...] = ()
    durability: str | None = None
    error: str | None = None
    at: float = 0.0
    pid: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation: how it began and how it ended. `end` None: nobody ever heard."""

    begin: Event
    end: Event | None

    @property
    def outcome(self) -> Outcome:
        """What became of it: "ok", "fail" or "unknown" (also if it never ended)."""
        return "unknown" if self.end is None else _outcome(self.end)

    @property
    def begun(self) -> int:
        """Its place in the history."""
        return self.begin.n

    @property
    def ended(self) -> float:
        """The place of its end in the history; infinite if its effects may still come."""
        return self.end.n if self.end is not None and self.end.what != "unknown" else float("inf")


def _outcome(event: Event) -> Outcome:
    return "ok" if event.what == "ok" else "fail" if event.what == "fail" else "unknown"


class OpenOperation:
    """An operation that was written down as begun; one of its ends has to be told."""

    def __init__(self, history: EventLog, event: Mapping[str, Any]) -> None:
        self._history = history
        self._known = {k: event[k] for k in ("op", "verb", "thread", "ns") if k in event}

    @property
    def op(self) -> str:
        """Names the operation; put it into the metadata of what is written (`metadata`)."""
        name: str = self._known["op"]
        return name

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata by which the checker finds what this operation wrote."""
        return {OP_KEY: self.op}

    def ok(self, **fields: Any) -> None:
        """It was acknowledged. `fields` as of `Event`."""
        self._history.write("ok", **self._known, **fields)

    def fail(self, error: BaseException | str | None = None, **fields: Any) -> None:
        """It certainly did nothing."""
        self._history.write("fail", **self._known, error=_text(error), **fields)

    def unknown(self, error: BaseException | str | None = None, **fields: Any) -> None:
        """It may have happened, wholly or not at all, and may still."""
        self._history.write("unknown", **self._known, error=_text(error), **fields)

    def acknowledged(self, *, checkpoint: str, step: int, **fields: Any) -> None:
        """A superstep of this run is durable, its caller was told."""
        known = {**self._known, "verb": SUPERSTEP}
        self._history.write("ok", **known, checkpoint=checkpoint, step=step, **fields)


OP_KEY = "stepwell_op"
"""The metadata key that names the operation which wrote a checkpoint or began a run."""


class EventLog(LineLog):
    """Every operation of every client, written down before it begins and after it ended.

    It is a file outside the database, flushed line by line, that any number of processes
    append to. So the order of its lines is an order in real time: what was acknowledged in a
    line was acknowledged before whatever a later line begins.
    """

    _codec = Codec()

    def invoke(self, verb: str, thread: str | None = None, **fields: Any) -> OpenOperation:
        """Write down that an operation is about to begin. `fields` as of `Event`.

        Raises:
            OSError: It could not be written; then do not begin it.
        """
        event = {"op": RANDOM_IDS.run_id(), "verb": verb, "thread": thread, **fields}
        self.write("invoke", **event)
        return OpenOperation(self, event)

    def acknowledged(self, *, thread: str, checkpoint: str, step: int, **fields: Any) -> None:
        """Write down that a superstep was acknowledged; `op` names the run's operation."""
        event = {"op": "", "verb": SUPERSTEP, **fields}
        self.write("ok", thread=thread, checkpoint=checkpoint, step=step, **event)

    def write(self, what: str, **fields: Any) -> None:
        """Write one event. Prefer `invoke`, which gives the operation a name."""
        if "value" in fields:
            fields["value"] = self._storable(fields["value"])
        kept = {name: value for name, value in fields.items() if value is not None}
        super().append({"what": what, **kept, "at": self.now(), "pid": os.getpid()})

    def _storable(self, value: Any) -> Any:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return {key: self._stored(item) for key, item in value.items()}
        return self._stored(value)

    def _stored(self, value: Any) -> Any:
        try:
            return orjson.Fragment(self._codec.encode(value).data)
        except CodecError:
            return {NOT_COMPARABLE: repr(value)}

    def events(self) -> list[Event]:
        """Everything that was written down, in order."""
        return [_event(n, record) for n, record in enumerate(self.records())]

    def operations(self) -> list[Operation]:
        """Operations in the order in which they began."""
        return operations(self.events())


def operations(events: Iterable[Event]) -> list[Operation]:
    """Pair beginnings with ends. An end that comes twice: the first one counts."""
    begun: dict[str, Operation] = {}
    for event in events:
        if event.what == "invoke":
            begun[event.op] = Operation(begin=event, end=None)
        elif event.verb != SUPERSTEP:
            known = begun.get(event.op)
            if known is not None and known.end is None:
                begun[event.op] = replace(known, end=event)
    return list(begun.values())


def _event(n: int, record: Mapping[str, Any]) -> Event:
    fields = {name: _frozen(name, value) for name, value in record.items()}
    return Event(n=n, **fields)


def _frozen(name: str, value: Any) -> Any:
    return tuple(value) if name in _SEQUENCES and isinstance(value, Sequence) else value


_SEQUENCES = ("next", "done", "parts")


def _text(error: BaseException | str | None) -> str | None:
    return repr(error) if isinstance(error, BaseException) else error


__all__ = ["OP_KEY", "SUPERSTEP", "Event", "EventLog", "OpenOperation", "Operation", "operations"]
