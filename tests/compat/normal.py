"""Observations in a form that two engines can be compared in.

Ids become numbers by order of first appearance, times become a mark, errors their repr; of
metadata only `source`, `step` and the caller's own keys (`m_...`) stay. Nothing is sorted but
sets.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from tests.compat.engines import Raised
from tests.compat.touched import seen

IDS = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.:+Z-]*")


class Normaliser:
    """Normalises the observations of one run; ids are numbered over all of them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def _name(self, found: re.Match[str]) -> str:
        return self._ids.setdefault(found[0].replace("-", ""), f"<id {len(self._ids)}>")

    def _text(self, text: str) -> str:
        return _TIME.sub("<time>", IDS.sub(self._name, text))

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, bytes)):
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, (Raised, BaseException)):
            seen(value.error if isinstance(value, Raised) else value)
        if isinstance(value, Raised):
            return f"raised {value.family}"
        if isinstance(value, BaseException):
            return self._text(repr(value))
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._record(value)
        if isinstance(value, list):
            return [self(v) for v in value]
        if isinstance(value, tuple):
            return tuple(self(v) for v in value)
        if isinstance(value, (set, frozenset)):
            return (type(value).__name__, sorted(map(repr, map(self, value))))
        return self._object(value)

    def _mapping(self, value: dict[Any, Any]) -> Any:
        if "configurable" in value:
            return self._reference(value)
        if "source" in value and "step" in value:
            return self._metadata(value)
        return {
            self(k): self._text(repr(v)) if _is_error(k, v) else self(v) for k, v in value.items()
        }

    def _reference(self, config: dict[str, Any]) -> str:
        place = config["configurable"]
        ns, checkpoint = place.get("checkpoint_ns", ""), place.get("checkpoint_id")
        around = place.get("checkpoint_map")
        shown = f"checkpoint {checkpoint}{f' in {ns}' if ns else ''}"
        return self._text(f"{shown} of {around}" if around else shown)

    def _metadata(self, value: dict[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in value.items() if k in ("source", "step") or k.startswith("m_")}
        if value.get("parents"):
            kept["parents"] = value["parents"]
        return {k: self(kept[k]) for k in sorted(kept)}

    def _record(self, value: Any) -> Any:
        seen(value)
        kind = type(value).__name__
        fields = value._asdict()
        if kind == "PregelTask":
            error = fields["error"]
            fields["error"] = repr(error) if isinstance(error, BaseException) else error
        elif kind == "StateSnapshot" and fields["metadata"] is not None:
            fields["metadata"] = self._metadata(fields["metadata"])
        return {"kind": kind, **{k: self(v) for k, v in fields.items()}}

    def _object(self, value: Any) -> Any:
        seen(value)
        kind = type(value).__name__
        if kind == "Interrupt":
            return {"kind": kind, "value": self(value.value), "id": self(value.id)}
        if kind == "Send":
            return {"kind": kind, "node": value.node, "arg": self(value.arg)}
        if kind == "Command":
            shown = {k: getattr(value, k) for k in ("graph", "update", "resume", "goto")}
            return {"kind": kind, **{k: self(v) for k, v in shown.items()}}
        if hasattr(value, "model_dump"):
            return {"kind": kind, **self(value.model_dump())}
        if dataclasses.is_dataclass(value):
            shown = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {"kind": kind, **{k: self(v) for k, v in shown.items()}}
        return f"<{kind}>"


def _is_error(key: Any, value: Any) -> bool:
    return key == "error" and isinstance(value, BaseException)
