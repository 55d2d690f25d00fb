"""Encryption of records: AES-256-GCM under a key of the thread's own.

A record is bound to its place: the associated data names what it is, its thread and where in
it, so one that was moved, swapped or cut does not open. The thread's key is derived from the
ring's key and the thread's name, so no key sees more messages than one thread has.

    sealed = nonce (12 bytes), ciphertext, tag (16 bytes)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

from stepwell.errors import CorruptRecordError, KeyMissingError, UsageError

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_KEY_ID_BYTES_MAX: Final = 100
_CIPHERS_MAX: Final = 4096
_PERSON: Final = b"stepwell-thread"

Thread = tuple[str, str]
"""(scope, thread id)."""


class Keyring:
    """The keys that records are encrypted with: one for what is written, all for what is read.

    Args:
        keys: Names of keys -> 32 bytes each. A name is stored beside every record.
        current: The name of the key that is written with.

    Raises:
        UsageError: A key has another length, a name is none, there is no current key, or the
            package `cryptography` is not installed.
    """

    __slots__ = ("_cipher", "_ciphers", "_invalid", "_keys", "current")

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = {_name(name): _key(name, key) for name, key in dict(keys).items()}
        if current not in self._keys:
            raise UsageError(f"The current key {current!r:.80} is none of the keys given.")
        self.current = current
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            msg = 'Encryption needs the package cryptography: pip install "stepwell[crypto]".'
            raise UsageError(msg) from None
        self._cipher: Any = AESGCM
        self._invalid: type[Exception] = InvalidTag
        self._ciphers: dict[tuple[str, Thread], Any] = {}

    @classmethod
    def from_text(cls, text: str) -> Keyring:
        """The keyring that a text describes, as the variable STEPWELL_KEYRING does:
        `name=base64 of 32 bytes`, separated by commas, the current key first.

        Raises:
            UsageError: It is no such text.
        """
        keys: dict[str, bytes] = {}
        for part in text.split(","):
            name, separator, key = part.strip().partition("=")
            try:
                keys[name] = base64.b64decode(key, altchars=b"-_" if set(key) & set("-_") else None)
            except (binascii.Error, ValueError):
                separator = ""
            if not separator or list(keys).count(name) != 1:
                # Of the text itself nothing is shown.
                raise UsageError(
                    "A keyring as text is name=base64, separated by commas, the current key first."
                )
        return cls(keys, next(iter(keys)))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(sorted(self._keys))}; current={self.current!r})"

    def __reduce__(self) -> Any:
        msg = "A keyring is not to be copied into other processes: give them its keys."
        raise TypeError(msg)

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Names of the keys, the current one first."""
        return (self.current, *(name for name in self._keys if name != self.current))

    def seal(self, thread: Thread, place: tuple[Any, ...], data: bytes, nonce: bytes) -> bytes:
        """`data` encrypted with the current key, for one place in one thread.

        Args:
            thread: Whose it is.
            place: What it is and where: texts, numbers, None.
            data: What nobody else shall read.
            nonce: 12 bytes that were never used before.
        """
        key_id = self.current
        bound = _bound(key_id, thread, place)
        sealed: bytes = self._of(key_id, thread).encrypt(nonce, data, bound)
        return nonce + sealed

    def open(self, key_id: str, thread: Thread, place: tuple[Any, ...], sealed: bytes) -> bytes:
        """What `seal` was given.

        Raises:
            KeyMissingError: The key is not in this ring.
            CorruptRecordError: It was sealed with another key or for another place, or changed.
        """
        if key_id not in self._keys:
            raise missing(key_id, thread)
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._of(key_id, thread).decrypt(  # type: ignore[no-any-return]
                nonce, rest, _bound(key_id, thread, place)
            )
        except (self._invalid, ValueError):  # ValueError: shorter than a nonce and a tag
            msg = (
                f"An encrypted record of thread {thread[1]!r} does not open with key {key_id!r}: "
                "it was changed, or belongs elsewhere, or that key is another one."
            )
            raise CorruptRecordError(msg, thread_id=thread[1]) from None

    def digest(self, key_id: str, thread: Thread, text: str) -> str:
        """What stands for a text that has to be found again: nobody without the key can tell
        which text it is of."""
        mac = blake2b(text.encode(), key=self._derived(key_id, thread), digest_size=32)
        return mac.hexdigest()

    def _of(self, key_id: str, thread: Thread) -> Any:
        known = self._ciphers.get((key_id, thread))
        if known is None:
            if len(self._ciphers) >= _CIPHERS_MAX:
                self._ciphers.clear()
            known = self._cipher(self._derived(key_id, thread))
            self._ciphers[key_id, thread] = known
        return known

    def _derived(self, key_id: str, thread: Thread) -> bytes:
        scope, thread_id = (part.encode() for part in thread)
        return blake2b(
            b"%d:%s%s" % (len(scope), scope, thread_id),
            key=self._keys[key_id], person=_PERSON, digest_size=_KEY_BYTES,
        ).digest()  # fmt: skip


def missing(key_id: str, thread: Thread) -> KeyMissingError:
    """The error of a record under a key that nobody gave."""
    msg = (
        f"A record of thread {thread[1]!r} is encrypted under the key {key_id!r}, which this saver "
        "does not have: open it with a keyring that holds it."
    )
    return KeyMissingError(msg, thread_id=thread[1])


def _bound(key_id: str, thread: Thread, place: tuple[Any, ...]) -> bytes:
    return orjson.dumps([1, key_id, *thread, *place])


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.isprintable() or not name or "," in name:
        raise UsageError(f"{name!r:.80} cannot be the name of a key: printable text, no comma.")
    if "=" in name or len(name.encode()) > _KEY_ID_BYTES_MAX:
        raise UsageError(f"{name!r:.80} cannot be the name of a key: it has '=', or is too long.")
    return name


def _key(name: str, key: Any) -> bytes:
    if not isinstance(key, bytes) or len(key) != _KEY_BYTES:
        raise UsageError(f"The key {name!r} must be {_KEY_BYTES} bytes.")  # and nothing of it shown
    return key


__all__ = ["Keyring", "Thread", "missing"]
