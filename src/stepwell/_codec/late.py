"""Types whose modules cost milliseconds to import: learnt when the first of them is met.

Which module is imported is decided by this table alone; a document can only name a tag of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

from stepwell._codec.builtin import BY_CLASS, BY_KEY, expect, expect_list
from stepwell._codec.entry import Entry
from stepwell._codec.refusal import Refusal
from stepwell.errors import UnknownTypeError

_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")


def _decimal() -> list[Entry]:
    from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation

    # The caller's context must decide neither the spelling nor whether nonsense becomes NaN.
    exact = Context(
        prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, capitals=1, clamp=0, traps=[InvalidOperation]
    )
    return [
        Entry(
            "$decimal", Decimal, exact.to_sci_string,
            lambda s: Decimal(expect(str, s), exact), plain=True,
        )
    ]  # fmt: skip


def _fraction() -> list[Entry]:
    from fractions import Fraction

    def make(state: Any) -> Fraction:
        numerator, denominator = (expect(int, part) for part in expect_list(state, 2))
        return Fraction(numerator, denominator)

    return [Entry("$fraction", Fraction, lambda v: [v.numerator, v.denominator], make)]


def _zoneinfo() -> list[Entry]:
    from pathlib import Path
    from zoneinfo import TZPATH, ZoneInfo, available_timezones

    names = cache(available_timezones)

    @lru_cache(maxsize=1024)
    def exists(key: str) -> bool:
        # ZoneInfo itself would import a subpackage of tzdata by the name it is given.
        return any(Path(root, key).is_file() for root in TZPATH) or key in names()

    def take(zone: ZoneInfo) -> str:
        if zone.key is None:
            problem = "a time zone made from a file, which has no name to store"
            raise Refusal(ZoneInfo, problem, "Use ZoneInfo(name).")
        return zone.key

    def make(state: Any) -> ZoneInfo:
        key = expect(str, state)
        if not _ZONE_KEY.fullmatch(key):
            msg = "not the name of a time zone"
            raise ValueError(msg)
        if not exists(key):
            msg = f"the time zone {key!r} is not known on this machine; install tzdata."
            raise UnknownTypeError(msg, type_name="zoneinfo.ZoneInfo")
        return ZoneInfo(key)

    return [Entry("$zoneinfo", ZoneInfo, take, make, plain=True)]


def _path() -> list[Entry]:
    from pathlib import (
        Path,
        PosixPath,
        PurePath,
        PurePosixPath,
        PureWindowsPath,
        WindowsPath,
    )

    pure: dict[str, type[PurePath]] = {"posix": PurePosixPath, "windows": PureWindowsPath}
    flavour = "posix" if isinstance(Path(), PurePosixPath) else "windows"

    def take(name: str) -> Callable[[PurePath], list[str]]:
        return lambda value: [name, str(value)]

    def make_pure(state: Any) -> PurePath:
        name, text = expect_list(state, 2)
        return pure[expect(str, name)](expect(str, text))

    def make(state: Any) -> PurePath:
        # A concrete path of the other system cannot exist here: its pure form keeps the parts.
        value = make_pure(state)
        return Path(state[1]) if state[0] == flavour else value

    return [
        Entry("$purepath", PurePosixPath, take("posix"), make_pure),
        Entry("$purepath", PureWindowsPath, take("windows"), make_pure),
        Entry("$path", PosixPath, take("posix"), make),
        Entry("$path", WindowsPath, take("windows"), make),
    ]


def _ipaddress() -> list[Entry]:
    import ipaddress

    classes: dict[str, Callable[[str], Any]] = {
        cls.__name__: cls
        for cls in (
            ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network,
            ipaddress.IPv6Network, ipaddress.IPv4Interface, ipaddress.IPv6Interface,
        )
    }  # fmt: skip

    def make(state: Any) -> Any:
        name, text = expect_list(state, 2)
        return classes[expect(str, name)](expect(str, text))

    return [
        Entry("$ipaddress", cls, lambda v: [type(v).__name__, str(v)], make, plain=True)
        for cls in classes.values()
        if isinstance(cls, type)
    ]


_BY_MODULE: dict[str, Callable[[], list[Entry]]] = {
    "decimal": _decimal, "_pydecimal": _decimal, "fractions": _fraction, "zoneinfo": _zoneinfo,
    "pathlib": _path, "pathlib._local": _path, "ipaddress": _ipaddress,
}  # fmt: skip
_BY_TAG: dict[str, Callable[[], list[Entry]]] = {
    "$decimal": _decimal, "$fraction": _fraction, "$zoneinfo": _zoneinfo, "$path": _path,
    "$purepath": _path, "$ipaddress": _ipaddress,
}  # fmt: skip


def _learn(load: Callable[[], list[Entry]]) -> None:
    for entry in load():
        BY_CLASS[entry.cls] = entry
        BY_KEY[entry.key] = entry


def builtin_of_class(cls: type) -> Entry | None:
    """The entry of a type of the standard library, or None."""
    entry = BY_CLASS.get(cls)
    if entry is None and (load := _BY_MODULE.get(cls.__module__)) is not None:
        _learn(load)
        entry = BY_CLASS.get(cls)
    return entry


def builtin_of_key(key: str) -> Entry | None:
    """The entry that reads documents under this key, or None."""
    entry = BY_KEY.get(key)
    if entry is None and (load := _BY_TAG.get(key)) is not None:
        _learn(load)
        entry = BY_KEY.get(key)
    return entry
