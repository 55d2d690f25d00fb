"""Metadata of runs and checkpoints: exact bytes, and the part that can be indexed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from stepwell._codec import Codec
from stepwell._journal.spelling import exact
from stepwell.errors import CorruptRecordError, KeyMissingError


def encode_metadata(metadata: Mapping[str, Any], codec: Codec) -> tuple[bytes, str]:
    """(exact bytes, JSON of the top-level scalars that every database can hold as text).

    Raises:
        UnsupportedTypeError: A value cannot be stored; the path says which.
    """
    encoded = codec.encode(dict(metadata), channel="__metadata__")
    document: dict[str, Any] = {"v": orjson.Fragment(encoded.data)}
    if encoded.tagged:
        document["t"] = 1
    index = {k: v for k, v in metadata.items() if _is_text(k) and _is_indexable(v)}
    return exact(document), orjson.dumps(index).decode()


def decode_metadata(stored: bytes | None, codec: Codec) -> dict[str, Any]:
    """The metadata that `encode_metadata` made bytes of; {} for none.

    Raises:
        KeyMissingError: It is encrypted.
        CorruptRecordError: It is damaged.
    """
    if stored is None:
        return {}
    if stored[:1] == b"\0":
        msg = "The metadata of a run is encrypted, and no key of this saver opens it."
        raise KeyMissingError(msg)
    try:
        document = orjson.loads(stored)
        value = codec.revive(document["v"]) if document.get("t") else document["v"]
        return dict(value)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        msg = "The metadata of a run or checkpoint is damaged; restore it from a backup."
        raise CorruptRecordError(msg) from exc


def wanted_index(wanted: Mapping[str, Any] | None) -> str | None:
    """What of a filter a database can compare with `meta_index`, as a JSON object; None: nothing.

    It lets through all that the filter does, and little else: who asks compares once more.
    """
    index = {k: v for k, v in (wanted or {}).items() if _is_text(k) and _is_indexable(v)}
    return orjson.dumps(index).decode() if index else None


def _is_indexable(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return _is_text(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is float:
        return math.isfinite(value)
    return value is None or kind is bool


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


__all__ = ["decode_metadata", "encode_metadata"]
