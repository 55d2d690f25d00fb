"""Bytes: values with their types as JSON documents, and the allow-list of classes."""

from stepwell._codec.json import Codec, Encoded
from stepwell._codec.lowering import LEVELS_MAX
from stepwell._codec.opaque import Opaque
from stepwell._codec.registry import GLOBAL, Registry, register, register_own
from stepwell._codec.schema import register_schema
from stepwell._codec.splice import Splice, apply_splice, crc, make_splice

__all__ = [
    "GLOBAL", "LEVELS_MAX", "Codec", "Encoded", "Opaque", "Registry", "Splice", "apply_splice",
    "crc", "make_splice", "register", "register_own",
    "register_schema",
]  # fmt: skip
