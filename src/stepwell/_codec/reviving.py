"""The walk after orjson: tags become values again."""

from __future__ import annotations

from typing import Any, Final

import orjson

from stepwell._codec.entry import CLASS_MARK, Misfit
from stepwell._codec.late import builtin_of_key
from stepwell._codec.opaque import Opaque
from stepwell._codec.registry import Registry
from stepwell.errors import CodecError, CorruptRecordError, UnknownTypeError

_LEVELS_MAX: Final = 256
"""Above what is written, below what Python's own stack allows."""
_CONTAINERS: Final = frozenset({list, dict})


def _copy(tree: Any) -> Any:
    """The same tree, of which no container is shared."""
    kind = type(tree)
    return orjson.loads(orjson.dumps(tree)) if kind is dict or kind is list else tree


class Reviving:
    """Revives parsed documents for one allow-list. What holds no tag is returned as it is.

    The tree that is read is never changed: the state of a class that turns out to be unknown
    has to be kept as it stands in the document.
    """

    __slots__ = ("_keep_unknown", "_registry")

    def __init__(self, registry: Registry, *, keep_unknown: bool) -> None:
        self._registry = registry
        self._keep_unknown = keep_unknown

    def revive(self, node: Any, depth: int = 0) -> Any:
        """The value of a parsed JSON tree.

        Raises:
            CodecError: The tree is none that was written, or a class in it is unknown.
        """
        kind = type(node)
        if kind is dict:
            return self._revive_dict(node, depth)
        if kind is list:
            return self._revive_list(node, depth)
        return node

    def _revive_dict(self, node: dict[str, Any], depth: int) -> Any:
        if depth >= _LEVELS_MAX:
            raise CorruptRecordError("nested too deep")
        if len(node) == 1:
            ((key, payload),) = node.items()
            if key[:1] == "$":
                return self._revive_tag(key, payload, depth)
        out = node
        depth += 1
        for key, item in node.items():
            kind = type(item)
            if kind is dict:
                value = self._revive_dict(item, depth)
            elif kind is list:
                value = self._revive_list(item, depth)
            else:
                continue
            if value is not item:
                if out is node:
                    out = node.copy()
                out[key] = value
        return out

    def _revive_list(self, node: list[Any], depth: int) -> list[Any]:
        if depth >= _LEVELS_MAX:
            raise CorruptRecordError("nested too deep")
        if _CONTAINERS.isdisjoint(map(type, node)):
            return node
        out = node
        depth += 1
        for index, item in enumerate(node):
            kind = type(item)
            if kind is dict:
                value = self._revive_dict(item, depth)
            elif kind is list:
                value = self._revive_list(item, depth)
            else:
                continue
            if value is not item:
                if out is node:
                    out = node.copy()
                out[index] = value
        return out

    def _revive_tag(self, key: str, payload: Any, depth: int) -> Any:
        if key.startswith(CLASS_MARK):
            entry = self._registry.by_id(key[2:])
            if entry is None:
                return self._opaque(key[2:], payload, "is not registered in this process")
        else:
            entry = builtin_of_key(key)
            if entry is None:
                raise CorruptRecordError(
                    f"{key!r} is no tag of this release (was it written by a newer one?)"
                )
        try:
            tree = _copy(payload) if entry.foreign else payload
            return entry.make(tree if entry.plain else self.revive(tree, depth + 1))
        except Misfit:
            return self._opaque(key[2:], payload, "has no instance for the stored state any more")
        except (CodecError, MemoryError, RecursionError):
            raise
        except Exception as exc:
            # Bytes that fit no instance, or a decode= hook that failed on them.
            raise CorruptRecordError(
                f"the state under {key!r} cannot be revived ({type(exc).__name__})"
            ) from exc

    def _opaque(self, type_id: str, payload: Any, why: str) -> Opaque:
        if self._keep_unknown:
            return Opaque(type_id, payload)
        raise UnknownTypeError(
            f"the class {type_id!r} {why}. Register it (stepwell.register, or name it in the "
            "state schema); a former name goes into aliases=.",
            type_name=type_id,
        )
