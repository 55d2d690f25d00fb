"""Just enough YAML to write a front matter: nested mappings, lists and plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_WIDTH: Final = 80
"""Columns after which PyYAML, whose output this follows, would fold a text."""

_RESOLVED: Final = re.compile(
    r"""
    yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF
    | ~|null|Null|NULL|
    | [-+]?0b[01_]+ | [-+]?0x[0-9a-fA-F_]+ | [-+]?0[0-7_]+ | [-+]?(?:0|[1-9][0-9_]*)
    | [-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)? | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*
    | [-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)? | \.[0-9][0-9_]*(?:[eE][-+][0-9]+)?
    | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
    | \d{4}-\d\d-\d\d | \d{4}-\d\d?-\d\d?(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?
      (?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?
    | <<|=
    """,
    re.VERBOSE,
)
"""Texts that YAML 1.1 would read back as something else than a text."""

_PLAIN_START: Final = re.compile(r"[^\s\-?:,\[\]{}#&*!|>'\"%@`]|[\-?:](?=\S)")
_SPECIAL: Final = re.compile(r":(?:\s|$)|\s#|^(?:---|\.\.\.)")
_ESCAPES: Final = {
    '"': '\\"', "\\": "\\\\", "\0": "\\0", "\a": "\\a", "\b": "\\b", "\t": "\\t", "\n": "\\n",
    "\v": "\\v", "\f": "\\f", "\r": "\\r", "\x1b": "\\e", "\x85": "\\N", "\xa0": "\\_",
    "\u2028": "\\L", "\u2029": "\\P",
}  # fmt: skip
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")


def to_yaml(value: Mapping[str, Any]) -> str:
    """A mapping as a block-style YAML document with sorted keys, ending in a newline.

    Texts that are long, or hold anything but printable ASCII, are quoted and not folded.

    Raises:
        TypeError: A value is none of dict, list, tuple, str, int, float, bool and None.
    """
    if not value:
        return "{}\n"
    return "".join(f"{line}\n" for line in _mapping(value, 0))


def _mapping(value: Mapping[Any, Any], indent: int) -> Iterator[str]:
    for key in sorted(value):
        yield from _entry(f"{' ' * indent}{_scalar(key)}:", value[key], indent)


def _entry(head: str, item: Any, indent: int) -> Iterator[str]:
    """`head` with its value behind it, or in the lines below."""
    if isinstance(item, Mapping) and item:
        yield head
        yield from _mapping(item, indent + 2)
    elif isinstance(item, (list, tuple)) and item:
        yield head
        yield from _sequence(item, indent)
    else:
        yield f"{head} {_scalar(item)}"


def _sequence(value: Sequence[Any], indent: int) -> Iterator[str]:
    for item in value:
        if isinstance(item, (Mapping, list, tuple)) and item:
            lines = (
                _mapping(item, indent + 2)
                if isinstance(item, Mapping)
                else _sequence(item, indent + 2)
            )
            first, *rest = lines
            yield f"{' ' * indent}- {first[indent + 2 :]}"
            yield from rest
        else:
            yield f"{' ' * indent}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float(value)
        case str():
            return _text(value)
        case Mapping() if not value:
            return "{}"
        case list() | tuple() if not value:
            return "[]"
        case _:
            msg = f"A front matter holds dicts, lists, texts and numbers, not {value!r:.100}"
            raise TypeError(msg)


def _float(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value).lower()
    return text.replace("e", ".0e", 1) if "." not in text and "e" in text else text


def _text(text: str) -> str:
    if not _PRINTABLE.fullmatch(text) or (len(text) > _WIDTH // 2 and " " in text):
        return f'"{"".join(map(_escaped, text))}"'
    plain = (
        _PLAIN_START.match(text) is not None
        and not _SPECIAL.search(text)
        and text == text.strip()
        and not _RESOLVED.fullmatch(text)
    )
    return text if plain else "'" + text.replace("'", "''") + "'"


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if _PRINTABLE.fullmatch(char):
        return char
    return (
        f"\\x{code:02X}"
        if code < 0x100
        else f"\\u{code:04X}"
        if code < 0x10000
        else f"\\U{code:08X}"
    )


__all__ = ["to_yaml"]
